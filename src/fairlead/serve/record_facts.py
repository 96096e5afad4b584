"""What is known of answered requests beside their tensors, as columns with a line for each row. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fairlead.core.interface import Array
from fairlead.core.observation import Observation

_PLACES = {name: place for place, name in enumerate(Observation._fields)}
_OK = "ok"
_MS = 1e3  # milliseconds per second


def facts_of(observations: Sequence[Observation], own_ids: Sequence[str], arms: Sequence[str]) -> dict[str, Array]:
    """Return the columns of requests, repeated for each of their rows; `own_ids` and `arms` are theirs in the same order."""
    columns = tuple(zip(*observations, strict=True))

    def numbers(name: str) -> Array:
        return np.array(columns[_PLACES[name]], np.float64)

    spent = (numbers("queue_ms") + numbers("compute_ms") + numbers("cache_ms")) / _MS
    facts = {
        "at": numbers("at") - spent,
        "latency_s": spent,
        "request_id": _texts(columns[_PLACES["request_id"]]),
        "own_id": _texts(own_ids),
        "arm": _texts(arms),
        "route": _texts([transport or "local" for transport in columns[_PLACES["transport"]]]),
        "status": _texts([code or _OK for code in columns[_PLACES["error_code"]]]),
    }
    return _by_row(facts, np.array(columns[_PLACES["rows"]]))


def _by_row(facts: dict[str, Array], counts: Array) -> dict[str, Array]:
    """Return what is known of requests for each of their rows, with the row's place in its request."""
    total = int(counts.sum())
    if total == len(counts):
        return facts | {"row": np.zeros(total, np.int32)}
    first = np.repeat(np.cumsum(counts) - counts, counts)
    return {name: np.repeat(column, counts) for name, column in facts.items()} | {"row": (np.arange(total) - first).astype(np.int32)}


def _texts(values: Sequence[str]) -> Array:
    texts = np.empty(len(values), object)
    texts[:] = values
    return texts
