"""A free batch for an ONNX model whose export fixed it, and outputs' shapes as the model really gives them.

Takes a checked protobuf or its file; for the sandboxed worker. Whether a freed model answers as before is proven by engines.row_proof.
Raises UnsupportedError for an output that has not one answer per row.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
from onnx import numpy_helper

from fairlead.core.interface import Interface, TensorSpec, shorten
from fairlead.engines.onnxruntime_engine import open_session
from fairlead.engines.row_proof import FREE_LENGTHS, RUN_ERRORS, draw
from fairlead.errors import UnsupportedError

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


def observe(path: Path, interface: Interface) -> Interface:
    """Return the interface with the outputs' shapes as the model really gives them, where the file leaves them open. Raises
    UnsupportedError for an output that does not have one answer per row; unchanged where no drawn rows are accepted.
    """
    session = open_session(path, thread_count=1, optimization="basic")
    names = [spec.name for spec in interface.outputs]
    for length in FREE_LENGTHS:
        try:
            seen = [session.run(names, {spec.name: draw(spec, rows, length) for spec in interface.inputs}) for rows in (2, 3)]
        except RUN_ERRORS:
            continue
        for index, name in enumerate(names):
            if any(getattr(answer[index], "shape", ())[:1] != (rows,) for rows, answer in zip((2, 3), seen, strict=True)):
                raise UnsupportedError(
                    f"The output '{shorten(name)}' does not have one answer per row.", hint="Export the model without it."
                )
        has_free_lengths = any(None in spec.shape[1:] for spec in interface.inputs)
        outputs = tuple(
            _observed(spec, seen[0][index].shape, has_free_lengths=has_free_lengths) for index, spec in enumerate(interface.outputs)
        )
        return replace(interface, outputs=outputs)
    return interface


def _observed(spec: TensorSpec, shape: tuple[int, ...], *, has_free_lengths: bool) -> TensorSpec:
    declared = spec.shape if len(spec.shape) == len(shape) else (None,) * len(shape)
    sizes = [want if want is not None or has_free_lengths else got for want, got in zip(declared[1:], shape[1:], strict=True)]
    return replace(spec, shape=(None, *sizes))
