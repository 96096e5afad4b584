"""A running collector: its listening socket, the look at what has waited too long, and the order in which they stop.

Takes a CollectServerJob; listens from `start` until `stop`, in the running event loop. Raises PortInUseError, EnvironmentalError for an
address that this machine does not have. It prints nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from fairlead.core.refusal import Refusal, unheard
from fairlead.core.server_reading import ServerReading
from fairlead.serve.collect.api import CollectApi, CollectApiJob
from fairlead.serve.collect.collector import Collector
from fairlead.serve.http.gate import Gate, nothing_direct
from fairlead.serve.http.limits import HttpLimits
from fairlead.serve.http.metrics import MetricsSource
from fairlead.serve.server import address_error

_TIDY_S = 0.5
_BACKLOG = 2048


@dataclass(frozen=True)
class CollectServerJob:
    """Where to listen, and how long what has begun may take to end. `watched` says in words who is watched; `follow` runs beside."""

    collector: Collector
    limits: HttpLimits
    metrics: MetricsSource
    host: str
    port: int
    grace_s: float
    version: str
    watched: tuple[str, ...]
    report: Callable[[str], None]
    follow: Callable[[], Coroutine[Any, Any, None]]
    on_refused: Callable[[Refusal], None] = unheard


class CollectServer:
    """One collector; `url` is where it listens."""

    def __init__(self, job: CollectServerJob) -> None:
        self._job = job
        api_job = CollectApiJob(job.collector, job.limits, job.version, job.watched, job.metrics, self.read, job.report)
        self._api = CollectApi(api_job)
        self._gate: Gate | None = None
        self._listener: asyncio.Server | None = None
        self._beside: list[asyncio.Task[None]] = []
        self.url = ""

    def read(self) -> ServerReading:
        """Return what the front holds at the moment, for metrics."""
        counts = [] if self._gate is None else self._gate.status_counts
        return ServerReading(
            is_ready=not self._api.is_stopping,
            connection_count=0 if self._gate is None else self._gate.connection_count,
            responses={("http", str(status)): count for status, count in enumerate(counts) if count},
        )

    async def start(self) -> None:
        """Listen."""
        loop, job = asyncio.get_running_loop(), self._job
        self._gate = gate = Gate(self._api.handle, job.limits, loop, nothing_direct, job.on_refused)
        try:
            self._listener = await loop.create_server(gate.connect, job.host, job.port, backlog=_BACKLOG)
        except OSError as error:
            gate.close()
            raise address_error(error, job.host, job.port) from error
        host, port = self._listener.sockets[0].getsockname()[:2]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        self._beside = [loop.create_task(self._tidy()), loop.create_task(job.follow())]

    async def stop(self) -> None:
        """Take nobody new, let end what has begun within the grace period, and keep what waits for its other half."""
        self._api.is_stopping = True
        if self._listener is not None:
            self._listener.close()
        if self._gate is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._gate.drain(), self._job.grace_s)
            self._gate.close()
        for task in self._beside:
            task.cancel()
        for ended in await asyncio.gather(*self._beside, return_exceptions=True):
            if isinstance(ended, Exception):  # a mistake of ours that ended it early must not lose what waits
                self._job.report(f"What runs beside the collector failed.\n{''.join(traceback.format_exception(ended))}")
        await self._job.collector.finish(self._job.grace_s)

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(_TIDY_S)
            await self._job.collector.tidy()
