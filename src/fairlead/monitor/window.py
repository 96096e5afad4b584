"""What a version did lately: counts and latencies of its requests.

Takes the times and sizes of requests in the order in which they ended; gives a `Summary` of those in the window. Pure: time comes with the
requests and with the question. Bounded: the window holds at most `capacity` requests, the newest, 17 bytes each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FIRST_ROOM = 256
Numbers = Sequence[Any] | NDArray[Any]


@dataclass(frozen=True)
class Summary:
    """Requests of one version in the last `window_s` seconds. Latencies (waiting and computing, ms) are of answered requests."""

    window_s: float
    count: int
    error_count: int
    row_count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


class Window:
    """The newest requests of one version, in a ring that grows as it is needed."""

    def __init__(self, window_s: float, capacity: int) -> None:
        self.window_s = window_s
        self._capacity = capacity
        self._room = min(_FIRST_ROOM, capacity)
        self._at: NDArray[np.float64] = np.zeros(self._room)
        self._spent_ms: NDArray[np.float32] = np.zeros(self._room, np.float32)
        self._rows: NDArray[np.int32] = np.zeros(self._room, np.int32)
        self._is_error: NDArray[np.bool_] = np.zeros(self._room, np.bool_)
        self._count = 0  # ever added

    def add(self, at: Numbers, spent_ms: Numbers, rows: Numbers, is_error: Numbers) -> None:
        """Take requests: when they ended (Unix seconds), how long they took, their rows, and whether they failed."""
        count = len(at)
        while self._room < self._capacity and self._count + count > self._room:
            self._grow()
        skipped = max(count - self._room, 0)  # more at once than there is room for: the newest count
        first = (self._count + skipped) % self._room
        middle = skipped + min(self._room - first, count - skipped)  # behind it, the ring begins anew
        self._count += count
        for ring, values in ((self._at, at), (self._spent_ms, spent_ms), (self._rows, rows), (self._is_error, is_error)):
            ring[first : first + middle - skipped] = values[skipped:middle]
            if middle < count:
                ring[: count - middle] = values[middle:]

    def summary(self, now: float, *, row_limit: int | None = None) -> Summary:
        """Return what happened up to `now` (Unix seconds), of requests with at most `row_limit` rows where that is given."""
        held = min(self._count, self._room)
        is_meant = self._at[:held] > now - self.window_s
        if row_limit is not None:
            is_meant &= self._rows[:held] <= row_limit
        is_answer = is_meant & ~self._is_error[:held]
        times = np.sort(self._spent_ms[:held][is_answer])
        count = int(is_meant.sum())
        return Summary(
            self.window_s,
            count,
            count - len(times),
            int(self._rows[:held][is_answer].sum(dtype=np.int64)),
            percentile(times, 0.5),
            percentile(times, 0.95),
            percentile(times, 0.99),
        )

    def _grow(self) -> None:
        """Double the room. The ring has not come around yet: it grows before it is full."""
        self._room = min(self._room * 2, self._capacity)
        self._at = _longer(self._at, self._room)
        self._spent_ms = _longer(self._spent_ms, self._room)
        self._rows = _longer(self._rows, self._room)
        self._is_error = _longer(self._is_error, self._room)


def _longer(ring: NDArray[Any], size: int) -> NDArray[Any]:
    grown = np.zeros(size, ring.dtype)
    grown[: len(ring)] = ring
    return grown


def percentile(ordered: Numbers, share: float) -> float:
    """Return the smallest value that at least `share` of the ordered values do not exceed (nearest rank); NaN for none."""
    return float(ordered[max(math.ceil(share * len(ordered)), 1) - 1]) if len(ordered) else math.nan
