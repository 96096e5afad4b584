"""What stands in a SavedModel's saved_model.pb: graphs, functions and signatures as plain values, read without TensorFlow.

Takes the file's bytes, gives the graph that serves. Raises SourceError for damage, UnsupportedError for a SavedModel without one graph for
serving. Reads structure only: no constant is decoded. Field numbers are those of TensorFlow's own .proto files:
https://github.com/tensorflow/tensorflow/tree/master/tensorflow/core/protobuf (saved_model, meta_graph, saved_object_graph) and
https://github.com/tensorflow/tensorflow/tree/master/tensorflow/core/framework (graph, node_def, function, op_def).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from fairlead.core.interface import shorten
from fairlead.errors import UnsupportedError
from fairlead.security.protobuf_fields import as_bytes, as_int, as_text, damaged, fields, first, map_entries, messages, text_of

SERVING_TAG = "serve"


@dataclass(frozen=True)
class Node:
    """One operator. `inputs` are tensors as the file writes them; `calls` are the functions that its attributes name."""

    name: str
    op: str
    inputs: tuple[str, ...]
    device: str
    calls: tuple[str, ...]


@dataclass(frozen=True)
class Function:
    """One function of the library: `arguments` and `outputs` in order; `returns` says which inner tensor each output is."""

    name: str
    arguments: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: Mapping[str, Node]
    returns: Mapping[str, str]


@dataclass(frozen=True)
class TensorInfo:
    """A tensor of a signature. `tensor` is its name in the graph, "" for sparse and composite ones; `shape` is None where it is unknown,
    and has None for free sizes; `dtype` is TensorFlow's number.
    """

    tensor: str
    dtype: int
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class Signature:
    """What can be asked of the model: named inputs and outputs."""

    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]


@dataclass(frozen=True)
class SavedGraph:
    """The graph that serves. `saver` are the nodes that write and read checkpoints; `object_functions` are those that TensorFlow makes
    callable; `identifiers` name the kinds of user objects, `registered` the classes and savers that would be looked up by name.
    """

    version: str
    nodes: Mapping[str, Node]
    functions: Mapping[str, Function]
    signatures: Mapping[str, Signature]
    saver: tuple[str, ...]
    assets: tuple[str, ...]
    object_functions: tuple[str, ...] = ()
    identifiers: frozenset[str] = field(default_factory=frozenset)
    registered: frozenset[str] = field(default_factory=frozenset)

    def all_nodes(self) -> Iterator[Node]:
        """Yield the graph's own nodes and those of every function."""
        yield from self.nodes.values()
        for function in self.functions.values():
            yield from function.nodes.values()


def read_saved_model(data: memoryview) -> SavedGraph:
    """Return the graph with the tag "serve"; a file with another graph beside it is refused, since that one would go unchecked."""
    graphs = list(messages(data, 2))
    tags = [[as_text(tag) for tag in messages(first(graph, 1) or memoryview(b""), 4)] for graph in graphs]
    if len(graphs) != 1 or SERVING_TAG not in tags[0]:
        shown = "; ".join(shorten(", ".join(some)) or "none" for some in tags) or "no graph"
        raise UnsupportedError(
            f"The SavedModel does not hold exactly one graph for serving (tags: {shown}).",
            hint=f"Save it again with the tag '{SERVING_TAG}' alone, as tf.saved_model.save does.",
        )
    return _graph(graphs[0])


def _graph(graph: memoryview) -> SavedGraph:
    nodes: dict[str, Node] = {}
    functions: dict[str, Function] = {}
    signatures: dict[str, Signature] = {}
    saver: tuple[str, ...] = ()
    assets: list[str] = []
    version = ""
    objects = memoryview(b"")
    for number, value in fields(graph):
        match number:
            case 1:
                version = text_of(as_bytes(value), 5)
            case 2:
                _read_graph_def(as_bytes(value), nodes, functions)
            case 3:
                saver = tuple(_node_of(text_of(as_bytes(value), place)) for place in (1, 2, 3))
            case 5:
                entry = as_bytes(value)
                signatures[text_of(entry, 1)] = _signature(first(entry, 2) or memoryview(b""))
            case 6:
                assets.append(text_of(as_bytes(value), 2))
            case 7:
                objects = as_bytes(value)
            case _:  # collections: lists of nodes, for TensorFlow 1
                as_bytes(value)
    return SavedGraph(version, nodes, functions, signatures, tuple(filter(None, saver)), tuple(assets), *_objects(objects))


