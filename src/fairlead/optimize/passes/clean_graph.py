"""The exact clean-up: takes parts out of an ONNX graph that change no answer.

Removes identities and inference dropouts, computes constant parts once (with the kernels of ONNX Runtime that would compute them at every
load, so the bits are the same), takes the branch of an If whose condition is constant, stores equal weights once, and drops what nobody
uses and what exporters note for people: where in whose source a node comes from. Idempotent; writes standard operators only. It never
touches the inside of an If, Loop or Scan that stays, nor a value that such an inside uses.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import onnx
import onnxruntime
from onnx import numpy_helper
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from fairlead.optimize.graph_edit import (
    STANDARD_DOMAINS,
    constants_to_initializers,
    free_name,
    inner_graphs,
    names_of_surface,
    names_within,
    taken_names,
)
from fairlead.optimize.job import PassJob, PassResult

_GROWTH_BYTES = 48  # a folded constant may be this much larger than what nobody else needs: a shape, and no weight stored in few bits
_RANDOM = frozenset({"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"})
_FOLD_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


def clean_graph(job: PassJob) -> PassResult:
    """Write the cleaned model of `job.source` to `job.destination`."""
    source, destination = job.source, job.destination
    model = onnx.load(source)
    _drop_notes(model)
    before = len(model.graph.node), source.stat().st_size
    changed = True
    while changed:
        pinned = names_of_surface(model.graph) | set(names_within(model.graph))
        changes = (
            constants_to_initializers(model.graph),
            _take_known_branches(model.graph),
            _remove_identities(model.graph, pinned),
            _fold_constants(model, pinned),
            _merge_equal_weights(model.graph, pinned),
            _drop_unused(model.graph, pinned),
        )
        changed = any(changes)
    destination.write_bytes(model.SerializeToString(deterministic=True))
    after = len(model.graph.node), destination.stat().st_size
    note = f"{before[0]} operators became {after[0]}, {before[1]} bytes became {after[1]}"
    return PassResult({"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}, notes=(note,))


def _drop_notes(model: onnx.ModelProto) -> None:
    """Clear documentation and metadata of the model, its graph, nodes and tensors."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.initializer, *graph.value_info):
        part.ClearField("doc_string")
        del part.metadata_props[:]


def _take_known_branches(graph: onnx.GraphProto) -> bool:
    """Put the nodes of the branch that is taken in the place of an If whose condition is stored."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    overridable = {value.name for value in graph.input}
    for place, node in enumerate(graph.node):
        is_known = node.op_type == "If" and node.domain in STANDARD_DOMAINS and node.input[0] in stored.keys() - overridable
        if not is_known:
            continue
        wanted = "then_branch" if numpy_helper.to_array(stored[node.input[0]]).all() else "else_branch"
        branch = next(attribute.g for attribute in node.attribute if attribute.name == wanted)
        if branch.sparse_initializer or any(True for one in branch.node for _ in inner_graphs(one)):
            continue  # names deeper inside would have to follow
        made = _inlined(branch, node, graph)
        behind = [*graph.node[:place], *made, *graph.node[place + 1 :]]
        del graph.node[:]
        graph.node.extend(behind)
        return True
    return False


def _inlined(branch: onnx.GraphProto, node: onnx.NodeProto, graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return the branch's nodes with names that are free in `graph`, its outputs under the If's own; its weights go to `graph`."""
    taken = taken_names(graph)
    own = [tensor.name for tensor in branch.initializer] + [name for one in branch.node for name in one.output if name]
    names = {name: free_name(f"{node.output[0]}/{name}", taken) for name in dict.fromkeys(own)}
    for tensor in branch.initializer:
        tensor.name = names[tensor.name]
        graph.initializer.append(tensor)
    made = []
    for one in branch.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(one)
        for field in (copy.input, copy.output):
            for place, name in enumerate(field):
                field[place] = names.get(name, name)
        made.append(copy)
    results = [(names.get(value.name, value.name), name) for value, name in zip(branch.output, node.output, strict=True) if name]
    return [*made, *(onnx.helper.make_node("Identity", [source], [name]) for source, name in results)]


