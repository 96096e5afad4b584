"""What all connections of a listening socket share, whatever protocol they speak: counts, room for what is received, identities, the clock.

Takes peers in and lets them go; drains and cuts them off. Looks at all of them every quarter of a second: one sweep over at most a thousand
connections costs less than a timer for each request. It never looks into a request.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from typing import Generic, Protocol, TypeVar

_SWEEP_S = 0.25


class Peer(Protocol):
    """One connection."""

    def drain(self) -> None:
        """End after what has begun."""
        ...

    def abort(self) -> None:
        """Cut the connection off."""
        ...


P = TypeVar("P", bound=Peer)


class Peers(Generic[P]):
    """`buffered_limit` bounds the bytes of unfinished requests of all peers. A subclass says what a sweep does, and calls it once made."""

    def __init__(self, loop: asyncio.AbstractEventLoop, buffered_limit: int) -> None:
        self.now = loop.time
        self.swept_at = loop.time()  # what the time was a moment ago, for deadlines that may be a quarter of a second early
        self._loop = loop
        self._connections: set[P] = set()
        self._buffered_bytes = 0
        self._buffered_limit = buffered_limit
        self._is_draining = False
        self._ids = itertools.count(1)
        self._id_prefix = os.urandom(4).hex()
        self._timer: asyncio.TimerHandle | None = None
        self._emptied = asyncio.Event()

    @property
    def connection_count(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    @property
    def buffered_bytes(self) -> int:
        """How many bytes of unfinished requests are held at the moment."""
        return self._buffered_bytes

    def take_in(self, connection: P) -> None:
        """Count a connection; one that comes while the others drain is let go after what it has begun."""
        self._connections.add(connection)
        if self._is_draining:
            connection.drain()

    def forget(self, connection: P) -> None:
        """The connection is gone."""
        self._connections.discard(connection)
        if not self._connections:
            self._emptied.set()

    def reserve(self, size: int) -> bool:
        """Take `size` bytes of the room for unfinished requests; returns False where there is no room."""
        total = self._buffered_bytes + size
        if total > self._buffered_limit:
            return False
        self._buffered_bytes = total
        return True

    def release(self, size: int) -> None:
        """Give room back."""
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

    def look_at(self, connection: P, now: float) -> None:
        """Do what one connection's deadlines ask for; `now` is the loop's time."""
        raise NotImplementedError

    def sweep(self) -> None:
        """Look at every connection, and again in a quarter of a second."""
        self.swept_at = now = self._loop.time()
        for connection in tuple(self._connections):
            self.look_at(connection, now)
        self._timer = self._loop.call_later(_SWEEP_S, self.sweep)
