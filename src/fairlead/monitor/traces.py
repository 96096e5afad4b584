"""Which requests become traces, and the way from the data plane to a sink.

Takes observations; hands those that are sampled to a sink, in groups, in a thread of its own. Spans are made after the fact: a request
carries nothing but its caller's header, and nobody waits for a sink. The caller's decision is followed where it made one (the sampled flag
of W3C Trace Context); of all other requests `ratio` are sampled, and no more than a hundred a second. A sink that fails is said once, and
once more when it takes spans again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Protocol

from fairlead.core.observation import Observation
from fairlead.monitor.pipe import Pipe
from fairlead.monitor.trace_parent import TraceParent, read_parent

Traced = tuple[Observation, TraceParent | None]

_CAPACITY = 4096
_LIMIT_PER_S = 100  # making the spans of a request costs as much as answering a small one
_GROUP = 256
_LINGER_S = 1.0
_CLOSE_S = 2.0


class TraceSink(Protocol):
    """Where spans are sent."""

    def send(self, traced: Sequence[Traced]) -> int:
        """Send the spans of some requests, and return how many requests were taken; may block, raises OSError where none were."""
        ...

    def hurry(self) -> None:
        """Wait for nothing any more: what cannot be sent at once is lost."""
        ...

    def close(self) -> None:
        """Cut off what still hangs. Called by another thread than `send`."""
        ...


def _silent(_: str) -> None:
    """Tell nobody."""


class Tracer:
    """Takes observations; close it at the end. `report` takes sentences for the log."""

    def __init__(self, sink: TraceSink, ratio: float, draw: random.Random | None = None, report: Callable[[str], None] = _silent) -> None:
        self._sink, self._report = sink, report
        self._has_failed = self._is_closing = False
        self._ratio = ratio
        self._draw = (draw or random.Random()).random  # noqa: S311 - decides which requests are watched, nothing else
        self._second = self._drawn = 0
        self.pipe: Pipe[Traced] = Pipe("traces", self._send, capacity=_CAPACITY, group=_GROUP, linger_s=_LINGER_S)

    def take(self, observations: Sequence[Observation]) -> None:
        """Hand on those that are sampled."""
        sampled: list[Traced] = []
        for item in observations:
            parent = read_parent(item.trace) if item.trace else None
            if parent.is_sampled if parent is not None else self._is_drawn(item):
                sampled.append((item, parent))
        if sampled:
            self.pipe.put(sampled)

    def _is_drawn(self, item: Observation) -> bool:
        if int(item.at) != self._second:
            self._second, self._drawn = int(item.at), 0
        if self._drawn >= _LIMIT_PER_S or self._draw() >= self._ratio:
            return False
        self._drawn += 1
        return True

    def _send(self, traced: Sequence[Traced]) -> int:
        try:
            taken = self._sink.send(traced)
        except OSError as error:
            if not (self._has_failed or self._is_closing):
                self._has_failed = True
                self._report(f"Traces cannot be sent: {error}. They are dropped until they can be.")
            raise
        if self._has_failed:
            self._has_failed = False
            self._report("Traces are sent again.")
        return taken

    def close(self) -> None:
        """Send what waits, as far as that is possible within two seconds."""
        self._is_closing = True
        self._sink.hurry()
        self.pipe.close(_CLOSE_S)
        self._sink.close()
