"""Does a converted XGBoost model decide as XGBoost does? Trains a battery of models, saves them as .json and .ubj, and compares.

python benchmarks/xgboost_battery.py [--only TEXT] [--in-process] [--write docs/formats/trees.md]

Each file goes through ingest and convert as a user's file does, in the sandbox (--in-process: without it, faster). XGBoost and the
converted model answer ordinary rows, rows at the model's thresholds and one unit in the last place to both sides, and rows with NaN and
unseen categories (XGBoost refuses infinities, and rounds rows of doubles to single precision itself). Exits with 1 if a decision differs,
or if a model is refused that should not be.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import xgboost

from booster_check import Line, Model, check, rows_of
from booster_print import main
from fairlead.core.interface import Array
from fairlead.core.ports import Sandbox
from fairlead.security.sandbox import OneShotSandbox

TITLE, FAMILY = "XGBoost", "trees"
_COUNT = 600
_TYPES = ["q", "q", "q", "q", "c", "c", "q", "q"]
_PROBABLE = ("binary:logistic", "multi:softprob")


@cache
def table() -> Array:
    """Numbers with gaps; two columns of whole numbers, few and many, for categories."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(_COUNT, 8))
    rows[generator.random(rows.shape) < 0.05] = np.nan
    rows[:, 4], rows[:, 5] = generator.integers(0, 12, _COUNT), generator.integers(0, 90, _COUNT)
    return rows.astype(np.float32)


def _targets() -> dict[str, Array]:
    rows = np.nan_to_num(table())
    number = 3 * rows[:, 0] + rows[:, 4] % 5 + rows[:, 1] ** 2
    return {
        "binary": (rows[:, 0] + (rows[:, 4] % 3 == 0) > 0.3).astype(int),
        "several": np.digitize(rows[:, 1], [-0.5, 0.5]),
        "number": number,
        "positive": np.abs(number) + 0.1,
        "numbers": np.stack([number, -number, rows[:, 2] ** 2], axis=1),
        "labels": (rows[:, :3] > 0).astype(int),
    }


