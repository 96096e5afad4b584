"""What all connections of the gRPC port share: limits, counts, the clock, and the service.

Takes the methods that there are; makes a `Connection` for each peer and lets each look at its deadlines every quarter of a second. It maps
what a method raises to a status: a caller's mistake with its text, ours without a word about the inside, and that goes to `report`.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import traceback
from collections.abc import AsyncIterator, Callable, Mapping

from fairlead.errors import FairleadError, UnavailableError
from fairlead.serve.grpc.calls import Call, Message, Method
from fairlead.serve.grpc.connection import Connection
from fairlead.serve.grpc.limits import GrpcLimits
from fairlead.serve.grpc.status import Code, Failure, failure_of
from fairlead.serve.http.body import decompress

_SWEEP_S = 0.25


class Gate:
    """`methods` by path; `report` is told of mistakes of ours."""

    def __init__(
        self, methods: Mapping[bytes, Method], limits: GrpcLimits, loop: asyncio.AbstractEventLoop, report: Callable[[str], None]
    ) -> None:
        self.methods = methods
        self.limits = limits
        self.now = loop.time
        self.code_counts = [0] * 17  # calls that were answered, by code, for metrics
        self.swept_at = loop.time()  # what the time was a moment ago, for deadlines that may be a quarter of a second early
        self._loop = loop
        self._report = report
        self._connections: set[Connection] = set()
        self._buffered_bytes = 0
        self._is_draining = False
        self._ids = itertools.count(1)
        self._id_prefix = os.urandom(4).hex()
        self._emptied = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._sweep()

    @property
    def connection_count(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    @property
    def buffered_bytes(self) -> int:
        """How many bytes of unfinished messages are held at the moment."""
        return self._buffered_bytes

    def connect(self) -> Connection:
        """Return the protocol of a new connection."""
        return Connection(self)

    def admit(self, connection: Connection) -> bool:
        """Take a connection in; returns whether there was room for it."""
        has_room = len(self._connections) < self.limits.connection_count
        self._connections.add(connection)
        if self._is_draining:
            connection.drain()
        return has_room

    def forget(self, connection: Connection) -> None:
        """The connection is gone."""
        self._connections.discard(connection)
        if not self._connections:
            self._emptied.set()

    def reserve(self, size: int) -> bool:
        """Take `size` bytes of the room for unfinished messages; returns False where there is no room."""
        if self._buffered_bytes + size > max(self.limits.buffered_bytes, self.limits.message_bytes):
            return False
        self._buffered_bytes += size
        return True

    def release(self, size: int) -> None:
        """Give room back."""
        self._buffered_bytes -= size

    def next_request_id(self) -> str:
        """Return an identity for a call that came without one."""
        return f"{self._id_prefix}-{next(self._ids):x}"

    async def answer(self, call: Call, message: Message) -> bytes | Failure:
        """Return the reply to one message of `call`; raises nothing but CancelledError."""
        try:
            content = message.content
            if message.is_compressed:
                content = _inflate(call, content)
            return await call.method.answer(call, content)
        except Exception as error:  # noqa: BLE001 - the last resort: a mistake of ours must not end the server, nor show itself
            return self._failure(call, error)

    async def watch(self, call: Call, message: Message) -> AsyncIterator[bytes | Failure]:
        """Yield the replies of a method that gives many; raises nothing but CancelledError."""
        try:
            if call.method.watch is not None:
                content = _inflate(call, message.content) if message.is_compressed else message.content
                async for reply in call.method.watch(call, content):
                    yield reply
            yield failure_of(UnavailableError("The server is stopping."))
        except Exception as error:  # noqa: BLE001 - as above
            yield self._failure(call, error)

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

    def _failure(self, call: Call, error: Exception) -> Failure:
        failure = failure_of(error)
        if failure.code is Code.INTERNAL or not isinstance(error, FairleadError):
            self._report(f"Request {call.request_id} failed.\n{traceback.format_exc()}")
        return failure

    def _sweep(self) -> None:
        self.swept_at = now = self._loop.time()
        for connection in tuple(self._connections):
            connection.sweep(now)
        self._timer = self._loop.call_later(_SWEEP_S, self._sweep)


def _inflate(call: Call, content: bytes) -> bytes:
    return bytes(decompress(call.encoding, content, call.method.limit_bytes))
