from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from fairlead.convert.tensor_names import rename
from fairlead.errors import UnsupportedError


def with_branches() -> onnx.ModelProto:
    """scores = x + 1 where flag, else x - 1: the branches see x from outside; an inner tensor has the name that the output is to get."""

    def branch(op: str) -> onnx.GraphProto:
        node = helper.make_node(op, ["x", "one"], [f"{op}_out"])
        return helper.make_graph([node], op, [], [helper.make_tensor_value_info(f"{op}_out", TensorProto.FLOAT, None)])

    nodes = [
        helper.make_node("If", ["flag"], ["public"], then_branch=branch("Add"), else_branch=branch("Sub")),
        helper.make_node("Identity", ["public"], ["scores"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 2]), helper.make_tensor_value_info("flag", TensorProto.BOOL, [])]
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["b", 2])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [numpy_helper.from_array(np.float32([1.0]), "one")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_renamed_model_answers_as_before_under_its_new_names():
    model, rows = with_branches(), np.float32([[1.0, 2.0]])
    before = onnxruntime.InferenceSession(model.SerializeToString())
    rename(model, {"x": "pixels", "scores": "public"})
    onnx.checker.check_model(model)
    after = onnxruntime.InferenceSession(model.SerializeToString())
    assert ([item.name for item in after.get_inputs()], [item.name for item in after.get_outputs()]) == (["pixels", "flag"], ["public"])
    for flag in (np.array(True), np.array(False)):
        (wanted,) = before.run(None, {"x": rows, "flag": flag})
        (got,) = after.run(None, {"pixels": rows, "flag": flag})
        np.testing.assert_array_equal(got, wanted)


def test_names_may_be_swapped():
    model = with_branches()
    rename(model, {"x": "scores", "scores": "x"})
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (got,) = session.run(["x"], {"scores": np.float32([[1.0, 2.0]]), "flag": np.array(True)})
    np.testing.assert_array_equal(got, [[2.0, 3.0]])


def test_what_is_no_input_or_output_is_not_renamed():
    with pytest.raises(UnsupportedError, match="no input or output 'public'"):
        rename(with_branches(), {"public": "other"})
