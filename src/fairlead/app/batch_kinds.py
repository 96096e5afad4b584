"""What kind of value each column of a text file holds: numbers, dates or truth values; told by its first rows, and held to from then on.

In a file that records no types, `2024-01-31` is a date and `true` a truth value, and both would become numbers if they stood alone. Read
whole, a column that mixes them is refused; read in pieces, each piece would be believed. So every row is held to what its column holds.
Takes arrays, raises DataError that names the column.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from fairlead.core.interface import Array, shorten
from fairlead.datasets.dates import are_dates
from fairlead.datasets.objects import settle
from fairlead.datasets.raw import Raw
from fairlead.datasets.stream import RowStream
from fairlead.errors import DataError

NUMBER, DATE, TRUTH, TEXT = "numbers", "dates", "true or false", "text"
_LOOKED_AT = 100


def kinds_of(stream: RowStream, texts: frozenset[str]) -> dict[str, str]:
    """Return column -> kind for a stream whose file records none: what most of the first rows hold; `texts` are left out."""
    if stream.is_typed:
        return {}
    chunk = next(stream.chunks(_LOOKED_AT, 0), None)
    counts: dict[str, Counter[str]] = {}
    for row in range(0 if chunk is None else chunk.rows):
        try:
            raw = chunk.read(row, row + 1) if chunk is not None else Raw({}, is_table=True)
        except DataError:
            continue  # found again, and named, when its turn comes
        for name, array in raw.arrays.items():
            if name not in texts:
                counts.setdefault(name, Counter())[kind_of(name, array)] += 1
    found = {}
    for name, counter in counts.items():
        known = [kind for kind, _ in counter.most_common() if kind in (NUMBER, DATE, TRUTH)]
        found[name] = known[0] if known else NUMBER
    return found


def kind_of(name: str, array: Array) -> str:
    """Return the kind of a column's values; "" where all are missing."""
    if array.dtype.kind in "OUS":
        array = settle(array, f"Column '{shorten(name)}'")
    if array.dtype.kind in "OUS":
        return DATE if are_dates(array) else TEXT
    if array.dtype.kind == "f" and bool(np.isnan(array).all()):
        return ""
    if array.dtype.kind == "M":
        return "" if bool(np.isnat(array).all()) else DATE
    return NUMBER if array.dtype.kind in "iuf" else TRUTH


def check_kinds(raw: Raw, kinds: Mapping[str, str]) -> None:
    """Raise DataError where a column holds another kind of value than it did in the first rows. Text is left to whoever casts it."""
    for name, wanted in kinds.items():
        if name in raw.arrays:
            found = kind_of(name, raw.arrays[name])
            if found and found not in (wanted, TEXT):
                raise DataError(f"Column '{shorten(name)}' holds {found}, where other rows hold {wanted}.", hint="Use one kind of value.")
