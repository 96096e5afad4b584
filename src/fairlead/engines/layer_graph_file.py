"""A layer graph on disk: a folder with `graph.json` and `weights.npz`. Data only, in both directions.

Takes and gives core.layer_graph.LayerGraph with its arrays by key. What is read counts as untrusted (a sandboxed reader wrote it):
references, order, keys, element types and sizes are checked before anything is returned. Raises CorruptError; never unpickles.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np

from fairlead.core.interface import Array
from fairlead.core.layer_graph import GRAPH_INPUT, LayerGraph, ValueRef
from fairlead.errors import CorruptError
from fairlead.typed_json import decoder

GRAPH_FILE = "graph.json"
WEIGHTS_FILE = "weights.npz"
GRAPH_LIMIT_BYTES = 64 * 2**20
_KINDS = "biufU"  # bool, integers, floats, and text for vocabularies
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_HINT = "Import the model again."


def write_layer_graph(folder: Path, graph: LayerGraph, weights: Mapping[str, Array]) -> None:
    """Write `graph` and its arrays into `folder` (made if absent). Equal graphs give equal bytes. Raises CorruptError for a graph
    that `read_layer_graph` would refuse.
    """
    _check(graph, weights)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / GRAPH_FILE).write_bytes(msgspec.json.encode(graph, order="sorted"))
    with zipfile.ZipFile(folder / WEIGHTS_FILE, "w", zipfile.ZIP_STORED) as archive:
        for key in sorted(weights):
            with archive.open(zipfile.ZipInfo(f"{key}.npy", _ZIP_EPOCH), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(weights[key], order="C"), allow_pickle=False)


def read_layer_graph(folder: Path) -> tuple[LayerGraph, dict[str, Array]]:
    """Return the graph and its read-only arrays by key. Raises CorruptError that says what is wrong."""
    try:
        if (folder / GRAPH_FILE).stat().st_size > GRAPH_LIMIT_BYTES:
            raise CorruptError(f"{GRAPH_FILE} is larger than {GRAPH_LIMIT_BYTES >> 20} MiB.", hint=_HINT)
        graph = decoder(LayerGraph).decode((folder / GRAPH_FILE).read_bytes())
        weights = _read_weights(folder / WEIGHTS_FILE)
    except (OSError, msgspec.DecodeError, RecursionError, zipfile.BadZipFile, ValueError) as error:
        raise CorruptError(f"The layer graph in '{folder.name}' cannot be read: {error}.", hint=_HINT) from error
    _check(graph, weights)
    return graph, weights


def _read_weights(path: Path) -> dict[str, Array]:
    weights: dict[str, Array] = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            key, dot, extension = member.filename.rpartition(".")
            if extension != "npy" or not dot or key in weights:
                raise ValueError(f"unexpected member '{member.filename[:80]}'")
            # Stored members cannot be larger than the file that holds them: no bombs.
            if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
                raise ValueError(f"member '{member.filename[:80]}' is compressed")
            weights[key] = _parse_array(archive.read(member), key)
    return weights


def _parse_array(data: bytes, key: str) -> Array:
    """Parse one .npy file whose header must account for every byte, so that nothing is allocated on its word alone."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read_header is None:
        raise ValueError(f"array '{key[:80]}' has format version {version}")
    shape, is_fortran, dtype = read_header(stream)
    if dtype.kind not in _KINDS or dtype.itemsize == 0:
        raise ValueError(f"array '{key[:80]}' has elements of type {dtype}")
    if any(size < 0 for size in shape) or math.prod(shape) * dtype.itemsize != len(data) - stream.tell():
        raise ValueError(f"array '{key[:80]}' has {len(data) - stream.tell()} bytes for shape {list(shape)}")
    return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape, order="F" if is_fortran else "C")


def _check(graph: LayerGraph, weights: Mapping[str, Array]) -> None:
    """Raise CorruptError unless every name, reference and key of `graph` means something."""
    problem = _names_problem(graph) or _calls_problem(graph) or _weights_problem(graph, weights)
    if problem:
        raise CorruptError(f"The layer graph '{graph.name[:80]}' is not sound: {problem}.", hint=_HINT)


def _names_problem(graph: LayerGraph) -> str:
    for name, layer in graph.layers.items():
        if name != layer.name:
            return f"layer '{layer.name[:80]}' is listed as '{name[:80]}'"
        if not _is_finite(layer.config):
            return f"layer '{name[:80]}' has a number in its config that is not finite"
    for what, names in (("input", [spec.name for spec in graph.inputs]), ("output", [name for name, _ in graph.outputs])):
        if not names:
            return f"it has no {what}"
        if len(set(names)) != len(names):
            return f"two {what}s have one name"
    return ""


def _calls_problem(graph: LayerGraph) -> str:
    for number, call in enumerate(graph.calls):
        if call.layer not in graph.layers:
            return f"call {number} is of layer '{call.layer[:80]}', which does not exist"
        if call.output_count < 1 or not call.inputs:
            return f"call {number} of '{call.layer[:80]}' takes or gives nothing"
        if not all(_is_known(graph, ref, before=number) for ref in call.inputs):
            return f"call {number} of '{call.layer[:80]}' takes a value that does not come before it"
    for name, ref in graph.outputs:
        if not _is_known(graph, ref, before=len(graph.calls)):
            return f"output '{name[:80]}' is a value that does not exist"
    return ""


def _is_known(graph: LayerGraph, ref: ValueRef, *, before: int) -> bool:
    if ref.call == GRAPH_INPUT:
        return 0 <= ref.output < len(graph.inputs)
    return 0 <= ref.call < before and 0 <= ref.output < graph.calls[ref.call].output_count


def _weights_problem(graph: LayerGraph, weights: Mapping[str, Array]) -> str:
    wanted = {key for layer in graph.layers.values() for key in layer.weights.values()}
    for key in sorted(wanted ^ set(weights)):
        return f"weight '{key[:80]}' is {'missing' if key in wanted else 'not part of any layer'}"
    for key, array in weights.items():
        if array.dtype.kind not in _KINDS:
            return f"weight '{key[:80]}' has elements of type {array.dtype}"
    return ""


def _is_finite(value: object) -> bool:
    """Whether JSON can hold every number in `value` (msgspec would write NaN and infinities as null)."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True
