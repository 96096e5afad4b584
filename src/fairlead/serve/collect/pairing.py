"""Requests and answers that come apart, in any order, twice or never: which belong together. Pure: no clock, no I/O.

Takes halves with the time at which they came, in seconds that only grow; gives pairs, and halves whose other one never came. What waits is
bounded in number, bytes and time, and so is the memory of what is done: the oldest go first. Raises nothing.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from typing import Any, NamedTuple

from fairlead.core.cloud_event import CloudEvent


class Fate(enum.Enum):
    """What became of a half that was offered."""

    WAITS = "waits"
    PAIRED = "paired"
    REPEATED = "repeated"  # it waits already, or was paired
    LATE = "late"  # its other half was given up


class Half(NamedTuple):
    """An event, whom it is for, and when it came."""

    event: CloudEvent
    watched: Any
    came_at: float


class Offered(NamedTuple):
    """What became of a half, its other half where it is paired, and those that had to make room."""

    fate: Fate
    other: Half | None = None
    crowded_out: tuple[Half, ...] = ()


class Pairs:
    """Halves wait at most `wait_s`; at most `count_limit` of them and `bytes_limit` bytes. The last `memory_count` pairs are remembered."""

    def __init__(self, *, wait_s: float, bytes_limit: int, count_limit: int = 65_536, memory_count: int = 65_536) -> None:
        self._wait_s, self._bytes_limit, self._count_limit, self._memory_count = wait_s, bytes_limit, count_limit, memory_count
        self._waiting: OrderedDict[bytes, Half] = OrderedDict()
        self._done: OrderedDict[bytes, Fate] = OrderedDict()
        self.waiting_bytes = 0

    @property
    def waiting_count(self) -> int:
        """How many halves wait."""
        return len(self._waiting)

    def offer(self, half: Half) -> Offered:
        """Take a half."""
        key = half.event.pair
        done = self._done.get(key)
        if done is not None:
            return Offered(Fate.REPEATED if done is Fate.PAIRED else Fate.LATE)
        other = self._waiting.get(key)
        if other is None:
            self._waiting[key] = half
            self.waiting_bytes += half.event.size_bytes
            return Offered(Fate.WAITS, None, self._make_room())
        if other.event.kind is half.event.kind:
            return Offered(Fate.REPEATED)
        self._let_go(key, Fate.PAIRED)
        return Offered(Fate.PAIRED, other)

    def expired(self, now: float, limit: int) -> list[Half]:
        """Let go of those that have waited too long, the oldest first, `limit` at most."""
        found: list[Half] = []
        while self._waiting and len(found) < limit:
            key, half = next(iter(self._waiting.items()))
            if now - half.came_at < self._wait_s:
                break
            found.append(self._let_go(key, Fate.LATE))
        return found

    def rest(self, limit: int) -> list[Half]:
        """Let go of whatever waits, the oldest first, `limit` at most."""
        return [self._let_go(next(iter(self._waiting)), Fate.LATE) for _ in range(min(limit, len(self._waiting)))]

    def _make_room(self) -> tuple[Half, ...]:
        found: list[Half] = []
        while self.waiting_bytes > self._bytes_limit or len(self._waiting) > self._count_limit:
            found.append(self._let_go(next(iter(self._waiting)), Fate.LATE))
        return tuple(found)

    def _let_go(self, key: bytes, fate: Fate) -> Half:
        half = self._waiting.pop(key)
        self.waiting_bytes -= half.event.size_bytes
        self._done[key] = fate
        if len(self._done) > self._memory_count:
            self._done.popitem(last=False)
        return half
