"""The values that occur most, with an error that is known exactly. Pure.

Of all counters the LIMIT largest stay, each less the largest one that goes; `error` adds up what was taken away. So a value that occurred
more than `error` times is there, each counter is too small by `error` at most, and `error` is at most (all values) / (LIMIT + 1): Misra
and Gries, "Finding repeated elements", Science of Computer Programming 2 (1982); for merged ones, Agarwal, Cormode, Huang, Phillips, Wei,
Yi, "Mergeable summaries", ACM Transactions on Database Systems 38 (2013).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fairlead.core.interface import Array
from fairlead.core.sketch import Frequent

LIMIT = 64
TEXT_LIMIT = 48  # characters of a text that are kept; longer ones end in their hash


def insert_numbers(frequent: Frequent, values: Array, counts: Array, stands_for: float = 1.0) -> Frequent:
    """Return the counters with more values: different numbers and how often each occurred, of which each counts `stands_for`."""
    error = 0
    if len(values) > LIMIT:
        at_least = np.cumsum(np.bincount(counts)[::-1])[::-1]  # by count: how many values occurred that often or more
        error = int(np.flatnonzero(at_least > LIMIT)[-1])
        is_left = counts > error
        values, counts = values[is_left], counts[is_left] - error
    fresh = Frequent(tuple(values.tolist()), tuple((counts * stands_for).tolist()), error * stands_for)
    return merge(frequent, fresh)


def insert_texts(frequent: Frequent, counted: Mapping[str, float]) -> Frequent:
    """Return the counters with more values: different texts (see `key_of`) and how often each counts."""
    return merge(frequent, _cut(counted, 0))


def merge(first: Frequent, second: Frequent) -> Frequent:
    """Return the counters of the values of both."""
    counter: dict[str | float, float] = dict(zip(first.keys, first.counts, strict=True))
    for key, count in zip(second.keys, second.counts, strict=True):
        counter[key] = counter.get(key, 0.0) + count
    return _cut(counter, first.error + second.error)


def key_of(text: str, digest: int) -> str:
    """Return what a text is counted as: itself, or its beginning and its hash where it is long or cannot be printed."""
    if len(text) <= TEXT_LIMIT and text.isprintable():
        return text
    shown = "".join(letter for letter in text[: TEXT_LIMIT - 17] if letter.isprintable())
    return f"{shown}~{digest:016x}"


def _cut(counted: Mapping[str, float] | Mapping[str | float, float], error: float) -> Frequent:
    ordered: Sequence[tuple[str | float, float]] = sorted(counted.items(), key=lambda item: (-item[1], str(item[0])))
    taken = ordered[LIMIT][1] if len(ordered) > LIMIT else 0.0
    left = [(key, count - taken) for key, count in ordered[:LIMIT] if count > taken]
    return Frequent(tuple(key for key, _ in left), tuple(count for _, count in left), error + taken)
