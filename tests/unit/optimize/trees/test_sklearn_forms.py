"""The graphs that scikit-learn's ensembles become: read, changed and written back; exact ones keep every bit, and the kernel runs them."""

from __future__ import annotations

import shutil
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

pytest.importorskip("sklearn", reason="the extra 'sklearn' is not installed")

from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

sys.path.append(str(Path(__file__).parent))
from tree_models import answers, bits, job

from fairlead.convert.sklearn.assembly import assemble
from fairlead.convert.tree_ensemble_to_kernel import build_trees
from fairlead.core.artifact import Artifact, ArtifactForm, SourceFormat
from fairlead.core.conversion import BuildJob, Conversion
from fairlead.core.dataset import Dataset
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.engines.tree_sites import find_sites
from fairlead.engines.trees_engine import TreesEngine
from fairlead.errors import UnsupportedError
from fairlead.ingest.sklearn_reader import describe
from fairlead.optimize.catalog import PASSES
from fairlead.optimize.passes.merge_splits import merge_splits
from fairlead.optimize.trees.model import open_model, write_model
from fairlead.optimize.trees.shape import compact
from fairlead.security.sandbox import OneShotSandbox

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
CANCER, DIGITS, DIABETES = (load(return_X_y=True) for load in (load_breast_cancer, load_digits, load_diabetes))
MODELS: dict[str, tuple[Any, Any]] = {
    "forest": (lambda: RandomForestClassifier(12, random_state=0), CANCER),
    "forest of ten classes": (lambda: RandomForestClassifier(8, random_state=0), DIGITS),
    "extra trees": (lambda: ExtraTreesClassifier(6, random_state=0), CANCER),
    "one tree": (lambda: DecisionTreeClassifier(random_state=0), CANCER),
    "forest of numbers": (lambda: RandomForestRegressor(8, max_depth=6, random_state=0), DIABETES),
    "boosting of ten classes": (lambda: GradientBoostingClassifier(n_estimators=3, random_state=0), DIGITS),
    "histogram boosting": (lambda: HistGradientBoostingClassifier(max_iter=12, random_state=0), CANCER),
    "histogram boosting of ten classes": (lambda: HistGradientBoostingClassifier(max_iter=3, random_state=0), DIGITS),
}
LOSSY = ("prune_trees(keep=0.5)", "shorten_ensemble(keep=0.5)", "distill_trees(trees=5,depth=3,mixed=0)")


def made(name: str, folder: Path) -> tuple[Path, Any, Dataset, np.ndarray]:
    """Return the converted model, its interface, rows to learn from, and other rows."""
    make, (table, target) = MODELS[name]
    with threadpool_limits(1):  # threads that spin make a loaded machine wait
        estimator = make().fit(table[:300], target[:300])
    return saved(estimator, table, target, folder)


def saved(estimator: Any, table: np.ndarray, target: np.ndarray, folder: Path) -> tuple[Path, Any, Dataset, np.ndarray]:
    interface = describe(estimator)
    model, _ = assemble(estimator, interface)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path, interface, Dataset({interface.inputs[0].name: table[:300]}, target[:300]), table[300:]


@pytest.mark.parametrize("name", MODELS)
def test_reading_and_writing_back_changes_no_bit(name: str, tmp_path: Path) -> None:
    path, _, _, others = made(name, tmp_path)
    model = open_model(path)
    assert model.sites[0].lookup is not None
    write_model(model, [compact(trees) for trees in model.trees], tmp_path / "back.onnx")
    onnx.checker.check_model(str(tmp_path / "back.onnx"))
    assert bits(answers(path, others)) == bits(answers(tmp_path / "back.onnx", others))


@pytest.mark.parametrize("name", ["forest", "forest of ten classes", "boosting of ten classes", "histogram boosting"])
@pytest.mark.parametrize("use", LOSSY)
def test_every_pass_works_on_the_form(use: str, name: str, tmp_path: Path) -> None:
    path, interface, rows, others = made(name, tmp_path)
    task = job(path, use, interface, rows)
    PASSES.load(use.partition("(")[0])(task)
    wanted, given = answers(path, others), answers(task.destination, others)
    assert (wanted["label"] == given["label"]).mean() > 0.4
    np.testing.assert_allclose(given["probabilities"].sum(axis=1), 1.0, atol=1e-6)
    assert (given["probabilities"] >= 0).all()
    assert task.destination.stat().st_size < path.stat().st_size * 1.01


def test_a_forest_whose_leaves_are_sure_is_round_already(tmp_path: Path) -> None:
    path, interface, rows, _ = made("forest", tmp_path)
    with pytest.raises(UnsupportedError, match="as few"):
        PASSES.load("round_leaves")(job(path, "round_leaves", interface, rows))


