"""Brings an array to the element type that the model takes, or says which value does not fit. Pure; raises DataError."""

from __future__ import annotations

from typing import Any

import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, shorten
from fairlead.datasets.dates import are_dates, explain_text, to_iso_text, to_nanoseconds
from fairlead.datasets.objects import settle
from fairlead.errors import DataError

_HOLD_DATES = (DType.INT64, DType.UINT64, DType.FP32, DType.FP64)


def cast_to(array: Array, dtype: DType, where: str, *, allow_missing: bool, is_category: bool = False) -> Array:
    """Return `array` as `dtype` where every value survives; `where` names it in errors, e.g. "Column 'age'".

    Floats may be rounded to a narrower float, nothing else is lost. Missing values pass only into floats and with `allow_missing`; infinity
    never does. Dates become nanoseconds or text (see `datasets.dates`). With `is_category`, whole numbers become their text.
    """
    array = settle(array, where, is_for_text=dtype is DType.BYTES)
    if dtype is DType.BYTES:
        return _to_text(_category_text(array, where) if is_category else array, where)
    if are_dates(array):
        return _dates_to_number(array, dtype, where, allow_missing=allow_missing)
    if array.dtype.kind in "OUS":
        first = next((str(item) for item in array.flat if item is not None), "")
        more = explain_text(first)
        hint = "Write dates as 2024-01-31." if more else "Use numbers."
        raise DataError(f"{where} holds text ('{shorten(first, 32)}'{more and f', {more}'}); the model takes {dtype.value}.", hint=hint)
    if dtype.is_float:
        return _to_float(array, dtype, where, allow_missing=allow_missing)
    return _to_whole(array, dtype, where)


def check_finite(array: Array, where: str, *, allow_missing: bool) -> None:
    """Raise DataError where a float `array` holds infinity, or NaN without `allow_missing`."""
    if array.dtype.kind != "f":
        return
    bad = np.isinf(array) if allow_missing else ~np.isfinite(array)
    if bad.any():
        row = _first_row(bad)
        value = array[tuple(np.argwhere(bad)[0])]
        what = "a missing value (NaN)" if np.isnan(value) else "infinity"
        hint = "Fill or drop those rows; this model has no rule for missing values." if np.isnan(value) else "Replace it."
        raise DataError(f"{where} holds {what} in row {row} ({int(bad.sum())} in all).", hint=hint)


def _category_text(array: Array, where: str) -> Array:
    if array.dtype.kind in "fb":
        what = "fractions or missing values" if array.dtype.kind == "f" else "booleans"
        raise DataError(f"{where} holds {what}; the model takes categories.", hint="Write them as text or whole numbers, as in training.")
    return array.astype(np.str_) if array.dtype.kind in "iu" else array


def _to_text(array: Array, where: str) -> Array:
    if array.dtype.kind == "S":
        try:
            array = np.char.decode(array, "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{where} holds bytes that are not UTF-8 text.", hint="Save text as str.") from error
    if array.dtype.kind == "M":
        array = to_iso_text(array, where)
    if array.dtype.kind == "U":
        return array.astype(object)
    if array.dtype.kind != "O":
        raise DataError(f"{where} holds {array.dtype}; the model takes text.", hint="Save it as text.")
    bad = np.fromiter((not isinstance(item, str) for item in array.flat), dtype=bool, count=array.size).reshape(array.shape)
    if bad.any():
        raise DataError(
            f"{where} holds a missing value in row {_first_row(bad)} ({int(bad.sum())} in all); the model takes text.",
            hint='Fill or drop those rows. In a .csv file an empty cell is missing, and "" in quotes is the empty text.',
        )
    return array


def _dates_to_number(array: Array, dtype: DType, where: str, *, allow_missing: bool) -> Array:
    if dtype not in _HOLD_DATES:
        raise DataError(
            f"{where} holds dates; the model takes {dtype.value}, which does not hold nanoseconds since 1970.",
            hint="Prepare dates as in training, e.g. as days.",
        )
    nanoseconds, missing = to_nanoseconds(array, where)
    if not missing.any():
        return cast_to(nanoseconds, dtype, where, allow_missing=allow_missing)
    if not (dtype.is_float and allow_missing):
        hint = "Fill or drop those rows; this model has no rule for missing values."
        raise DataError(f"{where} holds a missing value in row {_first_row(missing)} ({int(missing.sum())} in all).", hint=hint)
    filled = nanoseconds.astype(dtype.numpy)
    filled[missing] = np.nan
    return filled


def _to_float(array: Array, dtype: DType, where: str, *, allow_missing: bool) -> Array:
    check_finite(array, where, allow_missing=allow_missing)
    with np.errstate(over="ignore"):
        result = array.astype(dtype.numpy)
    bad = np.isinf(result)
    if bad.any():
        row = _first_row(bad)
        raise DataError(f"{where} holds a value in row {row} that is too large for {dtype.value}.", hint="Scale it as in training.")
    return result


def _to_whole(array: Array, dtype: DType, where: str) -> Array:
    check_finite(array, where, allow_missing=False)
    low, high = 0, 1
    if dtype is not DType.BOOL:
        limits: Any = np.iinfo(dtype.numpy.type())
        low, high = int(limits.min), int(limits.max)
    if array.dtype.kind == "f":
        _refuse(array != np.floor(array), array, where, f"a fraction; the model takes {dtype.value}", "Round it as in training.")
        # float(2**63 - 1) rounds up to 2**63, which does not fit: compare below the next power of two.
        bad = (array < float(low)) | (array >= float(high + 1))
    elif array.dtype.kind == "b":
        return array.astype(dtype.numpy)
    else:
        held = np.iinfo(array.dtype)
        bad = (array < max(low, int(held.min))) | (array > min(high, int(held.max)))
    _refuse(bad, array, where, f"outside of {low} to {high} ({dtype.value})", "Use values in that range.")
    return array.astype(dtype.numpy)


def _refuse(bad: Any, array: Array, where: str, why: str, hint: str) -> None:
    if bad.any():
        value = array[tuple(np.argwhere(bad)[0])]
        raise DataError(f"{where} holds {value} in row {_first_row(bad)}, {why}.", hint=hint)


def _first_row(bad: Any) -> int:
    return int(np.argwhere(bad)[0][0])
