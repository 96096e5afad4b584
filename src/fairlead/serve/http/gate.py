"""What all connections of a listening socket share: limits, counts, the clock, and the handler.

Takes a handler of whole requests; makes a `Connection` for each peer. Closes those whose deadline has passed, every quarter of a second:
one sweep over at most a thousand connections costs less than a timer for each request. It never looks into a request.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable
from email.utils import formatdate

from fairlead.serve.http.connection import Connection
from fairlead.serve.http.limits import HttpLimits
from fairlead.serve.http.message import HttpRequest, Reply

_SWEEP_S = 0.25


class Gate:
    """`handle` answers one request and never raises."""

    def __init__(self, handle: Callable[[HttpRequest], Awaitable[Reply]], limits: HttpLimits, loop: asyncio.AbstractEventLoop) -> None:
        self.handle = handle
        self.limits = limits
        self.now = loop.time
        self.date = b""
        self.status_counts = [0] * 600  # answers by status, for metrics
        self.swept_at = loop.time()  # what the time was a moment ago, for deadlines that may be a quarter of a second early
        self._loop = loop
        self._connections: set[Connection] = set()
        self._buffered_bytes = 0
        self._buffered_limit = max(limits.buffered_bytes, limits.body_bytes)
        self._is_draining = False
        self._ids = itertools.count(1)
        self._id_prefix = os.urandom(4).hex()
        self._timer: asyncio.TimerHandle | None = None
        self._emptied = asyncio.Event()
        self._sweep()

    @property
    def connection_count(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    @property
    def buffered_bytes(self) -> int:
        """How many bytes of bodies are held at the moment."""
        return self._buffered_bytes

    def connect(self) -> Connection:
        """Return the protocol of a new connection."""
        return Connection(self)

    def admit(self, connection: Connection) -> bool:
        """Take a connection in; returns whether there was room for it."""
        if len(self._connections) >= self.limits.connection_count:
            return False
        self._connections.add(connection)
        if self._is_draining:
            connection.drain()
        return True

    def forget(self, connection: Connection) -> None:
        """The connection is gone."""
        self._connections.discard(connection)
        if not self._connections:
            self._emptied.set()

    def reserve(self, size: int) -> bool:
        """Take `size` bytes of the room for bodies; returns False where there is no room."""
        total = self._buffered_bytes + size
        if total > self._buffered_limit:
            return False
        self._buffered_bytes = total
        return True

    def release(self, size: int) -> None:
        """Give room for bodies back."""
        self._buffered_bytes -= size

    def next_request_id(self) -> str:
        """Return an identity for a request that came without one."""
        return f"{self._id_prefix}-{next(self._ids):x}"

    async def drain(self) -> None:
        """Let every connection end after what it has begun; returns when all have."""
        self._is_draining = True
        for connection in tuple(self._connections):
            connection.drain()
        while self._connections:
            self._emptied.clear()
            await self._emptied.wait()

    def close(self) -> None:
        """Cut off whoever is left, and stop sweeping."""
        if self._timer is not None:
            self._timer.cancel()
        for connection in tuple(self._connections):
            connection.abort()

    def _sweep(self) -> None:
        self.swept_at = now = self._loop.time()
        self.date = formatdate(usegmt=True).encode("ascii")
        for connection in tuple(self._connections):
            if connection.deadline <= now:
                connection.expire()
        self._timer = self._loop.call_later(_SWEEP_S, self._sweep)
