"""How many workers, how long they may take, and when a dead one is replaced. Pure: times are seconds that the caller gives.

What tells a hang from a long call: a process that is stopped, or whose interpreter is held, beats no more; one that computes beats on, and
may take a hundred times what the golden requests let expect of a request of that size, and at least 2.5 s.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from fairlead.core.ports import Clock

TICK_S = 0.25  # how often the front looks
SILENT_TICKS = 8  # looks in a row without a new beat (pauses of the front do not count): 2 s, so that a hung one is replaced within 3
_CALL_FLOOR_S, _CALL_FACTOR = 2.5, 100.0
_UNKNOWN_S, _UNKNOWN_ROW_S = 30.0, 0.1  # as for models in processes of their own: engines.resident_engine
_WAIT_S, _WAIT_LIMIT_S = 0.5, 30.0
_GIVE_UP = 6  # processes in a row that died before they had been asked anything
_WINDOW_S, _FREE_PER_WORKER, _FREE = 30.0, 4, 8  # deaths in this time that are made good at once; a worker a second after those


@dataclass(frozen=True)
class WorkerPolicy:
    """`call_limit_s` 0 learns from the golden requests. `memory_bytes` is what a worker's address space may grow by."""

    count: int = 1
    call_limit_s: float = 0.0
    open_limit_s: float = 120.0
    memory_bytes: int = 8 * 2**30
    answer_limit_bytes: int = 2**30
    wait_limit_s: float = 3.0


@dataclass
class CallLimits:
    """How long a call may take before its worker counts as hung; learns from what calls took. `row_bytes` is a golden row's size."""

    fixed_s: float = 0.0
    row_ms: float = 0.0
    row_bytes: int = 1

    def seconds(self, size_bytes: int, rows: int) -> float:
        """Return the limit for a call. Work is taken to grow with the rows, and with the square of a row's size (attention)."""
        if self.fixed_s > 0:
            return self.fixed_s
        if self.row_ms <= 0:
            return _UNKNOWN_S + _UNKNOWN_ROW_S * rows
        return max(_CALL_FLOOR_S, _CALL_FACTOR * self._expected_ms(size_bytes, rows) / 1e3)

    def learn(self, size_bytes: int, rows: int, took_ms: float) -> None:
        """Take the slowest answer as what is to be expected: a busy machine is no hang."""
        if self.row_ms > 0:
            self.row_ms *= max(1.0, took_ms / self._expected_ms(size_bytes, rows))

    def _expected_ms(self, size_bytes: int, rows: int) -> float:
        ratio = max(1.0, size_bytes / max(rows, 1) / max(self.row_bytes, 1))
        return self.row_ms * max(rows, 1) * ratio * ratio


@dataclass
class Restarts:
    """Decides when a dead process is replaced, so that nothing dies and starts without an end."""

    count: int
    clock: Clock
    _deaths: deque[float] = field(default_factory=deque)
    _unasked: int = 0

    def delay_s(self, *, was_asked: bool) -> float | None:
        """Note a death; return how long to wait before the next start, None to give up.

        What dies before anybody has asked it anything does not work here: doubling pauses, then an end. What dies of requests works for
        others: it is replaced for ever, but not faster than a bounded rate.
        """
        now = self.clock()
        self._deaths.append(now)
        while self._deaths and now - self._deaths[0] > _WINDOW_S:
            self._deaths.popleft()
        if was_asked:
            self._unasked = 0
        else:
            self._unasked += 1
        if self._unasked >= _GIVE_UP * self.count:
            return None
        pauses = self._unasked // self.count
        delay = 0.0 if pauses <= 1 else min(_WAIT_S * 2.0 ** (pauses - 2), _WAIT_LIMIT_S)
        is_storm = len(self._deaths) > _FREE + _FREE_PER_WORKER * self.count
        return max(delay, 1.0 if is_storm else 0.0)

    def succeed(self) -> None:
        """A process has answered."""
        self._unasked = 0
