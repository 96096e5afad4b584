"""A large V2 request, read a piece at a time, so that nobody else waits for it.

Takes the text and the model's interface; gives what `v2_request` gives for the whole text: the request, and the elements of its inputs, of
columns of tables, and of the tables that these make. Raises RequestError, TooLargeError. Many short inputs take as long as one long one: a
step reads no more than one of them.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface, TensorSpec
from fairlead.errors import RequestError
from fairlead.serve.http.body import convert
from fairlead.serve.http.outline import LongList, Skeleton, read_skeleton
from fairlead.serve.http.v2_request import (
    AnyRequest,
    AnyTensor,
    check_column,
    column_tables,
    raw_column,
    raw_size,
    read_column,
    read_tensor,
)
from fairlead.serve.records import assemble_in_steps, column, is_raw_slow
from fairlead.serve.steps import LONG_BYTES, PIECE_BYTES, PIECE_COUNT, Steps
from fairlead.serve.tensor_binary import check_datatype, read_raw_in_steps
from fairlead.serve.tensor_json import element_count, flatten, nested_in_steps, pack

_FLAT = msgspec.json.Decoder(list[float])


class Cut(msgspec.Struct, frozen=True):
    """A request without its data, and those as arrays by input, or column."""

    request: AnyRequest
    arrays: dict[str, Array]


def is_long_raw(interface: Interface, binary: memoryview | None) -> bool:
    """Whether raw tensors take so long to read that others must have their turns meanwhile."""
    return binary is not None and len(binary) > LONG_BYTES and is_raw_slow(interface)


def cut_request(
    interface: Interface, text: bytes | bytearray, binary: memoryview | None = None, piece_bytes: int = PIECE_BYTES
) -> Steps[Cut]:
    """Return what the text says; `binary` is what stands behind it."""
    skeleton = yield from read_skeleton(text, piece_bytes=piece_bytes)
    specs, tables = {spec.name: spec for spec in interface.inputs}, column_tables(interface)
    held = yield from _without_data(skeleton, specs.keys() | tables.keys())
    request = convert(skeleton.value, AnyRequest)
    arrays: dict[str, Array] = {}
    for tensor in request.inputs:
        if tensor.name in held:
            data = held.pop(tensor.name)
            if tensor.name in specs:
                arrays[tensor.name] = yield from _input(specs[tensor.name], tensor, skeleton, data)
            else:
                arrays[tensor.name] = yield from _column(tables[tensor.name], tensor, skeleton, data)
            yield
    if binary is not None:
        yield from _raw_tensors(specs, tables, request, binary, arrays)
    for spec in interface.inputs:
        if spec.columns and spec.name not in arrays and all(name in arrays for name in spec.columns):
            arrays[spec.name] = yield from assemble_in_steps(spec, arrays, PIECE_COUNT)
    return Cut(request, arrays)


def _raw_tensors(
    specs: dict[str, TensorSpec], tables: dict[str, TensorSpec], request: AnyRequest, binary: memoryview, arrays: dict[str, Array]
) -> Steps[None]:
    """Put texts and columns into `arrays` whose bytes stand behind the JSON; other tensors are views of them, which takes no time."""
    place = 0
    for tensor in request.inputs:
        size = raw_size(tensor, tensor.parameters, binary, place) if tensor.parameters else None
        if size is None:
            continue
        raw, spec = binary[place : place + size], specs.get(tensor.name)
        place += size
        if tensor.name in arrays:
            continue  # it is refused in a moment
        if spec is not None and spec.dtype is DType.BYTES:
            arrays[tensor.name] = yield from read_raw_in_steps(spec, tensor.shape, raw, tensor.datatype, PIECE_COUNT)
        elif spec is None and tensor.name in tables:
            arrays[tensor.name] = yield from raw_column(tables[tensor.name], tensor, raw)


def _without_data(skeleton: Skeleton, known: set[str]) -> Steps[dict[str, Any]]:
    """Fill the skeleton but for the data of `known` inputs, which are taken out of it, and returned."""
    value, held = skeleton.value, dict[str, Any]()
    if not isinstance(value, dict):
        return held
    tensors = value.get("inputs")
    listed = skeleton.list_at(tensors)
    if listed is not None:
        tensors = value["inputs"] = yield from skeleton.opened(listed)
    for tensor in tensors if isinstance(tensors, list) else ():
        name = tensor.get("name") if isinstance(tensor, dict) else None
        if isinstance(name, str) and name in known and name not in held and _has_own_data(tensor):
            held[name], tensor["data"] = tensor["data"], None
        yield from skeleton.filled(tensor)
    for key, item in value.items():
        if key != "inputs":
            value[key] = yield from skeleton.filled(item)
    return held


def _has_own_data(tensor: dict[str, Any]) -> bool:
    """Whether its data are a list, and no bytes are said to stand elsewhere."""
    parameters = tensor.get("parameters")
    return isinstance(tensor.get("data"), list) and not (isinstance(parameters, dict) and "binary_data_size" in parameters)


def _input(spec: TensorSpec, tensor: AnyTensor, skeleton: Skeleton, data: list[Any]) -> Steps[Array]:
    listed = skeleton.list_at(data)
    if listed is None:
        tensor.data = data
        array = read_tensor(spec, tensor)
        tensor.data = None
        return array
    check_datatype(spec, tensor.datatype, is_raw=False)
    return (yield from _array(spec, tensor.shape, skeleton, listed))


def _column(table: TensorSpec, tensor: AnyTensor, skeleton: Skeleton, data: list[Any]) -> Steps[Array]:
    spec, listed = column(table, tensor.name), skeleton.list_at(data)
    if listed is None:
        tensor.data = data
        array = pack(spec, read_column(table, tensor))
        tensor.data = None
        return array
    check_column(table, tensor)
    return (yield from _array(spec, tensor.shape, skeleton, listed))


def _array(spec: TensorSpec, shape: list[int], skeleton: Skeleton, item: LongList) -> Steps[Array]:
    """Return the elements of a list, flat, as many as the tensor's shape says."""
    size = element_count(spec, shape)
    if size > item.end - item.start:
        raise RequestError(f"Input '{spec.name}' has fewer elements than its shape {shape} needs: {size}.")
    array, place, tail = np.empty(size, spec.dtype.numpy), 0, None
    for start, end in item.pieces:
        form, part = yield from _read_piece(spec, skeleton, item, start, end)
        if tail not in (None, form):
            raise RequestError(f"Input '{spec.name}' is ragged: its lists have different lengths.", hint=f"Expected {spec.describe()}.")
        tail = form
        if place + len(part) > size:
            raise RequestError(f"Input '{spec.name}' has more elements than its shape {shape} needs: {size}.")
        array[place : place + len(part)] = part
        place += len(part)
        yield
    if place != size:
        raise RequestError(f"Input '{spec.name}' has {place} elements; its shape {shape} needs {size}.")
    return array


def _read_piece(spec: TensorSpec, skeleton: Skeleton, item: LongList, start: int, end: int) -> Steps[tuple[tuple[int, ...], Array]]:
    """Return the shape of an element of a piece, and its elements flat."""
    text = skeleton.text
    if spec.dtype.is_float and text[start : start + 2].strip()[:1] != b"[":  # most lists are flat, and decoded faster as what they hold
        try:
            flat = _FLAT.decode(b"[%b]" % bytes(text[start:end]))
        except msgspec.DecodeError:
            pass  # null, or a mistake: the general form tells them apart
        else:
            if flat:
                return (), pack(spec, flat)
    values: list[Any] = yield from skeleton.run(item, start, end)
    if item.has_child(start, end):
        array = yield from nested_in_steps(spec, values, PIECE_COUNT)
        return array.shape[1:], array.ravel()
    form, flat = flatten(spec, values)
    return form[1:], pack(spec, flat)
