"""Explanations for a running server: of any version that it serves, with what lies beside it in the registry.

Takes a House; gives a serve.explaining.AnswerExplainer. What helps to explain a version is read once and kept for the few that were asked
for last. Raises RequestError for a wish that makes no sense, and what `explain_model` raises. Safe for several threads.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import msgspec

from fairlead.app.explain_aids import Aids, read_aids
from fairlead.app.explain_model import Explainer, Wish
from fairlead.app.wiring import House
from fairlead.core.interface import Tensors
from fairlead.core.ports import Engine
from fairlead.core.version import Version
from fairlead.errors import RequestError, SpecError
from fairlead.stores.document import to_plain

_KEPT = 8  # versions
_KINDS = ("explanation", "counterfactual", "rule")


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    """What a client may say."""

    kind: str = "explanation"
    of: str | int | None = None
    to: str | int | float | None = None
    keep: list[str] = []
    method: str = ""
    seed: int = 0


class ServedExplainer:
    """Explains answers of versions of one registry."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Aids] = OrderedDict()

    def explain(self, version: Version, engine: Engine, rows: Tensors, wish: Mapping[str, Any], budget_s: float) -> dict[str, Any]:
        """Return JSON values; see the port."""
        asked = _asked(wish)
        explainer = Explainer(version.label, engine, self._aids(version, engine))
        said = Wish(
            asked.method,
            None if asked.of is None else str(asked.of),
            tuple(asked.keep),
            None if asked.to is None else str(asked.to),
            budget_s,
            asked.seed,
        )
        try:
            if asked.kind == "counterfactual":
                return {"counterfactuals": to_plain(explainer.counterfactuals(rows, said))}
            if asked.kind == "rule":
                return {"rules": to_plain(explainer.rules(rows, said))}
            return {"explanations": to_plain(explainer.explain(rows, said))}
        except SpecError as error:  # what a flag's mistake is at a terminal is a request's mistake here
            raise RequestError(error.message, hint=error.hint) from None

    def _aids(self, version: Version, engine: Engine) -> Aids:
        with self._lock:
            found = self._kept.get(version.digest)
            if found is not None:
                self._kept.move_to_end(version.digest)
                return found
        found = read_aids(version, engine.interface, self._house)
        with self._lock:
            self._kept[version.digest] = found
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found


def _asked(wish: Mapping[str, Any]) -> _Asked:
    try:
        asked = msgspec.convert(dict(wish), _Asked)
    except msgspec.ValidationError as error:
        raise RequestError(
            f"What is asked does not have the form that is needed: {error}.", hint="See docs/reference/explaining.md."
        ) from None
    if asked.kind not in _KINDS:
        raise RequestError("That kind of explanation is not offered.", hint=f"There are: {', '.join(_KINDS)}.")
    return asked
