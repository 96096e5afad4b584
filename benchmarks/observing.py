"""What being watched costs a request: the sink's own time, its share of a request, and what writing a metrics page takes.

Prints a table. Run it on an idle machine: python benchmarks/observing.py. Requests go through routing, JSON, the data plane, batching and a
model that doubles two numbers, without sockets, so the share is as large as it can be.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable

import numpy as np
import uvloop

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.observation import BatchObservation, Observation
from fairlead.core.ports import LoadedModel, ObservationSink
from fairlead.core.server_reading import ServerReading, VersionReading
from fairlead.core.version import Version
from fairlead.monitor.event_log import EventLog, LogJob
from fairlead.monitor.metrics import Metrics, MetricsJob
from fairlead.monitor.stage import Watcher, WatchJob, watch
from fairlead.serve.http.message import HttpRequest
from fairlead.serve.serve_job import NullSink
from fairlead.serve.server import ServeJob, Server

IN_FLIGHT = 64
BODY = b'{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}]}'


class Doubler:
    """The smallest model there is."""

    interface = Interface((TensorSpec("x", DType.FP32, (None, 2)),), (TensorSpec("y", DType.FP32, (None, 2)),))
    description = "doubler 1.0"

    def run(self, inputs, outputs=()):  # noqa: ARG002 - there is only one
        """Double."""
        return {"y": inputs["x"] * np.float32(2)}

    def close(self) -> None:
        """Hold nothing."""


class OneModel:
    """A registry of it."""

    def aspired(self):
        """Return the one version."""
        return {"m": Version("m", 1, Manifest((FileEntry("model.onnx", 1, "0" * 64),)), 0.0)}

    def sequence(self) -> int:
        """Never change."""
        return 1

    def load(self, version) -> LoadedModel:  # noqa: ARG002 - there is only one
        """Return the model."""
        return LoadedModel(Doubler())


def new_watcher() -> Watcher:
    """Watch as `fairlead serve` does: with the log that tells failed and slow requests."""
    log = EventLog(LogJob(_drop))
    return watch(WatchJob(lambda _name, _number: (), _drop, listeners=(log.take,)))


def _drop(_: object) -> None:
    """Tell nobody."""


def sink_microseconds(sink: ObservationSink, count: int, batch: int) -> float:
    """Return what an observation costs, made and taken, with an engine call for every `batch` of them."""
    record, record_batch, clock = sink.record, sink.record_batch, time.time
    began = time.thread_time()
    for number in range(count):
        record(Observation("0123456789-abc", "m", 1, clock(), 1, 0.05, 0.3, "", "http", "", False, batch, False))
        if number % batch == 0:
            record_batch(BatchObservation("m", 1, clock(), batch, batch, 0.3))
    return (time.thread_time() - began) / count * 1e6


async def request_microseconds(sink: ObservationSink, count: int) -> float:
    """Return the processor time of a request through a server without sockets, 64 at once."""
    server = Server(ServeJob(OneModel(), sink=sink, queue_limit=10 * IN_FLIGHT, grpc_port=None))
    await server.follower.poll()
    await server.follower.settle()
    headers = {b"host": b"a", b"content-type": b"application/json"}

    async def ask() -> None:
        for _ in range(count // IN_FLIGHT):
            reply = await server.api.handle(HttpRequest(b"POST", b"/v2/models/m/infer", headers, BODY, True, False, "id"))
            if reply.status != 200:
                raise SystemExit(f"status {reply.status}: {reply.body!r}")

    await asyncio.gather(*(ask() for _ in range(IN_FLIGHT)))  # warm
    began = time.thread_time()
    await asyncio.gather(*(ask() for _ in range(IN_FLIGHT)))
    spent = time.thread_time() - began
    await server.stop()
    return spent / (count // IN_FLIGHT * IN_FLIGHT) * 1e6


def page_milliseconds(version_count: int) -> tuple[float, float, int]:
    """Return what writing a page takes, the longest piece of it, and its bytes."""
    watcher = new_watcher()
    for number in range(version_count):
        watcher.record(Observation("id", f"m{number}", 1, time.time(), 1, 0.05, 0.3, "", "http"))
        watcher.record_batch(BatchObservation(f"m{number}", 1, time.time(), 1, 1, 0.3))
    page = Metrics(MetricsJob(watcher, "1", {}))
    reading = ServerReading(True, versions=tuple(VersionReading(f"m{number}", 1, True) for number in range(version_count)))
    times, size = [], 0
    before = time.perf_counter()
    for piece in page(reading, is_open_metrics=False):
        size += len(piece)
        now = time.perf_counter()
        times.append((now - before) * 1e3)
        before = now
    watcher.close()
    return sum(times), max(times), size


def library_milliseconds(version_count: int) -> float | None:
    """Return what Prometheus's own library takes for the four histograms of as many versions."""
    try:
        from prometheus_client import CollectorRegistry, Histogram, generate_latest
    except ImportError:
        return None
    registry = CollectorRegistry()
    bounds = [mantissa * 10.0**exponent for exponent in range(-5, 1) for mantissa in (2.5, 5, 10)]
    for name in ("request", "queue", "compute", "rows"):
        histogram = Histogram(name, name, ("model", "version"), registry=registry, buckets=bounds)
        for number in range(version_count):
            histogram.labels(f"m{number}", "1").observe(0.001)
    began = time.perf_counter()
    generate_latest(registry)
    return (time.perf_counter() - began) * 1e3


def best(measure: Callable[[], float], rounds: int) -> float:
    return min(measure() for _ in range(rounds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--count", type=int, default=20_000)
    options = parser.parse_args()
    rows = []
    for batch in (1, 8, 32):
        made, watcher = best(lambda batch=batch: sink_microseconds(NullSink(), options.count, batch), options.rounds), new_watcher()
        taken = best(lambda batch=batch, watcher=watcher: sink_microseconds(watcher, options.count, batch), options.rounds)
        watcher.close()
        rows.append((f"sink, batches of {batch}: taking an observation", f"{taken - made:.2f} us", f"making it: {made:.2f} us"))
    plain, watched = [], []
    for _ in range(options.rounds):
        watcher = new_watcher()
        plain.append(uvloop.run(request_microseconds(NullSink(), options.count)))
        watched.append(uvloop.run(request_microseconds(watcher, options.count)))
        watcher.close()
    ratio = statistics.median(watched) / statistics.median(plain)
    rows.append(
        ("request without sockets, watched", f"{min(watched):.1f} us", f"not watched: {min(plain):.1f} us; ratio of medians {ratio:.3f}")
    )
    for count in (1, 10, 100):
        total, longest, size = min(page_milliseconds(count) for _ in range(options.rounds))
        rows.append((f"metrics page, {count} versions", f"{total:.2f} ms", f"longest piece {longest:.2f} ms, {size / 1024:.0f} KiB"))
    library = library_milliseconds(100)
    if library is not None:
        rows.append(("prometheus_client, 4 histograms of 100 versions", f"{library:.1f} ms", "in one piece"))
    print("| what | takes | |\n|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
