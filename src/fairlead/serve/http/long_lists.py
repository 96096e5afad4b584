"""A large V2 request, read a piece at a time, so that nobody else waits for it.

Takes the text and the model's interface; gives what `v2_request` gives for the whole text: the request, and the elements of long inputs as
arrays. Raises RequestError, TooLargeError. What is long and no input by its own name, a column for one, is decoded in pieces, and made a
tensor of at once.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from fairlead.core.interface import Array, Interface, TensorSpec
from fairlead.errors import RequestError
from fairlead.serve.http.body import convert
from fairlead.serve.http.outline import LongList, Skeleton, read_skeleton
from fairlead.serve.http.steps import PIECE_BYTES, PIECE_COUNT, Steps
from fairlead.serve.http.v2_request import AnyRequest
from fairlead.serve.tensor_binary import check_datatype
from fairlead.serve.tensor_json import element_count, flatten, nested_in_steps, pack

_FLAT = msgspec.json.Decoder(list[float])


class Cut(msgspec.Struct, frozen=True):
    """A request without its long lists, and those as flat arrays by input."""

    request: AnyRequest
    arrays: dict[str, Array]


def cut_request(interface: Interface, text: bytes | bytearray, piece_bytes: int = PIECE_BYTES) -> Steps[Cut]:
    """Return what the text says."""
    skeleton = yield from read_skeleton(text, piece_bytes=piece_bytes)
    specs = {spec.name: spec for spec in interface.inputs}
    value, found = skeleton.value, {}
    if isinstance(value, dict):
        tensors = value.get("inputs")
        listed = skeleton.list_at(tensors)
        if listed is not None:
            tensors = value["inputs"] = yield from skeleton.opened(listed)
        for tensor in tensors if isinstance(tensors, list) else ():
            name, item = (tensor.get("name"), skeleton.list_at(tensor.get("data"))) if isinstance(tensor, dict) else ("", None)
            if item is not None and isinstance(name, str) and name in specs and name not in found:
                found[name] = item
                yield from _fill_but(skeleton, tensor, "data")
            else:
                yield from skeleton.filled(tensor)
        yield from _fill_but(skeleton, value, "inputs")
    request = convert(value, AnyRequest)
    arrays: dict[str, Array] = {}
    for tensor in request.inputs:
        if tensor.name in found and tensor.name not in arrays:
            check_datatype(specs[tensor.name], tensor.datatype, is_raw=False)
            arrays[tensor.name] = yield from _array(specs[tensor.name], tensor.shape, skeleton, found[tensor.name])
    return Cut(request, arrays)


def _fill_but(skeleton: Skeleton, value: dict[str, Any], name: str) -> Steps[None]:
    for key, item in value.items():
        if key != name:
            value[key] = yield from skeleton.filled(item)


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
