"""What stands in a column of Python objects: text, numbers or dates, and which values are missing. Pure; raises DataError.

Takes object arrays as data frames and lists of records give them; gives text as objects of str with None for missing, numbers with NaN,
dates as datetime64 with NaT. Missing are None, NaN, NaT and the NA of pandas. A column of two kinds is refused by name.
"""

from __future__ import annotations

import datetime as dt
import decimal
import numbers
from collections.abc import Sequence

import numpy as np

from fairlead.core.interface import Array, shorten
from fairlead.errors import DataError

_DATES = ("dates", "times", "times with a zone")
_EPOCH = dt.date(1970, 1, 1).toordinal()
_DAY_S = 86_400


def settle(array: Array, where: str, *, is_for_text: bool = False) -> Array:
    """Return `array` with one kind of value; arrays that are no objects stay as they are.

    Times with a zone are brought to UTC; for an input of text they are refused, since their text depends on the zone.
    """
    if array.dtype.kind != "O" or all(type(value) is str for value in array.flat):
        return array
    kinds = [_kind_of(value) for value in array.flat]
    known = sorted(set(kinds) - {""}, key=kinds.index)
    if len(known) > 1:
        first, second = (f"{kind} ({_at(array, kinds.index(kind))})" for kind in known[:2])
        raise DataError(f"{where} mixes {first} and {second}.", hint="Use one kind of value for each column.")
    if not known:
        return _fill(array, [None] * array.size) if is_for_text else np.full(array.shape, np.nan)
    (kind,) = known
    if kind in ("text", "bytes"):
        return _fill(array, [None if one == "" else _text(value, where) for value, one in zip(array.flat, kinds, strict=True)])
    if kind in _DATES:
        if kind == "times with a zone" and is_for_text:
            raise DataError(
                f"{where} holds times with a zone ({_at(array, kinds.index(kind))}); their text depends on the zone.",
                hint="Write them as text, as in training.",
            )
        return _dates(array, kinds)
    return _numbers(array, kinds, where)


def _kind_of(value: object) -> str:
    """What a value is, in words for errors; "" for a missing one."""
    if isinstance(value, str):
        return "text"
    if value is None or type(value).__name__ in ("NAType", "NaTType"):  # of pandas, which need not be installed
        return ""
    if isinstance(value, dt.datetime):
        return "times" if value.tzinfo is None else "times with a zone"
    if isinstance(value, dt.date):
        return "dates"
    if isinstance(value, bool | np.bool_):
        return "booleans"
    if isinstance(value, numbers.Real | decimal.Decimal):
        return "" if value != value else "numbers"  # noqa: PLR0124 - true for NaN only, of every type of number
    return "bytes" if isinstance(value, bytes) else type(value).__name__


def _at(array: Array, place: int) -> str:
    rows_each = array.size // len(array)
    return f"'{shorten(str(array.reshape(-1)[place]), 32)}' in row {place // rows_each}"


def _text(value: str | bytes, where: str) -> str:
    if isinstance(value, str):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{where} holds bytes that are not UTF-8 text.", hint="Save text as str.") from error


def _fill(array: Array, values: list[str | None]) -> Array:
    texts = np.empty(array.size, dtype=object)
    texts[:] = values
    return texts.reshape(array.shape)


def _numbers(array: Array, kinds: list[str], where: str) -> Array:
    is_whole = "" not in kinds and all(isinstance(value, numbers.Integral) for value in array.flat)
    filled = np.where(np.asarray([kind == "" for kind in kinds]).reshape(array.shape), np.nan, array)
    try:
        if set(kinds) == {"booleans"}:
            return array.astype(np.bool_)
        return array.astype(np.int64) if is_whole else np.asarray(filled, dtype=np.float64)
    except OverflowError as error:
        raise DataError(f"{where} holds a number that is too large.", hint="Scale it as in training.") from error
    except (TypeError, ValueError) as error:
        kind = next(kind for kind in kinds if kind)
        raise DataError(f"{where} holds values of type {kind}.", hint="Use numbers, booleans, text or dates.") from error


def _dates(array: Array, kinds: list[str]) -> Array:
    """Dates as datetime64[D]; times as datetime64[ns], or [us] where nanoseconds do not reach."""
    if "dates" in kinds:
        days = [None if kind == "" else value.toordinal() - _EPOCH for value, kind in zip(array.flat, kinds, strict=True)]
        return _as_datetime64(days, "D").reshape(array.shape)
    nanoseconds = [None if kind == "" else _nanoseconds(value) for value, kind in zip(array.flat, kinds, strict=True)]
    if all(value is None or abs(value) < 2**63 for value in nanoseconds):
        return _as_datetime64(nanoseconds, "ns").reshape(array.shape)
    return _as_datetime64([None if value is None else value // 1000 for value in nanoseconds], "us").reshape(array.shape)


def _nanoseconds(value: dt.datetime) -> int:
    """Since 1970-01-01T00:00:00, in UTC where the value has a zone. Timestamps of pandas have nanoseconds beside the microseconds."""
    moved = value if value.tzinfo is None else value.astimezone(dt.UTC)
    seconds = (moved.toordinal() - _EPOCH) * _DAY_S + moved.hour * 3600 + moved.minute * 60 + moved.second
    return seconds * 10**9 + moved.microsecond * 1000 + int(getattr(moved, "nanosecond", 0))


def _as_datetime64(values: Sequence[int | None], unit: str) -> Array:
    lowest = np.iinfo(np.int64).min  # NaT
    return np.asarray([lowest if value is None else value for value in values], dtype=np.int64).view(f"datetime64[{unit}]")
