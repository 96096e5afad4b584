"""The sink that the data plane tells everything: it keeps observations in a buffer and counts them a few hundred at a time.

Takes observations and engine calls, from the event loop's thread; gives tallies by version, and hands what it counted on to listeners
(traces, logs). `record` never raises, never blocks and costs well under a microsecond: benchmarks/observing.py. Everything else may be
called by any thread.
"""

from __future__ import annotations

import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from fairlead.core.observation import BatchObservation, Observation
from fairlead.monitor.tally import Columns, Tally
from fairlead.monitor.window import Window

# Counting this many takes a quarter of a millisecond, the longest that a request waits for it; a hundred of them would take half of that.
_FOLD_COUNT = 512
_VERSION_LIMIT = 256  # versions remembered; the one that was asked longest ago goes

Key = tuple[str, int]
T = TypeVar("T", Observation, BatchObservation)
Listener = Callable[[Sequence[Observation]], None]


class Meter:
    """Counts by version. `listeners` are told every observation once, in groups, in the order in which they were made; `on_defect` is told
    the trace of a mistake of ours, or of a listener's.
    """

    def __init__(self, window_s: float, capacity: int, listeners: Sequence[Listener], on_defect: Callable[[str], None]) -> None:
        self._window_s, self._capacity = window_s, capacity
        self._listeners = tuple(listeners)
        self._on_defect = on_defect
        self._requests: deque[Observation] = deque()
        self._batches: deque[BatchObservation] = deque()
        self._tallies: dict[Key, Tally] = {}  # the one that was asked longest ago stands first
        self.lock = threading.Lock()

    def record(self, observation: Observation) -> None:
        """Take one observation."""
        requests = self._requests
        requests.append(observation)
        if len(requests) >= _FOLD_COUNT and self.lock.acquire(blocking=False):
            self._fold()
            self.lock.release()

    def record_batch(self, batch: BatchObservation) -> None:
        """Take what one call of an engine did."""
        self._batches.append(batch)

    def fold(self) -> None:
        """Count what is in the buffer."""
        with self.lock:
            self._fold()

    def tallies(self) -> dict[Key, Tally]:
        """Return the tallies as they are, everything counted; read them with `lock` held."""
        self.fold()
        return self._tallies.copy()

    def _fold(self) -> None:
        try:
            self._count()
        except Exception:  # noqa: BLE001 - whoever records is answering a request, which has nothing to do with it
            self._on_defect(f"Counting requests failed.\n{traceback.format_exc()}")

    def _count(self) -> None:
        requests, batches = _take(self._requests), _take(self._batches)
        for key, columns in _by_version(requests, 1):
            self._tally(key).add(columns)
        for key, columns in _by_version(batches, 0):
            self._tally(key).add_batches(columns)
        if requests:
            for listener in self._listeners:
                listener(requests)

    def _tally(self, key: Key) -> Tally:
        tally = self._tallies.pop(key, None)
        if tally is None:
            if len(self._tallies) >= _VERSION_LIMIT:
                del self._tallies[next(iter(self._tallies))]
            tally = Tally(Window(self._window_s, self._capacity))
        self._tallies[key] = tally
        return tally


def _take(items: deque[T]) -> list[T]:
    """Empty the deque of what is in it now. Another thread may be adding to its other end."""
    return [items.popleft() for _ in range(len(items))]


def _by_version(items: list[T], place: int) -> Iterable[tuple[Key, Columns]]:
    """Yield each version with the fields of its items as columns. The model's name stands at `place`, the version's number behind it."""
    if not items:
        return []
    columns = _columns(items)
    models, versions = columns[place : place + 2]
    if models.count(models[0]) == versions.count(versions[0]) == len(items):  # one version, as most of the time
        return [((models[0], versions[0]), columns)]
    groups: dict[Key, list[T]] = {}
    for key, item in zip(zip(models, versions, strict=True), items, strict=True):
        groups.setdefault(key, []).append(item)
    return [(key, _columns(group)) for key, group in groups.items()]


def _columns(items: Sequence[T]) -> Columns:
    return (*zip(*items, strict=True),)
