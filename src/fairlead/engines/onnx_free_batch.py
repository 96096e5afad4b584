"""A free batch for an ONNX model whose export fixed it. Takes a checked protobuf, gives a changed copy.

For sandboxed workers. Whether a freed model answers as before is proven by engines.row_proof or engines.export_proof.
"""

from __future__ import annotations

from typing import Any

import onnx
from onnx import numpy_helper

BATCH_AXIS = "batch"


def free_batch(model: Any, size: int) -> Any:
    """Return a copy in which the first axis, fixed to `size`, is free: in inputs, outputs and in the shapes that Reshape is given."""
    freed = onnx.ModelProto()
    freed.CopyFrom(model)
    graph = freed.graph
    constants = {tensor.name for tensor in graph.initializer}
    for value in (*(item for item in graph.input if item.name not in constants), *graph.output):
        shape = value.type.tensor_type.shape
        if shape.dim and shape.dim[0].dim_value == size:
            shape.dim[0].dim_param = BATCH_AXIS
    graph.ClearField("value_info")
    shapes = {node.input[1] for node in graph.node if node.op_type == "Reshape" and len(node.input) == 2}
    for tensor in graph.initializer:
        if tensor.name in shapes:
            _free_shape(tensor, size)
    for node in graph.node:
        if node.op_type == "Constant" and node.output[0] in shapes:
            for attribute in node.attribute:
                if attribute.name == "value":
                    _free_shape(attribute.t, size)
    return freed


def _free_shape(tensor: Any, size: int) -> None:
    shape = numpy_helper.to_array(tensor).copy()
    if shape.ndim != 1 or len(shape) == 0 or shape[0] != size:
        return
    shape[0] = 0 if -1 in shape else -1  # 0 keeps the input's own first axis
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(shape, name))
