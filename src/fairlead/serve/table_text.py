"""A table as CSV text (RFC 4180): a line of column names, then one line for each row.

Takes UTF-8 bytes and the model's interface; gives the names and the rows in pieces, with numbers where the model takes numbers. Raises
RequestError that names the line. An empty field is a missing number (null), or an empty text. It never guesses whether there is a header:
there is.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, shorten
from fairlead.errors import RequestError

_TRUTHS = {"true": True, "false": False, "1": True, "0": False}


def read_csv(interface: Interface, text: bytes | bytearray, count: int) -> Iterator[tuple[list[str | int], list[list[Any]]]]:
    """Yield the column names with the next rows of `text`, about `count` fields each time, the first time also where there are none."""
    reader = csv.reader(io.TextIOWrapper(io.BytesIO(text), "utf-8-sig", newline=""), strict=True)
    try:
        names = next(reader, None)
        if not names:
            raise RequestError("The CSV is empty.", hint="Its first line names the columns.")
        readers = _readers(interface, names)
        rows = (_row(names, readers, fields, reader.line_num) for fields in reader if fields)
        taken = max(count // len(names), 1)
        some = list(islice(rows, taken))
        yield list(names), some
        while len(some) == taken and (some := list(islice(rows, taken))):
            yield list(names), some
    except UnicodeDecodeError:
        raise RequestError("The CSV is not UTF-8.") from None
    except csv.Error:
        raise RequestError(
            f"The CSV is damaged at line {reader.line_num}.", hint="Quotes have to be closed, fields below 128 KiB."
        ) from None


def _readers(interface: Interface, names: list[str]) -> list[Callable[[str], Any]]:
    """How the fields of each column are read, by the type of the input that they belong to."""
    types = {column: spec.dtype for spec in interface.inputs for column in (*spec.columns, spec.name)}
    only = interface.inputs[0].dtype if len(interface.inputs) == 1 else DType.BYTES
    return [_reader(types.get(name, only)) for name in names]


def _reader(dtype: DType) -> Callable[[str], Any]:
    if dtype is DType.BYTES:
        return str
    if dtype is DType.BOOL:
        return lambda field: _TRUTHS[field.strip().lower()]
    return _integer if dtype.is_integer else _number


def _number(field: str) -> float | None:
    if not field or field.isspace():
        return None
    return float(_plain(field))


def _integer(field: str) -> int | float:
    """Whole numbers stay exact; `3.0` is left to the one who checks that it is whole."""
    try:
        return int(_plain(field))
    except ValueError:
        return float(_plain(field))


def _plain(field: str) -> str:
    """Python reads `1_000` and digits of other scripts as numbers; no other reader of CSV does."""
    if "_" in field or not field.isascii():
        raise ValueError(field)
    return field


def _row(names: list[str], readers: list[Callable[[str], Any]], fields: list[str], line: int) -> list[Any]:
    if len(fields) != len(names):
        raise RequestError(f"Line {line} of the CSV has {len(fields)} fields, the first one has {len(names)}.")
    place = 0
    values = []
    try:
        for read, field in zip(readers, fields, strict=True):
            values.append(read(field))
            place += 1
    except (ValueError, KeyError):
        raise RequestError(
            f"Line {line} of the CSV: '{shorten(fields[place])}' in column '{shorten(names[place])}' is not what the model takes there."
        ) from None
    return values
