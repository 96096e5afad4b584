"""How long one call of a model takes, by rows and threads, and what follows for sizes between those that were measured. Pure values.

Law of interpolation: between two measured batch sizes a call's time is taken to be affine in the rows (a fixed part and a part per row),
and so is each of its percentiles; above the largest size it goes on with the slope of the last two, never falling. Where only one size was
measured, a larger call takes in proportion longer. Raises SpecError for a number of threads that was not measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from fairlead.core.interface import Array
from fairlead.errors import SpecError

SAMPLE_COUNT = 200  # values that stand for the distribution of a point


@dataclass(frozen=True)
class ProfilePoint:
    """Calls with `batch` rows on `thread_count` threads. `cv` is the standard deviation over the mean. `sample_ms`: the calls' times in
    ascending order, thinned to at most SAMPLE_COUNT evenly ranked ones whose mean is `mean_ms`.
    """

    batch: int
    thread_count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    mean_ms: float
    cv: float
    call_count: int
    sample_ms: tuple[float, ...] = field(repr=False)


@dataclass(frozen=True)
class LatencyProfile:
    """Points in ascending order of threads and rows. `is_measured` is False where they were predicted (plan/roofline.py).

    `drift`: equally likely factors by which everything is slower or faster for seconds, 1 on average: neighbours on the same processor,
    clocks. `sample_ms` of the points is free of it. `notes` name what was left out.
    """

    points: tuple[ProfilePoint, ...]
    drift: tuple[float, ...] = (1.0,)
    engine: str = ""
    processor: str = ""
    measured_at: float = 0.0
    is_measured: bool = True
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def thread_counts(self) -> tuple[int, ...]:
        """The numbers of threads that were measured."""
        return tuple(sorted({point.thread_count for point in self.points}))

    def at(self, thread_count: int) -> tuple[ProfilePoint, ...]:
        """Return the points of a number of threads, by rows; raises SpecError where it was not measured."""
        found = self._by_threads.get(thread_count)
        if found is None:
            known = ", ".join(map(str, self.thread_counts))
            raise SpecError(f"Nothing was measured with {thread_count} threads.", hint=f"Measured with: {known}.")
        return found

    def mean_ms(self, rows: int, thread_count: int) -> float:
        """Return the mean time of a call with `rows` rows."""
        points = self.at(thread_count)
        return float(_affine(rows, [point.batch for point in points], np.array([[point.mean_ms] for point in points]))[0])

    def samples_ms(self, rows: int, thread_count: int) -> Array:
        """Return SAMPLE_COUNT equally likely times of a call with `rows` rows, ascending."""
        points = self.at(thread_count)
        return _affine(rows, [point.batch for point in points], self._grids[thread_count])

    @cached_property
    def _by_threads(self) -> Mapping[int, tuple[ProfilePoint, ...]]:
        order = sorted(self.points, key=lambda point: (point.thread_count, point.batch))
        return {count: tuple(point for point in order if point.thread_count == count) for count in self.thread_counts}

    @cached_property
    def _grids(self) -> Mapping[int, Array]:
        return {count: np.array([_spread(point.sample_ms) for point in points]) for count, points in self._by_threads.items()}


def _spread(samples: Sequence[float]) -> Array:
    """Return SAMPLE_COUNT values with the distribution of `samples`."""
    ranks = (np.arange(SAMPLE_COUNT) + 0.5) / SAMPLE_COUNT * len(samples)
    return np.sort(np.asarray(samples, np.float64))[ranks.astype(np.int64)]


def _affine(rows: int, batches: Sequence[int], values: Array) -> Array:
    """Return the row of `values` (one for each of `batches`) that belongs to `rows`."""
    if len(batches) == 1:
        return np.asarray(values[0] * max(rows / batches[0], 1.0))
    above = min(max(int(np.searchsorted(batches, rows)), 1), len(batches) - 1)
    low, high = batches[above - 1], batches[above]
    slope = (values[above] - values[above - 1]) / (high - low)
    if rows > high:  # a noisy last pair must not make larger calls cheaper
        return np.asarray(values[above] + np.maximum(slope, 0.0) * (rows - high))
    return np.asarray(values[above - 1] + slope * (rows - low))
