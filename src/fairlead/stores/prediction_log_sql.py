"""Questions in SQL about rows of the observation log, answered by DuckDB in memory.

Takes pieces of rows and one question about the table `observations`; gives the answer's columns and rows. Raises SpecError for what is no
question. The question reaches nothing but that table: no file, no network, no extension.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from fairlead.core.interface import Array
from fairlead.errors import SpecError

_TYPES = {
    "flag": pa.bool_(),
    "whole": pa.int64(),
    "number": pa.float64(),
    "text": pa.string(),
    "list": pa.list_(pa.float64()),
    "label": pa.string(),
}
_CLOSED: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "memory_limit": "2GB",
}


@dataclass(frozen=True)
class SqlAnswer:
    """What a question brought. `is_cut`: there are more rows than were asked for."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    is_cut: bool = False


def run_sql(question: str, pieces: Iterable[Mapping[str, Array]], kinds: Mapping[str, str], *, limit: int) -> SqlAnswer:
    """Return the answer to `question` about `observations`: the rows of all pieces, with the columns that `kinds` names."""
    schema = pa.schema([pa.field(name, _TYPES[kind]) for name, kind in kinds.items()])
    with duckdb.connect(":memory:", config=_CLOSED) as connection:
        connection.register("incoming", pa.RecordBatchReader.from_batches(schema, _batches(pieces, schema, kinds)))
        connection.execute("CREATE TABLE observations AS SELECT * FROM incoming")
        connection.unregister("incoming")
        connection.execute("SET lock_configuration = true")
        try:
            answer = connection.execute(question)
            rows = answer.fetchmany(limit + 1)
        except duckdb.Error as error:
            first = str(error).strip().splitlines()[0]
            raise SpecError(
                f"The question cannot be answered: {first.rstrip('.!')}.", hint=f"The table is observations; its columns: {_named(kinds)}."
            ) from error
        return SqlAnswer(tuple(item[0] for item in answer.description or ()), tuple(rows[:limit]), is_cut=len(rows) > limit)


def _batches(pieces: Iterable[Mapping[str, Array]], schema: pa.Schema, kinds: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
    for piece in pieces:
        yield pa.RecordBatch.from_arrays(
            [_column(piece[name], kind, schema.field(name).type) for name, kind in kinds.items()], schema=schema
        )


def _column(column: Array, kind: str, type_: pa.DataType) -> pa.Array:
    if kind == "list":
        return pa.array([None if item is None else [float(value) for value in item.ravel()] for item in column], type_)
    if kind == "label":
        return pa.array([None if item is None else str(item) for item in column.tolist()], type_)
    if kind in {"whole", "flag"}:  # where some are missing, they are numbers with NaN
        return pa.array(column, from_pandas=True).cast(type_)
    return pa.array(column, type_, from_pandas=kind != "number")


def _named(kinds: Mapping[str, str]) -> str:
    shown = [name if name.isidentifier() else f'"{name}"' for name in kinds]
    return ", ".join(shown[:20]) + (", …" if len(shown) > 20 else "")
