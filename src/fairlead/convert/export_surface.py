"""What an exporter's ONNX file shows outside: the interface's names on its tensors, and sizes that have to stay free.

Takes an onnx ModelProto that a framework exported; changes names in place. Raises UnsupportedError where inputs and outputs are not those
of the interface, or a free size was frozen. For the sandboxed worker; imports nothing but what it is handed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairlead.core.interface import TensorSpec
from fairlead.errors import UnsupportedError

HINT = "Convert the model to ONNX where it was trained, and give the .onnx file."


def rename_tensors(model: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Give the graph's tensors the interface's names; names in between that collide get out of the way."""
    graph = model.graph
    if len(graph.input) != len(inputs) or len(graph.output) != len(outputs):
        raise UnsupportedError(
            f"The export has {len(graph.input)} inputs and {len(graph.output)} outputs instead of {len(inputs)} and {len(outputs)}.",
            hint=HINT,
        )
    given = [value.name for value in (*graph.input, *graph.output)]
    if len(set(given)) != len(given):
        raise UnsupportedError("The export hands an input on as an output.", hint=HINT)
    wanted = dict(zip(given, (*inputs, *outputs), strict=True))
    used = {name for node in graph.node for name in (*node.input, *node.output)} | {item.name for item in graph.initializer}
    wanted |= {name: f"{name}__inner" for name in used if name in wanted.values() and name not in wanted}
    for node in graph.node:
        node.input[:] = [wanted.get(name, name) for name in node.input]
        node.output[:] = [wanted.get(name, name) for name in node.output]
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = wanted.get(value.name, value.name)
    graph.ClearField("value_info")


def check_free(model: Any, inputs: Sequence[TensorSpec]) -> None:
    """Raise UnsupportedError where the export freezes a size that the interface leaves free."""
    for value, spec in zip(model.graph.input, inputs, strict=True):
        for axis, (dim, size) in enumerate(zip(value.type.tensor_type.shape.dim, spec.shape, strict=True)):
            if size is None and dim.HasField("dim_value"):
                raise UnsupportedError(
                    f"The export would freeze axis {axis} of input '{spec.name}' to {dim.dim_value}.",
                    hint="Give the input a fixed size, or convert the model to ONNX where it was trained.",
                )
