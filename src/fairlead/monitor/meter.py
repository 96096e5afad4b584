"""The sink that the data plane tells everything: it keeps observations in a buffer and counts them a few hundred at a time.

Takes observations and engine calls, from the event loop's thread; gives tallies by version, and hands what it counted on to listeners
(traces, logs). `record` never raises, never blocks and costs about a microsecond: benchmarks/observing.py. Everything else may be
called by any thread.
"""

from __future__ import annotations

import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, TypeVar

from fairlead.core.observation import BatchObservation, Observation
from fairlead.monitor.tally import Tally
from fairlead.monitor.window import Window

# Counting this many takes a quarter of a millisecond, the longest that a request waits for it; a hundred of them would take half of that.
_FOLD_COUNT = 512
_VERSION_LIMIT = 256  # versions remembered; the one that was asked longest ago goes

Key = tuple[str, int]
T = TypeVar("T", Observation, BatchObservation)
Field = Callable[[Any], Any]
# Twice as fast as asking for attributes by name.
_REQUEST_MODEL, _REQUEST_VERSION = (itemgetter(Observation._fields.index(name)) for name in ("model", "version"))
_BATCH_MODEL, _BATCH_VERSION = (itemgetter(BatchObservation._fields.index(name)) for name in ("model", "version"))
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
        """Return the tallies, with everything that was recorded; hold `lock` while you settle and read one."""
        self.fold()
        return self._tallies.copy()

    def _fold(self) -> None:
        try:
            self._count()
        except Exception:  # noqa: BLE001 - whoever records is answering a request, which has nothing to do with it
            self._on_defect(f"Counting requests failed.\n{traceback.format_exc()}")

    def _count(self) -> None:
        requests, batches = _take(self._requests), _take(self._batches)
        for key, group in _by_version(requests, _REQUEST_MODEL, _REQUEST_VERSION):
            self._tally(key).take(group)
        for key, calls in _by_version(batches, _BATCH_MODEL, _BATCH_VERSION):
            self._tally(key).take_batches(calls)
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


def _by_version(items: list[T], model: Field, version: Field) -> Iterable[tuple[Key, list[T]]]:
    """Yield each version with its items; `model` and `version` read an item's."""
    models, versions = set(map(model, items)), set(map(version, items))
    if len(models) <= 1 and len(versions) <= 1:  # one version, as most of the time
        return [((models.pop(), versions.pop()), items)] if items else []
    groups: dict[Key, list[T]] = {}
    for item in items:
        groups.setdefault((item.model, item.version), []).append(item)
    return groups.items()
