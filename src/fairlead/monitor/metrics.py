"""The metrics page: what was counted, what the server holds now, and the process, as families with samples.

Takes a ServerReading and the watcher's tallies; yields the page in pieces. Only versions that the server has, or had in the last ten
minutes, are shown: a version's series end when it is gone for good, and their number stays bounded however many were served.
"""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from fairlead.core.observation_log import RecordReading
from fairlead.core.ports import Clock
from fairlead.core.server_reading import ServerReading, VersionReading
from fairlead.core.traffic_event import TrafficReading
from fairlead.monitor import families as show
from fairlead.monitor.exposition import Sample, Value, write
from fairlead.monitor.families import Family
from fairlead.monitor.meter import Key
from fairlead.monitor.process import process_samples
from fairlead.monitor.stage import Watcher
from fairlead.monitor.tally import Tally
from fairlead.monitor.window import Window

Labels = tuple[str, str]  # a model and its version
_VERSIONS_AT_ONCE = 8  # counting what is left of one takes a tenth of a millisecond
_GONE_S = 600.0  # a few scrapes: long enough for the last counts of an unloaded version to be seen


class Sink(Protocol):
    """Where telemetry goes, as metrics show it: how much went there, and how much could not."""

    sent_count: int
    dropped_count: int


@dataclass(frozen=True)
class MetricsJob:
    """`release` is Fairlead's; `sinks` are told apart by name."""

    watcher: Watcher
    release: str
    sinks: Mapping[str, Sink]
    clock: Clock = time.time


class Metrics:
    """Calling it yields the page for a reading, in one of the two formats. `recording` says what became of observations."""

    def __init__(self, job: MetricsJob) -> None:
        self._job = job
        self.recording: Callable[[], RecordReading] | None = None  # who writes observations begins after who watches

    def __call__(self, reading: ServerReading, *, is_open_metrics: bool) -> Iterator[bytes]:
        """Yield the page in pieces, some of them empty. A version's numbers fit each other; those of two may be milliseconds apart."""
        meter, pages = self._job.watcher.meter, [(family, list[Sample]()) for family, _ in _COUNTED]
        for place, (key, tally) in enumerate(self._shown(meter.tallies(), reading), 1):
            with meter.lock:
                tally.settle()
                for (_, samples), (_, read) in zip(pages, _COUNTED, strict=True):
                    samples.extend(read(_text(key), tally))
            if place % _VERSIONS_AT_ONCE == 0:
                yield b""
        broken: list[Sample] = [(_text(key), self._job.watcher.broken_count(*key)) for key in _keys(reading)]
        rest = [(show.BROKEN_PROMISES, broken), *self._held(reading), *self._traffic(reading.traffic), *self._recorded(), *self._about()]
        yield from write([*pages, *rest], is_open_metrics=is_open_metrics)

    def _shown(self, tallies: Mapping[Key, Tally], reading: ServerReading) -> list[tuple[Key, Tally]]:
        """Return the versions to show with their numbers; zeros for those that nobody has asked yet."""
        keys = set(_keys(reading))
        oldest = self._job.clock() - _GONE_S
        keys.update(key for key, tally in tallies.items() if tally.last_at >= oldest)
        return [(key, tallies.get(key) or Tally(Window(1.0, 1))) for key in sorted(keys)]

    def _held(self, reading: ServerReading) -> Iterable[tuple[Family, list[Sample]]]:
        for family, read in _HELD:
            yield family, [(_text((item.model, item.version)), read(item)) for item in reading.versions]
        yield show.RESPONSES, [(key, count) for key, count in sorted(reading.responses.items())]
        yield show.READY, [((), int(reading.is_ready))]
        yield show.CONNECTIONS, [((), reading.connection_count)]
        if reading.cache is not None:
            yield show.CACHE_BYTES, [((), reading.cache.used_bytes)]
            yield show.CACHE_ENTRIES, [((), reading.cache.entry_count)]
            yield show.CACHE_EVICTIONS, [((), reading.cache.eviction_count)]

    def _traffic(self, reading: TrafficReading) -> Iterable[tuple[Family, list[Sample]]]:
        """Yield what releases did, where there is anything to show."""
        for family, counts in (
            (show.TRAFFIC_REQUESTS, reading.requests),
            (show.TRAFFIC_FALLBACKS, reading.fallbacks),
            (show.COMPARISONS, reading.comparisons),
            (show.COMPARISON_FLIPS, reading.flips),
            (show.COMPARISON_DIFFERENCE, reading.differences),
            (show.COMPARISONS_DROPPED, reading.dropped),
            (show.LATE_LABELS, reading.labels),
        ):
            samples: list[Sample] = sorted(counts.items())
            yield family, samples

    def _recorded(self) -> Iterable[tuple[Family, list[Sample]]]:
        """Yield what became of observations, where they are kept."""
        if self.recording is None:
            return
        reading = self.recording()
        yield (
            show.OBSERVATIONS,
            [((name, result), count) for name, counts in sorted(reading.counts.items()) for result, count in counts._asdict().items()],
        )
        yield show.OBSERVATIONS_WAITING, [((), reading.waiting_bytes)]
        if math.isfinite(reading.log_bytes):
            yield show.OBSERVATIONS_SIZE, [((), reading.log_bytes)]

    def _about(self) -> Iterable[tuple[Family, list[Sample]]]:
        sinks = sorted(self._job.sinks.items())
        yield show.TELEMETRY_SENT, [((name,), sink.sent_count) for name, sink in sinks]
        yield show.TELEMETRY_DROPPED, [((name,), sink.dropped_count) for name, sink in sinks]
        yield show.BUILD, [((self._job.release, platform.python_version()), 1)]
        for family, value in process_samples():
            yield family, [((), value)]


