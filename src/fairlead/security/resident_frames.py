"""What travels between this process and a resident one: frames over pipes, tensors as raw bytes, nothing that could be code.

Takes tensors and gives buffers to write (`pack`); takes a frame's first bytes and gives what follows, checked before anything of its size
is allocated (`read_header`, `read_places`, `unpack`). Raises CorruptError for every byte that does not fit, since frames come from a
process that runs foreign code. Never unpickles, never reads or writes itself.

A frame: header (magic, kind, sequence number, sizes of head and body), head (JSON), body. The head of an ask or an answer lists, per
tensor, name, type, shape, and its bytes in the body, each rounded up to 16. Numbers lie there in C order, as this machine holds them;
text as offsets (int64, one more than texts) and then UTF-8.
"""

from __future__ import annotations

import enum
import itertools
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Tensors
from fairlead.errors import CorruptError

_HEADER = struct.Struct("<4sIQQQ")  # magic, kind, sequence number, bytes of the head, bytes of the body
HEADER_BYTES = _HEADER.size
_MAGIC = b"FLR1"
_HEAD_LIMIT_BYTES = 1 << 20
_ALIGNMENT = 16
_DIMENSION_LIMIT = 32
_ELEMENT_LIMIT = 1 << 48
_EMPTY_LIMIT = 1 << 20  # a tensor without elements takes no bytes, whatever its other dimensions say; as a list it would
_OFFSET = np.dtype(np.int64)
Buffer = bytes | memoryview


class Kind(enum.IntEnum):
    """What a frame is."""

    ASK = 1
    ANSWER = 2
    ERROR = 3  # the head says which


_KINDS = {kind.value: kind for kind in Kind}


@dataclass(frozen=True)
class Header:
    """The first bytes of a frame, checked against the limits."""

    kind: Kind
    sequence: int
    head_bytes: int
    body_bytes: int


class _Listed(msgspec.Struct, array_like=True, frozen=True):
    """A tensor as a head lists it."""

    name: str
    dtype: str
    shape: list[int]
    size_bytes: int


