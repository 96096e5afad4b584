"""A request's place in a scheduler: what waits, what is awaited, and what came out.

Takes what the scheduler was given; is settled once, with outputs or an error. Any task can await it; a transport that wants to go on in the
same step of the event loop sets `on_settled` instead, which is called at once rather than in the loop's next round, and must not raise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Hashable
from contextvars import Context
from typing import Any

from fairlead.core.interface import Array, Tensors

Release = Callable[["Ticket"], None]


class Ticket:
    """Await it for the outputs by name. `queue_ms`, `compute_ms` and `batch_rows` (the rows of the engine's call) are true afterwards.

    `level` is its place in the order of service, `deadline` the time in monotonic seconds after which it is not begun, `is_waiting` whether
    it stands in the queue. The scheduler sets what was asked; it is told once when the ticket is settled, whatever becomes of it.

    It is awaited by the protocol that asyncio.isfuture describes. A Future would do; it takes as long to make as a small model to run.
    """

    __slots__ = (
        "_asyncio_future_blocking",
        "_callbacks",
        "_error",
        "_loop",
        "_outputs",
        "_release",
        "asked_at",
        "batch_rows",
        "compute_ms",
        "deadline",
        "elements",
        "inputs",
        "is_settled",
        "is_waiting",
        "key",
        "level",
        "on_settled",
        "outputs",
        "queue_ms",
        "rows",
    )
    _cancel_message = None  # asyncio.gather asks for it
    inputs: Tensors
    outputs: tuple[str, ...]
    key: Hashable
    rows: int
    elements: int
    level: int
    deadline: float
    asked_at: float

    def __init__(self, release: Release, loop: asyncio.AbstractEventLoop) -> None:
        self._release = release
        self._loop = loop
        self._asyncio_future_blocking = False
        self._callbacks: list[tuple[Callable[[Any], object], Context | None]] | None = None
        self._error: BaseException | None = None
        self._outputs: dict[str, Array] | None = None
        self.is_settled = False
        self.is_waiting = True
        self.on_settled: Callable[[], None] | None = None
        self.queue_ms = self.compute_ms = 0.0
        self.batch_rows = 0

    def answer(self, outputs: dict[str, Array]) -> None:
        """Settle it with its outputs, unless it is settled."""
        if not self.is_settled:
            self._outputs = outputs
            self._settle()

    def fail(self, error: BaseException) -> None:
        """Settle it with an error, unless it is settled."""
        if not self.is_settled:
            self._error = error
            self._settle()

    def _settle(self) -> None:
        self.is_settled = True
        self._release(self)
        resume, self.on_settled = self.on_settled, None
        if resume is not None:
            resume()
        if self._callbacks is not None:
            for callback, context in self._callbacks:
                self._loop.call_soon(callback, self, context=context)
            self._callbacks = None

    # What those who await it call.

    def __await__(self) -> Generator[Any, None, dict[str, Array]]:
        if not self.is_settled:
            self._asyncio_future_blocking = True
            yield self
        return self.result()

    def result(self) -> dict[str, Array]:
        """Return the outputs, or raise what went wrong."""
        if self._outputs is None:
            raise asyncio.InvalidStateError("The request is not settled.") if self._error is None else self._error
        return self._outputs

    def exception(self) -> BaseException | None:
        """Return what went wrong, if anything did; raises CancelledError where it was cancelled."""
        if isinstance(self._error, asyncio.CancelledError):
            raise self._error
        return self._error

    def done(self) -> bool:
        """Whether it is settled."""
        return self.is_settled

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return isinstance(self._error, asyncio.CancelledError)

    def cancel(self, msg: Any = None) -> bool:
        """Nobody waits for the answer any more: give the place up. Returns whether there was something to cancel."""
        if self.is_settled:
            return False
        self._error = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)
        self._settle()
        return True

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop that it belongs to."""
        return self._loop

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context | None = None) -> None:
        """Call `callback` in the loop's next round once it is settled."""
        if self.is_settled:
            self._loop.call_soon(callback, self, context=context)
        else:
            self._callbacks = [*(self._callbacks or ()), (callback, context)]

    def remove_done_callback(self, callback: Callable[[Any], object]) -> int:
        """Forget `callback`; returns how often it was there."""
        before = self._callbacks or []
        self._callbacks = [item for item in before if item[0] != callback]
        return len(before) - len(self._callbacks)
