"""A bounded queue with a thread behind it: what telemetry goes through on its way to sinks that may be slow, full, dead or hanging.

Takes items from any thread and makes none of them wait: what does not fit is dropped and counted. Hands them in groups to `send`, which may
block for as long as it likes. The thread is a daemon, so a sink that hangs does not hold up the end either.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Pipe(Generic[T]):
    """`send` returns how many of a group its sink took, and raises OSError where it took none. `capacity` is how many items wait at most,
    `group` how many are sent together at most, `linger_s` how long the first ones wait for others.
    """

    def __init__(self, name: str, send: Callable[[Sequence[T]], int], *, capacity: int, group: int, linger_s: float = 0.0) -> None:
        self._send = send
        self._capacity, self._group, self._linger_s = capacity, group, linger_s
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"fairlead-{name}", daemon=True)
        self.sent_count = 0
        self.dropped_count = 0
        self._thread.start()

    def put(self, items: Sequence[T]) -> None:
        """Take as many of `items` as there is room for."""
        with self._changed:
            room = max(self._capacity - len(self._items), 0)
            self._items.extend(items[:room])
            self.dropped_count += max(len(items) - room, 0)
            self._changed.notify()

    def close(self, timeout_s: float) -> None:
        """Send what waits, as far as the time allows. Idempotent."""
        self._closing.set()
        with self._changed:
            self._changed.notify()
        self._thread.join(timeout_s)

    def _work(self) -> None:
        while items := self._next():
            try:
                taken = self._send(items)
            except OSError:
                taken = 0
            with self._changed:
                self.sent_count += taken
                self.dropped_count += len(items) - taken

    def _next(self) -> list[T]:
        """Return the next group; empty at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closing.is_set())
        if len(self._items) < self._group:
            self._closing.wait(self._linger_s)
        with self._changed:
            return [self._items.popleft() for _ in range(min(len(self._items), self._group))]
