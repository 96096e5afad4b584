"""What is known of answered requests beside their tensors, as columns with a line for each row. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np

from fairlead.core.interface import Array
from fairlead.core.observation import Observation

_PLACES = {name: place for place, name in enumerate(Observation._fields)}
_ID, _AT, _ROWS, _ERROR, _TRANSPORT = map(_PLACES.__getitem__, ("request_id", "at", "rows", "error_code", "transport"))
_QUEUE, _COMPUTE, _CACHE = map(_PLACES.__getitem__, ("queue_ms", "compute_ms", "cache_ms"))
_OK, _LOCAL = "ok", "local"
_MS = 1e3  # milliseconds per second


def facts_of(observations: Sequence[Observation], named: Mapping[int, tuple[str, str]]) -> dict[str, Array]:
    """Return the columns of requests, repeated for each of their rows; `named` are the id in the body and the arm of those that have one,
    by their place. Texts are objects, or fixed-width ASCII where all are equally long.
    """
    columns = tuple(zip(*observations, strict=True))
    count = len(observations)
    times = chain(columns[_AT], columns[_QUEUE], columns[_COMPUTE], columns[_CACHE])
    at, queued, computed, cached = np.fromiter(times, np.float64, 4 * count).reshape(4, count)
    spent = (queued + computed + cached) / _MS
    own_ids, arms = [""] * count, [""] * count
    for place, names in named.items():
        own_ids[place], arms[place] = names
    facts = {
        "at": at - spent,
        "latency_s": spent,
        "request_id": _identities(columns[_ID]),
        "own_id": texts_of(own_ids),
        "arm": texts_of(arms),
        "route": texts_of(columns[_TRANSPORT], _LOCAL),
        "status": texts_of(columns[_ERROR], _OK),
    }
    return _by_row(facts, columns[_ROWS])


def _by_row(facts: dict[str, Array], counts: Sequence[int]) -> dict[str, Array]:
    """Return what is known of requests for each of their rows, with the row's place in its request."""
    total = sum(counts)
    if total == len(counts):
        return facts | {"row": np.zeros(total, np.int32)}
    repeats = np.array(counts)
    first = np.repeat(np.cumsum(repeats) - repeats, repeats)
    return {name: np.repeat(column, repeats) for name, column in facts.items()} | {"row": (np.arange(total) - first).astype(np.int32)}


def _identities(ids: Sequence[str]) -> Array:
    """Return ids in a quarter of the memory where they are alike: those that the server gives are."""
    widths = set(map(len, ids))
    if len(widths) == 1 and (width := widths.pop()):
        joined = "".join(ids)
        if joined.isascii() and "\0" not in joined:  # numpy takes zeros at the end for padding
            return np.frombuffer(joined.encode(), f"S{width}")
    return texts_of(ids)


def texts_of(values: Sequence[str], default: str = "") -> Array:
    """Return texts as objects, with `default` for empty ones; as fixed-width ASCII where all are the same."""
    first = values[0] or default
    if first.isascii() and "\0" not in first and values.count(values[0]) == len(values):  # as most are: nobody has to count references
        return np.full(len(values), first.encode(), f"S{max(len(first), 1)}")
    texts = np.empty(len(values), object)
    texts[:] = [value or default for value in values] if default else values
    return texts
