"""One MLflow folder of a battery: how MLflow writes it, and how its own flavor answers from it."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from booster_check import Model
from fairlead.core.interface import Array

COLUMNS = ["age", "height", "weight", "income"]
_COUNT = 300
# What the flavors' `save_model` call the model.
_ARGUMENTS = {
    "sklearn": "sk_model", "xgboost": "xgb_model", "lightgbm": "lgb_model", "catboost": "cb_model", "onnx": "onnx_model",
    "pytorch": "pytorch_model", "tensorflow": "model", "keras": "model", "pyfunc": "python_model",
}  # fmt: skip


@dataclass(frozen=True)
class Folder:
    """`train` gives the model, `options` go to the flavor's `save_model`, `ask` takes what the flavor's `load_model` gives, and rows.

    `refusal` is part of the reason with which the folder has to be refused.
    """

    flavor: str
    family: str
    name: str
    train: Callable[[], Any]
    ask: Callable[[Any, Array], dict[str, Array]] = lambda _, __: {}
    options: Mapping[str, Any] = field(default_factory=dict)
    rows: Callable[[], Array] = lambda: table()  # noqa: PLW0108 - stands below
    refusal: str = ""
    takes_missing: bool = False
    takes_infinity: bool = True

    @property
    def title(self) -> str:
        """What it is called in the table."""
        return f"{self.flavor}: {self.name}"

    def model(self) -> Model:
        """Return it as the check wants it. The folder is loaded by MLflow before it is handed over."""
        flavor = importlib.import_module(f"mlflow.{self.flavor}")
        loaded: list[Any] = []

        def save(folder: Path) -> Path:
            path = str(folder / "model")
            # Without the requirements MLflow would find them out in a process of its own.
            named = {_ARGUMENTS[self.flavor]: self.train(), "path": path, "pip_requirements": ["mlflow"]}
            flavor.save_model(**named, **self.options)
            if not self.refusal:
                loaded.append(flavor.load_model(path))
            return Path(path)

        def ask(rows: Array) -> dict[str, Array]:
            return self.ask(loaded[0], rows)

        return Model(self.title, save, ask, self.rows(), self.refusal, takes_infinity=self.takes_infinity, takes_missing=self.takes_missing)


@functools.cache
def table() -> Array:
    """Rows of four numbers."""
    return np.random.default_rng(0).normal(size=(_COUNT, len(COLUMNS)))


def answers(kind: str) -> Array:
    """What is to be learned from the table: two classes, three named ones, or a number."""
    rows = table()
    number = rows[:, 0] + rows[:, 2] * rows[:, 1]
    if kind == "two":
        return (number > 0).astype(int)
    return np.asarray(["Köln", "Oslo", "Rom"])[np.digitize(number, [-0.5, 0.5])] if kind == "three" else number


def frame() -> Any:
    """The table with names."""
    import pandas as pd

    return pd.DataFrame(table(), columns=COLUMNS)


def classified(estimator: Any, rows: Array) -> dict[str, Array]:
    """What a scikit-learn classifier answers."""
    probabilities = estimator.predict_proba(rows)
    return {"label": np.asarray(estimator.predict(rows)).reshape(-1), "probabilities": probabilities}


def regressed(estimator: Any, rows: Array) -> dict[str, Array]:
    """What a scikit-learn regressor answers."""
    return {"prediction": np.asarray(estimator.predict(rows)).reshape(len(rows), -1)}
