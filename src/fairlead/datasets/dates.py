"""Dates as the numbers or the text that a model takes. Pure; raises DataError that names the column and the row.

Numbers are nanoseconds since 1970-01-01T00:00:00, as `astype("datetime64[ns]").astype("int64")` of NumPy and pandas gives them: UTC where a
value has a zone, as it stands where it has none, midnight where it has no time. Text is ISO 8601 as `isoformat()` of pandas writes it.
Read are datetime64 arrays and ISO 8601 text in its extended form; nothing is guessed where a date could be read in two ways.
"""

from __future__ import annotations

import re

import numpy as np

from fairlead.core.interface import Array, shorten
from fairlead.errors import DataError

_ISO = re.compile(
    r"(?P<day>\d{4}-\d{2}-\d{2})(?:[T ](?P<time>\d{2}:\d{2}(?::\d{2})?)(?:\.(?P<fraction>\d{1,9}))?(?P<zone>Z|[+-]\d{2}:\d{2})?)?", re.ASCII
)
_START = re.compile(r"\s*\d{4}-\d{2}-\d{2}", re.ASCII)
_SEVERAL_WAYS = re.compile(r"\d{1,4}([./-])\d{1,2}\1\d{1,4}", re.ASCII)
_UNITS = ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns")
_LIMIT_S = 2**63 // 10**9  # seconds around 1970 that 64 bits of nanoseconds hold
_HINT = "Write dates as 2024-01-31 or 2024-01-31T23:59:59, with or without a zone (Z, +01:00) in the whole column."


def are_dates(array: Array) -> bool:
    """Whether `array` holds dates, or text that begins like one."""
    if array.dtype.kind in "OU":
        first = next((value for value in array.flat if value is not None and value != ""), None)
        return isinstance(first, str) and _START.match(first) is not None
    return array.dtype.kind == "M"


def to_nanoseconds(array: Array, where: str) -> tuple[Array, Array]:
    """Return int64 nanoseconds and which are missing (there the number is 0)."""
    found = _read_texts(array, where) if array.dtype.kind in "OU" else array
    check_unit(found, where)
    missing = np.isnat(found)
    seconds = found.astype("datetime64[s]").astype(np.int64)
    bad = ~missing & (np.abs(seconds) >= _LIMIT_S)
    if bad.any():
        row = int(np.argwhere(bad)[0][0])
        raise DataError(
            f"{where} holds {found[bad].flat[0]} in row {row}, which nanoseconds since 1970 do not reach.",
            hint="They reach from 1677 to 2262.",
        )
    return np.where(missing, 0, found.astype("datetime64[ns]").astype(np.int64)), missing


def to_iso_text(array: Array, where: str) -> Array:
    """Return objects of str for a datetime64 array, with None for missing: a day alone for dates, else always with a time."""
    check_unit(array, where)
    has_time = np.datetime_data(array.dtype)[0] not in ("Y", "M", "W", "D")
    texts = np.empty(array.size, dtype=object)
    texts[:] = [None if np.isnat(value) else _iso(value, has_time=has_time) for value in array.reshape(-1)]
    return texts.reshape(array.shape)


def check_unit(array: Array, where: str) -> None:
    """Raise DataError unless the unit of a datetime64 array is known and not finer than nanoseconds."""
    unit = np.datetime_data(array.dtype)[0]
    if unit not in _UNITS:
        raise DataError(f"{where} holds dates in the unit '{unit}'.", hint="Save them as datetime64[ns].")


def explain_text(text: str) -> str:
    """Return what more there is to say of a text where numbers or dates belong, "" for nothing."""
    return "a date that can be read in several ways" if _SEVERAL_WAYS.match(text.strip()) else ""


def _iso(value: np.datetime64, *, has_time: bool) -> str:
    if not has_time:
        return str(value.astype("datetime64[D]"))
    whole, _, fraction = str(value.astype("datetime64[ns]") if _fits(value) else value.astype("datetime64[us]")).partition(".")
    fraction = fraction.ljust(9, "0")
    shown = "" if not fraction.strip("0") else fraction[:6] if fraction.endswith("000") else fraction
    return f"{whole}.{shown}" if shown else whole


def _fits(value: np.datetime64) -> bool:
    return abs(int(value.astype("datetime64[s]").astype(np.int64))) < _LIMIT_S


def _read_texts(array: Array, where: str) -> Array:
    """ISO 8601 texts as datetime64[ns]; None and "" as NaT."""
    nanoseconds = np.full(array.size, np.iinfo(np.int64).min, dtype=np.int64)
    zoned: bool | None = None
    rows_each = max(array.size // len(array), 1) if len(array) else 1
    for place, value in enumerate(array.flat):
        if value is None or value == "":
            continue
        row = place // rows_each
        found = _ISO.fullmatch(str(value).strip())
        if found is None:
            why = explain_text(str(value)) or "which is no date in ISO 8601"
            raise DataError(f"{where} holds '{shorten(str(value), 32)}' in row {row}, {why}.", hint=_HINT)
        if zoned is not None and zoned != bool(found["zone"]):
            raise DataError(f"{where} has times with and without a zone (row {row}: '{shorten(str(value), 32)}').", hint=_HINT)
        zoned = bool(found["zone"])
        nanoseconds[place] = _nanoseconds(found, where, row)
    return nanoseconds.view("datetime64[ns]").reshape(array.shape)


def _nanoseconds(found: re.Match[str], where: str, row: int) -> int:
    try:
        seconds = int(np.datetime64(f"{found['day']}T{found['time'] or '00:00'}", "s").astype(np.int64))
    except ValueError as error:
        raise DataError(f"{where} holds '{found[0]}' in row {row}: there is no such day or time.", hint=_HINT) from error
    zone = found["zone"] or "Z"
    if zone != "Z":
        hours, minutes = int(zone[1:3]), int(zone[4:6])
        if hours > 23 or minutes > 59:
            raise DataError(f"{where} holds '{found[0]}' in row {row}: there is no such zone.", hint=_HINT)
        seconds -= (1 if zone[0] == "+" else -1) * (hours * 60 + minutes) * 60
    if abs(seconds) >= _LIMIT_S:
        raise DataError(
            f"{where} holds {found[0]} in row {row}, which nanoseconds since 1970 do not reach.", hint="They reach from 1677 to 2262."
        )
    return seconds * 10**9 + int((found["fraction"] or "").ljust(9, "0"))