def model(
    name: str, target: str, objective: str, *, rounds: int = 40, kind: str = "json", refusal: str = "", **parameters: object
) -> Model:
    """Train one model; its file and its answers come when they are asked for."""
    categorical = bool(parameters.pop("categorical", False))

    def train() -> xgboost.Booster:
        options = {"feature_types": _TYPES, "enable_categorical": True} if categorical else {}
        data = xgboost.DMatrix(table(), _targets()[target], **options)
        if objective.startswith("rank"):
            data.set_group([50] * (_COUNT // 50))
        if objective == "survival:aft":
            times = _targets()[target]
            data.set_float_info("label_lower_bound", times)
            data.set_float_info("label_upper_bound", np.where(np.arange(_COUNT) % 3 == 0, np.inf, times))
        common = {"objective": objective, "nthread": 1, "seed": 0, **({"num_class": 3} if objective.startswith("multi") else {})}
        return xgboost.train({**common, **parameters}, data, rounds)

    return _of(name, cache(train), kind, refusal)


def _of(name: str, booster: Callable[[], xgboost.Booster], kind: str = "json", refusal: str = "") -> Model:
    def save(folder: Path) -> Path:
        booster().save_model(folder / f"model.{kind}")
        return folder / f"model.{kind}"

    def ask(rows: Array) -> dict[str, Array]:
        trained = booster()
        best = trained.attr("best_iteration")
        names = {"feature_names": trained.feature_names, "feature_types": trained.feature_types}
        data = xgboost.DMatrix(rows, enable_categorical=True, **names)
        values = trained.predict(data, iteration_range=(0, 0 if best is None else int(best) + 1))
        objective = str(trained.save_config()).partition('"objective":{"name":"')[2].partition('"')[0]
        return _named(objective, values)

    return Model(name, save, ask, table(), refusal, takes_infinity=False)


def _named(objective: str, values: Array) -> dict[str, Array]:
    """XGBoost's own answer by the names of the interface's outputs."""
    if objective == "binary:logistic" and values.ndim == 2:
        return {"scores": values}
    if objective in _PROBABLE:
        sure = np.stack([1 - values, values], axis=1) if values.ndim == 1 else values
        label = values > 0.5 if values.ndim == 1 else np.argmax(values, axis=1)
        return {"label": label.astype(np.int64), "probabilities": sure}
    if objective in ("multi:softmax", "binary:hinge"):
        return {"label": values.astype(np.int64)}
    return {"scores" if objective == "binary:logitraw" else "prediction": values.reshape(len(values), -1)}


def _stopped_early() -> xgboost.Booster:
    data = xgboost.DMatrix(table()[::2], _targets()["binary"][::2])
    other = xgboost.DMatrix(table()[1::2] + np.float32(0.3), _targets()["binary"][1::2])
    options = {"objective": "binary:logistic", "nthread": 1}
    return xgboost.train(options, data, 200, evals=[(other, "other")], early_stopping_rounds=3, verbose_eval=False)


def _classifier() -> xgboost.Booster:
    options = {"n_estimators": 30, "n_jobs": 1, "random_state": 0}
    return xgboost.XGBClassifier(**options).fit(table(), _targets()["several"]).get_booster()


def _of_a_frame() -> xgboost.Booster:
    import pandas as pd

    frame = pd.DataFrame(table(), columns=[f"größe {number}" for number in range(8)])
    return xgboost.train({"objective": "binary:logistic", "nthread": 1}, xgboost.DMatrix(frame, _targets()["binary"]), 10)


_FOREST = {"num_parallel_tree": 100, "subsample": 0.6, "colsample_bynode": 0.6, "learning_rate": 1, "max_depth": 10}
_VECTORS = {"multi_strategy": "multi_output_tree", "tree_method": "hist"}
MODELS = [
    model("binary, gaps", "binary", "binary:logistic"),
    model("binary, as .ubj", "binary", "binary:logistic", kind="ubj"),
    model("binary, 300 trees of depth 8", "binary", "binary:logistic", rounds=300, max_depth=8),
    model("binary, margins", "binary", "binary:logitraw"),
    model("binary, hinge", "binary", "binary:hinge"),
    model("binary, one category against the rest", "binary", "binary:logistic", categorical=True, max_cat_to_onehot=100),
    model("binary, sets of categories", "binary", "binary:logistic", categorical=True, max_cat_to_onehot=1),
    model("binary, leaf-wise", "binary", "binary:logistic", grow_policy="lossguide", max_leaves=31, tree_method="hist"),
    model("binary, pruned", "binary", "binary:logistic", tree_method="exact", gamma=3.0),
    model("binary, a base score of its own", "binary", "binary:logistic", base_score=0.2),
    model("dart", "binary", "binary:logistic", booster="dart", rate_drop=0.3),
    model("random forest", "binary", "binary:logistic", rounds=1, **_FOREST),
    model("random forest of numbers", "number", "reg:squarederror", rounds=1, **_FOREST),
    _of("stopped early", cache(_stopped_early)),
    _of("scikit-learn's classifier, 3 classes", cache(_classifier), "ubj"),
    _of("names of a data frame", cache(_of_a_frame)),
    model("3 classes", "several", "multi:softprob"),
    model("3 classes, labels only", "several", "multi:softmax"),
    model("3 classes, vector leaves", "several", "multi:softprob", **_VECTORS),
    model("3 numbers, vector leaves", "numbers", "reg:squarederror", kind="ubj", **_VECTORS),
    model("3 numbers, a tree each", "numbers", "reg:squarederror"),
    model("regression", "number", "reg:squarederror"),
    model("regression, absolute error", "number", "reg:absoluteerror"),
    model("regression, pseudo-Huber", "number", "reg:pseudohubererror"),
    model("regression, logistic", "binary", "reg:logistic"),
    model("regression, squared log", "positive", "reg:squaredlogerror"),
    model("3 quantiles", "number", "reg:quantileerror", quantile_alpha=[0.1, 0.5, 0.9]),
    model("Poisson", "positive", "count:poisson"),
    model("gamma", "positive", "reg:gamma"),
    model("Tweedie", "positive", "reg:tweedie"),
    model("Cox", "positive", "survival:cox"),
    model("ranking", "several", "rank:ndcg"),
    model("ranking, pairs", "several", "rank:pairwise", kind="ubj"),
    model("no split", "binary", "binary:logistic", rounds=3, gamma=1e9),
    model("survival, accelerated failure time", "positive", "survival:aft", aft_loss_distribution="logistic"),
    model("linear booster", "binary", "binary:logistic", booster="gblinear"),
    model("linear booster, 3 classes", "several", "multi:softprob", booster="gblinear"),
    model("linear booster, regression", "number", "reg:squarederror", booster="gblinear"),
    model("linear booster, Poisson", "positive", "count:poisson", booster="gblinear"),
    model("3 labels at once", "labels", "binary:logistic"),
]


def lines(sandbox: Sandbox, only: str = "") -> Iterator[Line]:
    """Check one model after the other."""
    yield from (check(item, sandbox) for item in MODELS if only in item.name)


def rows() -> Iterator[tuple[str, str, str, str]]:
    """What the matrix of conversions shows."""
    for item, line in zip(MODELS, lines(OneShotSandbox()), strict=True):
        suffix = " .ubj" if item.name in _BINARY else " .json"
        yield from rows_of([line], TITLE + suffix, FAMILY)


_BINARY = {"binary, as .ubj", "scikit-learn's classifier, 3 classes", "3 numbers, vector leaves", "ranking, pairs"}

if __name__ == "__main__":
    sys.exit(main(__doc__, TITLE, lines, f"xgboost {xgboost.__version__}"))
