"""Takes units out of a model: every stored tensor loses the elements that belong to them, sizes that operators carry are counted anew.

Takes a network, its coupling, and which units of each group stay; gives a new model. Raises UnsupportedError where the cut network does not
answer as the whole one with these units silent. Never changes the network or its model.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from fairlead.core.interface import Array, Tensors, shorten
from fairlead.errors import UnsupportedError
from fairlead.optimize.graph_edit import free_name, taken_names
from fairlead.optimize.training.axes import Axis, kept_elements
from fairlead.optimize.training.coupling import Coupling
from fairlead.optimize.training.network import Network
from fairlead.optimize.training.operation import Call

_TOLERANCE = 1e-3  # absolute below 1, relative above: sums in another order
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
        tensor.CopyFrom(numpy_helper.from_array(np.array(values), tensor.name))
    taken = taken_names(result.graph)
    computed: list[tuple[onnx.NodeProto, list[int], list[str]]] = []
    for call in network.calls:
        node = result.graph.node[call.place]
        if call.operator == "Reshape":
            sizes = _new_shape(coupling, call, kept)
            if sizes and "old" in coupling.reshapes[call.place]:
                computed.append((node, sizes, coupling.reshapes[call.place]))
            elif sizes:
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
    for node, sizes, plan in computed:  # last: it adds nodes, and the others are known by their places
        _mix_numbers(result.graph, node, sizes, plan, taken)
    del result.graph.value_info[:]
    _drop_unused(result.graph)
    return result


def check_cut(network: Network, coupling: Coupling, kept: Mapping[int, Array], after: Network, rows: Tensors) -> None:
    """Raise UnsupportedError unless `after` answers as `network` does with every weight of the units that are gone at zero.

    Such units say nothing and nobody listens to them, so that both must agree, whatever lies between: this shows that the cut is whole.
    """
    inputs = {name: torch.from_numpy(np.array(rows[name])) for name in network.inputs}
    state = network.state()
    silent = {}
    for name, values in state.items():
        silent[name] = values.clone()
        for place, axis in enumerate(coupling.axes.get(name, ()) if name in network.parameters else ()):
            gone = torch.from_numpy(np.flatnonzero(~kept_elements(axis, kept)))
            silent[name].index_fill_(place, gone, 0.0)
    network.restore(silent)
    try:
        with torch.no_grad():
            wanted, got = network.forward(inputs), after.forward(inputs)
    except (RuntimeError, ValueError, IndexError) as error:
        raise _not_whole(shorten(str(error), 200)) from None
    finally:
        network.restore(state)
    for name, reference in wanted.items():
        fits = got[name].shape == reference.shape
        if not fits or not bool(((got[name] - reference).abs() <= _TOLERANCE * reference.abs().clamp_min(1.0)).all()):
            raise _not_whole(f"its output '{shorten(name)}' would mean something else")


def _not_whole(why: str) -> UnsupportedError:
    return UnsupportedError(f"Units cannot be taken out of this model: {why}.", hint="Leave the pass out, and please report this model.")


def _size(axis: Axis, kept: Mapping[int, Array]) -> int:
    return int(kept_elements(axis, kept).sum())


def _new_shape(coupling: Coupling, call: Call, kept: Mapping[int, Array]) -> list[int]:
    """Return what a Reshape is to be told; nothing where nothing that it sees is cut."""
    after = coupling.of(call.outputs[0])
    if all(kept_elements(axis, kept).all() for axis in (*coupling.of(call.inputs[0]), *after)):
        return []
    words = {"copy": 0, "rest": -1}
    return [words[word] if word in words else _size(axis, kept) for word, axis in zip(coupling.reshapes[call.place], after, strict=True)]


def _mix_numbers(graph: onnx.GraphProto, node: onnx.NodeProto, sizes: list[int], plan: list[str], taken: set[str]) -> None:
    """Let a Reshape take its own sizes from `sizes`, and the others as they are computed."""
    is_own, own, mixed = (free_name(f"{node.output[0]}_{what}", taken) for what in ("is_own", "own", "shape"))
    graph.initializer.append(numpy_helper.from_array(np.array([word == "size" for word in plan]), is_own))
    graph.initializer.append(numpy_helper.from_array(np.array(sizes, dtype=np.int64), own))
    where = onnx.helper.make_node("Where", [is_own, own, node.input[1]], [mixed], name=mixed)
    graph.node.insert(list(graph.node).index(node), where)
    node.input[1] = mixed


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
