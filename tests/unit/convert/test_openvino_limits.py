"""What OpenVINO would compute otherwise is refused by name; indices get a guard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from fairlead.convert.openvino_limits import EXACT_LIMIT, check_exact, with_guard
from fairlead.errors import UnsupportedError

LIMIT = 2**23
TABLE = numpy_helper.from_array(np.arange(10, dtype=np.float32).reshape(5, 2), "table")


def model(nodes: list[Any], kind: int = TensorProto.FLOAT, out: int = TensorProto.FLOAT, tensors: Any = (), opset: int = 18) -> Any:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, ["batch", 4])],
        [helper.make_tensor_value_info("y", out, None)],
        list(tensors),
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)], ir_version=9)


def number(value: int, name: str = "c") -> Any:
    return numpy_helper.from_array(np.array(value, dtype=np.int64), name)


REFUSED = {
    "double": (model([helper.make_node("Neg", ["x"], ["y"])], TensorProto.DOUBLE, TensorProto.DOUBLE), "double precision"),
    "double inside": (
        model([helper.make_node("Cast", ["x"], ["d"], to=TensorProto.DOUBLE), helper.make_node("Cast", ["d"], ["y"], to=1)]),
        "Cast needs double precision",
    ),
    "text": (model([helper.make_node("Identity", ["x"], ["y"])], TensorProto.STRING, TensorProto.STRING), "text"),
    "unsigned": (model([helper.make_node("Identity", ["x"], ["y"])], TensorProto.UINT32, TensorProto.UINT32), "UINT32"),
    "trees": (model([helper.make_node("Normalizer", ["x"], ["y"], domain="ai.onnx.ml")]), "no trees"),
    "another domain": (model([helper.make_node("FastGelu", ["x"], ["y"], domain="com.microsoft")]), "com.microsoft.FastGelu"),
    "missing values": (model([helper.make_node("IsNaN", ["x"], ["y"])], out=TensorProto.BOOL), "missing values"),
    "random numbers": (model([helper.make_node("RandomNormalLike", ["x"], ["y"])]), "random"),
    "product of whole numbers": (
        model([helper.make_node("Mul", ["x", "x"], ["y"])], TensorProto.INT64, TensorProto.INT64), "Mul gives whole numbers above",
    ),
    "sum of whole numbers": (
        model([helper.make_node("ReduceSum", ["x"], ["y"])], TensorProto.INT64, TensorProto.INT64), "ReduceSum computes with whole",
    ),
    "remainder": (
        model([helper.make_node("Mod", ["x", "c"], ["y"])], TensorProto.INT64, TensorProto.INT64, [number(3)]), "Mod computes with whole",
    ),
    "bytes that are added": (
        model([helper.make_node("Add", ["x", "x"], ["y"])], TensorProto.UINT8, TensorProto.UINT8), "Add computes with whole",
    ),
    "cast to fewer bits": (
        model([helper.make_node("Cast", ["x"], ["y"], to=TensorProto.INT8)], TensorProto.INT64, TensorProto.INT8), "may not fit",
    ),
    "scatter": (
        model(
            [helper.make_node("ScatterElements", ["data", "x", "updates"], ["y"])], TensorProto.INT64,
            tensors=[numpy_helper.from_array(np.zeros((5, 4), "f"), "data"), numpy_helper.from_array(np.ones((1, 4), "f"), "updates")],
        ),
        "ScatterElements with an index",
    ),
}  # fmt: skip
ALLOWED = {
    "floats": model([helper.make_node("Relu", ["x"], ["y"])]),
    "bytes that are cast": model([helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)], TensorProto.UINT8),
    "one minus a mask": model(
        [helper.make_node("Sub", ["c", "x"], ["s"]), helper.make_node("Cast", ["s"], ["y"], to=TensorProto.FLOAT)],
        TensorProto.INT64, tensors=[number(1)],
    ),
    "a comparison": model([helper.make_node("Equal", ["x", "c"], ["y"])], TensorProto.INT64, TensorProto.BOOL, [number(7)]),
    "the largest": model([helper.make_node("ArgMax", ["x"], ["y"], axis=1)], out=TensorProto.INT64),
    "sizes of tensors": model(
        [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Mul", ["s", "s"], ["m"]), helper.make_node("Expand", ["x", "m"], ["y"])]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_would_compute_otherwise_is_refused_by_name(name: str) -> None:
    proto, problem = REFUSED[name]
    with pytest.raises(UnsupportedError, match=problem) as caught:
        check_exact(proto, LIMIT)
    assert "ONNX Runtime" in caught.value.hint


@pytest.mark.parametrize("name", ALLOWED)
def test_what_it_computes_exactly_passes(name: str) -> None:
    assert check_exact(ALLOWED[name], LIMIT) == []


def test_the_inside_of_control_flow_is_refused() -> None:
    out = helper.make_tensor_value_info("i", TensorProto.FLOAT, None)
    inner = helper.make_graph([helper.make_node("Neg", ["x"], ["i"])], "inner", [], [out])
    always = numpy_helper.from_array(np.array(True), "always")
    with pytest.raises(UnsupportedError, match="inside of If"):
        check_exact(model([helper.make_node("If", ["always"], ["y"], then_branch=inner, else_branch=inner)], tensors=[always]), LIMIT)


@given(st.integers(-(2**24), 2**24), st.integers(-(2**24), 2**24))
def test_a_sum_that_passes_is_exact_in_single_precision(added: int, value: int) -> None:
    proto = model([helper.make_node("Add", ["x", "c"], ["y"])], TensorProto.INT64, TensorProto.INT64, [number(added)])
    if abs(value) > LIMIT:
        return
    try:
        check_exact(proto, LIMIT)
    except UnsupportedError:
        assert abs(added) > EXACT_LIMIT - LIMIT
        return
    assert int(np.float32(value + added)) == value + added


def gathering(*, computed: bool) -> Any:
    """Rows of the table at x, or at x made whole."""
    first = helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64) if computed else helper.make_node("Identity", ["x"], ["i"])
    nodes = [first, helper.make_node("Gather", ["table", "i"], ["y"])]
    return model(nodes, TensorProto.FLOAT if computed else TensorProto.INT64, tensors=[TABLE])


@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize(
    ("index", "is_inside"), [(0, True), (4, True), (-1, True), (-5, True), (5, False), (-6, False), (9_000_000, False)]
)
def test_the_guard_says_whether_every_index_lies_in_its_table(computed: bool, index: int, is_inside: bool, tmp_path: Path) -> None:
    proto = gathering(computed=computed)
    guarded = with_guard(proto, check_exact(proto, LIMIT), "guard", LIMIT)
    del guarded.graph.output[0]  # the answer itself would fail here, as it should
    guarded.graph.node.remove(next(node for node in guarded.graph.node if node.output[0] == "y"))
    rows = np.array([[0, 1, 2, index]], dtype=np.float32 if computed else np.int64)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(guarded.SerializeToString(), options)
    assert session.run(["guard"], {"x": rows})[0] == is_inside
    assert len(proto.graph.output) == 1, "the model that was given has changed"


def test_constant_indices_need_no_guard() -> None:
    proto = model([helper.make_node("Gather", ["x", "c"], ["y"], axis=1)], tensors=[number(2)])
    assert check_exact(proto, LIMIT) == []
    assert with_guard(proto, [], "guard", LIMIT) is proto