def test_shares_of_a_leaf_still_add_up_to_one_when_they_are_rounded(tmp_path: Path) -> None:
    table, target = DIGITS
    estimator = RandomForestClassifier(5, min_samples_leaf=7, random_state=0).fit(table[:300], target[:300])
    path, interface, rows, others = saved(estimator, table, target, tmp_path)
    task = job(path, "round_leaves(bits=4)", interface, rows)
    PASSES.load("round_leaves")(task)
    trees = open_model(task.destination).trees[0]
    assert np.array_equal(trees.leaf_values[trees.splits == 0].sum(axis=1), np.ones(int((trees.splits == 0).sum())))
    np.testing.assert_allclose(answers(task.destination, others)["probabilities"].sum(axis=1), 1.0, atol=1e-12)


def test_a_forest_for_outliers_loses_a_fifth_of_its_leaves_and_not_one_bit(tmp_path: Path) -> None:
    table = CANCER[0]
    path, _, _, others = saved(IsolationForest(n_estimators=20, random_state=0).fit(table), table, CANCER[1], tmp_path)
    task = job(path, "merge_splits")
    merge_splits(task)
    assert task.destination.stat().st_size < 0.9 * path.stat().st_size
    assert bits(answers(path, others)) == bits(answers(task.destination, others))


def test_several_ensembles_in_one_model_are_refused_where_labels_judge(tmp_path: Path) -> None:
    estimator = AdaBoostClassifier(n_estimators=5, random_state=0).fit(CANCER[0][:300], CANCER[1][:300])
    path, interface, rows, _ = saved(estimator, *CANCER, tmp_path)
    with pytest.raises(UnsupportedError, match="5 ensembles"):
        PASSES.load("prune_trees")(job(path, "prune_trees", interface, rows))


def test_a_model_without_trees_is_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = LogisticRegression(max_iter=20).fit(*CANCER)
    path, interface, rows, _ = saved(estimator, *CANCER, tmp_path)
    for use in ("merge_splits", "merge_trees", "prune_trees", "shorten_ensemble", "round_leaves", "share_thresholds", "refit_leaves"):
        with pytest.raises(UnsupportedError, match="no tree ensembles"):
            PASSES.load(use)(job(path, use, interface, rows))


def test_trees_in_a_form_that_is_not_known_are_refused(tmp_path: Path) -> None:
    path, _, _, _ = made("forest", tmp_path)
    model = onnx.load(path)
    next(node for node in model.graph.node if node.op_type == "CumSum").op_type = "Neg"
    with pytest.raises(UnsupportedError, match="cannot be changed safely"):
        find_sites(model)


@needs_cc
@pytest.mark.parametrize("name", [name for name in MODELS if name != "one tree"])
def test_the_kernel_runs_them_and_no_label_differs(name: str, tmp_path: Path) -> None:
    path, interface, rows, others = made(name, tmp_path)
    artifact = Artifact(
        SourceFormat.SKLEARN_PICKLE, ArtifactForm.ESTIMATOR_FILE, path, path, Manifest((FileEntry("m", 1, "0" * 64),)), "", interface
    )
    task = BuildJob(artifact, Conversion(path, interface, (), probes=rows.inputs), path, tmp_path / "work", OneShotSandbox())
    engine = TreesEngine(build_trees(task).path, interface)
    given, wanted = (
        engine.run({interface.inputs[0].name: others}),
        OnnxRuntimeEngine(path, interface).run({interface.inputs[0].name: others}),
    )
    for spec in interface.outputs:
        if spec.dtype.is_float:
            np.testing.assert_allclose(given[spec.name], wanted[spec.name], rtol=1e-12, atol=1e-12)
        else:
            assert np.array_equal(given[spec.name], wanted[spec.name])
    pruned = job(path, "prune_trees(keep=0.5)", interface, rows)
    PASSES.load("prune_trees")(pruned)
    smaller = build_trees(replace(task, model=pruned.destination, workspace=tmp_path / "smaller"))
    assert smaller.path.stat().st_size < 0.7 * (tmp_path / "work" / "trees" / "model.trees").stat().st_size


@needs_cc
def test_a_shortened_forest_may_break_ties_otherwise_and_nothing_else(tmp_path: Path) -> None:
    path, interface, rows, _ = made("forest of ten classes", tmp_path)
    task = job(path, "shorten_ensemble(keep=0.5,refit=false)", interface, rows)
    PASSES.load("shorten_ensemble")(task)
    artifact = Artifact(
        SourceFormat.SKLEARN_PICKLE, ArtifactForm.ESTIMATOR_FILE, path, path, Manifest((FileEntry("m", 1, "0" * 64),)), "", interface
    )
    built = build_trees(BuildJob(artifact, Conversion(path, interface, ()), task.destination, tmp_path / "work", OneShotSandbox()))
    assert "ONNX Runtime" in built.steps[0].notes[-1]
