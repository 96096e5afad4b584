"""Canonical ONNX as data for the compiled kernel: what is one ensemble answers alike, and what is anything else is refused by name."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fairlead.convert.onnx_to_trees import ensemble_of, read_ensemble
from fairlead.convert.tree_ensemble_to_kernel import build_trees
from fairlead.convert.trees.graph import build_model
from fairlead.core.artifact import Artifact, ArtifactForm, SourceFormat
from fairlead.core.conversion import BuildJob, Conversion
from fairlead.core.interface import Interface
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.tree_ensemble import Split, Transform
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.engines.tree_ensemble_engine import sums_of
from fairlead.engines.tree_ensemble_file import read_tree_ensemble, write_tree_ensemble
from fairlead.engines.tree_sites import find_sites, write_site
from fairlead.engines.trees_engine import TreesEngine
from fairlead.errors import UnsupportedError
from fairlead.security.sandbox import OneShotSandbox

sys.path.append(str(Path(__file__).parents[1] / "engines"))
from drawn_trees import Shape, classifier, draw_rows, draw_trees, regressor

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
SHAPES = {
    "numbers": (Shape(features=3), regressor, {}),
    "two classes": (Shape(features=3), classifier, {"transform": Transform.SIGMOID}),
    "three classes, vector leaves": (Shape(outputs=3, has_vector_leaves=True), classifier, {"transform": Transform.SOFTMAX}),
    "a mean": (Shape(outputs=3), regressor, {"is_averaged": True}),
}


def job_of(folder: Path, name: str) -> BuildJob:
    shape, make, changes = SHAPES[name]
    trees = draw_trees(7, replace(shape, more=changes))
    interface = make(trees)
    artifact_path, converted = folder / "source.trees", folder / "model.onnx"
    write_tree_ensemble(artifact_path, trees)
    converted.write_bytes(build_model(trees, interface).SerializeToString())
    manifest = Manifest((FileEntry("m.ubj", 1, "0" * 64),))
    artifact = Artifact(SourceFormat.XGBOOST_UBJ, ArtifactForm.TREE_ENSEMBLE, artifact_path, artifact_path, manifest, "XGBoost", interface)
    conversion = Conversion(converted, interface, (), probes={"x": draw_rows(2, trees, 300)})
    return BuildJob(artifact, conversion, converted, folder / "work", OneShotSandbox())


def halved(job: BuildJob) -> BuildJob:
    """As a pass leaves it: every leaf is half of what it was."""
    model = onnx.load(job.model)
    (site,) = find_sites(model)
    write_site(model, site, replace(site.trees, leaf_values=site.trees.leaf_values / 2))
    path = job.model.with_name("0-pass.onnx")
    onnx.save(model, path)
    return replace(job, model=path)


@needs_cc
@pytest.mark.parametrize("name", SHAPES)
def test_a_booster_that_a_pass_has_changed_runs_as_its_onnx_form_does(name: str, tmp_path: Path) -> None:
    job = halved(job_of(tmp_path, name))
    built = build_trees(job)
    assert "ONNX Runtime" in built.steps[0].notes[-1]
    interface, rows = job.conversion.interface, {"x": draw_rows(5, read_tree_ensemble(job.artifact.path), 200)}
    wanted, given = OnnxRuntimeEngine(job.model, interface).run(rows), TreesEngine(built.path, interface).run(rows)
    for spec in interface.outputs:
        np.testing.assert_allclose(given[spec.name].astype(float), wanted[spec.name].astype(float), rtol=1e-5, atol=1e-6)


def test_a_booster_whose_graph_changed_beside_its_trees_is_refused(tmp_path: Path) -> None:
    job = job_of(tmp_path, "two classes")
    model = onnx.load(job.model)
    model.graph.node[-1].op_type = "Abs"
    path = tmp_path / "changed.onnx"
    onnx.save(model, path)
    with pytest.raises(UnsupportedError, match="nothing else"):
        ensemble_of(replace(job, model=path))


def forest_graph(trees: Any, interface: Interface, *middle: Any, border: float = 0.0) -> Any:
    """A binary model as students are written: sums, a sigmoid, both sides, and the label of sums above 0."""
    (site,) = find_sites(build_model(trees, regressor(trees)))
    nodes = [
        *middle,
        helper.make_node("Sigmoid", ["prediction"], ["p"]),
        helper.make_node("Sub", ["one", "p"], ["q"]),
        helper.make_node("Concat", ["q", "p"], ["probabilities"], axis=1),
        helper.make_node("Greater", ["prediction", "border"], ["above"]),
        helper.make_node("Cast", ["above"], ["wide"], to=TensorProto.INT64),
        helper.make_node("Squeeze", ["wide", "axis"], ["index"]),
        helper.make_node("Gather", ["labels", "index"], ["label"], axis=0),
    ]
    made = build_model(trees, regressor(trees))
    constants = {"one": np.float32(1), "border": np.float32(border), "axis": np.array([1]), "labels": np.array([0, 1])}
    shape = {"label": ["n"], "probabilities": ["n", 2]}
    outputs = [
        helper.make_tensor_value_info(spec.name, TensorProto.INT64 if spec.name == "label" else TensorProto.FLOAT, shape[spec.name])
        for spec in interface.outputs
    ]
    graph = helper.make_graph(
        [*made.graph.node, *nodes],
        "g",
        list(made.graph.input),
        outputs,
        [*made.graph.initializer, *(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())],
    )
    assert site.sums
    return helper.make_model(graph, opset_imports=made.opset_import, ir_version=made.ir_version)


def student_job(folder: Path, **changes: Any) -> BuildJob:
    trees = draw_trees(3, Shape(features=3, splits=(Split.LESS_OR_EQUAL,), missing=(0,)))  # type: ignore[arg-type] # Missing.NAN
    interface = classifier(trees)
    path = folder / "student.onnx"
    onnx.save(forest_graph(trees, interface, **changes), path)
    manifest = Manifest((FileEntry("m.pkl", 1, "0" * 64),))
    artifact = Artifact(SourceFormat.SKLEARN_PICKLE, ArtifactForm.ESTIMATOR_FILE, path, path, manifest, "scikit-learn", interface)
    conversion = Conversion(path, interface, (), probes={"x": draw_rows(4, trees, 300)})
    return BuildJob(artifact, conversion, path, folder / "work", OneShotSandbox())


@needs_cc
def test_a_graph_of_known_operators_becomes_an_ensemble(tmp_path: Path) -> None:
    job = student_job(tmp_path)
    trees = ensemble_of(job)
    assert (trees.transform, trees.is_decided_by_sum) == (Transform.SIGMOID, True)
    assert "in no label" in build_trees(job).steps[0].notes[-1]


def test_another_border_than_that_of_the_kernel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="'label'"):
        ensemble_of(student_job(tmp_path, border=0.1))


def test_other_labels_than_those_of_the_interface_are_refused(tmp_path: Path) -> None:
    job = student_job(tmp_path)
    other = replace(job.conversion.interface, labels=(1, 0))
    with pytest.raises(UnsupportedError, match="'label'"):
        ensemble_of(replace(job, conversion=replace(job.conversion, interface=other)))


def test_rows_that_are_prepared_are_refused(tmp_path: Path) -> None:
    job = student_job(tmp_path)
    model = onnx.load(job.model)
    model.graph.node[0].input[0] = "scaled"
    model.graph.node.insert(0, helper.make_node("Neg", ["x"], ["scaled"]))
    onnx.save(model, job.model)
    with pytest.raises(UnsupportedError, match="prepared"):
        ensemble_of(job)


def test_a_model_without_trees_is_refused(tmp_path: Path) -> None:
    job = student_job(tmp_path)
    model = onnx.load(job.model)
    del model.graph.node[0]
    onnx.save(model, job.model)
    with pytest.raises(UnsupportedError, match="0 places"):
        ensemble_of(job)


@pytest.mark.parametrize("count", [2, 3])
def test_the_trees_of_a_boosted_classifier_are_found_for_who_asks_for_their_sums(count: int, tmp_path: Path) -> None:
    ensemble = pytest.importorskip("sklearn.ensemble", reason="the extra 'sklearn' is not installed")
    from fairlead.convert.sklearn.assembly import assemble
    from fairlead.ingest.sklearn_reader import describe

    random = np.random.default_rng(0)
    rows = random.normal(size=(200, 4))
    classes = np.digitize(rows[:, 0] + random.normal(scale=0.3, size=200), [0.0, 0.8][: count - 1])
    estimator = ensemble.GradientBoostingClassifier(n_estimators=5, random_state=0).fit(rows, classes)
    interface = describe(estimator)
    onnx.save(assemble(estimator, interface)[0], tmp_path / "model.onnx")
    sums = sums_of(read_ensemble(tmp_path / "model.onnx", interface), rows)
    np.testing.assert_allclose(sums.reshape(200, -1), estimator.decision_function(rows).reshape(200, -1), rtol=1e-12, atol=1e-12)
