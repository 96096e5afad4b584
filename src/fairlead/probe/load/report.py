"""What a load gave, with everything that is needed to repeat it. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fairlead.core.target import Machine
from fairlead.probe.load.capacity import Capacity
from fairlead.probe.load.job import LoadJob, Tally

PERCENTS = (50.0, 90.0, 95.0, 99.0, 99.9)
_BUSY_SHARE = 0.93  # of a processor: what is left goes to the system's own work
_LAG_MS = 1.0
_LAG_SHARE = 0.25


@dataclass(frozen=True)
class Setup:
    """What was measured, and how. `command` repeats it; `data_digest` is of the requests' bytes; `started_at` is Unix seconds."""

    command: str
    url: str
    server: str
    model: str
    version: str
    protocol: str
    payload: str
    rows: int
    request_count: int
    data_digest: str
    loop: str
    concurrency: int
    rate: float
    arrivals: str
    process_count: int
    warm_up_s: float
    duration_s: float
    timeout_s: float
    seed: int
    started_at: float
    machine: Machine
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Result:
    """Times in milliseconds, rates per second; latencies are of right answers and of requests that were never answered."""

    sent_count: int
    right_count: int
    alike_count: int
    wrong_count: int
    errors: Mapping[str, int]
    measured_s: float
    answers_per_s: float
    rows_per_s: float
    sent_bytes: int
    received_bytes: int
    mean_ms: float
    smallest_ms: float
    largest_ms: float
    percentiles_ms: Mapping[str, float]
    sender_lag_p99_ms: float
    sender_lag_largest_ms: float
    client_cpu_share: float
    connection_count: int
    client_limits: tuple[str, ...]
    wrong_example: str
    histogram: Mapping[str, Any]
    bars: tuple[tuple[float, float, int], ...]

    @property
    def is_clean(self) -> bool:
        """Whether every request got the right answer."""
        return self.sent_count > 0 and not self.wrong_count and not self.errors


@dataclass(frozen=True)
class BenchReport:
    """One measurement; with `capacity`, the last run is the one that confirmed the rate. `is_cut_short`: somebody pressed Ctrl-C."""

    setup: Setup
    result: Result
    capacity: Capacity | None = None
    is_cut_short: bool = False


def sum_up(tally: Tally, job: LoadJob, rows: int) -> Result:
    """Return the figures of a tally of requests of `rows` rows."""
    times, lags, seconds = tally.times, tally.lags, tally.measured_s or 1.0
    answered = tally.right_count + tally.wrong_count
    return Result(
        sent_count=tally.sent_count,
        right_count=tally.right_count,
        alike_count=tally.alike_count,
        wrong_count=tally.wrong_count,
        errors=dict(sorted(tally.errors.items())),
        measured_s=tally.measured_s,
        answers_per_s=answered / seconds,
        rows_per_s=answered * rows / seconds,
        sent_bytes=tally.sent_bytes,
        received_bytes=tally.received_bytes,
        mean_ms=times.mean_s * 1000,
        smallest_ms=times.smallest_s * 1000 if times.count else 0.0,
        largest_ms=times.largest_s * 1000,
        percentiles_ms={f"p{percent:g}": times.percentile_s(percent) * 1000 for percent in PERCENTS},
        sender_lag_p99_ms=lags.percentile_s(99) * 1000,
        sender_lag_largest_ms=lags.largest_s * 1000,
        client_cpu_share=max(tally.cpu_shares, default=0.0),
        connection_count=tally.connection_count,
        client_limits=client_limits(tally, job),
        wrong_example=tally.wrong_example,
        histogram=times.to_plain(),
        bars=tuple((low * 1000, high * 1000, count) for low, high, count in times.bars()),
    )


def client_limits(tally: Tally, job: LoadJob) -> tuple[str, ...]:
    """Return why the client, rather than the server, may have set these figures; () where it did not."""
    found = []
    busy = max(tally.cpu_shares, default=0.0)
    if busy >= _BUSY_SHARE:
        found.append(f"a sending process was busy {busy:.0%} of the time")
    lag_ms, p99_ms = tally.lags.percentile_s(99) * 1000, tally.times.percentile_s(99) * 1000
    if job.is_open and lag_ms > max(_LAG_MS, _LAG_SHARE * p99_ms):
        found.append(f"1 % of the requests were sent more than {lag_ms:.1f} ms late")
    return tuple(found)
