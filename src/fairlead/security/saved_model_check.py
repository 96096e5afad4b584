"""What is unsafe in a SavedModel folder, found without TensorFlow.

Takes the folder or its parsed graph, gives findings. Two things are asked: every operator, in the graph and in each function, is on the
list of exact names in tensorflow_operators.txt or calls a function of the file's own; and the operators that write and read checkpoints
stand only where the saver is, out of reach of everything that is run. Never opens the file with TensorFlow, never runs anything.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from fairlead.core.artifact import Finding
from fairlead.core.interface import shorten
from fairlead.errors import SourceError, UnsafeContentError
from fairlead.security.saved_model_file import Node, SavedGraph, read_saved_model

MODEL_FILE = "saved_model.pb"
_LIST_FILE = Path(__file__).with_name("tensorflow_operators.txt")
# Every SavedModel holds them: they save and restore its variables. Fairlead lets TensorFlow restore from the folder, and never runs these.
_SAVER_OPERATORS = frozenset({"SaveV2", "RestoreV2", "MergeV2Checkpoints", "ShardedFilename"})
_KNOWN_FILES = re.compile(r"saved_model\.pb|keras_metadata\.pb|fingerprint\.pb|variables/variables\.(index|data-\d{5}-of-\d{5})")
# Kinds of user objects that TensorFlow rebuilds as plain containers, or as an object without behaviour where Keras 2 is not imported.
_IDENTIFIERS = re.compile(
    r"|_generic_user_object|trackable_(list|dict|tuple|set)_wrapper|signature_map|_tf_keras_\w+|optimizer|_wrapped_function"
)
_REGISTERED = frozenset({"tf.TrackableConstant", "tf.StaticHashTable"})  # plain data; a table's rows are constants of the graph
_FINDING_LIMIT = 50
_SIZE_LIMIT_BYTES = 2**31 - 1  # protobuf's own


@functools.cache
def allowed_operators() -> frozenset[str]:
    """Return the names of the operators that a SavedModel may use."""
    lines = _LIST_FILE.read_text(encoding="ascii").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def open_graph(folder: Path) -> SavedGraph:
    """Return the parsed graph of a SavedModel folder."""
    path = folder / MODEL_FILE
    if path.stat().st_size > _SIZE_LIMIT_BYTES:
        raise SourceError(f"{MODEL_FILE} is larger than 2 GiB.", hint="No protobuf file can be; save the model again.")
    return read_saved_model(memoryview(path.read_bytes()))


def check_graph(graph: SavedGraph) -> tuple[Finding, ...]:
    """Return what is unsafe or noteworthy in the graph."""
    found = list(dict.fromkeys([*_check_operators(graph), *_check_saver(graph), *_check_objects(graph)]))
    return tuple(found[:_FINDING_LIMIT])


def other_files(names: Iterable[str]) -> list[str]:
    """Return the files of the folder that no model needs and that are not opened."""
    return sorted(name for name in names if not _KNOWN_FILES.fullmatch(name))


def require_safe(findings: Iterable[Finding]) -> None:
    """Raise UnsafeContentError that names what is unsafe."""
    unsafe = [f"{finding.what} ({finding.where})" if finding.where else finding.what for finding in findings if finding.is_unsafe]
    if unsafe:
        more = f" and {len(unsafe) - 5} more" if len(unsafe) > 5 else ""
        raise UnsafeContentError(
            f"The SavedModel is not opened: {'; '.join(unsafe[:5])}{more}.",
            hint="Export the model's computation alone; read files and run Python before it is asked.",
        )


def _check_operators(graph: SavedGraph) -> Iterator[Finding]:
    allowed = allowed_operators() | _SAVER_OPERATORS
    for owner, nodes in (
        ("the graph", graph.nodes),
        *((f"function {shorten(item.name)}", item.nodes) for item in graph.functions.values()),
    ):
        for node in nodes.values():
            if node.op not in allowed and node.op not in graph.functions:
                yield Finding(is_unsafe=True, what=f"operator {shorten(node.op)} is not on the allow-list", where=owner)
            for name in node.calls:
                if name and name not in graph.functions:
                    yield Finding(is_unsafe=True, what=f"'{shorten(node.name)}' calls '{shorten(name)}', which is not in the file")
    devices = sorted({kind for node in graph.all_nodes() if (kind := device_kind(node.device)) not in ("", "CPU")})
    if devices:
        yield Finding(is_unsafe=False, what=f"placed on {', '.join(devices)} by the export; opened on the CPU")


def device_kind(device: str) -> str:
    """Return e.g. GPU for "/job:localhost/replica:0/task:0/device:GPU:0", "" where a node is not placed."""
    match = re.search(r"/(?:device:)?(CPU|GPU|TPU|XLA_CPU|XLA_GPU)(?::|$)", device, re.IGNORECASE)
    return match[1].upper() if match else shorten(device) if device else ""


def _check_saver(graph: SavedGraph) -> Iterator[Finding]:
    """Checkpoint operators may stand only behind the saver's nodes, and nothing that is run may reach them."""
    run = reachable(graph, [*_asked_nodes(graph), *graph.object_functions])
    saver = {id(node) for node in reachable(graph, graph.saver)}
    for node in run:
        if node.op in _SAVER_OPERATORS:
            yield Finding(is_unsafe=True, what=f"operator {node.op} would be run, not only by the saver", where=shorten(node.name))
    for node in graph.all_nodes():
        if node.op in _SAVER_OPERATORS and id(node) not in saver:
            yield Finding(is_unsafe=True, what=f"operator {node.op} stands outside of the saver", where=shorten(node.name))


def _check_objects(graph: SavedGraph) -> Iterator[Finding]:
    for name in sorted(graph.identifiers):
        if not _IDENTIFIERS.fullmatch(name):
            yield Finding(is_unsafe=True, what=f"an object of the kind '{shorten(name)}' is not on the allow-list")
    for name in sorted(graph.registered - _REGISTERED):
        yield Finding(is_unsafe=True, what=f"'{shorten(name)}' would be looked up by name")


def _asked_nodes(graph: SavedGraph) -> list[str]:
    infos = [info for item in graph.signatures.values() for info in (*item.outputs.values(), *item.inputs.values())]
    return [info.tensor.partition(":")[0] for info in infos]


def reachable(graph: SavedGraph, names: Iterable[str]) -> list[Node]:
    """Return every node that is computed for `names`: nodes of the graph, or functions. Control inputs count; a called function counts
    whole, since nodes with effects run in it whether or not their result is used.
    """
    found: dict[int, Node] = {}
    pending = [node for name in names for node in _start(graph, name)]
    while pending:
        node = pending.pop()
        if id(node) in found:
            continue
        found[id(node)] = node
        for source in node.inputs:
            inner = graph.nodes.get(source.removeprefix("^").partition(":")[0])
            if inner is not None and graph.nodes.get(node.name) is node:
                pending.append(inner)
        for called in (*node.calls, node.op):
            if called in graph.functions:
                pending += graph.functions[called].nodes.values()
    return list(found.values())


def _start(graph: SavedGraph, name: str) -> Iterable[Node]:
    if name in graph.nodes:
        return (graph.nodes[name],)
    return graph.functions[name].nodes.values() if name in graph.functions else ()
