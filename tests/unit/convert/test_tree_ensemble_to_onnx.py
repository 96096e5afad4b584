"""XGBoost's trees as ONNX: no row at a threshold is decided otherwise, in single and in double precision, and the proof has teeth."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

sys.path.append(str(Path(__file__).parents[1] / "security"))
from xgboost_files import JSON, answers

from fairlead.convert.tree_ensemble_to_onnx import convert_tree_ensemble
from fairlead.convert.trees.graph import build_model
from fairlead.convert.trees.probes import probe_rows
from fairlead.core.artifact import Artifact, ArtifactForm, SourceFormat
from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.manifest import Manifest
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.engines.tree_ensemble_engine import TreeEnsembleEngine
from fairlead.engines.tree_ensemble_file import write_tree_ensemble
from fairlead.errors import UnsupportedError
from fairlead.ingest.xgboost_reader import describe
from fairlead.security.xgboost_model import parse_xgboost
from fairlead.security.xgboost_trees import ensemble_of

MODEL = parse_xgboost(JSON)
TREES = ensemble_of(MODEL)


def interface(dtype: DType = DType.FP32) -> Interface:
    found = describe(MODEL)
    return replace(found, inputs=(replace(found.inputs[0], dtype=dtype),))


def artifact(folder: Path) -> Artifact:
    write_tree_ensemble(folder / "model.trees", TREES)
    path = folder / "model.trees"
    form = ArtifactForm.TREE_ENSEMBLE
    return Artifact(SourceFormat.XGBOOST_JSON, form, path, path, Manifest(()), "XGBoost", interface(), {"accepts_missing": 1})


def test_the_conversion_answers_as_xgboost_did_and_brings_its_threshold_rows(tmp_path: Path) -> None:
    conversion = convert_tree_ensemble(artifact(tmp_path), tmp_path, sandbox=None)  # type: ignore[arg-type] # data of our own: none is used
    onnx.checker.check_model(str(conversion.path))
    known = answers()
    got = OnnxRuntimeEngine(conversion.path, conversion.interface).run({"x": known["x"]})
    np.testing.assert_allclose(got["probabilities"][:, 1], known["probability"], rtol=0, atol=2e-7)
    assert got["label"].tolist() == (known["probability"] > 0.5).astype(int).tolist()
    rows = conversion.probes["x"]
    thresholds = TREES.thresholds[TREES.thresholds != 0].astype(np.float32)
    assert np.isin(thresholds, rows).all()
    assert np.isin(np.nextafter(thresholds, np.float32(-np.inf)), rows).all()
    assert np.isin(np.nextafter(thresholds, np.float32(np.inf)), rows).all()
    assert np.isnan(rows).any()
    assert not np.isinf(rows).any()


@pytest.mark.parametrize("dtype", [DType.FP32, DType.FP64])
def test_no_decision_differs_at_a_threshold_whatever_the_rows_are_made_of(dtype: DType, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(build_model(TREES, interface(dtype)).SerializeToString())
    rows = probe_rows(TREES, dtype, allow_missing=True)
    walked = TreeEnsembleEngine(TREES, interface(dtype)).run({"x": rows})
    ran = OnnxRuntimeEngine(path, interface(dtype)).run({"x": rows})
    assert ran["label"].tolist() == walked["label"].tolist()
    np.testing.assert_allclose(ran["probabilities"], walked["probabilities"], rtol=0, atol=2e-7)
    if dtype is DType.FP64:
        assert (rows.astype(np.float32) != rows).any(), "rows between two numbers of single precision have to be there"
        xgboost = pytest.importorskip("xgboost", reason="the extra 'xgboost' is not installed")
        booster = xgboost.Booster(model_file=bytearray(JSON))
        kinds = {"feature_names": booster.feature_names, "feature_types": booster.feature_types, "enable_categorical": True}
        asked = rows[~(rows[:, 2] < 0)]  # XGBoost refuses or takes them by release
        np.testing.assert_allclose(
            booster.predict(xgboost.DMatrix(asked, **kinds)), ran["probabilities"][~(rows[:, 2] < 0), 1], rtol=0, atol=2e-7
        )


def test_a_scaler_computed_in_single_precision_in_front_would_flip_rows(tmp_path: Path) -> None:
    """The control: what the threshold rows are for. The same scaler in double and rounded once flips none."""
    mean, scale = np.asarray([0.1, 1 / 3, 0.7]), np.asarray([0.3, 1.7, 1.1])
    trees = TREES
    wide = (probe_rows(trees, DType.FP64, allow_missing=False) * scale) + mean
    expected = TreeEnsembleEngine(trees, interface()).run({"x": ((wide - mean) / scale).astype(np.float32)})["probabilities"]
    values = {}
    for dtype, kind in ((np.float32, TensorProto.FLOAT), (np.float64, TensorProto.DOUBLE)):
        model = build_model(trees, interface())
        nodes = [
            helper.make_node("Cast", ["rows"], ["cast"], to=kind),
            helper.make_node("Sub", ["cast", "mean"], ["centred"]),
            helper.make_node("Div", ["centred", "scale"], ["scaled"]),
            helper.make_node("Cast", ["scaled"], ["x"], to=TensorProto.FLOAT),
            *model.graph.node,
        ]
        del model.graph.node[:], model.graph.input[:]
        model.graph.node.extend(nodes)
        model.graph.input.append(helper.make_tensor_value_info("rows", TensorProto.DOUBLE, ["batch", 3]))
        model.graph.initializer.extend(
            [numpy_helper.from_array(mean.astype(dtype), "mean"), numpy_helper.from_array(scale.astype(dtype), "scale")]
        )
        path = tmp_path / f"{kind}.onnx"
        path.write_bytes(model.SerializeToString())
        described = replace(interface(), inputs=(TensorSpec("rows", DType.FP64, (None, 3)),))
        values[dtype] = OnnxRuntimeEngine(path, described).run({"rows": wide})["probabilities"]
    assert (np.abs(values[np.float32] - expected) > 1e-3).any()
    np.testing.assert_allclose(values[np.float64], expected, rtol=0, atol=2e-7)


def test_an_onnx_form_that_decides_otherwise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(TREES, thresholds=np.nextafter(TREES.thresholds.astype(np.float32), np.float32(np.inf)).astype(np.float64))
    monkeypatch.setattr("fairlead.convert.tree_ensemble_to_onnx.build_model", lambda _, described: build_model(other, described))
    with pytest.raises(UnsupportedError, match="threshold rows"):
        convert_tree_ensemble(artifact(tmp_path), tmp_path, sandbox=None)  # type: ignore[arg-type] # as above
