"""The collector's metrics page: events and what became of them, what waits, the observation log, the process.

Takes what the front, the collector and the recording count; yields the page in pieces. Labels are bounded: models that are collected, and
words of ours.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator

from fairlead._version import __version__
from fairlead.app.recording import Recording
from fairlead.core.server_reading import ServerReading
from fairlead.monitor import families as show
from fairlead.monitor.exposition import Sample, write
from fairlead.monitor.families import Family, Kind
from fairlead.monitor.process import process_samples
from fairlead.serve.collect.collector import Collector

EVENTS = Family(
    "fairlead_collected_events",
    Kind.COUNTER,
    ("model", "result"),
    "Events of other servers' loggers by what they are (`request`, `answer`, `feedback`), and what became of them",
)
WAITING = Family("fairlead_collector_waiting_events", Kind.GAUGE, (), "Events that wait for their other half")
WAITING_BYTES = Family("fairlead_collector_waiting_bytes", Kind.GAUGE, (), "What these take", "bytes")


class CollectorMetrics:
    """Calling it yields the page, in one of the two formats."""

    def __init__(self, collector: Collector, recorder: Recording) -> None:
        self._collector, self._recorder = collector, recorder

    def __call__(self, reading: ServerReading, *, is_open_metrics: bool) -> Iterator[bytes]:
        """Yield the page in pieces."""
        yield from write(self._families(reading), is_open_metrics=is_open_metrics)

    def _families(self, reading: ServerReading) -> Iterable[tuple[Family, list[Sample]]]:
        recorded, pairs = self._recorder.read(), self._collector.pairs
        yield EVENTS, sorted(self._collector.counts.items())
        yield WAITING, [((), pairs.waiting_count)]
        yield WAITING_BYTES, [((), pairs.waiting_bytes)]
        counted: list[Sample] = [
            ((name, what), count) for name, counts in sorted(recorded.counts.items()) for what, count in counts._asdict().items()
        ]
        yield show.OBSERVATIONS, counted
        yield show.OBSERVATIONS_WAITING, [((), recorded.waiting_bytes)]
        yield show.RESPONSES, [(key, count) for key, count in sorted(reading.responses.items())]
        yield show.READY, [((), int(reading.is_ready))]
        yield show.CONNECTIONS, [((), reading.connection_count)]
        yield show.BUILD, [((__version__, platform.python_version()), 1)]
        for family, value in process_samples():
            yield family, [((), value)]
