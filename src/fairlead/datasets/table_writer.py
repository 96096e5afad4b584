"""Writes tables to .parquet, .csv, .jsonl or .npz, chunk by chunk, with constant memory.

Takes the schema first, then Arrow tables in their order; the same tables give the same bytes. NaN is written as NaN (in .jsonl, which has
no word for it, as null), a missing value as missing. Raises SpecError for another suffix, DataError for columns that the format cannot
hold, and OSError of the disk.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from fairlead.core.interface import Array, shorten
from fairlead.errors import DataError, SpecError

_GROUP_ROWS, _GROUP_BYTES = 2**17, 2**25
Tables = Callable[[], Iterable[pa.Table]]


def check_writable(path: Path, schema: pa.Schema) -> None:
    """Raise before any work is done where rows of `schema` could not be written to `path`."""
    suffix = path.suffix.lower()
    if suffix not in WRITERS:
        raise SpecError(f"'{path.name}' is not a format that answers are written in.", hint=f"Known: {', '.join(WRITERS)}.")
    for field in schema:
        if suffix == ".npz" and not _is_flat(field.type):
            raise DataError(f"Column '{shorten(field.name)}' of type {field.type} has no form in .npz.", hint="Write .parquet or .jsonl.")


def check_table(suffix: str, table: pa.Table, *, is_first: bool) -> None:
    """Raise DataError where `table` could not be written, so that a long run does not find out at its end. Of the first, a row is tried."""
    if is_first:
        try:
            write_tables(io.BytesIO(), suffix, table.schema, lambda: [table.slice(0, 1)])
        except (pa.ArrowException, TypeError, ValueError) as error:
            kinds = ", ".join(f"{field.name} {field.type}" for field in table.schema)
            reason = str(error).splitlines()[0].rstrip(".")
            raise DataError(f"The columns ({shorten(kinds, 200)}) cannot be written as {suffix}: {reason}.", hint="Keep others.") from error
    if suffix == ".npz":
        for name in table.column_names:
            _check_missing(name, table.column(name))


def write_tables(file: BinaryIO, suffix: str, schema: pa.Schema, tables: Tables) -> None:
    """Write what `tables()` yields to `file`; it may be asked more than once, and yields the same each time."""
    WRITERS[suffix](file, schema, tables)


def _write_parquet(file: BinaryIO, schema: pa.Schema, tables: Tables) -> None:
    with pa_parquet.ParquetWriter(file, schema, compression="zstd", store_schema=True) as writer:
        waiting: list[pa.Table] = []
        rows = size = 0
        for table in tables():
            waiting.append(table)
            rows, size = rows + table.num_rows, size + table.nbytes
            if rows >= _GROUP_ROWS or size >= _GROUP_BYTES:
                writer.write_table(pa.concat_tables(waiting), row_group_size=rows)
                waiting, rows, size = [], 0, 0
        if waiting:
            writer.write_table(pa.concat_tables(waiting), row_group_size=rows)


def _write_csv(file: BinaryIO, schema: pa.Schema, tables: Tables) -> None:
    plain = pa.schema([(field.name, pa.string() if _is_nested(field.type) else field.type) for field in schema])
    with pa_csv.CSVWriter(file, plain) as writer:
        for table in tables():
            flat = {
                name: _as_json(table.column(name)) if _is_nested(table.schema.field(name).type) else table.column(name)
                for name in plain.names
            }
            writer.write_table(pa.table(flat, schema=plain))


def _write_jsonl(file: BinaryIO, schema: pa.Schema, tables: Tables) -> None:
    encoder = msgspec.json.Encoder()
    for table in tables():
        columns = [_with_plain_dates(table.column(name)).to_pylist() for name in schema.names]
        file.write(encoder.encode_lines([dict(zip(schema.names, row, strict=True)) for row in zip(*columns, strict=True)]))


def _write_npz(file: BinaryIO, schema: pa.Schema, tables: Tables) -> None:
    rows = 0
    widths = dict.fromkeys(schema.names, 1)
    lists = {field.name: -1 for field in schema if _is_nested(field.type)}
    for table in tables():
        rows += table.num_rows
        for name in schema.names:
            _measure(name, table.column(name), widths, lists)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for field in schema:
            dtype = np.dtype(f"<U{widths[field.name]}") if _is_text(field.type) else _numbers(field.name, field.type)
            shape = (rows, max(lists[field.name], 0)) if field.name in lists else (rows,)
            header = io.BytesIO()
            np.lib.format.write_array_header_2_0(header, {"descr": dtype.str, "fortran_order": False, "shape": shape})
            member = zipfile.ZipInfo(f"{field.name}.npy")  # its date is fixed: equal tables are equal files
            with archive.open(member, "w", force_zip64=True) as stream:
                stream.write(header.getvalue())
                for table in tables():
                    stream.write(_values(table.column(field.name), dtype).tobytes())


def _measure(name: str, column: pa.ChunkedArray, widths: dict[str, int], lists: dict[str, int]) -> None:
    """Note how wide a text column, and how long a column of lists is; raises DataError for lists of different lengths."""
    if name in lists:
        lengths = {len(item) for chunk in column.chunks for item in chunk}
        lengths |= {lists[name]} if lists[name] >= 0 else set()
        if len(lengths) > 1:
            raise DataError(f"Column '{shorten(name)}' has lists of different lengths, which .npz cannot hold.", hint="Write .parquet.")
        lists[name] = next(iter(lengths), -1)
    _check_missing(name, column)
    if _is_text(column.type):
        widths[name] = max(widths[name], *(len(text) for text in column.to_pylist()), 1)


def _check_missing(name: str, column: pa.ChunkedArray) -> None:
    if column.null_count and not pa.types.is_floating(column.type):
        raise DataError(f"Column '{shorten(name)}' has missing values, which .npz cannot hold.", hint="Write .parquet, .csv or .jsonl.")


def _values(column: pa.ChunkedArray, dtype: np.dtype[np.generic]) -> Array:
    flat = column
    while _is_nested(flat.type):
        flat = pa.chunked_array([chunk.flatten() for chunk in flat.chunks], type=flat.type.value_type)
    if _is_text(flat.type):
        return np.asarray(flat.to_pylist(), dtype=dtype)
    return np.asarray(flat.to_numpy(), dtype=dtype)


def _numbers(name: str, kind: pa.DataType) -> np.dtype[np.generic]:
    while _is_nested(kind):
        kind = kind.value_type
    try:
        dtype: np.dtype[np.generic] = np.dtype(kind.to_pandas_dtype())
    except (NotImplementedError, TypeError) as error:
        raise DataError(f"Column '{shorten(name)}' of type {kind} has no form in .npz.", hint="Write .parquet or .jsonl.") from error
    return dtype


def _is_nested(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_flat(kind: pa.DataType) -> bool:
    inner = kind.value_type if _is_nested(kind) else kind
    is_number = pa.types.is_integer(inner) or pa.types.is_floating(inner) or pa.types.is_boolean(inner)
    return bool(is_number or (_is_text(inner) and inner is kind))


def _as_json(column: pa.ChunkedArray) -> pa.Array:
    return pa.array([None if item is None else msgspec.json.encode(item).decode() for item in column.to_pylist()], pa.string())


def _with_plain_dates(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Times as ISO text: Python's own have no nanoseconds."""
    return column.cast(pa.string()) if pa.types.is_temporal(column.type) else column


WRITERS: Mapping[str, Callable[[BinaryIO, pa.Schema, Tables], None]] = {
    ".parquet": _write_parquet,
    ".csv": _write_csv,
    ".jsonl": _write_jsonl,
    ".npz": _write_npz,
}
