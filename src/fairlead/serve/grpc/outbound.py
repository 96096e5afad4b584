"""What goes out on one connection: replies within the peer's windows, and what has to wait for them.

Takes whole messages; writes DATA frames as far as flow control and the socket allow, the streams in turn. Raises ConnectionFault where the
peer opens a window too far. A reply that fits is one write; what waits is counted, and a peer that does not take it is cut off by whoever
asks for `deadline`. It never reads.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable

from fairlead.serve.grpc.frames import (
    DATA,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    FRAME_LIMIT,
    HEADERS,
    MAX_WINDOW,
    ConnectionFault,
    frame,
    head,
)
from fairlead.serve.grpc.head import StreamFault
from fairlead.serve.grpc.status import OK_TRAILERS
from fairlead.serve.grpc.stream import PREFIX_BYTES, Stream

_FOREVER = float("inf")
_PROGRESS_BYTES = 65_536  # a peer has to take so much in the time that it has for reading
_SMALL_BYTES = 65_536  # a smaller message is sent in one piece with its prefix
_PREFIX = struct.Struct(">BI")
_DATA_HEAD = struct.Struct(">BHBBIBI")  # a frame's head, and the prefix of the message that fills it
_LAST = END_HEADERS | END_STREAM


def _tell_nobody(stream: Stream) -> None:
    del stream


class Outbound:
    """`on_done` is called with each stream whose last frame has been written, `on_taken` (set by the session) with one that was held until
    its peer took what was sent. `write_s` is the time that a peer has for reading.
    """

    def __init__(self, transport: asyncio.Transport, on_done: Callable[[Stream], None], write_s: float, now: Callable[[], float]) -> None:
        self._transport = transport
        self._on_done = on_done
        self._write_s = write_s
        self.now = now
        self.window = self.initial = DEFAULT_WINDOW
        self.frame_limit = FRAME_LIMIT
        self.pending_bytes = self._progress = 0
        self.deadline = _FOREVER
        self._waiting: dict[int, Stream] = {}
        self._is_paused = False
        self.on_taken: Callable[[Stream], None] = on_done

    def close(self) -> None:
        """The connection is lost: tell nobody any more, so that nothing refers back to who was told."""
        self._on_done = self.on_taken = _tell_nobody

    def send(self, data: bytes) -> None:
        """Write frames that no window holds back."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def reply(self, stream: Stream, block: bytes, message: bytes) -> None:
        """Answer a call with one message: headers, the message, and that all is well."""
        size = len(message) + PREFIX_BYTES
        if self._waiting or self._is_paused or size > min(self.window, stream.send_window, self.frame_limit):
            self.begin(stream, block)
            self.message(stream, message)
            self.finish(stream, OK_TRAILERS)
            return
        self.window -= size
        stream.send_window -= size
        number = stream.id
        if not self._transport.is_closing():
            self._transport.write(
                b"".join(
                    (
                        head(len(block), HEADERS, END_HEADERS, number),
                        block,
                        _DATA_HEAD.pack(size >> 16, size & 0xFFFF, DATA, 0, number, 0, size - PREFIX_BYTES),
                        message,
                        head(len(OK_TRAILERS), HEADERS, _LAST, number),
                        OK_TRAILERS,
                    )
                )
            )
        self._on_done(stream)

    def begin(self, stream: Stream, block: bytes) -> None:
        """Send the headers of an answer, once."""
        if not stream.is_begun:
            stream.is_begun = True
            self.send(frame(HEADERS, END_HEADERS, stream.id, block))

    def message(self, stream: Stream, message: bytes) -> None:
        """Send a message when there is room for it."""
        prefix = _PREFIX.pack(0, len(message))
        if len(message) <= _SMALL_BYTES:
            stream.outgoing.append(prefix + message)
        else:
            stream.outgoing.append(prefix)
            stream.outgoing.append(memoryview(message))
        self.pending_bytes += len(message) + PREFIX_BYTES
        self._waiting[stream.id] = stream
        self.pump()

    def finish(self, stream: Stream, trailers: bytes) -> None:
        """End an answer behind what still has to go."""
        if stream.outgoing:
            stream.trailers = trailers
        else:
            self.send(frame(HEADERS, _LAST, stream.id, trailers))
            self._on_done(stream)

    def drop(self, stream: Stream) -> None:
        """Forget what waits for a stream that is gone."""
        if self._waiting and self._waiting.pop(stream.id, None) is not None:
            self.pending_bytes -= sum(len(part) for part in stream.outgoing)
            self._rest_if_empty()

    def open_window(self, stream: Stream | None, size: int) -> None:
        """The peer takes `size` bytes more, of one stream or of all."""
        if stream is None:
            self.window += size
            if self.window > MAX_WINDOW:
                raise ConnectionFault(FLOW_CONTROL_ERROR, "the connection's window is too large")
        else:
            stream.send_window += size
            if stream.send_window > MAX_WINDOW:
                raise StreamFault(FLOW_CONTROL_ERROR)
        if self._waiting:
            self.pump()

    def pause(self) -> None:
        """The socket is full."""
        self._is_paused = True
        self.deadline = self.now() + self._write_s

    def resume(self) -> None:
        """The socket has room again."""
        self._is_paused = False
        self.deadline = _FOREVER
        self.pump()

    def pump(self) -> None:
        """Write what may be written, a frame of each stream in turn."""
        is_moving = True
        while is_moving and self._waiting:
            is_moving = False
            for stream in tuple(self._waiting.values()):
                if self._is_paused or self.window <= 0 or self._transport.is_closing():
                    is_moving = False
                    break
                if stream.send_window > 0 and stream.id in self._waiting:
                    self._send_frame(stream)
                    is_moving = True
        if self._waiting and self.deadline == _FOREVER:
            self._progress = 0
            self.deadline = self.now() + self._write_s

    def _send_frame(self, stream: Stream) -> None:
        part = stream.outgoing[0]
        size = min(len(part), self.window, stream.send_window, self.frame_limit)
        if size == len(part):
            stream.outgoing.popleft()
        else:
            stream.outgoing[0] = memoryview(part)[size:]
            part = part[:size]
        self.window -= size
        stream.send_window -= size
        self.pending_bytes -= size
        self._progress += size
        if self._progress >= _PROGRESS_BYTES and not self._is_paused:
            self.deadline = _FOREVER
        self._transport.write(head(size, DATA, 0, stream.id))
        self._transport.write(part)
        if not stream.outgoing:
            del self._waiting[stream.id]
            self._rest_if_empty()
            if stream.trailers is not None:
                self.finish(stream, stream.trailers)
            elif stream.is_held:
                stream.is_held = False
                asyncio.get_running_loop().call_soon(self.on_taken, stream)

    def _rest_if_empty(self) -> None:
        if not self._waiting and not self._is_paused:
            self.deadline = _FOREVER
