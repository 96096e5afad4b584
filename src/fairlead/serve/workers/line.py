"""The front's end of the socket to a worker, in the event loop: nothing here waits, and nothing is larger than was agreed.

Takes buffers to send; gives whole frames to its listener, whose `check_head` sees each head before memory for its body is taken. Whatever
does not fit, and the other end's closing, is `line_broke`. Never believes a size, never reads more than one frame ahead.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from fairlead.core.interface import Array
from fairlead.errors import CorruptError
from fairlead.serve.workers.frames import LENGTH_BYTES, Buffer, read_length

_PIECE_BYTES = 1 << 16
_SOCKET_BYTES = 1 << 22  # as much as the system allows of it
_BUFFERS = 64  # man 2 sendmsg takes at most 1024


class LineListener(Protocol):
    """Hears what comes, in the event loop."""

    def check_head(self, sequence: int, head: bytes, body_bytes: int) -> None:
        """Raise CorruptError unless a frame with this head is expected."""
        ...

    def frame_came(self, body: Array) -> None:
        """The frame that `check_head` saw last is whole; `body` is uint8 and the listener's to keep."""
        ...

    def line_broke(self, reason: str) -> None:
        """The other end is closed, or said what cannot be; `reason` is "" for the former."""
        ...


class Line:
    """One end of a socket pair."""

    def __init__(self, end: socket.socket, listener: LineListener, loop: asyncio.AbstractEventLoop, *, limit_bytes: int) -> None:
        self._end, self._listener, self._loop, self._limit_bytes = end, listener, loop, limit_bytes
        self._begun = b""
        self._body: Array | None = None
        self._done = 0
        self._unsent: list[memoryview] = []
        self._is_open = True
        roomy(end)
        end.setblocking(False)
        self._number = end.fileno()
        loop.add_reader(self._number, self._readable)

    def send(self, buffers: Sequence[Buffer]) -> None:
        """Send all of `buffers`, now as far as the other end takes them, the rest when it does."""
        try:
            sent = self._end.sendmsg(buffers) if len(buffers) <= _BUFFERS else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # it is gone; the reader finds out
        if sent < sum(map(len, buffers)):
            self._unsent = _after(buffers, sent)
            self._loop.add_writer(self._number, self._writable)

    def close(self) -> None:
        """Close this end. Idempotent."""
        if self._is_open:
            self._is_open = False
            if not self._loop.is_closed():
                self._loop.remove_reader(self._number)
                self._loop.remove_writer(self._number)
            self._end.close()
            self._unsent, self._body = [], None

    def _writable(self) -> None:
        try:
            sent = self._end.sendmsg(self._unsent[:_BUFFERS])
        except BlockingIOError:
            return
        except OSError:
            self._unsent = []
        else:
            self._unsent = _after(self._unsent, sent)
        if not self._unsent:
            self._loop.remove_writer(self._number)

    def _readable(self) -> None:
        try:
            if self._body is None:
                data = self._end.recv(_PIECE_BYTES)
                is_over = not data
            else:
                count = self._end.recv_into(self._body.data[self._done :])
                is_over = count == 0
        except BlockingIOError:
            return
        except OSError:
            is_over = True
        if is_over:
            self._listener.line_broke("")
        elif self._body is None:
            self._take(self._begun + data if self._begun else data)
        else:
            self._done += count
            self._finish(self._body)

    def _take(self, data: bytes) -> None:
        """Read the beginning of a frame."""
        self._begun = data
        if len(data) < LENGTH_BYTES:
            return
        try:
            sequence, head_bytes, body_bytes = read_length(data, limit_bytes=self._limit_bytes)
            start = LENGTH_BYTES + head_bytes
            if len(data) < start:
                return
            self._listener.check_head(sequence, data[LENGTH_BYTES:start], body_bytes)
            _check_end(len(data), start + body_bytes)
        except CorruptError as error:
            self._listener.line_broke(str(error))
            return
        self._begun = b""
        self._done = len(data) - start
        body = np.empty(body_bytes, dtype=np.uint8)
        body.data[: self._done] = memoryview(data)[start:]
        self._body = body
        self._finish(body)

    def _finish(self, body: Array) -> None:
        if self._done == len(body):
            self._body = None
            self._listener.frame_came(body)


def _check_end(size: int, frame_bytes: int) -> None:
    if size > frame_bytes:
        raise CorruptError("A worker sent more than one answer.")


def roomy(end: socket.socket) -> None:
    """Let as much be under way on `end` as the system allows."""
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        with contextlib.suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BYTES)


def _after(buffers: Sequence[Buffer], sent: int) -> list[memoryview]:
    """Return what is left of `buffers` after the first `sent` bytes."""
    rest = []
    for buffer in buffers:
        size = len(buffer)
        if sent < size:
            rest.append(memoryview(buffer)[sent:])
        sent = max(sent - size, 0)
    return rest
