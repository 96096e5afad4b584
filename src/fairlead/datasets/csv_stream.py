"""Reads .csv in chunks, each by the reader of whole files: what a value means does not depend on where it stands.

Takes an open file; gives chunks. Kept columns stay the text that stands in the file. Raises DataError as `datasets.csv_reader` does, and
UnsupportedError where rows cannot be told apart.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator, Sequence
from functools import partial
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv as pa_csv

from fairlead.datasets.csv_reader import read_csv, read_header
from fairlead.datasets.raw import Raw
from fairlead.datasets.record_splitter import Records, numbered_records, split_records
from fairlead.datasets.stream import Chunk, Wanted, check_kept
from fairlead.errors import DataError, UnsupportedError


class CsvStream:
    """The rows of a .csv file."""

    total_rows: int | None = None
    is_typed = False

    def __init__(self, file: BinaryIO, wanted: Wanted) -> None:
        self._file, self._wanted = file, wanted
        file.seek(0)
        self._names, self._separator = read_header(file)
        check_kept(wanted.kept, self._names)
        self._dropped = frozenset(name for name in self._names if not wanted.takes(name))
        file.seek(0)
        self._head = next(iter(split_records(file, 1, has_quotes=True))).data.removeprefix(codecs.BOM_UTF8)

    def chunks(self, chunk_rows: int, start: int) -> Iterator[Chunk]:
        """See RowStream."""
        self._file.seek(0)
        self._file.seek(len(self._head) + (len(codecs.BOM_UTF8) if self._file.read(3) == codecs.BOM_UTF8 else 0))
        for first, records, done in numbered_records(self._file, chunk_rows, start, has_quotes=True):
            yield Chunk(first, len(records), partial(self._read, records, first), partial(self._keep, records), done)

    def _read(self, records: Records, first: int, start: int, stop: int) -> Raw:
        raw = read_csv(io.BytesIO(self._head + records.part(start, stop)), self._wanted.texts)
        rows = len(next(iter(raw.arrays.values())))
        if rows != stop - start:
            raise UnsupportedError(
                f"Between rows {first + start} and {first + stop - 1} the .csv file has a quote inside of a field that is not quoted.",
                hint='Quote the whole field, and write the quote as "".',
            )
        return Raw({name: array for name, array in raw.arrays.items() if name not in self._dropped}, is_table=True)

    def _keep(self, records: Records, places: Sequence[int] | None) -> pa.Table:
        kept = list(self._wanted.kept)
        lines = records.part(0, len(records)) if places is None else b"".join(records.part(place, place + 1) for place in places)
        try:
            table = pa_csv.read_csv(
                io.BytesIO(self._head + lines),
                read_options=pa_csv.ReadOptions(use_threads=False, block_size=len(lines) + len(self._head)),
                parse_options=pa_csv.ParseOptions(delimiter=self._separator, newlines_in_values=True),
                convert_options=pa_csv.ConvertOptions(
                    column_types=dict.fromkeys(kept, pa.string()),
                    include_columns=kept,
                    null_values=[""],
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                ),
            )
        except pa.ArrowException as error:
            raise DataError(f"Cannot read the columns to keep: {str(error).splitlines()[0]}.", hint="Save the file as UTF-8.") from error
        return table
