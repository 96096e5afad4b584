"""What each recipe of tree passes does to real ensembles: accuracy on rows that no pass saw, size, and latency in both engines.

python benchmarks/optimize/trees.py [--only TEXT] [--times] [--write docs/reference/tree-passes.md]

Six ensembles (XGBoost of 300 rounds, LightGBM of 60, scikit-learn's forests of 200 trees and its histogram boosting) on scikit-learn's
digits and breast cancer data and on 5,000 drawn rows of Friedman's first function. Passes get the rows that the ensemble was trained on, as
users have them; accuracy is that of the other 30 %. Latency: median of calls in turns with the uncompressed model's engines, one thread.
"""

from __future__ import annotations

import argparse
import gzip
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import lightgbm
import numpy as np
import xgboost
from sklearn.datasets import load_breast_cancer, load_digits, make_friedman1
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.model_selection import train_test_split

from fairlead.convert.sklearn.assembly import assemble
from fairlead.convert.sklearn.boosters import ensemble_of as booster_trees
from fairlead.convert.sklearn.boosters import is_booster
from fairlead.convert.tree_ensemble_to_kernel import build_trees
from fairlead.convert.trees.graph import build_model
from fairlead.core.artifact import Artifact, ArtifactForm, SourceFormat
from fairlead.core.conversion import BuildJob, Conversion
from fairlead.core.dataset import Dataset
from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.plan import Candidate
from fairlead.core.tree_ensemble import TreeEnsemble
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.engines.stopwatch import TimingLimits, compare_engines
from fairlead.engines.tree_ensemble_file import write_tree_ensemble
from fairlead.engines.trees_engine import TreesEngine
from fairlead.errors import FairleadError
from fairlead.ingest.sklearn_reader import describe
from fairlead.optimize.job import Supplies
from fairlead.optimize.stage import optimize
from fairlead.security.sandbox import OneShotSandbox

SIZES, TIMES = ("<!-- trees begin -->", "<!-- trees end -->"), ("<!-- times begin -->", "<!-- times end -->")
RECIPES = (
    (),
    ("merge_splits",),
    ("round_leaves",),
    ("shorten_ensemble(keep=0.5)", "round_leaves"),
    ("shorten_ensemble(keep=0.25)", "round_leaves"),
    ("shorten_ensemble(keep=0.1)", "round_leaves"),
    ("prune_trees(keep=0.5)", "round_leaves"),
    ("prune_trees(keep=0.25)", "round_leaves"),
    ("shorten_ensemble(keep=0.25)", "prune_trees(keep=0.5)", "round_leaves"),
    ("distill_trees(trees=50,depth=4)", "round_leaves"),
    ("distill_linear",),
)
TIMED = (RECIPES[0], RECIPES[4], RECIPES[8], RECIPES[10])


@dataclass(frozen=True)
class Example:
    """A trained ensemble, the rows that it was trained on, and others with their right answers."""

    estimator: Any
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


@dataclass
class Row:
    """What a recipe made of a model; times in microseconds by engine and batch."""

    model: str
    recipe: str
    quality: float
    loss: float
    size: int
    packed: int
    times: Mapping[tuple[str, int], float]
    note: str = ""


def examples() -> dict[str, Callable[[], Example]]:
    """Return the models by name; each is trained when it is asked for."""

    def made(estimator: Any, data: tuple[np.ndarray, np.ndarray]) -> Example:
        train_x, test_x, train_y, test_y = train_test_split(*data, test_size=0.3, random_state=0)
        return Example(estimator.fit(train_x, train_y), (train_x, train_y), (test_x, test_y))

    cancer, digits = load_breast_cancer(return_X_y=True), load_digits(return_X_y=True)
    friedman = make_friedman1(5000, n_features=10, noise=1.0, random_state=0)
    quiet = {"n_estimators": 300, "n_jobs": 1}
    return {
        "XGBoost 300, breast cancer": lambda: made(xgboost.XGBClassifier(**quiet), cancer),
        "XGBoost 300, Friedman": lambda: made(xgboost.XGBRegressor(**quiet), friedman),
        "LightGBM 60, digits": lambda: made(lightgbm.LGBMClassifier(verbose=-1, n_estimators=60, n_jobs=1), digits),
        "random forest 200, breast cancer": lambda: made(RandomForestClassifier(200, random_state=0), cancer),
        "random forest 200, digits": lambda: made(RandomForestClassifier(200, random_state=0), digits),
        "histogram boosting 100, digits": lambda: made(HistGradientBoostingClassifier(random_state=0), digits),
    }


def converted(estimator: Any, folder: Path) -> BuildJob:
    """Write the canonical ONNX as fairlead convert does; return what builds forms of it."""
    path, original = folder / "model.onnx", folder / "source.trees"
    is_own = is_booster(estimator)
    if is_own:
        trees = booster_trees(estimator)
        interface = booster_interface(trees, is_classifier=hasattr(estimator, "predict_proba"))
        write_tree_ensemble(original, trees)
        model = build_model(trees, interface)
    else:
        interface = describe(estimator)
        model, _ = assemble(estimator, interface)
    path.write_bytes(model.SerializeToString(deterministic=True))
    form = ArtifactForm.TREE_ENSEMBLE if is_own else ArtifactForm.ESTIMATOR_FILE
    manifest = Manifest((FileEntry("model", 1, "0" * 64),))
    source = SourceFormat.XGBOOST_UBJ if is_own else SourceFormat.SKLEARN_PICKLE
    artifact = Artifact(source, form, original, original, manifest, "", interface)
    return BuildJob(artifact, Conversion(path, interface, ()), path, folder, OneShotSandbox())


