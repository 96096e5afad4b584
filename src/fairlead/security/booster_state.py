"""Boosters inside of estimator files: what XGBoost, LightGBM and CatBoost would restore is checked by our own parsers before they see it.

Takes the state that a file hands to a booster's own class; gives nothing: it raises SourceError, UnsafeContentError or UnsupportedError, or
lets the library go on. A guard stands only while a file is opened, and whatever opens it (pickle or skops) passes through: it wraps the
classes' own `__setstate__`, and closes their constructors, which would read a file or a text of the pickle's choosing.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from fairlead.errors import UnsafeContentError
from fairlead.security import catboost_model, catboost_trees, lightgbm_text, lightgbm_trees, xgboost_state

_BROKEN = UnsafeContentError("A booster in the file has a state that its library does not write.", hint="Save the model again.")


def _check_lightgbm(state: Any) -> None:
    handle = state.get("_handle", state.get("handle")) if isinstance(state, dict) else 0
    if handle is None:
        return
    if type(handle) is not str:
        raise _BROKEN
    lightgbm_trees.ensemble_of(lightgbm_text.parse_lightgbm(handle.encode()))


def _check_xgboost(state: Any) -> None:
    handle = state.get("handle", 0) if isinstance(state, dict) else 0
    if handle is None:
        return
    if type(handle) is not bytearray:
        raise _BROKEN
    xgboost_state.check_state(bytes(handle))


def _check_catboost(state: Any) -> None:
    if not isinstance(state, dict):
        raise _BROKEN
    if "__model" in state:
        if type(state["__model"]) is not bytes:
            raise _BROKEN
        catboost_trees.ensemble_of(catboost_model.parse_catboost(state["__model"]))


# module -> the class that restores its model, what checks the state, and whether its constructor reads models, too.
_GUARDED: dict[str, tuple[str, Callable[[Any], None], bool]] = {
    "xgboost.core": ("Booster", _check_xgboost, True),
    "lightgbm.basic": ("Booster", _check_lightgbm, True),
    "catboost.core": ("_CatBoostBase", _check_catboost, False),
}


class BoosterGuard:
    """Within its `with` block, the boosters of protected modules restore nothing that was not checked."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[Any, dict[str, Any]]] = {}

    def __enter__(self) -> Self:
        return self

    def protect(self, module: str) -> None:
        """Stand before the booster of a module; nothing happens for modules without one."""
        if module not in _GUARDED or module in self._before:
            return
        name, check, has_reading_constructor = _GUARDED[module]
        kind: Any = getattr(importlib.import_module(module), name)
        self._before[module] = (kind, {name: vars(kind)[name] for name in ("__setstate__", "__init__") if name in vars(kind)})
        restore = kind.__setstate__

        def checked(booster: Any, state: Any) -> None:
            check(state)
            restore(booster, state)

        kind.__setstate__ = checked
        if has_reading_constructor:
            kind.__init__ = _refuse

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for booster, members in self._before.values():
            for name, member in members.items():
                setattr(booster, name, member)
        self._before.clear()


def _refuse(*_: Any, **__: Any) -> None:
    raise UnsafeContentError("The file would let a booster read a model by itself.", hint="Save the fitted estimator again.")
