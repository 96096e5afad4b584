"""Reads .csv: one header line, UTF-8 with or without a byte order mark, separated by comma, semicolon or tab (the header decides).

Takes an open file and the columns that the model takes as text (they are never read as numbers or dates: '007' stays '007'); gives `Raw`.
An empty cell is a missing value, also of a text column, where "" in quotes is the empty text.
Raises DataError that names the column or the line.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.csv as pa_csv

from fairlead.core.interface import Array, shorten
from fairlead.datasets.arrow import to_columns
from fairlead.datasets.raw import Raw, check_columns, check_size
from fairlead.errors import DataError

_HEADER_LIMIT_BYTES = 16 * 2**20
_BLOCK_BYTES = 16 * 2**20
_SEPARATORS = (",", ";", "\t")


def read_csv(file: BinaryIO, text_columns: frozenset[str]) -> Raw:
    """Return the table's columns by header name; `text_columns` are read as text whatever they look like."""
    check_size(file.seek(0, 2), what="The .csv file")
    file.seek(0)
    names, separator = read_header(file)
    file.seek(0)
    types = {name: pa.string() for name in names if name in text_columns}
    try:
        table = pa_csv.read_csv(
            file,
            read_options=pa_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
            parse_options=pa_csv.ParseOptions(delimiter=separator, newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(column_types=types, strings_can_be_null=False),
        )
    except pa.ArrowException as error:
        raise DataError(
            f"Cannot read the .csv file: {_reason(error)}.", hint="Every line needs one field per column; save it as UTF-8."
        ) from error
    columns = to_columns(table)
    blank = [name for name in types if (columns[name] == "").any()]
    if blank:
        columns |= _read_again(file, blank, separator)
    return Raw(columns, is_table=True)


def _read_again(file: BinaryIO, names: list[str], separator: str) -> dict[str, Array]:
    """Return text columns with None where a cell is empty and not quoted."""
    file.seek(0)
    table = pa_csv.read_csv(
        file,
        read_options=pa_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
        parse_options=pa_csv.ParseOptions(delimiter=separator, newlines_in_values=True),
        convert_options=pa_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            include_columns=names,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    return to_columns(table)


def read_header(file: BinaryIO) -> tuple[list[str], str]:
    """Return the column names and the separator."""
    try:
        head = codecs.getincrementaldecoder("utf-8-sig")().decode(file.read(_HEADER_LIMIT_BYTES))
    except UnicodeDecodeError as error:
        raise DataError(f"Cannot read the .csv file: byte {error.start} is not UTF-8 text.", hint="Save it as UTF-8.") from error
    if not head.strip():
        raise DataError("The .csv file is empty.", hint="It needs a header line and rows.")
    if "\0" in head[:4096]:
        raise DataError("The .csv file is not text.", hint="Is it another format under a wrong name?")
    line = head.partition("\n")[0]
    separator = next((one for one in _SEPARATORS if one in line), ",")
    usual = csv.field_size_limit(_HEADER_LIMIT_BYTES)  # it holds for the whole process, in which others read CSV, too
    try:
        names = next(csv.reader(io.StringIO(head, newline=""), delimiter=separator))
    except csv.Error as error:
        raise DataError(f"Cannot read the header of the .csv file: {error}.") from error
    finally:
        csv.field_size_limit(usual)
    if not names:
        raise DataError("The first line of the .csv file is empty.", hint="Put the column names into the first line.")
    check_columns(len(names))
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise DataError(f"The .csv file has {count} columns called '{shorten(name)}'.", hint="Give each column its own name.")
    if all(_is_number(name) for name in names):
        raise DataError(
            f"The .csv file has no header: its first line starts with {', '.join(shorten(name, 16) for name in names[:3])}.",
            hint="Put the column names into the first line.",
        )
    return names, separator


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _reason(error: Any) -> str:
    return shorten(str(error).removeprefix("CSV parse error: ").splitlines()[0], 200).rstrip(".")
