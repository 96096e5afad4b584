"""Reads .parquet with flat columns of numbers, booleans, text and dates.

Takes an open file; gives `Raw`. Raises DataError that names the column. The number of rows and columns in the footer is checked before
anything is unpacked.
"""

from __future__ import annotations

from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pa_parquet

from fairlead.core.interface import shorten
from fairlead.datasets.arrow import to_columns
from fairlead.datasets.raw import Raw, check_columns, check_size
from fairlead.errors import DataError

_CELL_BYTES = 8


def read_parquet(file: BinaryIO, text_columns: frozenset[str]) -> Raw:
    """Return the table's columns by name. Types are the file's own; `text_columns` may hold no times with a zone."""
    try:
        parquet = pa_parquet.ParquetFile(file)
        footer = parquet.metadata
        check_columns(footer.num_columns)
        check_size(footer.num_rows * footer.num_columns * _CELL_BYTES, what="The .parquet file")
        check_size(sum(footer.row_group(number).total_byte_size for number in range(footer.num_row_groups)), what="The .parquet file")
        columns = to_columns(parquet.read(use_threads=False), text_columns)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = shorten(str(error).splitlines()[0], 200).rstrip(".")
        raise DataError(f"The .parquet file is damaged: {reason}.", hint="Write it again, or save the rows as .csv or .npz.") from error
    return Raw(columns, is_table=True)
