"""One timer of the event loop for many times: it rings at the earliest that was asked for.

Takes times; calls `ring`. Raises nothing. After it rang, or was cancelled, nothing is asked for any more.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable


class Alarm:
    """Calls `ring` in the running event loop."""

    __slots__ = ("_at", "_ring", "_timer")

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None
        self._at = math.inf

    def set(self, at: float, now: float) -> None:
        """Ring at `at`, or before it where that was asked; both by the clock that says `now`. Infinity asks for nothing."""
        if at < self._at:
            self.cancel()
            self._at = at
            self._timer = asyncio.get_running_loop().call_later(max(at - now, 0.0), self._rings)

    def cancel(self) -> None:
        """Ring no more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._at = math.inf

    def _rings(self) -> None:
        self._timer, self._at = None, math.inf
        self._ring()
