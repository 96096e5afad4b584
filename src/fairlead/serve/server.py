"""A running server: the table, the data plane and the follower behind a listening socket, and the order in which they stop.

Takes a ServeJob; listens from `start` until `stop`. Raises PortInUseError, EnvironmentalError for an address that this machine does not
have. `ServerThread` runs one beside other work, in a thread of its own. It prints nothing: `on_listening` and `report` are told.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import threading
from collections.abc import Coroutine
from functools import partial
from types import TracebackType
from typing import Any, Self

import uvloop

from fairlead.core.server_reading import ServerReading
from fairlead.errors import EnvironmentalError, PortInUseError, UnavailableError
from fairlead.serve.assembly import Assembly
from fairlead.serve.call_limit import CallLimits
from fairlead.serve.data_plane import DataPlane
from fairlead.serve.explaining import Explaining
from fairlead.serve.follower import Follower
from fairlead.serve.grpc.port import GrpcPort
from fairlead.serve.grpc.service import ServiceJob
from fairlead.serve.http.api import Api, ApiJob
from fairlead.serve.http.gate import Gate
from fairlead.serve.http.metrics import MetricsHandlers
from fairlead.serve.loading import Loader
from fairlead.serve.model_table import ModelTable, ServedVersion
from fairlead.serve.reading import read_cache, read_versions
from fairlead.serve.repository import Repository
from fairlead.serve.resident_memory import Trimmer
from fairlead.serve.response_cache import ResponseCache
from fairlead.serve.serve_job import ServeJob
from fairlead.serve.traffic import Traffic
from fairlead.serve.traffic_mirror import Mirror
from fairlead.serve.traffic_witness import TrafficCounter
from fairlead.serve.workers.host import WorkerHost
from fairlead.serve.workers.policy import WorkerPolicy

_BACKLOG = 2048


def _close_and_forget(cache: ResponseCache, served: ServedVersion) -> None:
    served.close()
    cache.forget(served.version.digest)


class Server:
    """One server in the running event loop."""

    def __init__(self, job: ServeJob) -> None:
        self._job = job
        cache = ResponseCache(job.cache_bytes) if job.cache_bytes else None
        self.table = ModelTable() if cache is None else ModelTable(partial(_close_and_forget, cache))
        self.plane = DataPlane(
            self.table, job.sink, queue_limit=job.queue_limit, timeout_s=job.request_timeout_s, cache=cache, recorder=job.recorder
        )
        assembly = Assembly(job.sink, job.thread_count, job.batch, _worker_host(job), CallLimits(job.concurrency))
        self.table.on_freed = Trimmer().give_back_soon
        loader = Loader(job.source, self.table, assembly.assemble, budget_bytes=job.memory_budget_bytes, timeout_s=job.load_timeout_s)
        self.witness = job.witness or TrafficCounter(on_defect=job.report)
        self.traffic = Traffic(
            self.table,
            self.witness,
            Mirror(self.table, self.witness, is_calm=self._is_calm, open_twin=loader.open_twin, report=job.report),
            label=job.alias,
            report=job.report,
            twin_share=job.twin_share,
        )
        self.follower = Follower(
            job.source,
            self.table,
            loader,
            label=job.alias,
            report=job.report,
            keep_warm_s=job.keep_warm_s,
            on_applied=job.on_applied,
        )
        self.explaining = None
        if job.explainer is not None and job.explain_limits.concurrency > 0:
            self.explaining = Explaining(self.table, job.explainer, job.explain_limits)
        self.repository = Repository(self.table, self.follower, is_open=job.allow_model_control, statistics=job.statistics)
        self.api = Api(
            ApiJob(
                self.plane,
                job.limits,
                job.software_version,
                self.why_not_ready,
                job.report,
                job.default_model,
                metrics=None if job.metrics is None else MetricsHandlers(self.read, job.metrics),
                repository=self.repository,
                witness=self.witness,
                explaining=self.explaining,
            )
        )
        self._grpc = None if job.grpc_port is None else GrpcPort(self._grpc_job(job), job.report)
        self._gate: Gate | None = None
        self._listener: asyncio.Server | None = None
        self._following: asyncio.Task[None] | None = None
        self._is_draining = False
        self.url = ""

    @property
    def grpc_address(self) -> str:
        """Where gRPC is spoken, as its clients write it: host:port; "" where it is not."""
        return "" if self._grpc is None else self._grpc.address

    def why_not_ready(self) -> str:
        """Return "" where every model that should be served is, else the reason."""
        if self._is_draining:
            return "The server is stopping."
        if not self.follower.is_synchronized:
            return "The registry has not been read yet."
        absent = [name for name in sorted(self.table.models) if not self.table.is_ready(name)]
        # A model whose load failed does not take the others out of service, unless it is meant to; one that loads for the first time does.
        is_degraded = not self._job.is_strict and len(absent) < len(self.table.models)
        waiting = [name for name in absent if not (is_degraded and self.follower.has_failed(name))]
        return f"Not loaded: {', '.join(waiting[:10])}." if waiting else ""

    def _is_calm(self) -> bool:
        return not self.plane.in_flight

    def read(self) -> ServerReading:
        """Return what the server holds at the moment, for metrics."""
        return ServerReading(
            is_ready=not self.why_not_ready(),
            connection_count=sum(front.connection_count for front in (self._gate, self._grpc) if front is not None),
            versions=read_versions(self.table),
            responses=self._responses(),
            cache=None if self.plane.cache is None else read_cache(self.plane.cache),
            traffic=self.witness.read(),
        )

    def _responses(self) -> dict[tuple[str, str], int]:
        counts = self._gate.status_counts if self._gate is not None else []
        found = {("http", str(status)): count for status, count in enumerate(counts) if count}
        if self._grpc is not None:
            found |= {("grpc", name): count for name, count in self._grpc.code_counts.items()}
        return found

    async def start(self) -> None:
        """Listen, say so, and begin to load what is wanted. A port that is taken is found out before anything is loaded."""
        loop = asyncio.get_running_loop()
        gate = Gate(self.api.handle, self._job.limits, loop, self.api.direct.begin, self._job.on_refused)
        self._gate = gate
        try:
            self._listener = await loop.create_server(gate.connect, self._job.host, self._job.port, backlog=_BACKLOG)
        except OSError as error:
            gate.close()
            raise address_error(error, self._job.host, self._job.port) from error
        host, port = self._listener.sockets[0].getsockname()[:2]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        if self._grpc is not None and self._job.grpc_port is not None:
            try:
                await self._grpc.start(self._job.host, self._job.grpc_port)
            except OSError as error:
                self._listener.close()
                gate.close()
                raise address_error(error, self._job.host, self._job.grpc_port, "--grpc-port") from error
        await self.follower.poll()
        self._following = loop.create_task(self.follower.follow(self._job.follow_interval_s))
        self._job.on_listening(self.url)
        if self.grpc_address:
            self._job.report(f"gRPC is spoken on {self.grpc_address}.")

    async def stop(self, hurry: asyncio.Event | None = None) -> None:
        """Stop within the grace period: not ready, no new connections, answer what is in flight, let go of models and threads.

        `hurry` is set when somebody loses patience: what is in flight is then cut off.
        """
        self._is_draining = True  # 1. ready turns false
        if self._following is not None:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._following
        if self._listener is not None:
            self._listener.close()  # 2. nobody new
        if self._grpc is not None:
            self._grpc.refuse_newcomers()
        await _first(self._job.grace_s, self._drain(), (hurry or asyncio.Event()).wait())  # 3. what is in flight
        for front in (self._gate, self._grpc):
            if front is not None:
                front.close()
        if self.explaining is not None:
            self.explaining.close()
        await self.traffic.stop()  # 4. models and threads
        await self.follower.stop()
        for name in tuple(self.table.models):
            self.table.remove(name)

    async def _drain(self) -> None:
        await asyncio.gather(*(front.drain() for front in (self._gate, self._grpc) if front is not None))

    def _grpc_job(self, job: ServeJob) -> ServiceJob:
        return ServiceJob(
            self.plane,
            self.repository,
            job.grpc_limits,
            job.software_version,
            self.api.extensions,
            self.why_not_ready,
            is_stopping=lambda: self._is_draining,
            refused=job.on_refused,
        )


async def _first(timeout_s: float, *waits: Coroutine[Any, Any, object]) -> None:
    """Return when one of `waits` is over, or the time is."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


