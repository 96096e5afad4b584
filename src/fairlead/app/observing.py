"""Who watches a server: promises, metrics, the log and traces, put together by the settings.

Takes settings; gives Observers, which a server tells everything and which never make it wait. Raises SpecError for a setting that cannot
be, MissingExtraError where traces are asked for and their extra is not installed.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from fairlead._version import __version__
from fairlead.core.requirement import Requirement
from fairlead.errors import SpecError
from fairlead.monitor.catalog import TRACE_SINKS
from fairlead.monitor.event_log import EventLog, Field, LogJob
from fairlead.monitor.metrics import Metrics, MetricsJob, Sink
from fairlead.monitor.otlp_target import OtlpTarget, read_headers
from fairlead.monitor.promise import Finding
from fairlead.monitor.stage import Watcher, WatchJob, watch
from fairlead.monitor.traces import Tracer, TraceSink
from fairlead.settings import Settings

_STDERR = 2


@dataclass(frozen=True)
class Observers:
    """What a server is given: a sink with statistics, the metrics page, and the log."""

    watcher: Watcher
    metrics: Metrics
    log: EventLog
    is_for_people: bool

    def announced(self, tell: Callable[[str], None]) -> Callable[[str], None]:
        """Return what to call with the URL: `tell`, or, where the log is for machines, one event."""
        if self.is_for_people:
            return tell
        return lambda url: self.log.event("listening", f"Listening on {url}.", {"url": url})


@contextmanager
def observing(
    settings: Settings, promises: Callable[[str, int], Sequence[Requirement]], write: Callable[[str], None] | None = None
) -> Iterator[Observers]:
    """Observe while the context lasts; what waits at its end is written and sent, for a few seconds at most.

    `promises` gives what a version was registered for; `write` takes the log's lines, standard error by default.
    """
    sink = _trace_sink(settings)
    log = EventLog(_log_job(settings, write or write_line))
    tracer = None if sink is None else Tracer(sink, settings.trace_ratio, report=log.say)
    try:
        listeners = (log.take,) if tracer is None else (log.take, tracer.take)
        watcher = watch(WatchJob(promises, lambda finding: _tell(log, finding), listeners=listeners, on_defect=log.say))
        sinks: dict[str, Sink] = {"log": log.pipe}
        if tracer is not None:
            sinks["traces"] = tracer.pipe
        try:
            yield Observers(watcher, Metrics(MetricsJob(watcher, __version__, sinks)), log, settings.log_format == "text")
        finally:
            watcher.close()
    finally:
        if tracer is not None:
            tracer.close()
        log.close()


def write_line(line: str) -> None:
    """Write a line to standard error, without Python's own buffer: whoever blocks here must not hold a lock that the exit needs."""
    rest = memoryview(f"{line}\n".encode("utf-8", "backslashreplace"))
    while rest:
        try:
            rest = rest[os.write(_STDERR, rest) :]
        except BlockingIOError:  # somebody else made the terminal non-blocking
            select.select([], [_STDERR], [])


def _log_job(settings: Settings, write: Callable[[str], None]) -> LogJob:
    if settings.log_format not in {"text", "json"}:
        raise SpecError(f"There is no log_format '{settings.log_format}'.", hint="Use text or json.")
    if settings.log_format == "json":
        return LogJob(write, is_json=True, is_access_logged=settings.access_log, slow_ms=settings.slow_request_ms)
    return LogJob(lambda line: write(f"  {line}"), is_access_logged=settings.access_log, slow_ms=settings.slow_request_ms)


def _tell(log: EventLog, finding: Finding) -> None:
    fields: dict[str, Field] = {
        "model": finding.model,
        "version": finding.version,
        "requirement": str(finding.requirement),
        "measured": round(finding.measured, 3),
        "requests": finding.count,
        "state": "kept" if finding.is_closed else "broken",
    }
    log.event("promise", str(finding), fields, level="info" if finding.is_closed else "warning")


def _trace_sink(settings: Settings) -> TraceSink | None:
    if not settings.otlp_endpoint:
        return None
    if not 0.0 <= settings.trace_ratio <= 1.0:
        raise SpecError(f"The setting trace_ratio is {settings.trace_ratio}, not a ratio.", hint="It is between 0 and 1.")
    target = OtlpTarget(settings.otlp_endpoint, "fairlead", __version__, read_headers(settings.otlp_headers))
    sink: TraceSink = TRACE_SINKS.load("otlp")(target)
    return sink
