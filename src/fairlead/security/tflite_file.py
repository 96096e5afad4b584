"""What stands in a .tflite file: tensors, operators and signatures as plain values, read without TensorFlow or LiteRT.

Takes the file's bytes, gives a LiteModel in which every index leads somewhere and every constant has the size of its shape. Raises
SourceError for damage, UnsupportedError for parts that Fairlead does not read (data outside of the file, sparse tensors). Slots are those
of the schema: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from fairlead.core.interface import shorten
from fairlead.errors import UnsupportedError
from fairlead.security.flatbuffer import Table, damaged, root

IDENTIFIER = b"TFL3"
_SCHEMA_VERSION = 3
# Bits per element, by the schema's number of the type; texts, resources and variants have no fixed size.
_ITEM_BITS = {
    0: 32,
    1: 16,
    2: 32,
    3: 8,
    4: 64,
    6: 8,
    7: 16,
    8: 64,
    9: 8,
    10: 64,
    11: 128,
    12: 64,
    15: 32,
    16: 16,
    17: 4,
    18: 16,
    19: 2,
    20: 4,
}
# Slots of other subgraphs in the options of If (92), While (93), CallOnce (103) and Call (16).
_CALLED_SLOTS = {92: (0, 1), 93: (0, 1), 103: (0,), 16: (0,)}
# Options with vectors: Reshape (17), Squeeze (30), Bucketize (115). Those of every other operator that may be used hold numbers only.
_VECTOR_OPTIONS = {17: "<i4", 30: "<i4", 115: "<f4"}


@dataclass(frozen=True)
class LiteTensor:
    """One tensor. `shape` is the one that memory is planned for, `free_shape` has None for sizes that may change; `dtype` is the schema's
    number. `scale` is 0.0 for a tensor that is not quantized as a whole.
    """

    name: str
    dtype: int
    shape: tuple[int, ...]
    free_shape: tuple[int | None, ...]
    scale: float
    zero_point: int
    keeps_state: bool
    is_constant: bool


@dataclass(frozen=True)
class LiteOperator:
    """One operator; `code` is its number, `custom` its name where it is none of the built-in ones."""

    code: int
    custom: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    calls: tuple[int, ...]


@dataclass(frozen=True)
class LiteGraph:
    """One subgraph; the first of a file is the one that is asked."""

    tensors: tuple[LiteTensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[LiteOperator, ...]


@dataclass(frozen=True)
class LiteSignature:
    """Names for inputs and outputs of a subgraph: name -> index of the tensor."""

    key: str
    graph: int
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


@dataclass(frozen=True)
class LiteModel:
    """The whole file."""

    graphs: tuple[LiteGraph, ...]
    signatures: tuple[LiteSignature, ...]
    description: str


def read_tflite(data: memoryview) -> LiteModel:
    """Return what the file holds."""
    if len(data) < 8 or bytes(data[4:8]) != IDENTIFIER:
        raise damaged("it does not begin as TensorFlow Lite files do")
    model = root(data)
    if model.number(0, "<I") != _SCHEMA_VERSION:
        raise damaged("it has another version than 3")
    if model.has(8) or model.has(9):
        raise UnsupportedError("The .tflite file keeps data in other files.", hint="Convert the model to one file.")
    codes = [_code(item) for item in model.tables(1)]
    sizes = [_buffer_bytes(item, len(data)) for item in model.tables(4)]
    graphs = tuple(_graph(item, codes, sizes) for item in model.tables(2))
    if not graphs:
        raise damaged("it holds no graph")
    _check_calls(graphs)
    return LiteModel(graphs, tuple(_signature(item, graphs) for item in model.tables(7)), model.text(3))


def _code(item: Table) -> tuple[int, str]:
    old, new = item.number(0, "<b"), item.number(3, "<i")
    if old < 0 or new < 0:
        raise damaged("an operator has a negative number")
    return max(old, new), item.text(1)  # numbers above 127 stand in the new field only


def _buffer_bytes(item: Table, file_bytes: int) -> int:
    inside = item.data(0)
    offset, size = item.number(1, "<Q"), item.number(2, "<Q")
    if offset > 1 or size > 1:  # large files keep data behind the flatbuffer; 0 and 1 are placeholders
        if offset + size > file_bytes:
            raise damaged("a buffer lies outside of the file")
        return size
    return 0 if inside is None else len(inside)


def _graph(item: Table, codes: list[tuple[int, str]], sizes: list[int]) -> LiteGraph:
    tensors = tuple(_tensor(part, sizes) for part in item.tables(0))
    inputs, outputs = (_indices(item, slot, len(tensors), "of the graph", least=0) for slot in (1, 2))
    return LiteGraph(tensors, inputs, outputs, tuple(_operator(part, codes, len(tensors)) for part in item.tables(3)))


def _indices(item: Table, slot: int, count: int, what: str, *, least: int) -> tuple[int, ...]:
    found = item.numbers(slot, "<i4")
    indices = () if found is None else tuple(int(index) for index in found)
    if any(not least <= index < count for index in indices):
        raise damaged(f"a tensor {what} does not exist")
    return indices


def _tensor(item: Table, sizes: list[int]) -> LiteTensor:
    name, dtype, buffer = item.text(3), item.number(1, "<b"), item.number(2, "<I")
    if item.has(6) or item.has(9) or item.number(10, "<I"):
        raise UnsupportedError(
            f"The tensor '{shorten(name)}' is sparse, or lies outside of the file.", hint="Convert it without that option."
        )
    if buffer >= len(sizes):
        raise damaged(f"the buffer of '{shorten(name)}' does not exist")
    shape = _sizes(item, 0)
    signature = _sizes(item, 7)
    if any(size < 0 for size in shape) or (signature and len(signature) != len(shape)):
        raise damaged(f"'{shorten(name)}' has no sound shape")
    free = tuple(None if size < 0 else size for size in signature) if signature else shape
    is_constant = sizes[buffer] > 0
    bits = _ITEM_BITS.get(dtype)
    if is_constant and bits is not None and sizes[buffer] != (math.prod(shape) * bits + 7) // 8:
        raise damaged(f"'{shorten(name)}' does not have the size of its shape")
    scale, zero_point = _quantization(item)
    return LiteTensor(name, dtype, shape, free, scale, zero_point, bool(item.number(5, "<B")), is_constant)


def _sizes(item: Table, slot: int) -> tuple[int, ...]:
    found = item.numbers(slot, "<i4")
    return () if found is None else tuple(int(size) for size in found)


def _quantization(item: Table) -> tuple[float, int]:
    """Return scale and zero point of a tensor that has one of each."""
    table = item.table(4)
    if table is None:
        return 0.0, 0
    scales, points = table.numbers(2, "<f4"), table.numbers(3, "<i8")
    if table.has(5):
        raise UnsupportedError("The .tflite file is quantized in a way of its own.", hint="Convert it with TensorFlow Lite's own types.")
    if scales is None or len(scales) != 1 or not math.isfinite(scales[0]):
        return 0.0, 0
    return float(scales[0]), int(points[0]) if points is not None and len(points) else 0


def _operator(item: Table, codes: list[tuple[int, str]], count: int) -> LiteOperator:
    place = item.number(0, "<I")
    if place >= len(codes):
        raise damaged("an operator's code does not exist")
    if item.number(9, "<Q") or item.number(10, "<Q") or item.number(11, "<B"):
        raise UnsupportedError(
            "The .tflite file has operators with options that Fairlead does not read.", hint="Use built-in operators only."
        )
    inputs, outputs = (_indices(item, slot, count, "of an operator", least=-1) for slot in (1, 2))
    _indices(item, 8, count, "of an operator", least=-1)
    kind, options = item.number(3, "<B"), item.table(4)
    calls: tuple[int, ...] = ()
    if options is not None:
        if kind in _VECTOR_OPTIONS:
            options.numbers(0, _VECTOR_OPTIONS[kind])
        calls = tuple(options.number(slot, "<i") for slot in _CALLED_SLOTS.get(kind, ()))
    return LiteOperator(*codes[place], inputs, outputs, calls)


def _check_calls(graphs: tuple[LiteGraph, ...]) -> None:
    """Subgraphs call only others that exist, and never themselves through any number of steps."""
    called = {place: {index for item in graph.operators for index in item.calls} for place, graph in enumerate(graphs)}
    if any(not 0 <= index < len(graphs) for indices in called.values() for index in indices):
        raise damaged("a subgraph that is called does not exist")
    while called:
        leaves = [place for place, indices in called.items() if not indices & called.keys()]
        if not leaves:
            raise damaged("subgraphs call each other in a circle")
        for place in leaves:
            del called[place]


def _signature(item: Table, graphs: tuple[LiteGraph, ...]) -> LiteSignature:
    graph, key = item.number(4, "<I"), item.text(2)
    if graph >= len(graphs):
        raise damaged("a signature names a subgraph that does not exist")
    maps = []
    for slot, known in ((0, graphs[graph].inputs), (1, graphs[graph].outputs)):
        tensors = [(part.text(0), part.number(1, "<I")) for part in item.tables(slot)]
        if len({name for name, _ in tensors}) != len(tensors) or any(index not in known for _, index in tensors):
            raise damaged(f"the signature '{shorten(key)}' names tensors that the graph does not take or give")
        maps.append(dict(tensors))
    return LiteSignature(key, graph, *maps)
