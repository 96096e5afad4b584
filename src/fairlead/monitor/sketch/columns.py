"""What a column's values are: numbers with NaN for a missing one, or texts counted. Pure.

A category's text is what a person calls it: 3 and 3.0 are "3", True is "1" as in a column of flags.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from fairlead.core.interface import Array


def as_numbers(values: Array) -> Array:
    """Return the values as float64, NaN for None and for texts that are no number."""
    if values.dtype.kind in "fiub":
        return np.asarray(values, dtype=np.float64)
    return np.array([_number(value) for value in values.tolist()], dtype=np.float64)


def is_missing(values: Array) -> Array:
    """Return which values are missing: NaN or None."""
    if values.dtype.kind == "f":
        return np.isnan(values)
    if values.dtype.kind != "O":
        return np.zeros(len(values), np.bool_)
    return np.array([_is_nothing(value) for value in values.tolist()], dtype=np.bool_)


def count_categories(values: Array) -> tuple[Mapping[str, int], int]:
    """Return how often each text occurs, and how many values are missing."""
    if values.dtype.kind in "fiub":
        different, counts = np.unique(values, return_counts=True)
        pairs = list(zip(different.tolist(), counts.tolist(), strict=True))
    else:
        pairs = list(Counter(values.tolist()).items())
    counted: Counter[str] = Counter()
    missing = 0
    for value, count in pairs:
        if _is_nothing(value):
            missing += count
        else:
            counted[category_text(value)] += count
    return counted, missing


def category_text(value: Any) -> str:
    """Return what a category is called."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))


def _number(value: Any) -> float:
    try:
        return float(value) if value is not None else np.nan
    except (TypeError, ValueError, OverflowError):  # a whole number beyond all doubles is none
        return np.nan