def _outcomes(key: Labels, tally: Tally) -> list[Sample]:
    return [((*key, transport or "local", code or "ok"), count) for (transport, code), count in sorted(tally.outcomes.items())]


def _batch_outcomes(key: Labels, tally: Tally) -> list[Sample]:
    return [((*key, code or "ok"), count) for code, count in sorted(tally.batch_outcomes.items())]


_COUNTED: tuple[tuple[Family, Callable[[Labels, Tally], list[Sample]]], ...] = (
    (show.REQUESTS, _outcomes),
    (show.BATCHES, _batch_outcomes),
    (show.DURATION, lambda key, tally: [(key, tally.duration.read())]),
    (show.QUEUE, lambda key, tally: [(key, tally.queue_seconds.read())]),
    (show.COMPUTE, lambda key, tally: [(key, tally.compute.read())]),
    (show.BATCH_ROWS, lambda key, tally: [(key, tally.size.read())]),
    (show.ROWS, lambda key, tally: [(key, tally.row_count)]),
    (show.CACHE_HITS, lambda key, tally: [(key, tally.cache_hit.count)]),
    (show.CACHE_MISSES, lambda key, tally: [(key, tally.cache_miss.count)]),
)
_HELD: tuple[tuple[Family, Callable[[VersionReading], Value]], ...] = (
    (show.READY_VERSIONS, lambda item: int(item.is_ready)),
    (show.IN_FLIGHT, lambda item: item.in_flight),
    (show.QUEUED, lambda item: item.queue_length),
    (show.VERSION_MEMORY, lambda item: item.memory_bytes),
    (show.WORKERS, lambda item: item.worker_count),
    (show.ALIVE_WORKERS, lambda item: item.alive_worker_count),
    (show.RESTARTS, lambda item: item.restart_count),
)


def _keys(reading: ServerReading) -> list[Key]:
    return [(item.model, item.version) for item in reading.versions]


def _text(key: Key) -> Labels:
    return key[0], str(key[1])
