"""A request's place in a scheduler: what waits, what is awaited, and what came out.

Takes what the scheduler was given; is settled once, with outputs or an error. It is a Future, so any task can await it; a transport that
wants to go on in the same step of the event loop sets `on_settled` instead, which is called at once rather than in the loop's next round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Any

from fairlead.core.interface import Array, Tensors

Release = Callable[["Ticket"], None]


class Ticket(asyncio.Future[dict[str, Array]]):
    """Await it for the outputs by name. `queue_ms`, `compute_ms` and `batch_rows` (the rows of the engine's call) are true afterwards.

    `level` is its place in the order of service, `deadline` the time in monotonic seconds after which it is not begun, `is_waiting` whether
    it stands in the queue. The scheduler sets what was asked; it is told once when the ticket is settled, whatever becomes of it.
    """

    __slots__ = (
        "_release",
        "asked_at",
        "batch_rows",
        "compute_ms",
        "deadline",
        "elements",
        "inputs",
        "is_waiting",
        "key",
        "level",
        "on_settled",
        "outputs",
        "queue_ms",
        "rows",
    )

    inputs: Tensors
    outputs: tuple[str, ...]
    key: Hashable
    rows: int
    elements: int
    level: int
    deadline: float
    asked_at: float

    def __init__(self, release: Release, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._release = release
        self.is_waiting = True
        self.on_settled: Callable[[], None] | None = None
        self.queue_ms = self.compute_ms = 0.0
        self.batch_rows = 0

    def answer(self, outputs: dict[str, Array]) -> None:
        """Settle it with its outputs, unless it is settled."""
        if not self.done():
            self.set_result(outputs)
            self._settled()

    def fail(self, error: BaseException) -> None:
        """Settle it with an error, unless it is settled."""
        if not self.done():
            self.set_exception(error)
            self._settled()

    def cancel(self, msg: Any = None) -> bool:
        """Nobody waits for the answer any more: give the place up. Returns whether there was something to cancel."""
        was_open = super().cancel(msg)
        if was_open:
            self._settled()
        return was_open

    def _settled(self) -> None:
        self._release(self)
        resume, self.on_settled = self.on_settled, None
        if resume is not None:
            resume()
