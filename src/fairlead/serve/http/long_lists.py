"""Long lists of numbers in a V2 request's JSON, read a piece at a time, so that nobody else waits for a large body.

A decoder holds the interpreter's lock until it is done: some 5 ms for each MiB. So the text is cut: each `"data"` list that is longer than
a piece becomes a mark in what is left, which is decoded as usual, and is itself decoded and packed in pieces that end between its elements.

Takes the text and the model's interface; gives what `v2_request` gives for the whole text, or None where the text cannot be cut like this
(then nothing was refused, either). Raises RequestError, TooLargeError. Laws: a piece is decoded by the decoder of the whole, so nothing is
taken that it would not take; inputs of texts are never cut, so a bracket in a text cannot be taken for one of a list.
"""

from __future__ import annotations

import re
import secrets

import msgspec
import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface, TensorSpec
from fairlead.errors import RequestError
from fairlead.serve.http.body import decode, unreadable
from fairlead.serve.http.steps import PIECE_BYTES, Steps
from fairlead.serve.http.v2_request import AnyRequest, AnyTensor
from fairlead.serve.tensor_binary import check_datatype
from fairlead.serve.tensor_json import element_count, flatten, pack

_KEY = b'"data"'
_OPENING = re.compile(rb'"data"\s*:\s*(\[[\s\[]*)')
_ITEM_END = re.compile(rb"\s*,")
_FLAT = msgspec.json.Decoder(list[float])
_ANY_LIST = msgspec.json.Decoder(list[object])
_ANY = msgspec.json.Decoder(AnyRequest)
_MARK = f"long list {secrets.token_hex(16)} "  # nobody can send it, and a text is no number


class LongList(msgspec.Struct, frozen=True):
    """A list in a text: where it begins and ends, its brackets included, and its pieces, each a run of whole elements."""

    start: int
    end: int
    pieces: list[tuple[int, int]]
    is_flat: bool


class Cut(msgspec.Struct, frozen=True):
    """A request without its long lists, and those as flat arrays by input."""

    request: AnyRequest
    arrays: dict[str, Array]


def cut_request(interface: Interface, text: bytes | bytearray, piece_bytes: int = PIECE_BYTES) -> Steps[Cut | None]:
    """Return what the text says; None where there is nothing to cut, or it is better read as a whole."""
    if any(spec.dtype is DType.BYTES for spec in interface.inputs):
        return None
    found = yield from find_lists(text, piece_bytes)
    if not found:
        return None
    request = decode(_ANY, _with_marks(text, found))
    specs = {spec.name: spec for spec in interface.inputs}
    marked = {tensor.data[0]: tensor for tensor in request.inputs if tensor.data is not None and len(tensor.data) == 1}
    arrays: dict[str, Array] = {}
    for place, item in enumerate(found):
        tensor = marked.get(f"{_MARK}{place}")
        if tensor is None or tensor.name not in specs or tensor.name in arrays:
            return None  # a column, a key that is given twice, a mistake: the whole text tells them apart
        check_datatype(specs[tensor.name], tensor.datatype, is_raw=False)
        arrays[tensor.name] = yield from _array(specs[tensor.name], tensor, text, item)
    return Cut(request, arrays)


def find_lists(text: bytes | bytearray, piece_bytes: int) -> Steps[list[LongList]]:
    """Return the lists under `"data"` that are longer than a piece."""
    found: list[LongList] = []
    place = text.find(_KEY)
    while place >= 0:
        opening = _OPENING.match(text, place)
        place += len(_KEY)
        if opening is not None and len(text) - opening.start(1) > piece_bytes:
            item = yield from _cut(text, opening.start(1), opening[1].count(b"["), piece_bytes)
            if item is not None:
                place = item.end
                if len(item.pieces) > 1:
                    found.append(item)
        place = text.find(_KEY, place)
        yield
    return found


def _cut(text: bytes | bytearray, start: int, depth: int, piece_bytes: int) -> Steps[LongList | None]:
    """Return the pieces of the list that begins at `start` with `depth` brackets; None where its end cannot be found."""
    closing = re.compile(rb"\](?:\s*\]){%d}" % (depth - 1))
    pieces: list[tuple[int, int]] = []
    place, window = start + 1, piece_bytes
    while place < len(text):
        end = closing.search(text, place, place + window)
        if end is not None:
            pieces.append((place, end.end() - 1))
            return LongList(start, end.end(), pieces, depth == 1)
        cut = _last_item_end(text, place, min(place + window, len(text)), depth)
        if cut is None:
            if place + window >= len(text):
                return None
            window *= 2  # one element is longer than a piece
        else:
            pieces.append((place, cut))
            separator = _ITEM_END.match(text, cut)
            place, window = separator.end() if separator is not None else cut, piece_bytes
        yield
    return None


def _last_item_end(text: bytes | bytearray, start: int, end: int, depth: int) -> int | None:
    """Return where the last element ends that is whole in text[start:end] and has another one behind it."""
    if depth == 1:
        comma = text.rfind(b",", start, end)
        return comma if comma > start else None
    last = end
    while (last := text.rfind(b"]", start, last)) >= 0:
        first, is_whole = last, _ITEM_END.match(text, last + 1) is not None
        for _ in range(depth - 2):
            before = text.rfind(b"]", start, first)
            is_whole = is_whole and before >= 0 and not text[before + 1 : first].strip()
            first = before
        if is_whole:
            return last + 1
    return None


def _with_marks(text: bytes | bytearray, found: list[LongList]) -> bytes:
    parts, place = [], 0
    for index, item in enumerate(found):
        parts += [text[place : item.start], f'["{_MARK}{index}"]'.encode()]
        place = item.end
    return b"".join([*parts, text[place:]])


def _array(spec: TensorSpec, tensor: AnyTensor, text: bytes | bytearray, item: LongList) -> Steps[Array]:
    """Return the elements of a list, flat, as many as the tensor's shape says."""
    size = element_count(spec, tensor.shape)
    if size > item.end - item.start:
        raise RequestError(f"Input '{spec.name}' has fewer elements than its shape {tensor.shape} needs: {size}.")
    array, place, tail = np.empty(size, spec.dtype.numpy), 0, None
    for start, end in item.pieces:
        values = _decode_piece(spec, text[start:end], start, is_flat=item.is_flat)
        shape, flat = flatten(spec, values)
        if not flat:
            raise RequestError(f"The body is not JSON: a comma without an element behind it, near byte {end}.")
        if tail not in (None, shape[1:]):
            raise RequestError(f"Input '{spec.name}' is ragged: its lists have different lengths.", hint=f"Expected {spec.describe()}.")
        tail = shape[1:]
        if place + len(flat) > size:
            raise RequestError(f"Input '{spec.name}' has more elements than its shape {tensor.shape} needs: {size}.")
        array[place : place + len(flat)] = pack(spec, flat)
        place += len(flat)
        yield
    if place != size:
        raise RequestError(f"Input '{spec.name}' has {place} elements; its shape {tensor.shape} needs {size}.")
    return array


def _decode_piece(spec: TensorSpec, piece: bytes | bytearray, start: int, *, is_flat: bool) -> list[object]:
    listed = b"[%b]" % bytes(piece)
    try:
        if is_flat and spec.dtype.is_float:
            try:
                return _FLAT.decode(listed)  # type: ignore[return-value]
            except msgspec.ValidationError:
                pass  # null, or a mistake
        return _ANY_LIST.decode(listed)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = unreadable(error)
        raise RequestError(f"{problem.message} It is in the list that goes on at byte {start} of the body.") from None
