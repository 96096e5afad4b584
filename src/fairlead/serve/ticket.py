"""A request's place in a scheduler: what waits, what is awaited, and what came out.

Takes what the scheduler was given; is settled once, with outputs or an error. Any task can await it; a transport that wants to go on in the
same step of the event loop sets `on_settled` instead, which is called at once rather than in the loop's next round, and must not raise.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Generator, Hashable
from contextvars import Context
from typing import Any

import msgspec

from fairlead.core.interface import Array, Tensors

Release = Callable[["Ticket"], None]


# A Struct is made in less than half of the time that a class of Python's takes, and one is made for every request.
class Ticket(msgspec.Struct, eq=False):
    """Await it for the outputs by name. `queue_ms`, `compute_ms`, what of it went into joining the rows of several requests and parting
    their answers (`input_ms`, `output_ms`), and `batch_rows` (the rows of the engine's call) are true afterwards.

    `level` is its place in the order of service, `deadline` the time in monotonic seconds after which it is not begun, `is_waiting` whether
    it stands in the queue, `weight` how many elements it counts for those behind it. `release` and `on_ended` are told once when it is
    settled, whatever becomes of it: the scheduler, and who asked.

    It is awaited by the protocol that asyncio.isfuture describes. A Future would do; it takes as long to make as a small model to run.
    """

    release: Release
    loop: asyncio.AbstractEventLoop
    inputs: Tensors = {}
    outputs: tuple[str, ...] = ()
    key: Hashable = None
    rows: int = 0
    elements: int = 0
    level: int = 0
    deadline: float = math.inf
    asked_at: float = 0.0
    weight: int = 0
    is_settled: bool = False
    is_waiting: bool = True
    on_settled: Callable[[], None] | None = None
    on_ended: Release | None = None
    queue_ms: float = 0.0
    compute_ms: float = 0.0
    input_ms: float = 0.0
    output_ms: float = 0.0
    batch_rows: int = 0
    _asyncio_future_blocking: bool = False
    _callbacks: list[tuple[Callable[[Any], object], Context | None]] | None = None
    error: BaseException | None = None
    results: dict[str, Array] | None = None
    _cancel_message = None  # asyncio.gather asks for it

    def answer(self, outputs: dict[str, Array]) -> None:
        """Settle it with its outputs, unless it is settled."""
        if not self.is_settled:
            self.results = outputs
            self._settle()

    def fail(self, error: BaseException) -> None:
        """Settle it with an error, unless it is settled."""
        if not self.is_settled:
            self.error = error
            self._settle()

    def _settle(self) -> None:
        self.is_settled = True
        self.release(self)
        ended, resume = self.on_ended, self.on_settled
        self.on_ended = self.on_settled = None  # who is told refers to the ticket: together they would be garbage for the collector
        if ended is not None:
            ended(self)
        if resume is not None:
            resume()
        if self._callbacks is not None:
            for callback, context in self._callbacks:
                self.loop.call_soon(callback, self, context=context)
            self._callbacks = None

    # What those who await it call.

    def __await__(self) -> Generator[Any, None, dict[str, Array]]:
        if not self.is_settled:
            self._asyncio_future_blocking = True
            yield self
        return self.result()

    def result(self) -> dict[str, Array]:
        """Return the outputs, or raise what went wrong."""
        if self.results is None:
            raise asyncio.InvalidStateError("The request is not settled.") if self.error is None else self.error
        return self.results

    def exception(self) -> BaseException | None:
        """Return what went wrong, if anything did; raises CancelledError where it was cancelled."""
        if isinstance(self.error, asyncio.CancelledError):
            raise self.error
        return self.error

    def done(self) -> bool:
        """Whether it is settled."""
        return self.is_settled

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return isinstance(self.error, asyncio.CancelledError)

    def cancel(self, msg: Any = None) -> bool:
        """Nobody waits for the answer any more: give the place up. Returns whether there was something to cancel."""
        if self.is_settled:
            return False
        self.error = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)
        self._settle()
        return True

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop that it belongs to."""
        return self.loop

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context | None = None) -> None:
        """Call `callback` in the loop's next round once it is settled."""
        if self.is_settled:
            self.loop.call_soon(callback, self, context=context)
        else:
            self._callbacks = [*(self._callbacks or ()), (callback, context)]

    def remove_done_callback(self, callback: Callable[[Any], object]) -> int:
        """Forget `callback`; returns how often it was there."""
        before = self._callbacks or []
        self._callbacks = [item for item in before if item[0] != callback]
        return len(before) - len(self._callbacks)
