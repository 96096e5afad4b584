"""An export's tensors get the interface's names, whatever names stand inside, and a frozen size is refused."""

from __future__ import annotations

import onnx
import pytest

from fairlead.convert.export_surface import check_free, rename_tensors
from fairlead.core.dtype import DType
from fairlead.core.interface import TensorSpec
from fairlead.errors import UnsupportedError


def graph(*names, batch="batch"):
    """input -> Relu -> middle -> Relu -> output, under the given names."""
    first, middle, last = names
    nodes = [onnx.helper.make_node("Relu", [first], [middle]), onnx.helper.make_node("Relu", [middle], [last])]
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [batch, 3]) for name in (first, last)]
    return onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:]))


@pytest.mark.parametrize("names", [("a", "b", "c"), ("y", "m", "x"), ("a", "x", "b"), ("a", "y", "x")])
def test_tensors_get_the_interfaces_names_also_where_these_are_taken(names):
    model = graph(*names)
    rename_tensors(model, ["x"], ["y"])
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == ["x"]
    assert [value.name for value in model.graph.output] == ["y"]
    assert model.graph.node[0].input[0] == "x"
    assert model.graph.node[1].output[0] == "y"
    assert model.graph.node[0].output[0] == model.graph.node[1].input[0]


def test_an_axis_that_the_export_froze_is_refused():
    free = [TensorSpec("x", DType.FP32, (None, 3))]
    check_free(graph("x", "m", "y"), free)
    with pytest.raises(UnsupportedError, match="freeze axis 0"):
        check_free(graph("x", "m", "y", batch=3), free)
