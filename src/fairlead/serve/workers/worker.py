"""The front's view of one worker: its end of the socket, the page that it beats on, the call that it is busy with.

Takes calls, one at a time; tells its listener when it is ready, has answered, or is lost. Everything that it says is checked against
the interface (serve.workers.frames); what does not fit loses it. Never waits, never sends a call twice.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from fairlead.core.interface import Array, TensorSpec
from fairlead.errors import CorruptError, FairleadError, UnavailableError
from fairlead.serve.workers.control import Failed, Opened, decode_message
from fairlead.serve.workers.frames import READY, Answer, Buffer, error_of, read_answer, read_tensors
from fairlead.serve.workers.line import Line, roomy
from fairlead.serve.workers.policy import SILENT_TICKS
from fairlead.serve.workers.pulse import Pulse


@dataclass(slots=True, eq=False)
class Call:
    """One call of the engine: what is sent, what comes back, who waits, and how many ticks it may take."""

    sequence: int
    buffers: list[Buffer]
    wanted: tuple[TensorSpec, ...]
    future: asyncio.Future[dict[str, Array]]
    rows: int
    size_bytes: int
    limit_ticks: int
    is_second: bool = False
    ticks: int = 0
    began: float = 0.0


class WorkerListener(Protocol):
    """Hears of a worker, in the event loop."""

    def worker_ready(self, worker: Worker, opened: Opened) -> None:
        """It has opened the model and may be asked."""
        ...

    def worker_answered(self, worker: Worker, call: Call) -> None:
        """It has answered, and may be asked again."""
        ...

    def worker_lost(self, worker: Worker, reason: str, error: FairleadError | None) -> None:
        """It is gone or was ended, for `reason` ("" where it ended by itself); `error` is why it could not open the model."""
        ...


class Worker:
    """One worker from the moment that it is asked for. `hand_over` gives what it inherits."""

    def __init__(self, listener: WorkerListener, loop: asyncio.AbstractEventLoop, *, limit_bytes: int, open_ticks: int) -> None:
        self._listener, self._open_ticks = listener, open_ticks
        ours, self._theirs = socket.socketpair()
        try:
            self._pulse, self._page = Pulse.create()
        except OSError:
            ours.close()
            self._theirs.close()
            raise
        roomy(self._theirs)
        self._line = Line(ours, self, loop, limit_bytes=limit_bytes)
        self._handle: int | None = None
        self._answer: Answer | None = None
        self._opened: Opened | Failed | None = None
        self._age = 0
        self.pid = 0
        self.call: Call | None = None
        self.is_ready = False
        self.is_open = True
        self.was_asked = False

    def inherited(self) -> tuple[socket.socket, int]:
        """Return its end of the socket and its page; `let_go` closes them here once they are sent."""
        return self._theirs, self._page

    def let_go(self) -> None:
        """Close here what is the worker's: its death is only seen when nobody else holds its end."""
        self._theirs.close()
        os.close(self._page)

    def started(self, pid: int, handle: int) -> None:
        """It runs; `handle` stands for it and is closed with this."""
        self.pid = pid
        if self.is_open:
            self._handle = handle
        else:
            _kill(handle)

    def ask(self, call: Call) -> None:
        """Send `call`; only when it is ready and has none."""
        self.call, self.was_asked = call, True
        self._line.send(call.buffers)

    def has_begun(self, call: Call) -> bool:
        """Whether the engine was called for it, as far as the worker came to say so."""
        return self._pulse.begun == call.sequence

    def tick(self) -> str:
        """Look whether it makes progress; return why it counts as hung, or ""."""
        if not self.is_ready:
            self._age += 1
            return "took too long to open the model" if self._age > self._open_ticks else ""
        if self._pulse.look() >= SILENT_TICKS:
            return "gave no sign of life"
        call = self.call
        if call is not None:
            call.ticks += 1
            if call.ticks > call.limit_ticks:
                return "took too long for one request"
        return ""

    def close(self) -> None:
        """Kill it and give everything back; who still waits for it gets an error. Idempotent."""
        if self.is_open:
            self.is_open = self.is_ready = False
            self._line.close()
            self._pulse.close()
            if self.call is not None and not self.call.future.done():
                self.call.future.set_exception(UnavailableError("The model was unloaded.", hint="Ask again."))
            if self._handle is not None:
                _kill(self._handle)

    def check_head(self, sequence: int, head: bytes, body_bytes: int) -> None:
        """Raise CorruptError unless this is the answer to what was asked, or the first word of a new worker."""
        if not self.is_ready:
            message = decode_message(head)
            if sequence != READY or body_bytes or not isinstance(message, Opened | Failed):
                raise CorruptError("A worker's first word is no word.")
            self._opened = message
            return
        if self.call is None or sequence != self.call.sequence:
            raise CorruptError("A worker answered what nobody asked.")
        self._answer = read_answer(head, self.call.wanted, body_bytes)

    def frame_came(self, body: Array) -> None:
        """Settle the call, or become ready."""
        call, answer = self.call, self._answer
        if call is None or answer is None:
            self._become_ready()
            return
        try:
            if answer.fault is None:
                tensors = read_tensors(answer.tensors, call.wanted, body)
                if not call.future.done():
                    call.future.set_result(tensors)
            elif not call.future.done():
                call.future.set_exception(error_of(answer.fault))
        except CorruptError as error:
            self.line_broke(str(error))
            return
        self.call = self._answer = None
        self._listener.worker_answered(self, call)

    def line_broke(self, reason: str) -> None:
        """It is gone, or speaks nonsense."""
        if self.is_open:
            self._listener.worker_lost(self, f"said what cannot be ({reason})" if reason else "", None)

    def _become_ready(self) -> None:
        if isinstance(self._opened, Failed):
            self._listener.worker_lost(self, "could not open the model", error_of(self._opened.fault))
        elif self._opened is not None:
            self.is_ready = True
            self._listener.worker_ready(self, self._opened)


def _kill(handle: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    os.close(handle)
