"""Every metric that a server shows, once: name, kind, unit, labels, meaning. docs/reference/metrics.md is printed from here.

Names follow Prometheus's conventions (prometheus.io/docs/practices/naming): base units, the unit in the name, counters end in `_total`.
Labels are bounded: models and versions that are served here, transports, codes of our own errors, statuses.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from functools import cached_property


class Kind(enum.StrEnum):
    """What a metric is. INFO says something that does not change, in its labels."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"


@dataclass(frozen=True)
class Family:
    """`name` is without what the kind adds (`_total`, `_info`, `_bucket`); `unit` is "" for counts of what the name says."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    meaning: str
    unit: str = ""

    @cached_property
    def full_name(self) -> str:
        """The name as a query has it; a histogram adds `_bucket`, `_sum` and `_count`."""
        return self.name + {Kind.COUNTER: "_total", Kind.INFO: "_info"}.get(self.kind, "")


_VERSION = ("model", "version")
_COMPARED = (*_VERSION, "kind")


def _divided(reason: str) -> tuple[str, ...]:
    """Return the labels of requests that a release divided; `reason` is what tells them apart besides."""
    return ("model", "arm", "version", reason)


REQUESTS = Family(
    "fairlead_requests",
    Kind.COUNTER,
    ("model", "version", "transport", "code"),
    "Requests that found a version, by outcome: `ok`, or the code of the error. `overloaded`, `deadline` and `unavailable` were refused; "
    "`cancelled`: the caller went away",
)
DURATION = Family(
    "fairlead_request_duration_seconds", Kind.HISTOGRAM, _VERSION, "What answered requests waited and computed, together", "seconds"
)
QUEUE = Family("fairlead_queue_duration_seconds", Kind.HISTOGRAM, _VERSION, "What requests waited that an engine answered", "seconds")
COMPUTE = Family("fairlead_compute_duration_seconds", Kind.HISTOGRAM, _VERSION, "What calls of the engine took", "seconds")
BATCH_ROWS = Family("fairlead_batch_rows", Kind.HISTOGRAM, _VERSION, "Rows that a call of the engine answered together", "rows")
ROWS = Family("fairlead_rows", Kind.COUNTER, _VERSION, "Rows in answered requests", "rows")
BATCHES = Family("fairlead_batches", Kind.COUNTER, (*_VERSION, "code"), "Calls of the engine, by outcome: `ok`, or the code of the error")
CACHE_HITS = Family("fairlead_cache_hits", Kind.COUNTER, _VERSION, "Requests answered from the response cache")
CACHE_MISSES = Family("fairlead_cache_misses", Kind.COUNTER, _VERSION, "Requests that the response cache was asked for in vain")
BROKEN_PROMISES = Family(
    "fairlead_broken_promises", Kind.GAUGE, _VERSION, "Latency requirements of the version that it does not keep in service at the moment"
)
READY_VERSIONS = Family("fairlead_version_ready", Kind.GAUGE, _VERSION, "1 while the version is loaded; 0 while it loads or could not be")
IN_FLIGHT = Family("fairlead_requests_in_flight", Kind.GAUGE, _VERSION, "Requests that wait or run")
QUEUED = Family("fairlead_queued_requests", Kind.GAUGE, _VERSION, "Requests that wait, not begun")
VERSION_MEMORY = Family(
    "fairlead_version_memory_bytes", Kind.GAUGE, _VERSION, "Memory that the version takes, as measured when it was loaded", "bytes"
)
WORKERS = Family("fairlead_workers", Kind.GAUGE, _VERSION, "Worker processes that the version should have; 0: it runs in the server's")
ALIVE_WORKERS = Family("fairlead_alive_workers", Kind.GAUGE, _VERSION, "Worker processes of the version that answer")
RESTARTS = Family("fairlead_worker_restarts", Kind.COUNTER, _VERSION, "Worker processes that died or hung and were replaced")
RESPONSES = Family(
    "fairlead_responses",
    Kind.COUNTER,
    ("transport", "status"),
    "Everything that was answered, probes and refusals included: `http` with its status code, `grpc` with its status name",
)
READY = Family("fairlead_ready", Kind.GAUGE, (), "1 while the server is ready, as `/v2/health/ready` says")
CONNECTIONS = Family("fairlead_open_connections", Kind.GAUGE, (), "Connections that are open, of both transports")
CACHE_BYTES = Family("fairlead_cache_bytes", Kind.GAUGE, (), "What the response cache holds", "bytes")
CACHE_ENTRIES = Family("fairlead_cache_entries", Kind.GAUGE, (), "Answers that the response cache holds")
CACHE_EVICTIONS = Family("fairlead_cache_evictions", Kind.COUNTER, (), "Answers that had to make room in the response cache")
TRAFFIC_REQUESTS = Family(
    "fairlead_traffic_requests",
    Kind.COUNTER,
    _divided("outcome"),
    "Requests that a release divided, by the arm that answered: `ok`, `client` (the caller's mistake), `server`",
)
TRAFFIC_FALLBACKS = Family(
    "fairlead_traffic_fallbacks",
    Kind.COUNTER,
    _divided("reason"),
    "Requests that the live version answered for an arm that could not: `loading`, `asleep`, `failed` (not loaded, or crashed), `misfit`"
    " (takes or gives something else)",
)
COMPARISONS = Family(
    "fairlead_comparisons",
    Kind.COUNTER,
    _COMPARED,
    "Requests that were answered a second time and compared: by a candidate (`shadow`), by the version's uncompressed original (`twin`)",
)
COMPARISON_FLIPS = Family("fairlead_comparison_flips", Kind.COUNTER, _COMPARED, "Of those, requests in which a row was decided differently")
COMPARISON_DIFFERENCE = Family(
    "fairlead_comparison_largest_difference", Kind.GAUGE, _COMPARED, "Of those, the largest difference of a number"
)
COMPARISONS_DROPPED = Family(
    "fairlead_comparisons_dropped",
    Kind.COUNTER,
    (*_COMPARED, "reason"),
    "Requests that were drawn to be compared and were not: `busy` (too many waited), `late`, `loading`, `asleep`, `failed`, `misfit`",
)
LATE_LABELS = Family(
    "fairlead_late_labels",
    Kind.COUNTER,
    ("model", "result"),
    "Right answers that came later: `joined`, `unknown` (no such answer is remembered), `duplicate`, `ambiguous` (several had that id)",
)
TELEMETRY_SENT = Family(
    "fairlead_telemetry_sent", Kind.COUNTER, ("sink",), "What was written to `log` (lines), sent to `traces` (requests)"
)
TELEMETRY_DROPPED = Family(
    "fairlead_telemetry_dropped", Kind.COUNTER, ("sink",), "What was dropped because `log` or `traces` did not take it in time"
)
OBSERVATIONS = Family(
    "fairlead_observations",
    Kind.COUNTER,
    ("model", "result"),
    "Requests offered to the observation log (`observed`), and what became of them: `unsampled` (not drawn), `dropped` (no room in memory),"
    " `written`, `failed` (the log did not take them). The rest waits to be written",
)
OBSERVATIONS_WAITING = Family("fairlead_observations_waiting_bytes", Kind.GAUGE, (), "Observations in memory, not yet written", "bytes")
OBSERVATIONS_SIZE = Family(
    "fairlead_observations_log_bytes", Kind.GAUGE, (), "What the observation log takes, as of its last tidying", "bytes"
)
BUILD = Family("fairlead_build", Kind.INFO, ("version", "python"), "Release of Fairlead, and the Python that runs it")
CPU = Family("process_cpu_seconds", Kind.COUNTER, (), "Processor time of the server's process", "seconds")
RESIDENT = Family("process_resident_memory_bytes", Kind.GAUGE, (), "Resident memory of the server's process", "bytes")
VIRTUAL = Family("process_virtual_memory_bytes", Kind.GAUGE, (), "Address space of the server's process", "bytes")
START = Family("process_start_time_seconds", Kind.GAUGE, (), "When the server's process began, Unix time", "seconds")
OPEN_FILES = Family("process_open_fds", Kind.GAUGE, (), "Open file descriptors of the server's process")
FILE_LIMIT = Family("process_max_fds", Kind.GAUGE, (), "How many file descriptors it may open")

FAMILIES = tuple(value for value in tuple(globals().values()) if isinstance(value, Family))
