"""What all connections of the gRPC port share: limits, counts, the clock, and the service.

Takes the methods that there are; makes a `Connection` for each peer and lets each look at its deadlines every quarter of a second. It maps
what a method raises to a status: a caller's mistake with its text, ours without a word about the inside, and that goes to `report`.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Callable, Mapping

from fairlead.core.refusal import Refusal, unheard
from fairlead.errors import FairleadError, UnavailableError
from fairlead.serve.grpc.calls import Call, Message, Method
from fairlead.serve.grpc.connection import Connection
from fairlead.serve.grpc.limits import GrpcLimits
from fairlead.serve.grpc.status import CALLERS, Code, Failure, failure_of
from fairlead.serve.http.body import decompress
from fairlead.serve.peers import Peers


class Gate(Peers[Connection]):
    """`methods` by path; `report` is told of mistakes of ours, `refused` of callers'."""

    def __init__(
        self,
        methods: Mapping[bytes, Method],
        limits: GrpcLimits,
        loop: asyncio.AbstractEventLoop,
        report: Callable[[str], None],
        refused: Callable[[Refusal], None] = unheard,
    ) -> None:
        super().__init__(loop, max(limits.buffered_bytes, limits.message_bytes))
        self.methods = methods
        self.limits = limits
        self.code_counts = [0] * 17  # calls that were answered, by code, for metrics
        self._report = report
        self._refused = refused
        self.sweep()

    def connect(self) -> Connection:
        """Return the protocol of a new connection."""
        return Connection(self)

    def admit(self, connection: Connection) -> bool:
        """Take a connection in; returns whether there was room for it. One too many is counted until it has been told."""
        has_room = len(self._connections) < self.limits.connection_count
        self.take_in(connection)
        return has_room

    def look_at(self, connection: Connection, now: float) -> None:
        """Let a connection look at its deadlines."""
        connection.sweep(now)

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

    def failed(self, failure: Failure, path: bytes, request_id: str) -> None:
        """Count a call that failed, and tell of its caller's mistake."""
        self.code_counts[failure.code] += 1
        if failure.code in CALLERS:
            self._refused(Refusal(request_id, "grpc", path.decode("latin-1"), failure.code.name, failure.text))

    def _failure(self, call: Call, error: Exception) -> Failure:
        failure = failure_of(error)
        if failure.code is Code.INTERNAL or not isinstance(error, FairleadError):
            self._report(f"Request {call.request_id} failed.\n{traceback.format_exc()}")
        return failure


def _inflate(call: Call, content: bytes) -> bytes:
    return bytes(decompress(call.encoding, content, call.method.limit_bytes))
