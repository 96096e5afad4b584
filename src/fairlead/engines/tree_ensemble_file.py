"""A tree ensemble on disk: one file, `model.trees`, data only. What readers leave, and what the compiled kernel opens.

Takes and gives core.tree_ensemble.TreeEnsemble. Layout: 8 bytes "FLTREES1", 8 bytes length of the header (little endian), a JSON header,
and the arrays one after the other, each at a multiple of 8 bytes. What is read is untrusted: every length is checked against the file's
own before anything is taken from it, and the value's law after. Raises CorruptError; never unpickles.
"""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Array
from fairlead.core.tree_ensemble import Transform, TreeEnsemble
from fairlead.errors import CorruptError
from fairlead.typed_json import decoder

TREES_FILE = "model.trees"
_MAGIC = b"FLTREES1"
_HEADER_LIMIT_BYTES = 64 * 2**20
_ALIGNMENT = 8
_HINT = "Import the model again."
_TYPES: dict[str, np.dtype[Any]] = {
    "roots": np.dtype("<i4"),
    "groups": np.dtype("<i4"),
    "splits": np.dtype("u1"),
    "features": np.dtype("<i4"),
    "thresholds": np.dtype("<f8"),
    "left": np.dtype("<i4"),
    "right": np.dtype("<i4"),
    "missing": np.dtype("u1"),
    "missing_left": np.dtype("?"),
    "leaf_values": np.dtype("<f8"),
    "base": np.dtype("<f8"),
    "category_offsets": np.dtype("<i4"),
    "category_values": np.dtype("<i4"),
    "unknown_category_left": np.dtype("?"),
}


class _Header(msgspec.Struct, frozen=True):
    """Everything but the arrays, and the arrays' shapes."""

    shapes: dict[str, tuple[int, ...]]
    feature_count: int
    output_count: int
    compare_dtype: DType
    sum_dtype: DType
    transform: Transform
    scale: float
    is_averaged: bool
    is_decided_by_sum: bool
    feature_names: tuple[str, ...]


_VALUES = tuple(field.name for field in fields(TreeEnsemble) if field.name not in _TYPES)


def write_tree_ensemble(path: Path, trees: TreeEnsemble) -> None:
    """Write `trees`; equal ones give equal bytes. Raises CorruptError where they do not keep their law."""
    trees.check()
    arrays = {name: np.ascontiguousarray(getattr(trees, name), dtype=dtype) for name, dtype in _TYPES.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    header = msgspec.json.encode(_Header(shapes, **{name: getattr(trees, name) for name in _VALUES}), order="sorted")
    with path.open("wb") as file:
        file.write(_MAGIC + len(header).to_bytes(_ALIGNMENT, "little") + header)
        for array in arrays.values():
            file.write(b"\0" * (-file.tell() % _ALIGNMENT))
            file.write(array.tobytes())


def read_tree_ensemble(path: Path) -> TreeEnsemble:
    """Return the ensemble in the file at `path`, its arrays read-only, its law checked."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _broken("it cannot be read") from error
    size = int.from_bytes(data[8:16], "little")
    if data[:8] != _MAGIC or size > min(len(data) - 16, _HEADER_LIMIT_BYTES):
        raise _broken("it does not begin as such a file does")
    try:
        header = decoder(_Header).decode(data[16 : 16 + size])
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise _broken(f"its header: {str(error)[:200]}") from error
    if set(header.shapes) != set(_TYPES):
        raise _broken("its header does not name the arrays")
    if {header.compare_dtype, header.sum_dtype} - {DType.FP32, DType.FP64}:
        raise _broken("its numbers are neither FP32 nor FP64")
    parts: dict[str, Any] = {name: getattr(header, name) for name in _VALUES}
    place = 16 + size
    for name, dtype in _TYPES.items():
        parts[name], place = _take(data, place, header.shapes[name], dtype)
    if place != len(data):
        raise _broken(f"{len(data) - place} bytes are left over")
    trees = TreeEnsemble(**parts)
    trees.check()
    return trees


def _take(data: bytes, place: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[Array, int]:
    """Return the array at `place`, and where it ends."""
    place += -place % _ALIGNMENT
    count = math.prod(shape)
    if any(not 0 <= size <= len(data) for size in shape) or place + count * dtype.itemsize > len(data):
        raise _broken("an array is longer than the file")
    if dtype.kind == "b" and data[place : place + count].strip(b"\0\1"):
        raise _broken("a truth value is neither 0 nor 1")
    return np.frombuffer(data, dtype, count, place).reshape(shape), place + count * dtype.itemsize


def _broken(problem: str) -> CorruptError:
    return CorruptError(f"The file of trees is not sound: {problem}.", hint=_HINT)
