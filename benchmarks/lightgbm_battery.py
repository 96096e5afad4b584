"""Does a converted LightGBM model decide as LightGBM does? Trains a battery of models, saves them as text, and compares.

python benchmarks/lightgbm_battery.py [--only TEXT] [--in-process] [--write docs/formats/trees.md]

Each file goes through ingest and convert as a user's file does, in the sandbox (--in-process: without it, faster). LightGBM and the
converted model answer ordinary rows, rows at the model's thresholds and one unit in the last place to both sides (in single and in double
precision), and rows with NaN, infinities and unseen categories. Exits with 1 if a decision differs, or if a model is refused that should
not be.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import lightgbm
import numpy as np

from booster_check import Line, Model, check, rows_of
from booster_print import main
from fairlead.core.interface import Array
from fairlead.core.ports import Sandbox
from fairlead.security.sandbox import OneShotSandbox

TITLE, FAMILY = "LightGBM .txt", "trees"
_COUNT = 600
_FOREST = {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}
_CLASSIFIERS = ("binary", "multiclass", "multiclassova")


@cache
def table() -> Array:
    """Numbers, half of them zero in one column, whole numbers as categories in another, gaps in a third."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(_COUNT, 6))
    rows[:, 4] = generator.integers(0, 40, _COUNT)
    rows[:, 5] = np.where(generator.random(_COUNT) < 0.6, 0, rows[:, 5])
    rows[generator.random(_COUNT) < 0.2, 3] = np.nan
    return rows


def _targets() -> dict[str, Array]:
    rows = table()
    number = 2 * rows[:, 0] + rows[:, 5] + rows[:, 4] % 5
    return {
        "binary": (np.nan_to_num(rows[:, 3]) + rows[:, 0] + (rows[:, 4] % 3 == 0) > 0.3).astype(int),
        "number": number,
        "positive": np.abs(number) + 0.1,
        "several": (rows[:, 4] % 3).astype(int),
    }


def model(name: str, target: str, *, refusal: str = "", rounds: int = 40, **parameters: object) -> Model:
    """Train one model; its file and its answers come when they are asked for."""

    @cache
    def booster() -> lightgbm.Booster:
        group = [50] * (_COUNT // 50) if parameters["objective"] in ("lambdarank", "rank_xendcg") else None
        rows = np.nan_to_num(table()) if parameters.get("linear_tree") else table()
        data = lightgbm.Dataset(rows, _targets()[target], categorical_feature=[4], group=group)
        common = {"verbosity": -1, "num_threads": 1, "num_leaves": 15, "min_data_in_leaf": 5}
        return lightgbm.train({**common, **parameters}, data, num_boost_round=rounds)

    return _of(name, booster, classifies=parameters["objective"] in _CLASSIFIERS, refusal=refusal)


def _of(name: str, booster: object, *, classifies: bool, refusal: str = "", rows: Array | None = None) -> Model:
    def save(folder: Path) -> Path:
        booster().save_model(folder / "model.txt")
        return folder / "model.txt"

    def ask(rows: Array) -> dict[str, Array]:
        values = booster().predict(rows, num_threads=1).reshape(len(rows), -1)
        if not classifies:
            return {"prediction": values}
        sure = np.hstack([1 - values, values]) if values.shape[1] == 1 else values
        return {"label": np.argmax(sure, axis=1), "probabilities": sure}

    return Model(name, save, ask, table() if rows is None else rows, refusal)


def _stopped_early() -> lightgbm.Booster:
    rows, target = table(), _targets()["binary"]
    data = lightgbm.Dataset(rows[::2], target[::2], categorical_feature=[4])
    valid = lightgbm.Dataset(rows[1::2], target[1::2], reference=data)
    stop = lightgbm.early_stopping(3, verbose=False)
    return lightgbm.train({"objective": "binary", "verbosity": -1, "num_threads": 1}, data, 200, valid_sets=[valid], callbacks=[stop])


def _of_a_frame(kind: str) -> lightgbm.Booster:
    import pandas as pd

    codes = table()[:, 4].astype(int) % 3
    known = {"text": ["Köln", "Oslo", "Rom"], "numbers": [10, 20, 30]}[kind]
    frame = pd.DataFrame({"a": table()[:, 0], "city": pd.Categorical.from_codes(codes, known)})
    return lightgbm.train({"objective": "binary", "verbosity": -1, "num_threads": 1}, lightgbm.Dataset(frame, codes == 1), 10)


def _own_objective(scores: Array, data: lightgbm.Dataset) -> tuple[Array, Array]:
    return scores - data.get_label(), np.ones_like(scores)


MODELS = [
    model("binary, categories, gaps", "binary", objective="binary"),
    model("binary, another sigmoid", "binary", objective="binary", sigmoid=2.5),
    model("binary, missing values not used", "binary", objective="binary", use_missing=False),
    model("binary, zero as missing", "binary", objective="binary", zero_as_missing=True),
    model("binary, one category against the rest", "binary", objective="binary", max_cat_to_onehot=100),
    model("binary, 300 trees of 63 leaves", "binary", objective="binary", num_leaves=63, rounds=300),
    model("dart", "binary", objective="binary", boosting="dart"),
    model("gradient-based sampling", "binary", objective="binary", data_sample_strategy="goss"),
    model("random forest", "binary", objective="binary", **_FOREST),
    model("random forest of numbers", "number", objective="regression", **_FOREST),
    _of("stopped early", cache(_stopped_early), classifies=True),
    model("3 classes", "several", objective="multiclass", num_class=3),
    model("3 classes, one against all", "several", objective="multiclassova", num_class=3),
    model("regression", "number", objective="regression"),
    model("regression of the square root", "number", objective="regression", reg_sqrt=True),
    model("regression, absolute error", "number", objective="regression_l1"),
    model("regression, quantile", "number", objective="quantile", alpha=0.3),
    model("regression, Huber", "number", objective="huber"),
    model("Poisson", "positive", objective="poisson"),
    model("gamma", "positive", objective="gamma"),
    model("Tweedie", "positive", objective="tweedie"),
    model("cross entropy", "binary", objective="cross_entropy"),
    model("cross entropy with weights", "binary", objective="cross_entropy_lambda"),
    model("ranking", "binary", objective="lambdarank"),
    model("ranking, XE-NDCG", "binary", objective="rank_xendcg"),
    model("an objective of its own", "number", objective=_own_objective),
    model("one leaf", "number", objective="regression", min_data_in_leaf=10_000),
    _of("text categories of a data frame", cache(lambda: _of_a_frame("text")), classifies=True, rows=table()[:, [0, 4]]),
    _of("numbers as categories of a data frame", cache(lambda: _of_a_frame("numbers")), classifies=True, refusal="data frame"),
    model("linear models in the leaves", "number", objective="regression", linear_tree=True),
    model("linear models in the leaves, binary", "binary", objective="binary", linear_tree=True),
    model("linear models in the leaves, 3 classes", "several", objective="multiclass", num_class=3, linear_tree=True),
]


def lines(sandbox: Sandbox, only: str = "") -> Iterator[Line]:
    """Check one model after the other."""
    yield from (check(item, sandbox) for item in MODELS if only in item.name)


def rows() -> Iterator[tuple[str, str, str, str]]:
    """What the matrix of conversions shows."""
    yield from rows_of(lines(OneShotSandbox()), TITLE, FAMILY)


if __name__ == "__main__":
    sys.exit(main(__doc__, TITLE, lines, f"lightgbm {lightgbm.__version__}"))
