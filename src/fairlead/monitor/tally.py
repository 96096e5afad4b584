"""Everything that is counted of one version: what metrics and the statistics extension are printed from.

Takes observations and counts them a few hundred at a time, since that costs each of them a fraction of a microsecond; gives numbers that
only grow, after `settle`. Not safe for several threads: the meter's lock is held around it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead.core.observation import BatchObservation, Observation
from fairlead.monitor.histogram import ROWS, SECONDS, Histogram
from fairlead.monitor.window import Window

_MS = 1000.0  # milliseconds per second
_ENOUGH = 128  # counting takes a tenth of a millisecond, however few they are
_SIZE_LIMIT = 512  # batch sizes told apart; above, a size is rounded up to a power of two
Numbers = NDArray[Any]
Columns = tuple[tuple[Any, ...], ...]  # the fields of observations, or of engine calls, one after the other


class Spent:
    """How often something was done, and the milliseconds that it took together."""

    __slots__ = ("count", "ms")

    def __init__(self) -> None:
        self.count, self.ms = 0, 0.0

    def add(self, times_ms: Numbers) -> None:
        """Count each of `times_ms`."""
        self.count += len(times_ms)
        self.ms += float(times_ms.sum())


class Calls:
    """How often an engine was called with batches of one size, and the milliseconds in joining rows, computing and parting answers."""

    __slots__ = ("count", "infer_ms", "input_ms", "output_ms")

    def __init__(self) -> None:
        self.count, self.input_ms, self.infer_ms, self.output_ms = 0, 0.0, 0.0, 0.0

    def take(self, call_ms: float, input_ms: float, output_ms: float) -> None:
        """Count a call."""
        self.count += 1
        self.input_ms += input_ms
        self.infer_ms += call_ms - input_ms - output_ms
        self.output_ms += output_ms


class Tally:
    """The numbers of one version. `success` and `fail` are of all requests; `queue`, `input`, `infer` and `output` of answers that an
    engine gave; `cache_hit` is what hits took, `cache_miss` what looking in vain and keeping the answer did.
    """

    __slots__ = (
        "_batches",
        "_requests",
        "batch_outcomes",
        "batch_sizes",
        "cache_hit",
        "cache_miss",
        "compute",
        "duration",
        "fail",
        "infer",
        "input",
        "last_at",
        "outcomes",
        "output",
        "queue",
        "queue_seconds",
        "row_count",
        "run_row_count",
        "size",
        "success",
        "window",
    )

    def __init__(self, window: Window) -> None:
        self.window = window
        self.outcomes: Counter[tuple[str, str]] = Counter()  # (transport, error code) -> requests
        self.batch_outcomes: Counter[str] = Counter()  # error code -> engine calls
        self.batch_sizes: dict[int, Calls] = {}
        self.success, self.fail, self.queue, self.infer, self.cache_hit = Spent(), Spent(), Spent(), Spent(), Spent()
        self.cache_miss, self.input, self.output = Spent(), Spent(), Spent()
        self.row_count = self.run_row_count = 0  # answered rows: all; without those from the cache
        self.last_at = 0.0
        self.duration, self.queue_seconds, self.compute = Histogram(SECONDS, _MS), Histogram(SECONDS, _MS), Histogram(SECONDS, _MS)
        self.size = Histogram(ROWS)
        self._requests: list[Observation] = []
        self._batches: list[BatchObservation] = []

    def take(self, requests: Sequence[Observation]) -> None:
        """Take requests, at least one, to count them when there are enough."""
        self.last_at = max(self.last_at, requests[-1].at)
        self._requests += requests
        if len(self._requests) >= _ENOUGH:
            self.settle()

    def take_batches(self, batches: Sequence[BatchObservation]) -> None:
        """Take engine calls likewise."""
        self._batches += batches
        if len(self._batches) >= _ENOUGH:
            self.settle()

    def settle(self) -> None:
        """Count what was taken: whoever reads calls it first."""
        if self._requests:
            self._add((*zip(*self._requests, strict=True),))
            self._requests = []
        if self._batches:
            self._add_batches((*zip(*self._batches, strict=True),))
            self._batches = []

    def _add(self, columns: Columns) -> None:
        """Count requests whose fields come as columns."""
        _, _, _, ended, row_counts, queue_times, compute_times, codes, transports, _, hits, _, misses, *parts = columns
        queue, compute = _times(queue_times), _times(compute_times)
        joining, parting, caching = map(_times, parts)
        spent, rows, at = queue + compute + caching, np.array(row_counts), np.array(ended)
        has_errors = any(codes)
        is_error = np.array([code != "" for code in codes]) if has_errors else np.zeros(len(codes), np.bool_)
        self.window.add(at, spent, rows, is_error)
        if True in misses:
            self.cache_miss.add(caching[np.array(misses)])
        if not has_errors and transports.count(transports[0]) == len(transports):  # the usual case, ten times as fast
            self.outcomes[transports[0], ""] += len(transports)
        else:
            self.outcomes.update(zip(transports, codes, strict=True))
        if has_errors:
            self.fail.add(spent[is_error])
            is_answer = ~is_error
            queue, compute, spent, rows = queue[is_answer], compute[is_answer], spent[is_answer], rows[is_answer]
            joining, parting = joining[is_answer], parting[is_answer]
            hits = tuple(hit for hit, code in zip(hits, codes, strict=True) if not code)
        self.success.add(spent)
        self.duration.add(spent)
        self.row_count += int(rows.sum())
        if True in hits:
            is_hit = np.array(hits)
            self.cache_hit.add(spent[is_hit])
            queue, compute, rows = queue[~is_hit], compute[~is_hit], rows[~is_hit]
            joining, parting = joining[~is_hit], parting[~is_hit]
        self.queue.add(queue)
        self.queue_seconds.add(queue)
        self.input.add(joining)
        self.infer.add(compute - joining - parting)
        self.output.add(parting)
        self.run_row_count += int(rows.sum())

    def _add_batches(self, columns: Columns) -> None:
        """Count engine calls whose fields come as columns; those that failed only as such."""
        _, _, _, row_counts, _, compute_times, codes, *parts = columns
        compute, rows = _times(compute_times), np.array(row_counts)
        joining, parting = map(_times, parts)
        if any(codes):
            is_done = np.array([code == "" for code in codes])
            compute, rows, joining, parting = compute[is_done], rows[is_done], joining[is_done], parting[is_done]
            self.batch_outcomes.update(codes)
        else:
            self.batch_outcomes[""] += len(codes)
        self.compute.add(compute)
        self.size.add(rows)
        for size, *times in zip(*(column.tolist() for column in (rows, compute, joining, parting)), strict=True):
            (self.batch_sizes.get(size) or self._new_size(size)).take(*times)

    def _new_size(self, rows: int) -> Calls:
        if len(self.batch_sizes) >= _SIZE_LIMIT:
            rows = 1 << max(rows - 1, 0).bit_length()
        return self.batch_sizes.setdefault(rows, Calls())


def _times(values: Sequence[float]) -> Numbers:
    """Return durations as an array; one that a stepping clock made negative is 0."""
    return np.fmax(np.array(values, dtype=np.float64), 0.0)
