"""Does a converted CatBoost model decide as CatBoost does? Trains a battery of models, saves them as .cbm and .onnx, and compares.

python benchmarks/catboost_battery.py [--only TEXT] [--in-process] [--write docs/formats/trees.md]

Each file goes through ingest and convert as a user's file does, in the sandbox (--in-process: without it, faster). CatBoost (for .onnx:
ONNX Runtime on CatBoost's own file) and the converted model answer ordinary rows, rows at the model's borders and one unit in the last
place to both sides, and rows with NaN and infinities. Exits with 1 if a decision differs, or if a model is refused that should not be.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import catboost
import numpy as np
import onnxruntime

from booster_check import Line, Model, check, rows_of
from booster_print import main
from fairlead.core.interface import Array
from fairlead.core.ports import Sandbox
from fairlead.security.sandbox import OneShotSandbox

TITLE, FAMILY = "CatBoost", "trees"
_COUNT = 800
_EXPONENT = ("Poisson", "Tweedie")
_COLUMNS = ("cat_features", "text_features")


@cache
def table() -> Array:
    """Numbers, with gaps in one column."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(_COUNT, 5)).astype(np.float32)
    rows[generator.random(_COUNT) < 0.3, 3] = np.nan
    return rows


@cache
def _targets() -> dict[str, Array]:
    rows = table()
    number = 2 * rows[:, 0] + rows[:, 1]
    several = np.digitize(rows[:, 0], [-0.5, 0.5])
    return {
        "binary": (rows[:, 0] + np.nan_to_num(rows[:, 3]) > 0).astype(int),
        "text": np.array(["nein", "jä"])[(rows[:, 0] + np.nan_to_num(rows[:, 3]) > 0).astype(int)],
        "several": several,
        "several texts": np.array(["low", "mid", "hïgh"])[several],
        "number": number,
        "positive": np.abs(number),
        "two numbers": np.stack([number, -number], axis=1),
    }


def model(name: str, target: str, *, refusal: str = "", rows: Array | None = None, **parameters: Any) -> Model:
    """A model saved as .cbm."""
    trained = _trainer(target, rows, parameters)

    def save(folder: Path) -> Path:
        trained().save_model(str(folder / "model.cbm"))
        return folder / "model.cbm"

    def ask(rows: Array) -> dict[str, Array]:
        pool = catboost.Pool(rows, cat_features=parameters.get("cat_features"))
        if "class" in _kind(parameters):
            labels = trained().predict(pool, prediction_type="Class").reshape(-1)
            return {"label": labels, "probabilities": trained().predict(pool, prediction_type="Probability")}
        loss = str(parameters["loss_function"]).partition(":")[0]
        chosen = "Exponent" if loss in _EXPONENT else "RawFormulaVal"
        return {"prediction": trained().predict(pool, prediction_type=chosen).reshape(len(rows), -1)}

    ordinary = table() if rows is None else _strange()
    return Model(f".cbm: {name}", save, ask, ordinary, refusal, takes_missing=rows is None)


def _kind(parameters: dict[str, Any]) -> str:
    return "class" if parameters["loss_function"] in ("Logloss", "CrossEntropy", "MultiClass", "MultiClassOneVsAll") else "number"


