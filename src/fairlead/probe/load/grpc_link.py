"""gRPC over HTTP/2 as fast as a Python client gets: prepared frames, and just enough of HTTP/2 for unary calls.

Takes encoded messages; tells a Driver each answer. Speaks h2c (no TLS) and one method, ModelInfer. It keeps the peer's flow control, and
refuses a dynamic header table, so that reading headers needs no state. Sources: RFC 9113 (HTTP/2), RFC 7541 (HPACK), and
grpc/grpc PROTOCOL-HTTP2.md. It never raises; what is not HTTP/2 is a lost connection.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Sequence
from typing import cast

from fairlead.probe.load.grpc_status import header_block, status_of
from fairlead.probe.load.link import Driver, Waiting

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_END_STREAM, _END_HEADERS, _PADDED, _ACK, _PRIORITY = 1, 4, 8, 1, 32
_WINDOW = 2**31 - 1
_FRAME_BYTES = 16_384  # what every peer takes
_LAST_STREAM = 2**31 - 1
_ERROR_BASE = 1000


class _Call:
    """A request under way."""

    __slots__ = ("body", "headers", "intended", "left", "number", "window")

    def __init__(self, number: int, intended: float, window: int) -> None:
        self.number, self.intended, self.window = number, intended, window
        self.body = b""
        self.headers = b""
        self.left = b""  # what flow control has kept back


class GrpcLink(asyncio.Protocol):
    """One connection, for `slot_count` calls at once."""

    def __init__(self, driver: Driver, messages: Sequence[bytes], host: str, port: int, slot_count: int) -> None:
        self._driver = driver
        self.slot_count = slot_count
        self._block = header_block(f"{host}:{port}")
        self._bodies = [b"\0" + struct.pack(">I", len(message)) + message for message in messages]
        self._transport: asyncio.Transport | None = None
        self._calls: dict[int, _Call] = {}
        self._blocked: deque[int] = deque()
        self._next_stream = 1
        self._window, self._first_window, self._received = 65_535, 65_535, 0
        self._buffer = b""
        self._open_headers: tuple[int, int] | None = None
        self._reason = "closed by the server"
        self._is_leaving = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Introduce ourselves: no header table, no push, as much flow as there is."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        settings = struct.pack(">HIHIHI", 1, 0, 2, 0, 4, _WINDOW)
        window = struct.pack(">I", _WINDOW - 65_535)
        self._transport.write(_PREFACE + _frame(_SETTINGS, 0, 0, settings) + _frame(_WINDOW_UPDATE, 0, 0, window))
        self._driver.opened(self)

    def send(self, number: int, intended: float) -> None:
        """Begin one call."""
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        call = self._calls[stream] = _Call(number, intended, self._first_window)
        body = self._bodies[number]
        size = len(body)
        if size <= _FRAME_BYTES and size <= self._window and size <= call.window and not self._blocked:
            self._window -= size
            place = struct.pack(">I", stream)
            frames = (_head(len(self._block), _HEADERS, _END_HEADERS), place, self._block, _head(size, _DATA, _END_STREAM), place, body)
            self._write(b"".join(frames))
        else:
            self._write(_frame(_HEADERS, _END_HEADERS, stream, self._block))
            call.left = body
            self._blocked.append(stream)
            self._push()

    def waiting(self) -> Sequence[Waiting]:
        """Return what is under way."""
        return [(call.number, call.intended) for call in self._calls.values()]

    def abort(self) -> None:
        """Cut the connection and all its calls."""
        self._reason = "timeout"
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell the driver what has no answer now."""
        waiting = self.waiting()
        self._calls.clear()
        reason = "connection reset" if isinstance(error, ConnectionResetError) and self._reason != "timeout" else self._reason
        self._driver.lost(self, waiting, reason)

    def data_received(self, data: bytes) -> None:
        """Take whole frames from what came."""
        if self._buffer:
            data = self._buffer + data
        place, end = 0, len(data)
        while end - place >= 9:
            size = int.from_bytes(data[place : place + 3])
            if end - place < 9 + size:
                break
            kind, flags = data[place + 3], data[place + 4]
            stream = int.from_bytes(data[place + 5 : place + 9]) & 0x7FFFFFFF
            self._take(kind, flags, stream, data[place + 9 : place + 9 + size])
            place += 9 + size
        self._buffer = data[place:]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _DATA:
            self._take_data(flags, stream, payload)
        elif kind in {_HEADERS, _CONTINUATION}:
            self._take_headers(kind, flags, stream, payload)
        elif kind == _SETTINGS:
            if not flags & _ACK:
                self._take_settings(payload)
                self._write(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING:
            if not flags & _ACK:
                self._write(_frame(_PING, _ACK, 0, payload))
        elif kind == _WINDOW_UPDATE:
            self._take_window(stream, int.from_bytes(payload) & 0x7FFFFFFF)
        elif kind == _RST_STREAM:
            self._finish(stream, _ERROR_BASE + 100 + int.from_bytes(payload))
        elif kind == _GOAWAY:
            self._reason, self._is_leaving = "sent away by the server", True
            if not self._calls and self._transport is not None:
                self._transport.close()

    def _take_data(self, flags: int, stream: int, payload: bytes) -> None:
        self._received += len(payload)
        if self._received > _WINDOW // 2:
            self._write(_frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", self._received)))
            self._received = 0
        call = self._calls.get(stream)
        if call is not None:
            part = payload[1 : len(payload) - payload[0]] if flags & _PADDED else payload
            call.body = call.body + part if call.body else part
            if flags & _END_STREAM:  # gRPC ends with trailers; this is none
                self._finish(stream, _ERROR_BASE + 2)

    def _take_headers(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _HEADERS:
            start = 1 if flags & _PADDED else 0
            stop = len(payload) - payload[0] if flags & _PADDED else len(payload)
            payload = payload[start + (5 if flags & _PRIORITY else 0) : stop]
            self._open_headers = (stream, flags)
        begun = self._open_headers
        call = self._calls.get(stream)
        if call is None or begun is None:
            return
        call.headers = payload if kind == _HEADERS else call.headers + payload
        if flags & _END_HEADERS and begun[1] & _END_STREAM:
            code = status_of(call.headers)
            self._finish(stream, 200 if code == 0 else _ERROR_BASE + code)

    def _take_settings(self, payload: bytes) -> None:
        for place in range(0, len(payload) - 5, 6):
            key, value = struct.unpack_from(">HI", payload, place)
            if key == 4:
                for call in self._calls.values():
                    call.window += value - self._first_window
                self._first_window = value
        self._push()

    def _take_window(self, stream: int, increment: int) -> None:
        if stream == 0:
            self._window += increment
        elif stream in self._calls:
            self._calls[stream].window += increment
        if self._blocked:
            self._push()

    def _push(self) -> None:
        """Send what flow control had kept back, as far as it goes now."""
        for stream in tuple(self._blocked):
            call = self._calls.get(stream)
            while call is not None and call.left:
                size = min(len(call.left), _FRAME_BYTES, self._window, call.window)
                if size <= 0:
                    break
                part, call.left = call.left[:size], call.left[size:]
                self._window -= size
                call.window -= size
                self._write(_frame(_DATA, 0 if call.left else _END_STREAM, stream, part))
            if call is None or not call.left:
                self._blocked.remove(stream)

    def _finish(self, stream: int, status: int) -> None:
        call = self._calls.pop(stream, None)
        if call is None or self._transport is None:
            return
        if self._next_stream >= _LAST_STREAM or self._is_leaving:
            head = b"\r\nconnection: close"  # the driver takes no more from this link
            if not self._calls:
                self._transport.close()
        else:
            head = b""
        self._driver.answered(self, call.number, call.intended, status, head, call.body[5:])

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


def _head(size: int, kind: int, flags: int) -> bytes:
    return struct.pack(">I", size << 8 | kind) + bytes((flags,))


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return _head(len(payload), kind, flags) + struct.pack(">I", stream) + payload