@dataclass(frozen=True)
class Place:
    """Where in the body a tensor lies."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    start: int
    size_bytes: int


_heads = msgspec.json.Decoder(list[_Listed])


def pack(kind: Kind, sequence: int, tensors: Tensors) -> list[Buffer]:
    """Return the buffers of a frame with `tensors`, in order. Raises ValueError for text that is none: a lone surrogate, no string."""
    listed, body = [], []
    for name, tensor in tensors.items():
        dtype = DType.of(tensor.dtype)
        data = text_bytes(tensor) if dtype is DType.BYTES else _number_bytes(tensor, dtype)
        size = len(data)
        listed.append(_Listed(name, dtype.value, list(tensor.shape), size))
        body += [data, bytes(-size % _ALIGNMENT)]
    head = msgspec.json.encode(listed)
    return [_HEADER.pack(_MAGIC, kind, sequence, len(head), sum(map(len, body))), head, *(piece for piece in body if len(piece))]


def pack_words(kind: Kind, sequence: int, words: bytes) -> list[Buffer]:
    """Return the buffers of a frame that holds JSON and no tensors."""
    return [_HEADER.pack(_MAGIC, kind, sequence, len(words), 0), words]


def read_header(data: Buffer, *, limit_bytes: int) -> Header:
    """Return the header in the first HEADER_BYTES of `data`; raises CorruptError where head and body are more than `limit_bytes`."""
    magic, kind, sequence, head, body = _HEADER.unpack_from(data)
    if magic != _MAGIC or kind not in _KINDS:
        raise CorruptError("A frame begins with other bytes than a frame does.")
    if head > min(_HEAD_LIMIT_BYTES, limit_bytes) or head + body > limit_bytes:
        raise CorruptError(f"A frame says that it is larger than {limit_bytes} bytes.")
    return Header(_KINDS[kind], sequence, head, body)


def read_places(head: Buffer, body_bytes: int) -> tuple[Place, ...]:
    """Return where the tensors lie that `head` lists; raises CorruptError unless they fill `body_bytes` exactly."""
    try:
        listed = _heads.decode(head)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptError("The head of a frame is no list of tensors.") from error
    places, start = [], 0
    for item in listed:
        place = Place(item.name, _dtype(item), _shape(item), start, item.size_bytes)
        _check_size(place)
        places.append(place)
        start += place.size_bytes + -place.size_bytes % _ALIGNMENT
    if start != body_bytes or len({place.name for place in places}) != len(places):
        raise CorruptError("The head of a frame does not fit its body.")
    return tuple(places)


def unpack(places: Sequence[Place], body: Array) -> dict[str, Array]:
    """Return the tensors that lie in `body` (uint8); numbers are views of it. Raises CorruptError for text that is not sound."""
    return {place.name: _tensor(place, body[place.start : place.start + place.size_bytes]) for place in places}


def _number_bytes(tensor: Array, dtype: DType) -> memoryview:
    return np.ascontiguousarray(tensor, dtype=dtype.numpy).reshape(-1).view(np.uint8).data


def text_bytes(tensor: Array) -> bytes:
    """Return the texts of `tensor` as they lie in a frame. Raises ValueError for text that is none: a lone surrogate, no string."""
    texts = [element.encode() if isinstance(element, str) else _refuse(element) for element in tensor.flat]
    return np.cumsum([0, *map(len, texts)], dtype=_OFFSET).tobytes() + b"".join(texts)


def _refuse(element: object) -> bytes:
    raise ValueError(f"there is a {type(element).__name__} among the texts")


def _dtype(item: _Listed) -> DType:
    try:
        return DType(item.dtype)
    except ValueError:
        raise CorruptError("A frame holds a tensor of an unknown type.") from None


def _shape(item: _Listed) -> tuple[int, ...]:
    limit = _EMPTY_LIMIT if 0 in item.shape else _ELEMENT_LIMIT
    product = 1
    for size in item.shape:
        if size < 0 or product > limit:
            raise CorruptError("A frame holds a tensor of an impossible shape.")
        product *= max(size, 1)  # numpy counts this way too, also where a dimension is 0
    if product > limit or len(item.shape) > _DIMENSION_LIMIT:
        raise CorruptError("A frame holds a tensor of an impossible shape.")
    return tuple(item.shape)


def _check_size(place: Place) -> None:
    """Compare with Python's integers, which do not overflow, before anything of that size is allocated."""
    count = 1
    for size in place.shape:
        count *= size
    if place.dtype is DType.BYTES:
        fits = place.size_bytes >= (count + 1) * _OFFSET.itemsize
    else:
        fits = place.size_bytes == count * place.dtype.numpy.itemsize
    if not fits:
        raise CorruptError("A tensor in a frame has another size than its shape says.")


def _tensor(place: Place, data: Array) -> Array:
    if place.dtype is DType.BOOL and (data > 1).any():
        raise CorruptError("A frame holds booleans that are neither true nor false.")
    if place.dtype is not DType.BYTES:
        return data.view(place.dtype.numpy).reshape(place.shape)
    count = 1
    for size in place.shape:
        count *= size
    return read_texts(data, count).reshape(place.shape)


def read_texts(data: Array, count: int) -> Array:
    """Return the `count` texts that lie in `data` (uint8, at least the offsets' bytes); raises CorruptError where they are not sound."""
    border = (count + 1) * _OFFSET.itemsize
    offsets, blob = data[:border].view(_OFFSET), data[border:].tobytes()
    if offsets[0] != 0 or offsets[-1] != len(blob) or (offsets[1:] < offsets[:-1]).any():
        raise CorruptError("The texts in a frame do not fit their offsets.")
    tensor = np.empty(count, dtype=object)
    try:
        tensor[:] = [blob[start:stop].decode() for start, stop in itertools.pairwise(offsets.tolist())]
    except UnicodeDecodeError:
        raise CorruptError("A text in a frame is not UTF-8.") from None
    return tensor
