"""Reads .jsonl in chunks: one record, or one list of numbers, on each line.

Takes an open file; gives chunks. Raises DataError for a line that is no JSON, or lacks what other lines have. Kept columns have the type
that the first chunk shows: numbers, booleans or text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa

from fairlead.core.interface import shorten
from fairlead.datasets.json_reader import raw_of
from fairlead.datasets.raw import Raw
from fairlead.datasets.record_splitter import Records, numbered_records, split_records
from fairlead.datasets.stream import Chunk, Wanted, check_kept
from fairlead.errors import DataError

_PLAIN = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_string)


class JsonLinesStream:
    """The rows of a .jsonl file."""

    total_rows: int | None = None
    is_typed = False

    def __init__(self, file: BinaryIO, wanted: Wanted) -> None:
        self._file, self._wanted = file, wanted
        self._types = self._kept_types() if wanted.kept else {}

    def chunks(self, chunk_rows: int, start: int) -> Iterator[Chunk]:
        """See RowStream."""
        self._file.seek(0)
        for first, records, done in numbered_records(self._file, chunk_rows, start, has_quotes=False):
            yield Chunk(first, len(records), partial(self._read, records), partial(self._keep, records), done)

    def _read(self, records: Records, start: int, stop: int) -> Raw:
        rows = [_decode(records.part(place, place + 1)) for place in range(start, stop)]
        if all(isinstance(row, dict) for row in rows):
            taken = [{name: value for name, value in row.items() if self._wanted.takes(name)} for row in rows]
            _check_truths(taken)
            return raw_of(taken)
        if not all(isinstance(row, list) for row in rows):
            raise DataError("A line is neither a record nor a list.", hint='Write one {"column": value} or [value, ...] on each line.')
        return raw_of(rows)

    def _kept_types(self) -> dict[str, pa.DataType]:
        self._file.seek(0)
        first = next(split_records(self._file, 1000, has_quotes=False), None)
        rows = [] if first is None else [_decode(first.part(place, place + 1)) for place in range(len(first))]
        records = [row for row in rows if isinstance(row, dict)]
        check_kept(self._wanted.kept, list(dict.fromkeys(name for record in records for name in record)))
        types = {}
        for name in self._wanted.kept:
            kind = _array(name, [record.get(name) for record in records], None).type
            if not any(is_plain(kind) for is_plain in _PLAIN):
                raise DataError(f"The column '{shorten(name)}' cannot be kept: it holds {kind}.", hint="Keep numbers, booleans or text.")
            types[name] = kind
        return types

    def _keep(self, records: Records, places: Sequence[int] | None) -> pa.Table:
        rows = [_decode(records.part(place, place + 1)) for place in (range(len(records)) if places is None else places)]
        plain = [row if isinstance(row, dict) else {} for row in rows]
        return pa.table({name: _array(name, [row.get(name) for row in plain], kind) for name, kind in self._types.items()})


def _check_truths(records: list[dict[str, Any]]) -> None:
    """Refuse true and false among numbers, which would silently become 1 and 0."""
    for name in records[0]:
        kinds = {type(record.get(name)) for record in records}
        if bool in kinds and kinds & {int, float}:
            raise DataError(f"'{shorten(name)}' mixes numbers with true or false.", hint="Use one kind of value for each column.")


def _decode(line: bytes) -> Any:
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise DataError(f"A line is not JSON: {error}.", hint="Write one record on each line.") from error


def _array(name: str, values: list[Any], kind: pa.DataType | None) -> pa.Array:
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, OverflowError, TypeError) as error:
        wanted = f", in its first rows {kind}" if kind is not None else ""
        raise DataError(f"The column '{shorten(name)}' to keep holds values of different types{wanted}.", hint="Use one type.") from error
