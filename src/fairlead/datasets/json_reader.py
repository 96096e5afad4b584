"""Reads .json rows: a list of rows, a list of records, or arrays by input name (also under "input", "inputs" or "instances").

Takes an open file; gives `Raw`. Raises DataError. Nesting is bounded by the parser.
"""

from __future__ import annotations

from typing import Any, BinaryIO

import msgspec
import numpy as np

from fairlead.core.interface import Array, shorten
from fairlead.datasets.raw import Raw, check_size
from fairlead.errors import DataError

_WRAPPERS = ("input", "inputs", "instances")
_EXAMPLE = "Write a list of rows, a list of {column: value} records, or {input name: array}."


def read_json(file: BinaryIO, text_columns: frozenset[str]) -> Raw:
    """Return rows or arrays. Types are the file's own, so `text_columns` changes nothing."""
    del text_columns
    check_size(file.seek(0, 2), what="The .json file")
    file.seek(0)
    try:
        content = msgspec.json.decode(file.read())
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise DataError(f"The .json file cannot be read: {error}.", hint=_EXAMPLE) from error
    return raw_of(content)


def raw_of(content: Any) -> Raw:
    """Return the rows or arrays that parsed JSON holds; raises DataError."""
    if isinstance(content, dict) and len(content) == 1 and next(iter(content)) in _WRAPPERS:
        content = next(iter(content.values()))
    if isinstance(content, dict) and content:
        return Raw({name: _to_array(name, value) for name, value in content.items()}, is_table=False)
    if isinstance(content, list) and content and all(isinstance(row, dict) for row in content):
        return Raw(_to_columns(content), is_table=True)
    if isinstance(content, list):
        return Raw({"": _to_array("", content)}, is_table=False)
    raise DataError("The .json file holds no rows.", hint=_EXAMPLE)


def _to_columns(records: list[dict[str, Any]]) -> dict[str, Array]:
    names = list(records[0])
    for number, record in enumerate(records):
        if record.keys() != records[0].keys():
            differing = min(record.keys() ^ records[0].keys())
            raise DataError(
                f"Row {number} has other columns than row 0 ('{shorten(differing)}').", hint="Give every record the same columns."
            )
    return {name: _to_array(name, [record[name] for record in records]) for name in names}


def _to_array(name: str, value: Any) -> Array:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise DataError(f"'{shorten(name)}' has rows of different lengths.", hint="Pad them to one length.") from error
    if array.dtype.kind == "U":
        flat = np.empty(array.size, dtype=object)
        flat[:] = [_text(name, element) for element in _flatten(value)]
        return flat.reshape(array.shape)
    if array.dtype.kind == "O":
        return _with_missing(name, array)
    return array


def _with_missing(name: str, array: Array) -> Array:
    """Numbers with null become floats with NaN; texts with null stay objects."""
    known = [element for element in array.flat if element is not None]
    if all(isinstance(element, str) for element in known) and known:
        return array
    try:
        return np.asarray(array, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"'{shorten(name)}' mixes numbers, text and other values.", hint="Use one kind of value for each column."
        ) from error


def _flatten(value: Any) -> list[Any]:
    return [leaf for item in value for leaf in _flatten(item)] if isinstance(value, list) else [value]


def _text(name: str, element: Any) -> str:
    if not isinstance(element, str):
        raise DataError(f"'{shorten(name)}' mixes text with {type(element).__name__}.", hint="Use one kind of value for each column.")
    return element
