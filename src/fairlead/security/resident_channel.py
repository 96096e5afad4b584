"""Two pipes to a resident process, with a deadline on everything.

Takes the ends that this process keeps; sends buffers and reads bytes. Raises TooSlowError where the deadline (monotonic seconds) has
passed, GoneError where the other end is closed, CorruptError for more bytes than were said. Both ends are non-blocking, so that nothing
here can hang; nothing of a size that the other end chose is read before the caller has checked that size.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import select
import time

import numpy as np

from fairlead.core.interface import Array
from fairlead.errors import CorruptError
from fairlead.security.resident_frames import Buffer

_PIECE_BYTES = 1 << 16  # what a pipe holds
_PIPE_BYTES = 1 << 20  # what an ordinary user may make it hold (fs.pipe-max-size)


class TooSlowError(Exception):
    """The deadline has passed. Never leaves `security`."""


class GoneError(Exception):
    """The other end is closed. Never leaves `security`."""


class Channel:
    """`asks` is written to, `answers` is read from."""

    def __init__(self, asks: int, answers: int) -> None:
        self._asks, self._answers = asks, answers
        self._can_read, self._can_write = select.poll(), select.poll()
        self._can_read.register(answers, select.POLLIN)
        self._can_write.register(asks, select.POLLOUT)
        for descriptor in (asks, answers):
            os.set_blocking(descriptor, False)

    @property
    def is_connected(self) -> bool:
        """Whether the other end is still open."""
        return not any(events & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, events in self._can_read.poll(0))

    def close(self) -> None:
        """Close both ends; only once."""
        os.close(self._asks)
        os.close(self._answers)

    def send(self, buffers: list[Buffer], deadline: float) -> None:
        """Write all of `buffers`."""
        pieces = buffers if sum(map(len, buffers)) > _PIECE_BYTES else [b"".join(buffers)]
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                try:
                    rest = rest[os.write(self._asks, rest) :]
                except BlockingIOError:
                    self._wait(self._can_write, deadline)
                except BrokenPipeError:
                    raise GoneError from None

    def read_body(self, begun: memoryview, size: int, deadline: float) -> Array:
        """Return `size` bytes, of which `begun` have come already."""
        if len(begun) > size:
            raise CorruptError("more than one answer")
        body = np.empty(size, dtype=np.uint8)
        view, done = body.data, len(begun)
        view[:done] = begun
        while done < size:
            try:
                count = os.readv(self._answers, [view[done:]])
            except BlockingIOError:
                self._wait(self._can_read, deadline)
                continue
            if count == 0:
                raise GoneError
            done += count
        return body

    def read_some(self, size: int, deadline: float) -> bytes:
        """Return what there is, at most `size` bytes and at least one."""
        while True:
            self._wait(self._can_read, deadline)
            try:
                piece = os.read(self._answers, size)
            except BlockingIOError:
                continue
            if not piece:
                raise GoneError
            return piece

    def _wait(self, poll: select.poll, deadline: float) -> None:
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not poll.poll(math.ceil(min(left_s, 1e6) * 1e3)):
            raise TooSlowError


def open_channel() -> tuple[Channel, tuple[int, int]]:
    """Return the channel, and the ends that the process inherits: to read asks from, and to write answers to. Raises OSError."""
    theirs_in, ours_out = _pipe()
    try:
        ours_in, theirs_out = _pipe()
    except OSError:
        os.close(theirs_in)
        os.close(ours_out)
        raise
    return Channel(ours_out, ours_in), (theirs_in, theirs_out)


def _pipe() -> tuple[int, int]:
    """Return the ends to read and to write, as roomy as the system allows."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with contextlib.suppress(OSError, AttributeError):  # only Linux can, and only as much as its limit allows
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return reader, writer