def address_error(error: OSError, host: str, port: int, option: str = "--port") -> EnvironmentalError:
    """Return what an address that cannot be listened on means to a person."""
    if error.errno == errno.EADDRINUSE:
        return PortInUseError(f"Port {port} on {host} is in use.", hint=f"Stop what listens there, or choose another with {option}.")
    if error.errno == errno.EACCES:
        return EnvironmentalError(f"Port {port} needs rights that this user does not have.", hint="Choose a port above 1023.")
    return EnvironmentalError(f"Cannot listen on {host}, port {port}.", hint="The host has to be an address of this machine.")


def _worker_host(job: ServeJob) -> WorkerHost | None:
    if not job.worker_count:
        return None
    policy = WorkerPolicy(count=job.worker_count, call_limit_s=job.call_limit_s)
    return WorkerHost(asyncio.get_running_loop(), policy, job.report)


class ServerThread:
    """A server in a thread of its own, for use as a context manager; `url` is where it listens."""

    def __init__(self, job: ServeJob) -> None:
        self._job = job
        self._started = threading.Event()
        self._stop_asked = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="fairlead-server", daemon=True)
        self.server: Server | None = None

    @property
    def url(self) -> str:
        """Where the server listens."""
        if self.server is None:
            raise UnavailableError("The server has not been started.", hint="Call start() first.")
        return self.server.url

    def start(self) -> Self:
        """Return when the server listens and has loaded what is wanted; raises what `Server.start` raises."""
        self._thread.start()
        self._started.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error
        return self

    def stop(self) -> None:
        """Stop gracefully and return when it is over. Idempotent."""
        if self._loop is not None and self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # it stopped by itself meanwhile
                self._loop.call_soon_threadsafe(self._stop_asked.set)
        self._thread.join()

    def wait(self) -> None:
        """Return when the server has stopped."""
        self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _main(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - it belongs to the thread that waits in start()
            self._error = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.server = server = Server(self._job)
        await server.start()
        await server.follower.settle()
        self._started.set()
        await self._stop_asked.wait()
        await server.stop()
