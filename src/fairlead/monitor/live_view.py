"""What a server did between two looks at its metrics page: rates, latencies and what it holds, by version.

Takes two pages; gives a View. Pure. A server that was started anew in between has no rates yet. Percentiles are read from histograms: exact
to the bucket that they fall in, and a straight line within it, as Prometheus's histogram_quantile has it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fairlead.errors import RequestError
from fairlead.monitor.page import Page, read_number

_STARTED = "process_start_time_seconds"


@dataclass(frozen=True)
class VersionView:
    """One version. Rates are per second; None: nothing is known, as nobody asked or there was only one look."""

    model: str
    version: str
    is_ready: bool
    request_rate: float | None
    error_rate: float | None
    row_rate: float | None
    p50_ms: float | None
    p99_ms: float | None
    batch_rows: float | None
    hit_ratio: float | None
    queue_length: int
    in_flight: int
    memory_bytes: int
    worker_count: int
    alive_worker_count: int
    broken_promises: int


@dataclass(frozen=True)
class View:
    """A server. `cpu_ratio` is of one core; `dropped_count` is telemetry that its sinks did not take."""

    is_ready: bool
    release: str
    uptime_s: float | None
    cpu_ratio: float | None
    memory_bytes: int
    connection_count: int
    dropped_count: int
    versions: tuple[VersionView, ...]


def compare(before: Page | None, now: Page, unix_now: float) -> View:
    """Return what happened from `before` to `now`; raises RequestError where the page is not Fairlead's."""
    if "fairlead_build_info" not in now.samples:
        raise RequestError("What answers there is not `fairlead serve`.", hint="Give the URL of a running `fairlead serve`.")
    started = now.value(_STARTED)
    if before is not None and (before.value(_STARTED) != started or before.at >= now.at):
        before = None
    earlier = {} if before is None else before.by_version()
    return View(
        bool(now.value("fairlead_ready")),
        now.samples["fairlead_build_info"][0].labels.get("version", ""),
        None if started is None else max(unix_now - started, 0.0),
        _rate(before, now, "process_cpu_seconds_total"),
        _count(now, "process_resident_memory_bytes"),
        _count(now, "fairlead_open_connections"),
        _count(now, "fairlead_telemetry_dropped_total"),
        tuple(
            _version(*key, None if before is None else earlier.get(key, Page({}, before.at)), page)
            for key, page in sorted(now.by_version().items())
        ),
    )


def _version(model: str, version: str, before: Page | None, now: Page) -> VersionView:
    """Compare two pages of one version; one that is new was nowhere before, so everything of it has happened since."""
    total, answered = _rate(before, now, "fairlead_requests_total"), _rate(before, now, "fairlead_requests_total", code="ok")
    batches, batched = _rate(before, now, "fairlead_batch_rows_count"), _rate(before, now, "fairlead_batch_rows_sum")
    hits, misses = _rate(before, now, "fairlead_cache_hits_total"), _rate(before, now, "fairlead_cache_misses_total")
    buckets = {} if before is None else _grown_buckets(before, now)
    return VersionView(
        model,
        version,
        is_ready=bool(_count(now, "fairlead_version_ready")),
        request_rate=total,
        error_rate=None if total is None else max(total - (answered or 0.0), 0.0),
        row_rate=_rate(before, now, "fairlead_rows_total"),
        p50_ms=quantile_ms(buckets, 0.5),
        p99_ms=quantile_ms(buckets, 0.99),
        batch_rows=batched / batches if batched and batches else None,
        hit_ratio=None if hits is None or misses is None or not hits + misses else hits / (hits + misses),
        queue_length=_count(now, "fairlead_queued_requests"),
        in_flight=_count(now, "fairlead_requests_in_flight"),
        memory_bytes=_count(now, "fairlead_version_memory_bytes"),
        worker_count=_count(now, "fairlead_workers"),
        alive_worker_count=_count(now, "fairlead_alive_workers"),
        broken_promises=_count(now, "fairlead_broken_promises"),
    )


def _count(page: Page, name: str) -> int:
    value = page.value(name) or 0.0
    return int(value) if math.isfinite(value) else 0


def _rate(before: Page | None, now: Page, name: str, **labels: str) -> float | None:
    """Return the growth of a counter per second; a counter that was not there yet was 0."""
    if before is None:
        return None
    grown = (now.value(name, **labels) or 0.0) - (before.value(name, **labels) or 0.0)
    return max(grown, 0.0) / (now.at - before.at)


def _grown_buckets(before: Page, now: Page) -> dict[float, float]:
    """Return by how much each bucket has grown: bound in seconds -> requests that took at most that long."""
    grown = _buckets(now)
    for bound, count in _buckets(before).items():
        grown[bound] = max(grown.get(bound, 0.0) - count, 0.0)
    return grown


def _buckets(page: Page) -> dict[float, float]:
    found = page.samples.get("fairlead_request_duration_seconds_bucket", ())
    return {read_number(sample.labels.get("le", "")): sample.value for sample in found}


def quantile_ms(buckets: dict[float, float], share: float) -> float | None:
    """Return the latency in milliseconds that `share` of the requests did not exceed; None for no requests, and for those that took longer
    than the last bound, that bound.
    """
    rank = share * buckets.get(math.inf, 0.0)
    low = below = 0.0
    for bound, up_to in sorted(buckets.items()):
        if up_to >= rank > 0.0:
            is_beyond = bound == math.inf
            return (low if is_beyond else low + (bound - low) * (rank - below) / (up_to - below)) * 1e3
        low, below = bound, up_to
    return None
