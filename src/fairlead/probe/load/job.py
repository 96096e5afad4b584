"""What one process of a load is to do, and what it counted. Pure values that travel as JSON.

A load is closed (`concurrency` requests under way at any time, the next goes out when one is answered) or open (`rate` > 0: requests go out
when the schedule says, however many are under way).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fairlead.probe.load.histogram import Histogram
from fairlead.probe.load.schedule import Arrivals


@dataclass(frozen=True)
class LoadJob:
    """`requests` are sent in turn: whole HTTP requests, or gRPC messages. `answers` are the right ones, in the same order: headers in
    lower case, and body.

    `concurrency`: requests under way at once; in an open loop at most that many, the others wait in the client and their time counts.
    `connection_count` matters for gRPC, where a connection carries many requests; over HTTP each has its own. Times in seconds.
    `part` is this process's number of `part_count`.
    """

    host: str
    port: int
    is_secure: bool
    protocol: str
    requests: tuple[bytes, ...]
    answers: tuple[tuple[bytes, bytes], ...]
    concurrency: int
    connection_count: int = 1
    rate: float = 0.0
    arrivals: Arrivals = Arrivals.POISSON
    seed: int = 0
    part: int = 0
    part_count: int = 1
    warm_up_s: float = 1.0
    duration_s: float = 10.0
    timeout_s: float = 10.0

    @property
    def is_open(self) -> bool:
        """Whether requests go out by a schedule."""
        return self.rate > 0


@dataclass
class Tally:
    """What was counted after the warm-up. `errors`: status or reason -> how many. `alike_count` answers were right in other bytes.

    `times` are of right answers, and of requests that were never answered: the time that was waited for them. `lags` are how late the
    sender itself was in an open loop. `cpu_s` is the processor time of the sending process.
    """

    sent_count: int = 0
    right_count: int = 0
    alike_count: int = 0
    wrong_count: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    sent_bytes: int = 0
    received_bytes: int = 0
    measured_s: float = 0.0
    cpu_s: float = 0.0
    cpu_shares: list[float] = field(default_factory=list)
    connection_count: int = 0
    wrong_example: str = ""
    times: Histogram = field(default_factory=Histogram)
    lags: Histogram = field(default_factory=Histogram)

    @property
    def error_count(self) -> int:
        """All errors."""
        return sum(self.errors.values())

    def fail(self, reason: str) -> None:
        """Count one error."""
        self.errors[reason] = self.errors.get(reason, 0) + 1

    def merge(self, other: Tally) -> None:
        """Count what another process counted in the same time."""
        for name in ("sent_count", "right_count", "alike_count", "wrong_count", "sent_bytes", "received_bytes", "connection_count"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for reason, count in other.errors.items():
            self.errors[reason] = self.errors.get(reason, 0) + count
        self.measured_s = max(self.measured_s, other.measured_s)
        self.cpu_s += other.cpu_s
        self.cpu_shares += other.cpu_shares
        self.wrong_example = self.wrong_example or other.wrong_example
        self.times.merge(other.times)
        self.lags.merge(other.lags)

    def to_plain(self) -> dict[str, Any]:
        """Return plain data."""
        return {**vars(self), "times": self.times.to_plain(), "lags": self.lags.to_plain()}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Tally:
        """Return the tally that `to_plain` wrote."""
        histograms = {name: Histogram.from_plain(plain[name]) for name in ("times", "lags")}
        return cls(**{**plain, **histograms})