def booster_interface(trees: TreeEnsemble, *, is_classifier: bool) -> Interface:
    """Return what a booster's reader says of such trees."""
    inputs = (TensorSpec("x", trees.compare_dtype, (None, trees.feature_count)),)
    if not is_classifier:
        outputs = (TensorSpec("prediction", trees.sum_dtype, (None, 1)),)
        return Interface(inputs, outputs, Task.REGRESSION, Decision(DecisionKind.VALUE, "prediction"))
    classes = max(trees.output_count, 2)
    outputs = (TensorSpec("label", DType.INT64, (None,)), TensorSpec("probabilities", trees.sum_dtype, (None, classes)))
    return Interface(
        inputs, outputs, Task.CLASSIFICATION, Decision(DecisionKind.LABEL, "label", scores="probabilities"), tuple(range(classes))
    )


def quality(engine: OnnxRuntimeEngine, rows: dict[str, np.ndarray], target: np.ndarray) -> float:
    """Return the share of right labels, or the root mean squared error."""
    answers = engine.run(rows)
    if "label" in answers:
        return float((answers["label"].astype(np.int64) == target).mean())
    return float(np.sqrt(((answers["prediction"][:, 0] - target) ** 2).mean()))


def measure(name: str, example: Example, recipes: tuple[tuple[str, ...], ...], folder: Path) -> list[Row]:
    """Make every recipe's model and measure it beside the uncompressed one."""
    job = converted(example.estimator, folder)
    interface = job.conversion.interface
    spec = interface.inputs[0]

    def shaped(table: np.ndarray) -> dict[str, np.ndarray]:
        return {spec.name: np.ascontiguousarray(table.astype(spec.dtype.numpy))}

    rows, others = shaped(example.train[0]), shaped(example.test[0])
    supplies = Supplies(rows=rows, training=Dataset(rows, example.train[1]), interface=interface)
    found: list[Row] = []
    plain: dict[str, Any] = {}
    for number, recipe in enumerate(recipes):
        place = folder / str(number)
        try:
            path, _ = optimize(Candidate("recipe", recipe, "onnxruntime", 1, ""), job.model, place, supplies)
        except FairleadError as error:
            found.append(Row(name, " → ".join(recipe), 0.0, 0.0, 0, 0, {}, error.message))
            continue
        engines: dict[str, Any] = {"ORT": OnnxRuntimeEngine(path, interface)}
        try:
            built = build_trees(BuildJob(job.artifact, job.conversion, path, place / "form", job.sandbox))
            engines["kernel"] = TreesEngine(built.path, interface)
        except FairleadError as error:
            print(f"  no kernel: {error.message}")
        plain = plain or engines
        times = timed(engines, plain, others)
        value = quality(engines["ORT"], others, example.test[1])
        base = found[0].quality if found else value
        lost = base - value if "label" in {item.name for item in interface.outputs} else value / base - 1
        packed = len(gzip.compress(path.read_bytes(), 9, mtime=0))
        found.append(Row(name, " → ".join(recipe) or "as converted", value, lost, path.stat().st_size, packed, times))
    return found


def timed(engines: dict[str, Any], plain: dict[str, Any], rows: dict[str, np.ndarray]) -> dict[tuple[str, int], float]:
    """Return microseconds by engine and batch, each in turns with the uncompressed model's engines."""
    found = {}
    for batch in (1, 32):
        some = {name: tensor[:batch] for name, tensor in rows.items()}
        together = {**{f"plain {name}": engine for name, engine in plain.items()}, **engines}
        for name, timing in compare_engines(together, some, TimingLimits(400, 0.05)).items():
            found[name, batch] = timing.percentile_ms(50) * 1000
    return found


def sizes_table(rows: list[Row]) -> str:
    """Return accuracy and sizes as Markdown: these are the same on every machine, and however busy it is."""
    lines = ["| model | recipe | accuracy or RMSE | bytes | gzip -9 |", "|---|---|---|---|---|"]
    for row in rows:
        shown = f"{row.quality:.4f} | {row.size:,} | {row.packed:,}" if not row.note else f"refused: {row.note} | |"
        lines.append(f"| {row.model} | {row.recipe} | {shown} |")
    return "\n".join(lines)


def times_table(rows: list[Row]) -> str:
    """Return microseconds as Markdown, at batch 1 / 32, in both engines."""
    lines = ["| model | recipe | ONNX Runtime, b1 / b32 µs | compiled trees, b1 / b32 µs |", "|---|---|---|---|"]
    for row in rows:
        if not row.note:
            found = [
                f"{row.times[engine, 1]:.0f} / {row.times[engine, 32]:.0f}" if (engine, 1) in row.times else "–"
                for engine in ("ORT", "kernel")
            ]
            lines.append(f"| {row.model} | {row.recipe} | {' | '.join(found)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write the table where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="models whose names contain this")
    parser.add_argument(
        "--times", action="store_true", help="the times of a few recipes, on an idle machine, instead of all recipes' sizes"
    )
    parser.add_argument("--write", type=Path, help="the page that the table stands in")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="lightgbm|sklearn|xgboost")
    rows: list[Row] = []
    for name, make in examples().items():
        if options.only.lower() in name.lower():
            with tempfile.TemporaryDirectory() as folder:
                rows += measure(name, make(), TIMED if options.times else RECIPES, Path(folder))
    found = times_table(rows) if options.times else sizes_table(rows)
    print(found)
    if options.write:
        begin, end = TIMES if options.times else SIZES
        text = options.write.read_text(encoding="utf-8")
        before, after = text.split(begin)[0], text.split(end)[1]
        options.write.write_text(f"{before}{begin}\n{found}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
