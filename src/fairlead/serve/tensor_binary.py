"""Raw tensor bytes to arrays and back: the form of the binary extension of the V2 protocol and of gRPC's raw contents.

Takes little-endian, row-major bytes; BYTES are a 4-byte length and UTF-8 text per element, BOOL is one byte, 0 or 1, BF16 is widened to
the FP32 or FP64 that the model takes, which loses nothing. Gives arrays that share the buffer's memory where it is aligned. Raises
RequestError with what was expected and what came, TooLargeError. It never wraps, rounds, or reads beyond what was given.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from struct import Struct
from typing import TypeAlias

import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, TensorSpec, shorten
from fairlead.errors import RequestError, TooLargeError
from fairlead.serve.steps import Steps, at_once
from fairlead.serve.tensor_json import element_count

Buffer: TypeAlias = bytes | bytearray | memoryview
TEXT_LIMIT = 2**22  # texts in one tensor: each takes some 64 bytes, whatever it took on the wire
_TEXT_COST = 8  # a text takes as long as so many numbers
BF16 = "BF16"
_LENGTH = Struct("<I")
_BYTES, _BOOL = DType.BYTES, DType.BOOL  # an attribute of an enum costs as much as the comparison
_BF16 = np.dtype(np.uint16)
_IS_LITTLE = sys.byteorder == "little"


def check_datatype(spec: TensorSpec, datatype: str, *, is_raw: bool) -> None:
    """Raise RequestError unless tensors of `datatype` can be given to `spec`; `is_raw` says that they come as bytes."""
    if datatype == spec.dtype.value and (is_raw or spec.dtype is not DType.FP16):
        return
    name = f"Input '{spec.name}'"
    if datatype in {"FP16", BF16} and not is_raw:
        raise RequestError(f"{name} is sent as {datatype}, which has no JSON form.", hint=f"Send its bytes. Expected {spec.describe()}.")
    if datatype == BF16:
        if spec.dtype in (DType.FP32, DType.FP64):
            return
    elif datatype not in DType.__members__:
        raise RequestError(f"{name} has the unknown datatype '{shorten(datatype)}'.", hint=f"Expected {spec.describe()}.")
    raise RequestError(f"{name} is sent as {datatype}.", hint=f"Expected {spec.describe()}.")


def read_raw(spec: TensorSpec, shape: Sequence[int], buffer: Buffer, datatype: str = "") -> Array:
    """Return the tensor of `shape` that lies in `buffer`; `datatype` is the sender's name of its type, "" for the model's."""
    dtype = spec.dtype
    is_foreign = datatype not in {"", dtype}
    if is_foreign:
        check_datatype(spec, datatype, is_raw=True)
    size = element_count(spec, shape)
    if dtype is _BYTES:
        return at_once(_texts(spec, size, buffer)).reshape(tuple(shape))
    wire = _BF16 if is_foreign else dtype.numpy
    if len(buffer) != size * wire.itemsize:
        kind = datatype or dtype.value
        raise RequestError(f"Input '{spec.name}' has {len(buffer)} bytes; {kind} of shape {list(shape)} needs {size * wire.itemsize}.")
    array: Array = np.frombuffer(buffer, wire)
    if not _IS_LITTLE:
        array = array.byteswap()
    elif not array.flags.aligned:
        array = array.copy()
    if is_foreign:  # BF16 is the upper half of FP32
        array = (array.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(dtype.numpy, copy=False)
    elif dtype is _BOOL and array.view(np.uint8).max() > 1:
        raise RequestError(f"Input '{spec.name}' holds a byte that is neither 0 nor 1.", hint="BOOL is one byte for each element.")
    return array.reshape(tuple(shape))


def read_raw_in_steps(spec: TensorSpec, shape: Sequence[int], buffer: Buffer, datatype: str, count: int) -> Steps[Array]:
    """Return what `read_raw` returns, yielding after as many texts as take as long as `count` numbers, which are not looked at."""
    if spec.dtype is not _BYTES:
        return read_raw(spec, shape, buffer, datatype)
    if datatype not in {"", spec.dtype}:
        check_datatype(spec, datatype, is_raw=True)
    return (yield from _texts(spec, element_count(spec, shape), buffer, max(count // _TEXT_COST, 1))).reshape(tuple(shape))


def check_text_count(spec: TensorSpec, size: int) -> None:
    """Raise TooLargeError for more texts than are taken at once."""
    if size > TEXT_LIMIT:
        raise TooLargeError(f"Input '{spec.name}' has {size} texts, more than {TEXT_LIMIT}, the limit.", hint="Send fewer rows at once.")


def write_raw(array: Array) -> bytes:
    """Return the elements of `array` as bytes, row-major and little-endian."""
    if array.dtype.kind in "OUST":
        return _text_bytes(array)
    if not _IS_LITTLE or array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    return array.tobytes()


def _texts(spec: TensorSpec, size: int, buffer: Buffer, count: int = TEXT_LIMIT) -> Steps[Array]:
    """Every element's length is checked against what is left before anything is made of it. Yields after each `count` of them."""
    total = len(buffer)
    if size * _LENGTH.size > total:
        raise RequestError(f"Input '{spec.name}' has {total} bytes, too few for {size} texts with their lengths.")
    check_text_count(spec, size)
    array = np.empty(size, dtype=object)
    place = 0
    for index in range(size):
        if index % count == count - 1:
            yield
        start = place + _LENGTH.size
        end = start + _LENGTH.unpack_from(buffer, place)[0] if start <= total else total + 1
        if end > total:
            raise RequestError(f"Input '{spec.name}': text {index} does not fit into the {total} bytes that were sent.")
        try:
            array[index] = str(buffer[start:end], "utf-8")
        except UnicodeDecodeError:
            raise RequestError(f"Input '{spec.name}': text {index} is not UTF-8.") from None
        place = end
    if place != total:
        raise RequestError(f"Input '{spec.name}' has {total} bytes; its {size} texts end after {place}.")
    return array


def _text_bytes(array: Array) -> bytes:
    parts: list[bytes] = []
    for item in array.ravel().tolist():
        text = item if isinstance(item, bytes) else str(item).encode("utf-8", "replace")
        parts.append(_LENGTH.pack(len(text)))
        parts.append(text)
    return b"".join(parts)
