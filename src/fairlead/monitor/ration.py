"""So many lines a second, and a count of what was left out: no client fills a log.

Takes what happens, by kind; says whether it may have a line of its own, and hands the counts of the others to `tell` when the second is
over. May be asked by several threads. Raises nothing.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping

_SECOND_S = 1.0


class Ration:
    """`limit` lines in each second. `tell` takes counts by kind and a time in Unix seconds."""

    def __init__(self, limit: int, tell: Callable[[Mapping[str, int], float], None]) -> None:
        self._limit, self._tell = limit, tell
        self._second = self._told = 0
        self._untold: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def allows(self, kind: str, at: float) -> bool:
        """Whether something of that kind, which happened at `at`, gets a line of its own; counts it where it does not."""
        with self._lock:
            if int(at) != self._second:
                self._say(at)
                self._second, self._told = int(at), 0
            self._told += 1
            if self._told <= self._limit:
                return True
            self._untold[kind] += 1
            if self._timer is None:  # what comes next may come in an hour
                self._timer = threading.Timer(_SECOND_S, self._say_late, (at + _SECOND_S,))
                self._timer.daemon = True
                self._timer.start()
            return False

    def close(self, at: float) -> None:
        """Say what is left."""
        with self._lock:
            timer = self._timer
            self._say(at)
        if timer is not None:
            timer.join()

    def _say_late(self, at: float) -> None:
        with self._lock:
            self._say(at)

    def _say(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._untold:
            counts = dict(self._untold.most_common())
            self._untold.clear()
            self._tell(counts, at)
