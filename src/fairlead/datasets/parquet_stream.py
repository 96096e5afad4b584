"""Reads .parquet in chunks: only the columns that are needed, never a whole row group at once.

Takes an open file; gives chunks. Raises DataError that names the column, or says that the file is damaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pa_parquet

from fairlead.core.interface import shorten
from fairlead.datasets.arrow import to_columns
from fairlead.datasets.raw import Raw, check_columns
from fairlead.datasets.stream import Chunk, Wanted, check_kept
from fairlead.errors import DataError

_BUFFER_BYTES = 2**20


class ParquetStream:
    """The rows of a .parquet file."""

    is_typed = True

    def __init__(self, file: BinaryIO, wanted: Wanted) -> None:
        self._wanted = wanted
        try:
            # Without a buffer size, the compressed bytes of a column's whole row group would be read at once.
            self._parquet = pa_parquet.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER_BYTES)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise _damaged(error) from error
        names = self._parquet.schema_arrow.names
        check_columns(len(names))
        check_kept(wanted.kept, names)
        self._inputs = [name for name in names if wanted.takes(name)]
        self._columns = [name for name in names if name in wanted.kept or name in self._inputs]
        self.total_rows: int | None = self._parquet.metadata.num_rows

    def chunks(self, chunk_rows: int, start: int) -> Iterator[Chunk]:
        """See RowStream."""
        waiting: list[pa.RecordBatch] = []
        count, first = 0, start
        for batch in self._batches(chunk_rows, start):
            waiting.append(batch)
            count += batch.num_rows
            while count >= chunk_rows:
                table = pa.Table.from_batches(waiting)
                yield self._chunk(table.slice(0, chunk_rows), first)
                count, first = count - chunk_rows, first + chunk_rows
                waiting = table.slice(chunk_rows).to_batches() if count else []
        if count:
            yield self._chunk(pa.Table.from_batches(waiting), first)

    def _batches(self, size: int, start: int) -> Iterator[pa.RecordBatch]:
        """Yield what comes from row `start` on."""
        footer = self._parquet.metadata
        skipped = 0
        for group in range(footer.num_row_groups):
            rows = footer.row_group(group).num_rows
            if skipped + rows <= start:
                skipped += rows
                continue
            left = start - skipped
            skipped = start  # every later group is read from its begin
            try:
                for batch in self._parquet.iter_batches(size, row_groups=[group], columns=self._columns, use_threads=False):
                    drop = min(left, batch.num_rows)
                    left -= drop
                    if drop < batch.num_rows:
                        yield batch.slice(drop)
            except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
                raise _damaged(error) from error

    def _chunk(self, table: pa.Table, first: int) -> Chunk:
        done = (first + table.num_rows) / (self.total_rows or 1)
        return Chunk(first, table.num_rows, partial(self._read, table), partial(self._keep, table), done)

    def _read(self, table: pa.Table, start: int, stop: int) -> Raw:
        part = table.select(self._inputs).slice(start, stop - start)
        return Raw(to_columns(part, self._wanted.texts), is_table=True)

    def _keep(self, table: pa.Table, places: Sequence[int] | None) -> pa.Table:
        kept = table.select(list(self._wanted.kept))
        for place, field in enumerate(kept.schema):
            if pa.types.is_dictionary(field.type):  # of each row group's own: as values they can be put together
                kept = kept.set_column(place, field.name, kept.column(place).cast(field.type.value_type))
        return kept if places is None else kept.take(pa.array(places, pa.int64()))


def _damaged(error: Exception) -> DataError:
    reason = shorten(str(error).splitlines()[0], 200).rstrip(".")
    return DataError(f"The .parquet file is damaged: {reason}.", hint="Write it again, or save the rows as .csv or .npz.")