def _read_graph_def(data: memoryview, nodes: dict[str, Node], functions: dict[str, Function]) -> None:
    for number, value in fields(data):
        if number == 1:
            _add(nodes, _node(as_bytes(value)))
        elif number == 2:
            for place, item in fields(as_bytes(value)):
                if place == 1:
                    function = _function(as_bytes(item))
                    if function.name in functions:
                        raise damaged(f"the function '{shorten(function.name)}' stands twice")
                    functions[function.name] = function


def _add(nodes: dict[str, Node], node: Node) -> None:
    if node.name in nodes:
        raise damaged(f"the node '{shorten(node.name)}' stands twice")
    nodes[node.name] = node


def _node(data: memoryview) -> Node:
    name = op = device = ""
    inputs: list[str] = []
    calls: list[str] = []
    for number, value in fields(data):
        match number:
            case 1:
                name = as_text(value)
            case 2:
                op = as_text(value)
            case 3:
                inputs.append(as_text(value))
            case 4:
                device = as_text(value)
            case 5:
                calls += _called(first(as_bytes(value), 2) or memoryview(b""))
    if not name or not op:
        raise damaged("a node has no name or no operator")
    return Node(name, op, tuple(inputs), device, tuple(calls))


def _called(attribute: memoryview) -> Iterator[str]:
    """Yield the functions that an AttrValue names: func (10), or list (1) with func (9)."""
    for number, value in fields(attribute):
        if number == 10:
            yield text_of(as_bytes(value), 1)
        elif number == 1:
            for item in messages(as_bytes(value), 9):
                yield text_of(item, 1)


def _function(data: memoryview) -> Function:
    name = ""
    arguments: list[str] = []
    outputs: list[str] = []
    nodes: dict[str, Node] = {}
    returns: dict[str, str] = {}
    for number, value in fields(data):
        match number:
            case 1:
                signature = as_bytes(value)
                name = text_of(signature, 1)
                arguments = [text_of(item, 1) for item in messages(signature, 2)]
                outputs = [text_of(item, 1) for item in messages(signature, 3)]
            case 3:
                _add(nodes, _node(as_bytes(value)))
            case 4:
                entry = as_bytes(value)
                returns[text_of(entry, 1)] = text_of(entry, 2)
    if not name:
        raise damaged("a function has no name")
    return Function(name, tuple(arguments), tuple(outputs), nodes, returns)


def _signature(data: memoryview) -> Signature:
    inputs = {name: _tensor_info(info) for name, info in map_entries(data, 1)}
    return Signature(inputs, {name: _tensor_info(info) for name, info in map_entries(data, 2)})


def _tensor_info(data: memoryview) -> TensorInfo:
    tensor, dtype = "", 0
    shape: tuple[int | None, ...] | None = ()  # an absent message is a scalar
    for number, value in fields(data):
        match number:
            case 1:
                tensor = as_text(value)
            case 2:
                dtype = as_int(value)
            case 3:
                shape = _shape(as_bytes(value))
    return TensorInfo(tensor, dtype, shape)


def _shape(data: memoryview) -> tuple[int | None, ...] | None:
    sizes: list[int | None] = []
    for number, value in fields(data):
        if number == 3 and value:
            return None
        if number == 2:
            size = 0  # an absent field
            for place, item in fields(as_bytes(value)):
                size = as_int(item) if place == 1 else size
            sizes.append(None if size < 0 else size)
    return tuple(sizes)


def _objects(data: memoryview) -> tuple[tuple[str, ...], frozenset[str], frozenset[str]]:
    """Return the functions of a SavedObjectGraph, the identifiers of its user objects, and what it wants looked up by name."""
    functions = tuple(name for name, _ in map_entries(data, 2))
    identifiers, registered = set(), set()
    for item in messages(data, 1):
        for number, value in fields(item):
            match number:
                case 4:
                    identifiers.add(text_of(as_bytes(value), 1))
                case 13:
                    registered.add(as_text(value))
                case 14:
                    registered.add(f"a message of type {text_of(as_bytes(value), 1)}")
                case 16:
                    registered.add(f"the saver {as_text(value)}")
    return functions, frozenset(identifiers), frozenset(registered - {""})


def _node_of(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]