def _remove_identities(graph: onnx.GraphProto, pinned: set[str]) -> bool:
    """Let users of an identity's output use its input; an identity whose output is pinned stays, unless its input can take that name."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in list(graph.node):
        if not _is_identity(node, stored):
            continue
        source, result = node.input[0], node.output[0]
        if result not in pinned:
            old, new = result, source
        elif source not in pinned and source not in stored:
            old, new = source, result
        else:
            continue
        graph.node.remove(node)
        for other in graph.node:
            _rename(other.input, old, new)
            _rename(other.output, old, new)
        _drop_value_info(graph, {old})
        return True
    return False


def _is_identity(node: onnx.NodeProto, stored: dict[str, onnx.TensorProto]) -> bool:
    if node.domain not in STANDARD_DOMAINS or sum(bool(name) for name in node.output) != 1:
        return False
    if node.op_type == "Identity":
        return True
    if node.op_type != "Dropout":
        return False
    mode = node.input[2] if len(node.input) > 2 else ""
    return not mode or (mode in stored and not numpy_helper.to_array(stored[mode]).any())


def _fold_constants(model: onnx.ModelProto, pinned: set[str]) -> bool:
    """Replace nodes all of whose inputs are stored by what they compute."""
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    overridable = {value.name for value in graph.input}
    uses = Counter(name for node in graph.node for name in set(node.input))
    changed = False
    for node in list(graph.node):
        if not _can_fold(node, stored, pinned | overridable):
            continue
        values = _evaluate(model, node, stored)
        given = sum(stored[name].ByteSize() for name in set(node.input) if name and uses[name] == 1)
        if values is None or sum(value.nbytes for value in values) > given + _GROWTH_BYTES:
            continue
        for name, value in zip(node.output, values, strict=True):
            stored[name] = numpy_helper.from_array(value, name)
            graph.initializer.append(stored[name])
        graph.node.remove(node)
        changed = True
    return changed


def _can_fold(node: onnx.NodeProto, stored: dict[str, onnx.TensorProto], pinned: set[str]) -> bool:
    has_graph = any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)
    names = [*node.input, *node.output]
    known = all(name in stored for name in node.input if name) and any(node.input)
    return known and all(node.output) and not has_graph and node.op_type not in _RANDOM and not pinned.intersection(names)


def _evaluate(model: onnx.ModelProto, node: onnx.NodeProto, stored: dict[str, onnx.TensorProto]) -> list[Any] | None:
    """Return the node's outputs as ONNX Runtime computes them; None where it cannot compute the node alone."""
    weights = [stored[name] for name in dict.fromkeys(node.input) if name]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output]
    graph = onnx.helper.make_graph([node], "constant", [], outputs, weights)
    single = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(single.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return list(session.run(None, {}))
    except _FOLD_ERRORS:
        return None


def _merge_equal_weights(graph: onnx.GraphProto, pinned: set[str]) -> bool:
    first: dict[bytes, str] = {}
    twins: dict[str, str] = {}
    for tensor in graph.initializer:
        if tensor.name in pinned:
            continue
        content = onnx.TensorProto()
        content.CopyFrom(tensor)
        content.ClearField("name")
        key = hashlib.sha256(content.SerializeToString(deterministic=True)).digest()
        if first.setdefault(key, tensor.name) != tensor.name:
            twins[tensor.name] = first[key]
    for node in graph.node:
        for old, new in twins.items():
            _rename(node.input, old, new)
    _keep(graph.initializer, lambda tensor: tensor.name not in twins)
    return bool(twins)


def _drop_unused(graph: onnx.GraphProto, pinned: set[str]) -> bool:
    used = pinned | {name for node in graph.node for name in node.input}
    node_count, tensor_count = len(graph.node), len(graph.initializer)
    gone = {name for node in graph.node if not used.intersection(node.output) for name in node.output}
    _keep(graph.node, lambda node: bool(used.intersection(node.output)))
    gone |= {tensor.name for tensor in graph.initializer if tensor.name not in used}
    _keep(graph.initializer, lambda tensor: tensor.name in used)
    _drop_value_info(graph, gone)
    return len(graph.node) < node_count or len(graph.initializer) < tensor_count


def _rename(names: Any, old: str, new: str) -> None:
    for position, name in enumerate(names):
        if name == old:
            names[position] = new


def _keep(items: Any, wanted: Any) -> None:
    kept = [item for item in items if wanted(item)]
    if len(kept) != len(items):
        del items[:]
        items.extend(kept)


def _drop_value_info(graph: onnx.GraphProto, names: set[str]) -> None:
    _keep(graph.value_info, lambda value: value.name not in names)
