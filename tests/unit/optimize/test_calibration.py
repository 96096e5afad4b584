"""Ranges of activations: what each method keeps, for any rows."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from fairlead.errors import UnsupportedError
from fairlead.optimize.calibration import METHODS, measure_ranges


def model() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["m"]),
        helper.make_node("Relu", ["m"], ["r"]),
        helper.make_node("ArgMax", ["r"], ["best"], axis=1),
        helper.make_node("Concat", ["r", "x"], ["y"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 6]),
            helper.make_tensor_value_info("best", TensorProto.INT64, None),
        ],
        [numpy_helper.from_array(np.float32(2.0), "two")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@given(count=st.integers(1, 80), seed=st.integers(0, 2**16))
@settings(max_examples=12, deadline=None)
def test_extremes_are_those_of_all_rows(count: int, seed: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)
    ranges = measure_ranges(model(), {"x": rows}, ("Mul", "Relu"))
    assert ranges == {
        "x": (rows.min(), rows.max()),
        "m": (2 * rows.min(), 2 * rows.max()),
        "r": (max(2 * rows.min(), 0), max(2 * rows.max(), 0)),
    }


@given(seed=st.integers(0, 2**16), scale=st.sampled_from([1e-4, 1.0, 1e4]), method=st.sampled_from(METHODS))
@settings(max_examples=12, deadline=None)
def test_no_method_goes_beyond_what_was_seen_or_loses_zero(seed: int, scale: float, method: str) -> None:
    rows = (np.random.default_rng(seed).standard_t(2, size=(120, 3)) * scale).astype(np.float32)
    widest = measure_ranges(model(), {"x": rows}, ("Mul", "Relu"))
    for name, (low, high) in measure_ranges(model(), {"x": rows}, ("Mul", "Relu"), method).items():
        assert widest[name][0] <= low <= 0 <= high <= widest[name][1]
        assert high > low


def test_a_few_far_values_are_left_out_by_percentile_only_where_they_are_few() -> None:
    rows = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
    rows[5, 1] = 1000.0
    assert measure_ranges(model(), {"x": rows}, ("Mul",), "percentile")["x"][1] == 1000.0  # one of 1,500 values is no tail of 0.01 %
    images = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3000])
    wide = model()
    wide.graph.input[0].CopyFrom(images)
    del wide.graph.output[:]
    many = np.random.default_rng(0).normal(size=(20, 3000)).astype(np.float32)
    many[5, 1] = 1000.0
    assert measure_ranges(wide, {"x": many}, ("Mul",), "percentile")["x"][1] < 10.0  # one of 60,000 is


@pytest.mark.parametrize("method", METHODS)
def test_a_value_that_never_changes_has_a_range(method: str) -> None:
    for number in (0.0, 3.5, -2.0):
        low, high = measure_ranges(model(), {"x": np.full((4, 3), number, np.float32)}, ("Mul",), method)["x"]
        assert low <= number <= high


def test_whole_numbers_have_no_range_and_no_rows_are_refused() -> None:
    assert "best" not in measure_ranges(model(), {"x": np.ones((2, 3), np.float32)}, ("ArgMax",))
    for rows in (None, {}, {"x": np.ones((0, 3), np.float32)}):
        with pytest.raises(UnsupportedError, match="needs rows"):
            measure_ranges(model(), rows, ("Mul",))


def test_at_most_512_rows_are_used() -> None:
    rows = np.zeros((600, 3), np.float32)
    rows[550] = 9.0
    assert measure_ranges(model(), {"x": rows}, ("Mul",))["x"] == (0.0, 0.0)
