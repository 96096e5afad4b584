"""Rows of the observation log, between arrays and Parquet.

Takes ObservedRows and labels; gives the bytes of a file, and back. What is stored has a mark of ours: a file without it, a torn one, and
one whose pages do not have their checksums raise CorruptError. A column that lacks no value is stored as such, which takes half the time.
"""

from __future__ import annotations

import json
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
        "request_id": pa.array(map(_sound, ids), pa.string()),
        "row": pa.array(rows, pa.int32()),
        "label": pa.array([json.dumps(value) for value in values], pa.string()),
        "at": pa.array(times, pa.float64()),
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
        use_dictionary=[name for name, array in arrays.items() if pa.types.is_string(array.type) and name != "request_id"],
        write_statistics=["at"],
        write_page_checksum=True,
        row_group_size=4 * PIECE_ROWS,
    )
    return memoryview(sink.getvalue())


def _to_arrow(column: Array) -> pa.Array:
    if column.dtype.kind != "O":
        if column.dtype == np.float16:
            column = column.astype(np.float32)
        if column.ndim == 1:
            return pa.array(column)
        width = int(np.prod(column.shape[1:]))
        return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(column).reshape(-1)), width)
    if any(isinstance(item, np.ndarray) for item in column[:1]):
        offsets = np.cumsum([0, *(item.size for item in column)], dtype=np.int64)
        return pa.LargeListArray.from_arrays(pa.array(offsets), _to_arrow(np.concatenate([item.reshape(-1) for item in column])))
    try:
        return pa.array(column, pa.string())
    except (UnicodeEncodeError, pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if item is None else _sound(item) for item in column.tolist()], pa.string())


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
        if column.null_count and not pa.types.is_string(kind):
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


def _kind(type_: pa.DataType) -> str:
    if pa.types.is_string(type_) or pa.types.is_dictionary(type_):
        return "text"
    if pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_):
        return "list"
    if pa.types.is_boolean(type_):
        return "flag"
    return "whole" if pa.types.is_integer(type_) else "number"