def _trainer(target: str, rows: Array | None, parameters: dict[str, Any]) -> Callable[[], catboost.CatBoost]:
    @cache
    def trained() -> catboost.CatBoost:
        common = {"iterations": 40, "depth": 4, "verbose": 0, "thread_count": 1, "allow_writing_files": False}
        columns = {name: value for name, value in parameters.items() if name in _COLUMNS}
        chosen = {name: value for name, value in parameters.items() if name not in _COLUMNS}
        data = table() if rows is None else rows
        group = np.repeat(np.arange(_COUNT // 20), 20) if parameters["loss_function"] == "YetiRank" else None
        pool = catboost.Pool(data, _targets()[target], group_id=group, **columns)
        return catboost.CatBoost({**common, **chosen}).fit(pool)

    return trained


def exported(name: str, target: str, **parameters: Any) -> Model:
    """The same, saved as .onnx by CatBoost: its answers are those of ONNX Runtime on CatBoost's own file."""
    trained = _trainer(target, None, parameters)

    @cache
    def file() -> bytes:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            trained().save_model(f"{folder}/model.onnx", format="onnx")
            return Path(folder, "model.onnx").read_bytes()

    def save(folder: Path) -> Path:
        (folder / "model.onnx").write_bytes(file())
        return folder / "model.onnx"

    def ask(rows: Array) -> dict[str, Array]:
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 3, 1
        session = onnxruntime.InferenceSession(file(), options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        answers = dict(zip(names, session.run(names, {"features": rows}), strict=True))
        if "probabilities" in answers:  # one dictionary per row
            answers["probabilities"] = np.array([list(row.values()) for row in answers["probabilities"]])
        return answers

    return Model(f".onnx: {name}", save, ask, table())


def _categories() -> Array:
    """Two columns of text, one of whole numbers, two of numbers with gaps."""
    generator = np.random.default_rng(7)
    towns = np.array(["Rome", "Köln", "Oslo", "", "non-Latin 非常", "New York, NY"])
    kinds = np.array([f"kind {number}" for number in range(40)])
    rows = np.empty((_COUNT, 5), dtype=object)
    rows[:, 0], rows[:, 1] = generator.choice(towns, _COUNT), table()[:, 0]
    rows[:, 2], rows[:, 3], rows[:, 4] = generator.choice(kinds, _COUNT), table()[:, 3], generator.integers(0, 200, _COUNT)
    return rows


def _strange() -> Array:
    """The same with categories, infinities and gaps that no training saw."""
    rows = _categories()
    for column, value in ((0, "Atlantis"), (2, "kind 99"), (4, -5), (1, np.inf), (3, -np.inf), (1, np.nan)):
        rows[column * 7 + 3 :: 23, column] = value
    return rows


_TEXTS: dict[str, Any] = {"rows": _categories(), "cat_features": [0, 2, 4]}
MODELS = [
    model("binary, gaps", "binary", loss_function="Logloss"),
    model("binary, text labels", "text", loss_function="Logloss"),
    model("binary, missing is largest", "binary", loss_function="Logloss", nan_mode="Max"),
    model("binary, 300 trees of depth 8", "binary", loss_function="Logloss", iterations=300, depth=8),
    model("binary, depthwise", "binary", loss_function="Logloss", grow_policy="Depthwise"),
    model("binary, lossguide", "binary", loss_function="Logloss", grow_policy="Lossguide"),
    model("cross entropy", "binary", loss_function="CrossEntropy"),
    model("3 classes", "several", loss_function="MultiClass"),
    model("3 text labels", "several texts", loss_function="MultiClass"),
    model("3 classes, one against all", "several", loss_function="MultiClassOneVsAll"),
    model("3 classes, lossguide", "several", loss_function="MultiClass", grow_policy="Lossguide"),
    model("regression", "number", loss_function="RMSE"),
    model("regression, lossguide", "number", loss_function="RMSE", grow_policy="Lossguide"),
    model("regression, 600 borders", "number", loss_function="RMSE", border_count=600),
    model("regression, quantile", "number", loss_function="Quantile:alpha=0.3"),
    model("regression of two numbers", "two numbers", loss_function="MultiRMSE"),
    model("Poisson", "positive", loss_function="Poisson"),
    model("Tweedie", "positive", loss_function="Tweedie:variance_power=1.5"),
    model("ranking", "binary", loss_function="YetiRank"),
    model("categories, one-hot", "binary", loss_function="Logloss", one_hot_max_size=255, **_TEXTS),
    model("categories, target statistics", "binary", loss_function="Logloss", **_TEXTS),
    model("categories, combined", "binary", loss_function="Logloss", iterations=120, depth=6, max_ctr_complexity=4, **_TEXTS),
    model("categories, text labels", "text", loss_function="Logloss", **_TEXTS),
    model("categories, 3 text labels", "several texts", loss_function="MultiClass", **_TEXTS),
    model("categories, 3 classes, one against all", "several", loss_function="MultiClassOneVsAll", **_TEXTS),
    model("categories, regression", "number", loss_function="RMSE", **_TEXTS),
    model("categories, every kind of statistic", "number", loss_function="RMSE", one_hot_max_size=2, simple_ctr=[
        "Borders:TargetBorderCount=3", "Buckets:TargetBorderCount=2", "BinarizedTargetMeanValue:TargetBorderCount=2", "Counter"], **_TEXTS),
    model("categories, regression of two numbers", "two numbers", loss_function="MultiRMSE", **_TEXTS),
    model("categories, Poisson", "positive", loss_function="Poisson", **_TEXTS),
    model("categories, ranking", "binary", loss_function="YetiRank", **_TEXTS),
    model("categories, lossguide", "binary", loss_function="Logloss", grow_policy="Lossguide", **_TEXTS),
    model("categories, depthwise", "binary", loss_function="Logloss", grow_policy="Depthwise", **_TEXTS),
    model("texts", "binary", loss_function="Logloss", rows=_categories(), cat_features=[0, 4], text_features=[2], refusal="text features"),
    exported("binary", "binary", loss_function="Logloss"),
    exported("3 classes", "several", loss_function="MultiClass"),
    exported("3 text labels", "several texts", loss_function="MultiClass"),
    exported("regression", "number", loss_function="RMSE"),
]  # fmt: skip


def lines(sandbox: Sandbox, only: str = "") -> Iterator[Line]:
    """Check one model after the other."""
    yield from (check(item, sandbox) for item in MODELS if only in item.name)


def rows() -> Iterator[tuple[str, str, str, str]]:
    """What the matrix of conversions shows."""
    for line in lines(OneShotSandbox()):
        suffix = line.name.partition(":")[0]
        yield from rows_of([line], f"CatBoost {suffix}", FAMILY)


if __name__ == "__main__":
    sys.exit(main(__doc__, TITLE, lines, f"catboost {catboost.__version__}"))
