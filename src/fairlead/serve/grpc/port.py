"""The gRPC port of a server: it listens, answers through the data plane, and lets go in order when the server stops.

Takes what the service is made of and an address; listens from `start` until `close`. Raises OSError where the address cannot be had, which
the server turns into words. It is here so that the server need not know what gRPC is made of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fairlead.serve.grpc.gate import Gate
from fairlead.serve.grpc.service import Service, ServiceJob
from fairlead.serve.grpc.status import Code

_BACKLOG = 2048


class GrpcPort:
    """`report` is told of mistakes of ours."""

    def __init__(self, job: ServiceJob, report: Callable[[str], None]) -> None:
        self._limits = job.limits
        self._report, self._refused = report, job.refused
        self._gate: Gate | None = None
        self._listener: asyncio.Server | None = None
        self.service = Service(job)
        self.address = ""

    @property
    def connection_count(self) -> int:
        """How many connections are open."""
        return self._gate.connection_count if self._gate is not None else 0

    @property
    def code_counts(self) -> dict[str, int]:
        """Return how many calls were answered with each code, by its name."""
        return {} if self._gate is None else {Code(code).name: count for code, count in enumerate(self._gate.code_counts) if count}

    async def start(self, host: str, port: int) -> None:
        """Listen; `address` says where then, as gRPC clients write it: host:port."""
        loop = asyncio.get_running_loop()
        gate = Gate(self.service.methods, self._limits, loop, self._report, self._refused)
        try:
            self._listener = await loop.create_server(gate.connect, host, port, backlog=_BACKLOG)
        except OSError:
            gate.close()
            raise
        self._gate = gate
        host, port = self._listener.sockets[0].getsockname()[:2]
        self.address = f"{f'[{host}]' if ':' in host else host}:{port}"

    def refuse_newcomers(self) -> None:
        """Take no new connections."""
        if self._listener is not None:
            self._listener.close()

    async def drain(self) -> None:
        """Return when every call that is open has been answered."""
        if self._gate is not None:
            await self._gate.drain()

    def close(self) -> None:
        """Cut off whoever is left."""
        self.refuse_newcomers()
        if self._gate is not None:
            self._gate.close()
