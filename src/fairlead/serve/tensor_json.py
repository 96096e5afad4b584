"""JSON values to tensors and back, without a silent change of any value.

Takes lists as a JSON decoder gives them, flat or nested; gives arrays of the element type that a TensorSpec asks for. Raises RequestError
for a wrong type, a number out of range, a ragged list, or a count that does not fit the shape. `null` in floating-point data is NaN,
and NaN and infinities are `null` in answers: JSON has no other way to write them. It never wraps, truncates or rounds an integer.
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Callable, Generator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, TensorSpec
from fairlead.errors import RequestError, TooLargeError

DIMENSION_LIMIT = 16
# struct packs a list three times as fast as numpy converts it, and refuses what is out of range: integers always, floats only where the
# order of bytes is named, which is also faster for them. See docs/decisions/0002-data-plane.md.
_ORDER = "<" if sys.byteorder == "little" else ">"
_CODES = {
    DType.FP32: "f",
    DType.FP64: "d",
    DType.INT8: "b",
    DType.INT16: "h",
    DType.INT32: "i",
    DType.INT64: "q",
    DType.UINT8: "B",
    DType.UINT16: "H",
    DType.UINT32: "I",
    DType.UINT64: "Q",
}
_RANGES = {DType.FP32: "±3.4e38", DType.FP64: "±1.8e308"} | {
    dtype: f"{np.iinfo(dtype.numpy).min} to {np.iinfo(dtype.numpy).max}"  # type: ignore[type-var]
    for dtype in _CODES
    if dtype.is_integer
}


def shaped(spec: TensorSpec, shape: Sequence[int], values: list[Any], *, is_checked: bool = False) -> Array:
    """Return `values` (flat, or nested in any way) with `shape`. `is_checked` promises a flat list of floats."""
    size = shape[1] if len(shape) == 2 and shape[0] == 1 and shape[1] > 0 else element_count(spec, shape)
    flat = values if is_checked else flatten(spec, values)[1]
    if len(flat) != size:
        raise RequestError(f"Input '{spec.name}' has {len(flat)} elements; its shape {list(shape)} needs {size}.")
    return _pack(spec, flat, shape) if is_checked else pack(spec, flat).reshape(tuple(shape))


def element_count(spec: TensorSpec, shape: Sequence[int]) -> int:
    """Return how many elements `shape` has, as a Python int that cannot overflow; raises RequestError for a nonsensical shape."""
    if len(shape) > DIMENSION_LIMIT:
        raise RequestError(f"Input '{spec.name}' has {len(shape)} dimensions, allowed are {DIMENSION_LIMIT}.")
    if shape and min(shape) < 1:
        what = "a negative dimension" if min(shape) < 0 else "a dimension of 0"
        raise RequestError(f"Input '{spec.name}' has {what} in its shape.", hint=f"Each has to be at least 1. Expected {spec.describe()}.")
    return math.prod(shape)


def nested(spec: TensorSpec, values: Any) -> Array:
    """Return `values` with the shape of their nesting."""
    if not isinstance(values, list):
        raise RequestError(f"Input '{spec.name}' is {_kind(values)}, not a list.", hint=f"Expected {spec.describe()}.")
    shape, flat = flatten(spec, values)
    return pack(spec, flat).reshape(shape)


def flatten(spec: TensorSpec, values: list[Any]) -> tuple[tuple[int, ...], list[Any]]:
    """Return the shape of a nested list and its elements in row-major order; raises RequestError for a ragged one."""
    shape = [len(values)]
    level = values
    while level and isinstance(level[0], list):
        width = len(level[0])
        if not all(isinstance(item, list) and len(item) == width for item in level):
            raise RequestError(f"Input '{spec.name}' is ragged: its lists have different lengths.", hint=f"Expected {spec.describe()}.")
        shape.append(width)
        if len(shape) > DIMENSION_LIMIT:
            raise RequestError(f"Input '{spec.name}' has more than {DIMENSION_LIMIT} dimensions.")
        level = list(chain.from_iterable(level))
    return tuple(shape), level


def pack(spec: TensorSpec, flat: list[Any]) -> Array:
    """Return a flat list of JSON values as a one-dimensional array; raises RequestError for a value that does not fit."""
    kinds = set(map(type, flat))
    if spec.dtype is DType.BYTES:
        _check_kinds(spec, kinds, {str, int} if spec.is_category else {str}, "strings or whole numbers" if spec.is_category else "strings")
        array = np.empty(len(flat), dtype=object)
        array[:] = list(map(str, flat)) if int in kinds else flat
        return array
    if spec.dtype is DType.BOOL:
        _check_kinds(spec, kinds, {bool}, "true or false")
        return np.array(flat, dtype=np.bool_)
    if spec.dtype.is_float:
        _check_kinds(spec, kinds, {float, int, type(None)}, "numbers")
        array = _pack(spec, [math.nan if value is None else value for value in flat] if type(None) in kinds else flat)
        # JSON has no infinity, so one here is a number that was too large for its type.
        if spec.dtype is DType.FP32 and np.isinf(array).any():
            raise _out_of_range(spec)
        return array
    _check_kinds(spec, kinds, {int, float}, "whole numbers")
    return _pack(spec, [_whole(spec, value) for value in flat] if float in kinds else flat)


def nested_in_steps(spec: TensorSpec, values: list[Any], count: int) -> Generator[None, None, Array]:
    """Return what `nested` returns, yielding after about each `count` elements; `values` and the lists in it are emptied on the way."""
    shape, level = [len(values)], values
    while level and isinstance(level[0], list):
        width = len(level[0])
        below: list[Any] = []
        shape.append(width)
        if len(shape) > DIMENSION_LIMIT:
            raise RequestError(f"Input '{spec.name}' has more than {DIMENSION_LIMIT} dimensions.")
        taken = max(count // max(width, 1), 1)
        for place in range(0, len(level), taken):
            some = level[place : place + taken]
            if not all(isinstance(item, list) and len(item) == width for item in some):
                raise RequestError(f"Input '{spec.name}' is ragged: its lists have different lengths.", hint=f"Expected {spec.describe()}.")
            for start in range(0, width if taken == 1 else 1, count):
                below += some[0][start : start + count] if taken == 1 else chain.from_iterable(some)
                yield
            yield from _emptied(some[0] if taken == 1 else [], count)
        yield from _emptied(level, taken)
        level = below
    array = np.empty(len(level), spec.dtype.numpy)
    for end in range(len(level), 0, -count):
        array[max(end - count, 0) : end] = pack(spec, level[-count:])
        del level[-count:]
        yield
    return array.reshape(shape)


def _emptied(values: list[Any], count: int) -> Generator[None, None, None]:
    """Let go of a long list: millions of values at once would take as long as to read them."""
    while values:
        del values[-count:]
        yield


def plain(array: Array) -> list[Any]:
    """Return the elements of `array`, row-major, as a JSON encoder takes them; BYTES become text."""
    if array.dtype.kind in "OUS":
        return _plain_text(array.ravel())
    values: list[Any] = array.tolist() if array.ndim == 1 else array.ravel().tolist()
    return values


def plain_nested(array: Array) -> Any:
    """Return `array` as nested lists."""
    if array.dtype.kind in "OUS":
        flat = np.empty(array.size, dtype=object)
        flat[:] = _plain_text(array.ravel())
        array = flat.reshape(array.shape)
    return array.tolist()


def _plain_text(flat: Array) -> list[str]:
    return [item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in flat.tolist()]


def _pack(spec: TensorSpec, flat: list[Any], shape: Sequence[int] = ()) -> Array:
    """Return numbers with `shape`, which has as many elements; flat where there is none."""
    code = _CODES.get(spec.dtype)
    if code is None:
        raise RequestError(f"Input '{spec.name}': {spec.dtype.value} has no JSON form.", hint="Send FP32 to a model that takes it.")
    try:
        packed = _packer(code, len(flat))(*flat)
    except (struct.error, OverflowError):
        raise _out_of_range(spec) from None
    except MemoryError:
        raise TooLargeError(f"Input '{spec.name}' does not fit into memory.", hint="Send fewer rows at once.") from None
    return np.ndarray(tuple(shape) or (len(flat),), spec.dtype.numpy, packed)


@lru_cache(maxsize=256)
def _packer(code: str, count: int) -> Callable[..., bytes]:
    return struct.Struct(f"{_ORDER}{count}{code}").pack


def _out_of_range(spec: TensorSpec) -> RequestError:
    return RequestError(f"Input '{spec.name}' holds a number outside of {spec.dtype.value}.", hint=f"Its range is {_RANGES[spec.dtype]}.")


def _check_kinds(spec: TensorSpec, kinds: set[type], allowed: set[type], wanted: str) -> None:
    wrong = kinds - allowed
    if wrong:
        found = " and ".join(sorted(_KINDS.get(kind, "something else") for kind in wrong))
        raise RequestError(f"Input '{spec.name}' holds {found} where {wanted} are needed.", hint=f"Expected {spec.describe()}.")


def _whole(spec: TensorSpec, value: float) -> int:
    if not isinstance(value, int) and not value.is_integer():
        raise RequestError(f"Input '{spec.name}' holds a fraction where whole numbers are needed.", hint=f"Expected {spec.describe()}.")
    return int(value)


_KINDS: dict[type, str] = {
    str: "strings",
    bool: "true or false",
    int: "whole numbers",
    float: "fractions",
    type(None): "null",
    list: "lists",
    dict: "objects",
}


def _kind(value: Any) -> str:
    return {str: "a string", bool: "true or false", type(None): "null", dict: "an object"}.get(type(value), "a number")
