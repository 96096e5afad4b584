"""Takes units out of a model: every stored tensor loses the elements that belong to them, sizes that operators carry are counted anew.

Takes a prepared model, its coupling, and which units of each group stay; gives a new model. Pure; never changes the one it is given.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from fairlead.core.interface import Array
from fairlead.optimize.training.axes import Axis, kept_elements
from fairlead.optimize.training.coupling import Coupling
from fairlead.optimize.training.network import Network
from fairlead.optimize.training.prepare import free_name, names_in

_SPLIT_INPUT = 13  # the operator set from which Split takes its sizes as an input


def cut(network: Network, coupling: Coupling, kept: Mapping[int, Array]) -> onnx.ModelProto:
    """Return the network's model, with its weights of now, without the units that `kept` says are gone (by id() of their group)."""
    result = onnx.ModelProto()
    result.CopyFrom(network.model)
    stored = network.stored()
    for tensor in result.graph.initializer:
        values = stored.get(tensor.name)
        if values is None:
            values = numpy_helper.to_array(tensor)
        for place, axis in enumerate(coupling.axes.get(tensor.name, ())):
            mask = kept_elements(axis, kept)
            if not mask.all():
                values = np.compress(mask, values, axis=place)
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))
    taken = names_in(result.graph)
    for call in network.calls:
        node = result.graph.node[call.place]
        if call.operator == "Reshape":
            sizes = _new_shape(coupling, call.inputs[0], call.outputs[0], coupling.reshapes.get(call.place, []), kept)
            if sizes:
                _give_numbers(result.graph, node, 1, sizes, free_name(f"{call.outputs[0]}_shape", taken))
                _drop_attribute(node, "allowzero")
        elif call.operator == "Split":
            parts = [_size(coupling.counted[call.place, f"split{number}"], kept) for number in range(len(call.outputs))]
            if parts != [coupling.shape(name)[call.get("axis", 0)] for name in call.outputs]:
                _give_split(result.graph, node, parts, call.opset, free_name(f"{call.outputs[0]}_split", taken))
    for (place, name), axis in coupling.counted.items():
        for attribute in result.graph.node[place].attribute:
            if attribute.name == name:
                attribute.i = _size(axis, kept)
    for node in result.graph.node:
        if node.op_type in ("Conv", "ConvTranspose"):
            _drop_attribute(node, "output_shape")
    del result.graph.value_info[:]
    _drop_unused(result.graph)
    return result


def _size(axis: Axis, kept: Mapping[int, Array]) -> int:
    return int(kept_elements(axis, kept).sum())


def _new_shape(coupling: Coupling, before: str, after: str, plan: list[str], kept: Mapping[int, Array]) -> list[int]:
    """Return what a Reshape is to be told; nothing where nothing that it sees is cut."""
    masks = [kept_elements(axis, kept) for name in (before, after) for axis in coupling.of(name)]
    if all(mask.all() for mask in masks):
        return []
    words = {"copy": 0, "rest": -1}
    return [words[word] if word in words else _size(axis, kept) for word, axis in zip(plan, coupling.of(after), strict=True)]


def _give_numbers(graph: onnx.GraphProto, node: onnx.NodeProto, place: int, numbers: list[int], name: str) -> None:
    """Let `node` read `numbers` as its input at `place`."""
    graph.initializer.append(numpy_helper.from_array(np.array(numbers, dtype=np.int64), name))
    while len(node.input) <= place:
        node.input.append("")
    node.input[place] = name


def _give_split(graph: onnx.GraphProto, node: onnx.NodeProto, parts: list[int], opset: int, name: str) -> None:
    for attribute in ("num_outputs", "split"):
        _drop_attribute(node, attribute)
    if opset >= _SPLIT_INPUT:
        _give_numbers(graph, node, 1, parts, name)
    else:
        node.attribute.append(onnx.helper.make_attribute("split", parts))


def _drop_attribute(node: onnx.NodeProto, name: str) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Take out what computed sizes that are now stored."""
    wanted = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node.input)
            for attribute in node.attribute:
                if attribute.HasField("g") or attribute.graphs:
                    wanted.update(name for inner in (attribute.g, *attribute.graphs) for one in inner.node for name in one.input)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    tensors = [tensor for tensor in graph.initializer if tensor.name in wanted]
    del graph.initializer[:]
    graph.initializer.extend(tensors)
