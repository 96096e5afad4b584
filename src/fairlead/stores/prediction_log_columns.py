"""Rows of the observation log, between arrays and Parquet, by Arrow: all of its reading, and the writing of lists and of merged files.

Takes ObservedRows; gives the bytes of a file, and back. What is stored has a mark of ours: a file without it, a torn one, and one whose
pages do not have their checksums raise CorruptError.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fairlead.core.interface import Array
from fairlead.core.observation_log import ObservedRows
from fairlead.errors import CorruptError
from fairlead.stores.prediction_log_plain import MARK, sound

_SHAPES = b"fairlead.shapes"
_REPLACES = b"fairlead.replaces"
PIECE_ROWS = 16_384
LABEL_FIELDS = ("request_id", "row", "label", "at")


def encode_rows(rows: ObservedRows) -> memoryview:
    """Return a file with the rows."""
    arrays, shapes = {}, {}
    for name, column in rows.columns.items():
        arrays[name] = _to_arrow(column)
        if column.ndim > 2:
            shapes[name] = list(column.shape[1:])
    fields = [pa.field(name, array.type, nullable=array.null_count > 0) for name, array in arrays.items()]
    said = MARK | ({_SHAPES: json.dumps(shapes).encode()} if shapes else {})
    return _written(pa.Table.from_arrays(list(arrays.values()), schema=pa.schema(fields, metadata=said)), "none")


def encode_merged(tables: Sequence[pa.Table], paths: Sequence[str]) -> memoryview:
    """Return a file with the rows of several files of the same columns (see `LogReader.table`), which names these files; a small one."""
    table = pa.concat_tables(tables).combine_chunks()
    said = dict(table.schema.metadata or {}) | MARK | {_REPLACES: json.dumps(list(paths)).encode()}
    return _written(table.replace_schema_metadata(said), "zstd")


def _written(table: pa.Table, compression: str) -> memoryview:
    texts = [field.name for field in table.schema if _is_text(field.type) and field.name != "request_id"]
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression=compression,
        use_dictionary=texts,
        write_statistics=False,
        write_page_checksum=True,
        row_group_size=4 * PIECE_ROWS,
    )
    return memoryview(sink.getvalue())


def _to_arrow(column: Array) -> pa.Array:
    if column.dtype.kind not in "OSU":
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
        content = sound(items[0]).encode()
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
        encoded = [sound(item).encode() for item in items]
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


class LogReader:
    """A file that is open for reading. Raises CorruptError where it is torn, or not of this log."""

    def __init__(self, file: pa.NativeFile) -> None:
        with typed_corruption():
            self._parquet = pq.ParquetFile(file, page_checksum_verification=True)
            self._schema = self._parquet.schema_arrow
        said = self._schema.metadata or {}
        if any(said.get(key) != value for key, value in MARK.items()):
            raise CorruptError("It has not the mark of an observation log of this release.")
        self._shapes = json.loads(said.get(_SHAPES, b"{}"))
        self.row_count: int = self._parquet.metadata.num_rows
        self.replaces = frozenset(json.loads(said.get(_REPLACES, b"[]")))  # paths of the files that it was made of

    def kinds(self) -> dict[str, str]:
        """Return the columns: name -> flag, whole, number, text or list."""
        return {field.name: _kind(field.type) for field in self._schema}

    def table(self) -> pa.Table:
        """Return all rows, with texts of one type; what the file was made of is forgotten."""
        with typed_corruption():
            table = self._parquet.read(use_threads=False)
        fields = [pa.field(field.name, pa.large_string() if _is_text(field.type) else field.type) for field in table.schema]
        said = {key: value for key, value in (table.schema.metadata or {}).items() if key in {*MARK, _SHAPES}}
        return table.cast(pa.schema(fields, metadata=said))

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
