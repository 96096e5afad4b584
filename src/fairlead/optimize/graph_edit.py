"""What passes that edit an ONNX graph have in common: names, constants, uses, and where new nodes go. Works on the model that it is given.

Never touches the inside of If, Loop and Scan; names that stand there count as taken and as used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from fairlead.errors import UnsupportedError

STANDARD_DOMAINS = frozenset({"", "ai.onnx"})
_OTHER_FLOATS = {TensorProto.FLOAT16: "half", TensorProto.DOUBLE: "double", TensorProto.BFLOAT16: "bfloat16"}


def opset_of(model: Any, *, default: int = 1) -> int:
    """Return the version of ONNX's own operators that `model` uses."""
    return max((item.version for item in model.opset_import if item.domain in STANDARD_DOMAINS), default=default)


def inner_graphs(node: Any) -> Iterator[Any]:
    """Yield the graphs that a control-flow node holds."""
    for attribute in node.attribute:
        yield from ([attribute.g] if attribute.HasField("g") else [])
        yield from attribute.graphs


def names_of_surface(graph: Any) -> set[str]:
    """Return the names of inputs and outputs."""
    return {value.name for value in (*graph.input, *graph.output)}


def names_within(graph: Any) -> Iterator[str]:
    """Yield every name that the insides of control-flow operators mention: it may mean a value of the outer graph."""
    for node in graph.node:
        for inner in inner_graphs(node):
            yield from names_of_surface(inner)
            yield from (tensor.name for tensor in inner.initializer)
            for one in inner.node:
                yield from (*one.input, *one.output)
            yield from names_within(inner)


def taken_names(graph: Any) -> set[str]:
    """Return every name of a value or a node, those inside of control flow included."""
    values = [*graph.input, *graph.output, *graph.value_info, *graph.initializer]
    of_nodes = {name for node in graph.node for name in (*node.input, *node.output, node.name)}
    return {value.name for value in values} | of_nodes | set(names_within(graph))


def free_name(wanted: str, taken: set[str]) -> str:
    """Return `wanted`, with a number behind it where that is taken, and take it."""
    name, number = wanted, 2
    while name in taken:
        name, number = f"{wanted}_{number}", number + 1
    taken.add(name)
    return name


def constants_to_initializers(graph: Any) -> bool:
    """Turn Constant nodes that hold a tensor into initializers; return whether there was one."""
    nodes = [
        node for node in graph.node if node.op_type == "Constant" and node.domain in STANDARD_DOMAINS and node.attribute[0].name == "value"
    ]
    for node in nodes:
        tensor = onnx.TensorProto()
        tensor.CopyFrom(node.attribute[0].t)
        tensor.name = node.output[0]
        graph.initializer.append(tensor)
        graph.node.remove(node)
    return bool(nodes)


def weights_of(graph: Any, *, least_elements: int, least_axes: int = 1) -> list[Any]:
    """Return the float32 initializers that hold at least so many elements on so many axes, and that no caller can override."""
    overridable = {value.name for value in graph.input}
    return [
        tensor
        for tensor in graph.initializer
        if tensor.data_type == TensorProto.FLOAT
        and len(tensor.dims) >= least_axes
        and element_count(tensor) >= least_elements
        and tensor.name not in overridable
    ]


def element_count(tensor: Any) -> int:
    """Return how many elements a tensor's dimensions give."""
    return int(np.prod(tensor.dims, dtype=np.int64))


def put_first(graph: Any, nodes: Sequence[Any]) -> None:
    """Put `nodes` before all others: they may use initializers and each other."""
    behind = [*nodes, *graph.node]
    del graph.node[:]
    graph.node.extend(behind)


def drop_unused_weights(graph: Any) -> None:
    """Forget the initializers that no node uses, neither inside of control flow."""
    used = {name for node in graph.node for name in node.input} | set(names_within(graph)) | names_of_surface(graph)
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def refuse_other_floats(graph: Any, name: str) -> None:
    """Raise UnsupportedError where the model's weights are floats, and none of 32 bits."""
    kinds = {tensor.data_type for tensor in graph.initializer if tensor.data_type in _OTHER_FLOATS and element_count(tensor) > 1}
    if kinds and not any(tensor.data_type == TensorProto.FLOAT for tensor in graph.initializer):
        said = " and ".join(sorted(_OTHER_FLOATS[kind] for kind in kinds))
        raise UnsupportedError(
            f"The pass '{name}' takes models of single precision; the weights of this one are of {said} precision.",
            hint=f"Leave the pass '{name}' out for this model.",
        )
