"""Rows of the observation log, between arrays and Parquet.

Takes ObservedRows and labels; gives the bytes of a file, and back. What is stored has a mark of ours: a file without it, a torn one, and
one whose pages do not have their checksums raise CorruptError. A column that lacks no value is stored as such, which takes half the time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fairlead.core.interface import Array
from fairlead.core.observation_log import ObservedRows, RowLabel
from fairlead.errors import CorruptError

_MARK = b"fairlead.observations"
_FORMAT = b"1"
_SHAPES = b"fairlead.shapes"
PIECE_ROWS = 16_384
LABEL_FIELDS = ("request_id", "row", "label", "at")
_FAST, _SMALL = "none", "zstd"


def encode_rows(rows: ObservedRows, *, is_small: bool) -> memoryview:
    """Return a file with the rows; `is_small` takes four times the time for two thirds of the size."""
    arrays, shapes = {}, {}
    for name, column in rows.columns.items():
        arrays[name] = _to_arrow(column)
        if column.ndim > 2:
            shapes[name] = list(column.shape[1:])
    return _encode(arrays, {_SHAPES: json.dumps(shapes).encode()} if shapes else {}, is_small=is_small)


def encode_labels(labels: Sequence[RowLabel]) -> memoryview:
    """Return a file with the labels."""
    ids, rows, values, times = zip(*labels, strict=True)
    arrays = {
        "request_id": _texts(list(ids)),
        "row": _numbers(np.array(rows, np.int32)),
        "label": _texts([json.dumps(value) for value in values]),
        "at": _numbers(np.array(times, np.float64)),
    }
    return _encode(arrays, {}, is_small=True)


def _encode(arrays: Mapping[str, pa.Array], said: Mapping[bytes, bytes], *, is_small: bool) -> memoryview:
    fields = [pa.field(name, array.type, nullable=array.null_count > 0) for name, array in arrays.items()]
    table = pa.Table.from_arrays(list(arrays.values()), schema=pa.schema(fields, metadata={_MARK: _FORMAT, **said}))
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression=_SMALL if is_small else _FAST,
        use_dictionary=[name for name, array in arrays.items() if pa.types.is_large_string(array.type) and name != "request_id"],
        write_statistics=["at"],
        write_page_checksum=True,
        row_group_size=4 * PIECE_ROWS,
    )
    return memoryview(sink.getvalue())


def _to_arrow(column: Array) -> pa.Array:
    if column.dtype.kind != "O":
        numbers = _numbers(np.ascontiguousarray(column).reshape(-1))
        return numbers if column.ndim == 1 else pa.FixedSizeListArray.from_arrays(numbers, math.prod(column.shape[1:]))
    items = column.tolist()
    if items and isinstance(items[0], np.ndarray):
        offsets = np.cumsum([0, *(item.size for item in items)], dtype=np.int64)
        return pa.LargeListArray.from_arrays(_numbers(offsets), _numbers(np.concatenate([item.reshape(-1) for item in items])))
    return _texts(items)


def _texts(items: list[Any]) -> pa.Array:
    """Return texts laid out by hand: where it can, pa.array imports pandas first, half a second of work for a server."""
    if items and items[0].__class__ is str and items.count(items[0]) == len(items):  # as most are: it takes a tenth of the time
        content = _sound(items[0]).encode()
        return _laid_out(content * len(items), np.arange(len(items) + 1, dtype=np.int64) * len(content))
    is_there = None
    if None in items:
        is_there = pa.py_buffer(np.packbits(np.array([item is not None for item in items]), bitorder="little"))
        items = ["" if item is None else item for item in items]
    try:
        joined = "".join(items)
    except TypeError:
        joined = "\x80"  # bytes are among them
    if joined.isascii():
        content, lengths = joined.encode(), list(map(len, items))
    else:
        encoded = [_sound(item).encode() for item in items]
        content, lengths = b"".join(encoded), list(map(len, encoded))
    return _laid_out(content, np.cumsum([0, *lengths], dtype=np.int64), is_there)


def _laid_out(content: bytes, offsets: Array, is_there: pa.Buffer | None = None) -> pa.Array:
    return pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, [is_there, pa.py_buffer(offsets), pa.py_buffer(content)])


def _numbers(column: Array) -> pa.Array:
    """Return numbers as they lie in memory. Where it can, pa.array of an array imports pandas first, half a second of work."""
    if column.dtype == np.float16:
        column = column.astype(np.float32)
    bits = np.packbits(column, bitorder="little") if column.dtype == np.bool_ else column
    return pa.Array.from_buffers(pa.from_numpy_dtype(column.dtype), len(column), [None, pa.py_buffer(bits)], null_count=0)


def _sound(text: object) -> str:
    """Return a text that UTF-8 can hold."""
    plain = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    return plain.encode("utf-8", "backslashreplace").decode("utf-8")


class LogReader:
    """A file that is open for reading. Raises CorruptError where it is torn, or not of this log."""

    def __init__(self, file: pa.NativeFile) -> None:
        with typed_corruption():
            self._parquet = pq.ParquetFile(file, page_checksum_verification=True)
            self._schema = self._parquet.schema_arrow
        said = self._schema.metadata or {}
        if said.get(_MARK) != _FORMAT:
            raise CorruptError("It has not the mark of an observation log of this release.")
        self._shapes = json.loads(said.get(_SHAPES, b"{}"))
        self.row_count: int = self._parquet.metadata.num_rows

    def kinds(self) -> dict[str, str]:
        """Return the columns: name -> flag, whole, number, text or list."""
        return {field.name: _kind(field.type) for field in self._schema}

    def pieces(self, columns: Sequence[str], piece_rows: int = PIECE_ROWS) -> Iterator[dict[str, Array]]:
        """Yield the columns that the file has, in pieces."""
        there = [name for name in dict.fromkeys(columns) if name in self._schema.names]
        with typed_corruption():
            for batch in self._parquet.iter_batches(piece_rows, columns=there, use_threads=False):
                yield {name: self._to_numpy(name, batch.column(name)) for name in there}

    def _to_numpy(self, name: str, column: pa.Array) -> Array:
        kind = column.type
        if pa.types.is_fixed_size_list(kind):
            shape = self._shapes.get(name, [kind.list_size])
            return np.asarray(column.flatten().to_numpy(zero_copy_only=False)).reshape(len(column), *shape)
        if pa.types.is_large_list(kind):
            return objects([item.values.to_numpy(zero_copy_only=False) for item in column])
        if column.null_count and not _is_text(kind):
            column = column.cast(pa.float64())
        return np.asarray(column.to_numpy(zero_copy_only=False))


def objects(items: Sequence[Any]) -> Array:
    """Return an object array of `items`, whatever they are."""
    array = np.empty(len(items), object)
    for place, item in enumerate(items):
        array[place] = item
    return array


@contextmanager
def typed_corruption() -> Iterator[None]:
    """Turn what Arrow says of a torn file into CorruptError. Errors of the system have a number, Arrow's have none."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise CorruptError("It is torn, or no file of an observation log.") from error


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))


def _kind(type_: pa.DataType) -> str:
    if _is_text(type_):
        return "text"
    if pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_):
        return "list"
    if pa.types.is_boolean(type_):
        return "flag"
    return "whole" if pa.types.is_integer(type_) else "number"
