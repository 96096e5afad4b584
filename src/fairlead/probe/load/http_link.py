"""HTTP/1.1 as fast as a Python client gets: prepared requests, and just enough reading to know where an answer ends.

Takes whole requests as bytes; tells a Driver each answer. An answer without Content-Length takes a slower way through a real parser. One
request is under way at a time. It never raises; what is not HTTP is a lost connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import httptools

from fairlead.probe.load.link import Driver, Waiting


class HttpLink(asyncio.Protocol):
    """One connection."""

    slot_count = 1

    def __init__(self, driver: Driver, requests: Sequence[bytes]) -> None:
        self._driver, self._requests = driver, requests
        self._transport: asyncio.Transport | None = None
        self._number, self._intended, self._is_waiting = 0, 0.0, False
        self._buffer = bytearray()
        self._needed = 0
        self._slow: _SlowAnswer | None = None
        self._reason = "closed by the server"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready for requests."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self._driver.opened(self)

    def send(self, number: int, intended: float) -> None:
        """Send one; the one before has been answered."""
        self._number, self._intended, self._is_waiting = number, intended, True
        if self._transport is not None:
            self._transport.write(self._requests[number])

    def waiting(self) -> Sequence[Waiting]:
        """Return what is under way."""
        return [(self._number, self._intended)] if self._is_waiting else []

    def abort(self) -> None:
        """Cut the connection."""
        self._reason = "timeout"
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read on; the usual answer comes in one piece."""
        if self._buffer or self._slow is not None:
            if self._slow is not None:
                self._read_slowly(data)
                return
            self._buffer += data
            if len(self._buffer) < self._needed:
                return
            data = bytes(self._buffer)
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._keep(data, 0)
            return
        head = data[: end + 2].lower()
        place = head.find(b"\r\ncontent-length:")
        if place < 0:
            self._slow = _SlowAnswer(head)
            self._buffer.clear()
            self._read_slowly(data)
            return
        try:
            total = end + 4 + int(head[place + 17 : head.index(b"\r\n", place + 2)])
            status = int(head[9:12])
        except ValueError:
            self._garbage()
            return
        if len(data) < total:
            self._keep(data, total)
        elif len(data) > total or not self._is_waiting:
            self._garbage()
        else:
            self._finish(status, head, data[end + 4 :])

    def eof_received(self) -> bool:
        """Without a length, the end of the connection is the end of the answer."""
        slow = self._slow
        if slow is not None and slow.ends_with_connection:
            self._slow = None
            self._finish(slow.status, slow.head + b"connection: close\r\n", bytes(slow.body))
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Tell the driver what has no answer now."""
        waiting, self._is_waiting = self.waiting(), False
        reason = "connection reset" if isinstance(error, ConnectionResetError) and self._reason != "timeout" else self._reason
        self._driver.lost(self, waiting, reason)

    def _keep(self, data: bytes, needed: int) -> None:
        if len(self._buffer) != len(data):
            self._buffer[:] = data
        self._needed = needed

    def _finish(self, status: int, head: bytes, body: bytes) -> None:
        self._buffer.clear()
        self._needed = 0
        self._is_waiting = False
        if b"\r\nconnection: close" in head and self._transport is not None:
            self._reason = ""
            self._transport.close()
        self._driver.answered(self, self._number, self._intended, status, head, body)

    def _garbage(self) -> None:
        self._reason = "not an HTTP answer"
        if self._transport is not None:
            self._transport.abort()

    def _read_slowly(self, data: bytes) -> None:
        slow = self._slow
        try:
            if slow is not None:
                slow.parser.feed_data(data)
        except httptools.HttpParserError:
            self._garbage()
            return
        if slow is not None and slow.is_complete:
            self._slow = None
            self._finish(slow.status, slow.head, bytes(slow.body))


class _SlowAnswer:
    """An answer that is chunked, or ends with the connection, read by httptools; its callbacks have httptools' names."""

    def __init__(self, head: bytes) -> None:
        self.head = head
        self.body = bytearray()
        self.is_complete = False
        self.parser = httptools.HttpResponseParser(self)

    @property
    def status(self) -> int:
        """HTTP's."""
        return int(self.parser.get_status_code())

    @property
    def ends_with_connection(self) -> bool:
        """Whether nothing says where the body ends."""
        return b"\r\ntransfer-encoding:" not in self.head

    def on_body(self, data: bytes) -> None:
        """Part of the body."""
        self.body += data

    def on_message_complete(self) -> None:
        """The end."""
        self.is_complete = True
