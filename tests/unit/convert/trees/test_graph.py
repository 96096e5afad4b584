"""The ONNX form of a tree ensemble decides as the walk through its nodes does, on every kind of node and the oddest numbers."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parent))
from ensembles import ensembles, interface_of, rows_for

from fairlead.convert.trees.graph import build_model
from fairlead.convert.trees.probes import probe_rows
from fairlead.core.dtype import DType
from fairlead.core.tree_ensemble import TreeEnsemble
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.engines.tree_ensemble_engine import TreeEnsembleEngine


@settings(max_examples=150)
@given(ensembles(), st.integers(0, 2**32))
def test_graph_and_walk_agree_label_by_label_and_number_by_number(tmp_path_factory, trees: TreeEnsemble, seed: int) -> None:
    trees.check()
    interface = interface_of(trees)
    path = tmp_path_factory.mktemp("trees") / "model.onnx"
    model = build_model(trees, interface)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    rows = {"x": rows_for(trees, np.random.default_rng(seed))}
    walked = TreeEnsembleEngine(trees, interface).run(rows)
    engine = OnnxRuntimeEngine(path, interface)
    ran = engine.run(rows)
    assert walked["label"].tolist() == ran["label"].tolist()
    tolerance = 2e-6 if trees.sum_dtype is DType.FP32 else 1e-12
    for name in ("probabilities", "scores"):
        np.testing.assert_allclose(ran[name], walked[name], rtol=tolerance, atol=tolerance)
    one_by_one = np.concatenate([engine.run({"x": rows["x"][place : place + 1]})["scores"] for place in range(8)])
    np.testing.assert_allclose(one_by_one, ran["scores"][:8], rtol=tolerance, atol=tolerance)


@given(ensembles())
def test_probe_rows_stand_on_thresholds_and_beside_them(trees: TreeEnsemble) -> None:
    rows = probe_rows(trees, trees.compare_dtype, allow_missing=True)
    assert rows.dtype == trees.compare_dtype.numpy
    assert rows.shape[1] == trees.feature_count
    assert rows.shape[0] >= 1
    assert np.array_equal(rows, probe_rows(trees, trees.compare_dtype, allow_missing=True), equal_nan=True)
    assert not np.isnan(probe_rows(trees, trees.compare_dtype, allow_missing=False)).any()
