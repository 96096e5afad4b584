"""Watch models that are served elsewhere: take what payload loggers of KServe and Seldon send, and keep it as if it had been served here.

Takes a CollectRequest and a House; returns what became of the events once it was stopped. Raises NotFoundError for what is not registered,
SpecError for a source or an address that makes no sense, PortInUseError. Redaction, sampling, retention and the log are the server's own.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import uvloop

from fairlead._version import __version__
from fairlead.app.collector_metrics import CollectorMetrics
from fairlead.app.collector_sources import CollectedModels
from fairlead.app.recording import recording
from fairlead.app.serving import check_exposure, http_limits
from fairlead.app.wiring import House
from fairlead.core.observation_log import RecordCounts
from fairlead.errors import SpecError
from fairlead.serve.collect.collector import Collector, CollectorJob
from fairlead.serve.collect.pairing import Pairs
from fairlead.serve.collect.server import CollectServer, CollectServerJob

PORT = 8090
WAIT_S = 60.0
WAITING_BYTES = 256 * 2**20
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


@dataclass(frozen=True)
class CollectRequest:
    """What the user asked for. `sources` are texts like `sklearn-iris=iris:3`. A half of a request waits `wait_s` for the other one, all
    that wait take `waiting_bytes` at most. `share` is which share of the requests is kept (None: what the settings say), `is_exposed`
    allows an address that other machines reach.
    """

    sources: tuple[str, ...]
    host: str | None = None
    port: int = PORT
    wait_s: float = WAIT_S
    waiting_bytes: int = WAITING_BYTES
    is_exposed: bool = False
    share: float | None = None


@dataclass(frozen=True)
class Collection:
    """What was collected: events by model and what became of them ("" for nobody's), and requests by what became of them on their way into
    the log.
    """

    events: Mapping[tuple[str, str], int] = field(default_factory=dict)
    requests: Mapping[str, RecordCounts] = field(default_factory=dict)


@dataclass(frozen=True)
class Listening:
    """Where a collector listens, and whom it watches, in words."""

    url: str
    watched: tuple[str, ...]


OnListening = Callable[[Listening], None]


def collect(request: CollectRequest, house: House, *, on_listening: OnListening, report: Callable[[str], None]) -> Collection:
    """Collect until a signal asks to stop, and return what was; call it from the main thread."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        stop = asyncio.Event()

        async def run() -> Collection:
            for number in _SIGNALS:
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
            return await collect_until(stop, request, house, on_listening=on_listening, report=report)

        return runner.run(run())


async def collect_until(
    stop: asyncio.Event, request: CollectRequest, house: House, *, on_listening: OnListening, report: Callable[[str], None]
) -> Collection:
    """Collect in the running event loop until `stop` is set. What waits then is written before this returns."""
    host = request.host or house.settings.host
    check_exposure(host, is_exposed=request.is_exposed, what="send events that pass for the models' own")
    if not request.wait_s > 0 or request.waiting_bytes < 1:
        raise SpecError("Requests have to wait a while for their answers, and need room for it.", hint="Try --wait 60s --memory 256MB.")
    sources = CollectedModels(request.sources, house)
    limits = http_limits(house.settings)
    with recording(house, report, is_on=True, share=request.share) as recorder:
        if recorder is None:
            return Collection()
        pairs = Pairs(wait_s=request.wait_s, bytes_limit=request.waiting_bytes)
        collector = Collector(CollectorJob(sources, pairs, recorder.buffer.take, recorder.keep_labels, limits, report, house.clock))
        server = CollectServer(
            CollectServerJob(
                collector,
                limits=replace(limits, buffered_bytes=request.waiting_bytes),
                metrics=CollectorMetrics(collector, recorder),
                host=host,
                port=request.port,
                grace_s=house.settings.grace_s,
                version=__version__,
                watched=sources.watched,
                report=report,
                follow=partial(sources.follow, report),
            )
        )
        await server.start()
        try:
            on_listening(Listening(server.url, sources.watched))
            await stop.wait()
        finally:
            await server.stop()
    return Collection(dict(collector.counts), recorder.read().counts)
