"""What all connections of the HTTP port share: limits, the date, and the handler.

Takes a handler of whole requests; makes a `Connection` for each peer and closes those whose deadline has passed. It never looks into a
request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Protocol, TypeAlias

from fairlead.core.refusal import Refusal, unheard
from fairlead.serve.http.connection import Connection
from fairlead.serve.http.eager import start
from fairlead.serve.http.limits import HttpLimits
from fairlead.serve.http.message import HttpRequest, Reply, error_text
from fairlead.serve.peers import Peers

Finish: TypeAlias = Callable[[HttpRequest, Reply], None]


class Going(Protocol):
    """A request in flight."""

    def cancel(self) -> None:
        """Nobody waits for the reply any more; nothing where it has been given."""
        ...


Direct: TypeAlias = Callable[[HttpRequest, Finish], Going | None]


def nothing_direct(request: HttpRequest, finish: Finish) -> None:
    """Leave every request to the coroutine."""
    del request, finish


class Gate(Peers[Connection]):
    """`handle` answers one request and never raises; `direct` may take one for which that need not be a coroutine; `refused` is told of
    callers' mistakes.
    """

    def __init__(
        self,
        handle: Callable[[HttpRequest], Awaitable[Reply]],
        limits: HttpLimits,
        loop: asyncio.AbstractEventLoop,
        direct: Direct = nothing_direct,
        refused: Callable[[Refusal], None] = unheard,
    ) -> None:
        super().__init__(loop, max(limits.buffered_bytes, limits.body_bytes))
        self._handle = handle
        self._direct = direct
        self._refused = refused
        self.limits = limits
        self.date = b""
        self.status_counts = [0] * 600  # answers by status, for metrics
        self.sweep()

    def connect(self) -> Connection:
        """Return the protocol of a new connection."""
        return Connection(self)

    def begin(self, request: HttpRequest, finish: Finish) -> Going | None:
        """Answer a request: `finish` is given the reply, now or later. Returns what to cancel while it is not."""
        return self._direct(request, finish) or start(self._answer(request, finish))

    async def _answer(self, request: HttpRequest, finish: Finish) -> None:
        finish(request, await self._handle(request))

    def answered(self, reply: Reply, request: HttpRequest | None) -> None:
        """Count a reply that is on its way, and tell of its caller's mistake; no `request` where none came whole."""
        self.status_counts[reply.status] += 1
        if 400 <= reply.status < 500 or (reply.status >= 500 and request is None):
            asked = "" if request is None else f"{request.method.decode('ascii')} {request.target.decode('latin-1')}"
            identity = "" if request is None else request.request_id
            self._refused(Refusal(identity, "http", asked, str(reply.status), error_text(reply)))

    def admit(self, connection: Connection) -> bool:
        """Take a connection in; returns whether there was room for it."""
        if len(self._connections) >= self.limits.connection_count:
            return False
        self.take_in(connection)
        return True

    def look_at(self, connection: Connection, now: float) -> None:
        """Close a connection whose deadline has passed."""
        if connection.deadline <= now:
            connection.expire()

    def sweep(self) -> None:
        """Look at every connection, and write the date that answers carry."""
        self.date = formatdate(usegmt=True).encode("ascii")
        super().sweep()
