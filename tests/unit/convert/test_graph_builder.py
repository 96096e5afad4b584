import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.convert.graph_builder import GraphBuilder, Value
from fairlead.core.dtype import DType
from fairlead.core.interface import TensorSpec

X = TensorSpec("x", DType.FP32, (None, 2, 3, 4))


def _run(model: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})


@settings(max_examples=25, deadline=None)
@given(st.lists(st.permutations(range(4)), min_size=1, max_size=4))
def test_a_value_moved_through_any_orders_comes_back_as_it_was(orders):
    builder = GraphBuilder("g")
    value = builder.input(X)
    for order in orders:
        value = builder.arranged(value, order)
        assert value.shape == X.shape
    x = np.arange(48, dtype=np.float32).reshape(2, 2, 3, 4)
    (y,) = _run(builder.finish([(TensorSpec("y", DType.FP32, X.shape), value)]), x)
    np.testing.assert_array_equal(y, x)


def test_one_order_costs_one_transpose_however_often_it_is_asked_for():
    builder = GraphBuilder("g")
    value = builder.input(X)
    assert builder.arranged(value, (0, 3, 1, 2)).name == builder.arranged(value, (0, 3, 1, 2)).name


def test_equal_constants_are_kept_once_and_unused_ones_not_at_all():
    builder = GraphBuilder("g")
    x = builder.input(X)
    builder.floats([1.0, 2.0], "unused")
    total = builder.add("Add", [builder.add("Add", [x.name, builder.floats(1.0)]), builder.floats(1.0)])
    model = builder.finish([(TensorSpec("y", DType.FP32, X.shape), Value(total, X.shape))])
    assert len(model.graph.initializer) == 1


def test_nodes_that_no_output_needs_are_left_out():
    builder = GraphBuilder("g")
    x = builder.input(X)
    builder.add("Exp", [x.name])
    model = builder.finish([(TensorSpec("y", DType.FP32, X.shape), Value(builder.add("Relu", [x.name]), X.shape))])
    assert [node.op_type for node in model.graph.node] == ["Relu"]


@pytest.mark.parametrize("names", [("y", "z"), ("x_copy", "y")])
def test_one_tensor_can_be_two_outputs_and_an_input_can_be_one(names):
    builder = GraphBuilder("g")
    x = builder.input(X)
    y = Value(builder.add("Neg", [x.name]), X.shape)
    outputs = [(*names, "in"), (y, y, x)]
    model = builder.finish([(TensorSpec(name, DType.FP32, X.shape), value) for name, value in zip(*outputs, strict=True)])
    data = np.ones((1, 2, 3, 4), dtype=np.float32)
    first, second, same = _run(model, data)
    np.testing.assert_array_equal(first, -data)
    np.testing.assert_array_equal(second, -data)
    np.testing.assert_array_equal(same, data)


def test_the_same_graph_gives_the_same_bytes():
    def build() -> bytes:
        builder = GraphBuilder("g")
        x = builder.input(X)
        moved = builder.arranged(x, (0, 3, 1, 2))
        return builder.finish([(TensorSpec("y", DType.FP32, X.shape), moved)]).SerializeToString(deterministic=True)

    assert build() == build()
