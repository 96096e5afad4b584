"""What a version did lately and ever since: counts and latencies of its requests.

Takes Observations in the order in which they were made; gives a `Summary` of those in the window, and running totals. Pure: time comes with
the observations and with the question. Bounded: the window holds at most `capacity` observations, the newest.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.core.observation import Observation


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


@dataclass(slots=True)
class Totals:
    """Since the version was first seen: requests, rows and milliseconds; `last_at` is Unix seconds."""

    success_count: int = 0
    success_ms: float = 0.0
    fail_count: int = 0
    fail_ms: float = 0.0
    row_count: int = 0
    queue_ms: float = 0.0
    compute_ms: float = 0.0
    last_at: float = 0.0

    def add(self, observation: Observation) -> None:
        """Count one request."""
        self.last_at = observation.at
        spent_ms = observation.queue_ms + observation.compute_ms
        if observation.error_code:
            self.fail_count += 1
            self.fail_ms += spent_ms
            return
        self.success_count += 1
        self.success_ms += spent_ms
        self.row_count += observation.rows
        self.queue_ms += observation.queue_ms
        self.compute_ms += observation.compute_ms


class Window:
    """The newest observations of one version."""

    def __init__(self, window_s: float, capacity: int) -> None:
        self.window_s = window_s
        self._observations: deque[Observation] = deque(maxlen=capacity)

    def add(self, observation: Observation) -> None:
        """Take one observation; the oldest one goes where there is no room."""
        self._observations.append(observation)

    def summary(self, now: float, *, row_limit: int | None = None) -> Summary:
        """Return what happened up to `now` (Unix seconds), of requests with at most `row_limit` rows where that is given."""
        recent = [
            item for item in self._observations.copy() if item.at > now - self.window_s and (row_limit is None or item.rows <= row_limit)
        ]
        times = sorted(item.queue_ms + item.compute_ms for item in recent if not item.error_code)
        return Summary(
            self.window_s,
            len(recent),
            len(recent) - len(times),
            sum(item.rows for item in recent if not item.error_code),
            percentile(times, 0.5),
            percentile(times, 0.95),
            percentile(times, 0.99),
        )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the ordered values do not exceed (nearest rank); NaN for none."""
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1] if ordered else math.nan
