"""The compiled trees beside ONNX Runtime and the library that trained them: the same ensembles and rows, one thread, in turns.

    python benchmarks/trees_kernel.py [--write docs/reference/engines.md]

Boosted trees of XGBoost and LightGBM (300, 64 features) and random forests (200 trees), at batch 1, 32 and 256. Checks first that all three
answer alike. Prints a table of medians and the ratios; with --write, puts it between the marks `<!-- trees -->` of that file. Needs
XGBoost, LightGBM and a C compiler.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import lightgbm
import numpy as np
import xgboost

from fairlead.convert.trees.graph import build_model
from fairlead.core.interface import Array, Interface, Tensors
from fairlead.core.ports import Engine
from fairlead.core.tree_ensemble import TreeEnsemble
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.engines.stopwatch import TimingLimits, compare_engines
from fairlead.engines.tree_ensemble_file import write_tree_ensemble
from fairlead.engines.trees_engine import TreesEngine
from fairlead.ingest import lightgbm_reader, xgboost_reader
from fairlead.security import lightgbm_text, lightgbm_trees, xgboost_model, xgboost_trees

BATCHES = (1, 32, 256)
ROWS, FEATURES = 4000, 64
CONTESTANTS = ("compiled trees", "ONNX Runtime", "library")


@dataclass(frozen=True)
class Model:
    """An ensemble as our readers give it, and the library's own way to its probabilities."""

    trees: TreeEnsemble
    interface: Interface
    predict: Callable[[Array], Array]


class Library:
    """The library's own lowest-level predict, as an engine."""

    def __init__(self, model: Model) -> None:
        self.interface = model.interface
        self.description = "the library"
        self._predict = model.predict

    def run(self, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, Array]:
        """Return the probability of the second class."""
        del outputs
        return {"probabilities": self._predict(inputs["x"])}

    def close(self) -> None:
        """Hold nothing."""


def data() -> tuple[Array, Array]:
    random = np.random.default_rng(0)
    rows = random.normal(size=(ROWS, FEATURES)).astype(np.float32)
    noise = random.normal(size=ROWS)
    return rows, (rows[:, :8].prod(axis=1) + rows[:, 8:16].sum(axis=1) + noise > 0).astype(int)


def of_xgboost(estimator: Any) -> Model:
    booster = estimator.fit(*data()).get_booster()
    model = xgboost_model.parse_xgboost(bytes(booster.save_raw("ubj")))
    return Model(xgboost_trees.ensemble_of(model), xgboost_reader.describe(model), booster.inplace_predict)


def of_lightgbm(estimator: Any) -> Model:
    rows, labels = data()
    booster = estimator.fit(rows.astype(np.float64), labels).booster_
    model = lightgbm_text.parse_lightgbm(booster.model_to_string().encode())
    return Model(lightgbm_trees.ensemble_of(model), lightgbm_reader.describe(model), lambda x: booster.predict(x, num_threads=1))


MODELS: dict[str, Callable[[], Model]] = {
    "XGBoost, 300 trees of depth 6": lambda: of_xgboost(xgboost.XGBClassifier(n_estimators=300, max_depth=6, n_jobs=1, random_state=0)),
    "XGBoost random forest, 200 of depth 12": lambda: of_xgboost(
        xgboost.XGBRFClassifier(n_estimators=200, max_depth=12, n_jobs=1, random_state=0)
    ),
    "LightGBM, 300 trees of 31 leaves": lambda: of_lightgbm(
        lightgbm.LGBMClassifier(n_estimators=300, n_jobs=1, random_state=0, verbose=-1)
    ),
    "LightGBM random forest, 200 of depth 12": lambda: of_lightgbm(
        lightgbm.LGBMClassifier(
            boosting_type="rf", n_estimators=200, max_depth=12, num_leaves=512, subsample=0.7, subsample_freq=1, min_child_samples=3,
            n_jobs=1, random_state=0, verbose=-1,
        )
    ),
}  # fmt: skip


def open_engines(model: Model, folder: Path) -> dict[str, Engine]:
    write_tree_ensemble(folder / "model.trees", model.trees)
    (folder / "model.onnx").write_bytes(build_model(model.trees, model.interface).SerializeToString())
    engines = (
        TreesEngine(folder / "model.trees", model.interface),
        OnnxRuntimeEngine(folder / "model.onnx", model.interface),
        Library(model),
    )
    return dict(zip(CONTESTANTS, engines, strict=True))


def check(engines: dict[str, Engine], rows: Array) -> None:
    """Exit where they do not answer alike: a comparison of times would mean nothing."""
    ours = engines["compiled trees"].run({"x": rows})["probabilities"]
    for name in ("ONNX Runtime", "library"):
        theirs = engines[name].run({"x": rows})["probabilities"]
        if not np.allclose(ours if theirs.ndim == 2 else ours[:, 1], theirs, rtol=0, atol=2e-6):
            sys.exit(f"{name} answers otherwise than the compiled trees")


def measure(title: str, time_s: float) -> list[str]:
    """Return the table's lines of one model."""
    lines = []
    model = MODELS[title]()
    with tempfile.TemporaryDirectory() as folder:
        engines = open_engines(model, Path(folder))
        rows = np.random.default_rng(1).normal(size=(512, FEATURES)).astype(model.interface.inputs[0].dtype.numpy)
        check(engines, rows)
        for batch in BATCHES:
            timings = compare_engines(engines, {"x": rows[:batch]}, TimingLimits(call_count=20000, time_s=time_s))
            times = [timings[name].percentile_ms(50) * 1000 for name in CONTESTANTS]
            cells = " | ".join(f"{value:.1f}" for value in times)
            lines.append(f"| {title} | {batch} | {cells} | {times[1] / times[0]:.2f} | {times[2] / times[0]:.2f} |")
            print(lines[-1], file=sys.stderr)
        for engine in engines.values():
            engine.close()
    return lines


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", type=Path)
    parser.add_argument("--time", type=float, default=2.0, help="seconds per contestant and cell")
    arguments = parser.parse_args()
    lines = [
        "| ensemble | batch | compiled trees | ONNX Runtime | the library | times ONNX Runtime | times the library |",
        "|---|---|---|---|---|---|---|",
    ]
    for title in MODELS:
        lines += measure(title, arguments.time)
    text = "\n".join([*lines, "", "Microseconds of one call, median, one thread, taken in turns."])
    print(text)
    if arguments.write:
        page = arguments.write.read_text(encoding="utf-8")
        block = f"<!-- trees -->\n{text}\n<!-- /trees -->"
        arguments.write.write_text(re.sub(r"<!-- trees -->.*?<!-- /trees -->", lambda _: block, page, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
