"""How much load is promised how fast, what a server costs beside the model, and what follows for the number of servers. Pure values.

Raises RequirementError for a demand that makes no sense. One replica is one server process with one queue per model, on cores of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fairlead.errors import RequirementError


@dataclass(frozen=True)
class Demand:
    """`rate_rps` requests per second of `rows_per_request` rows each, at most 1 % of which may take longer than `p99_ms`.

    `burst_ratio` says how arrivals clump: 1 is Poisson (users who know nothing of each other); B means that requests come in groups of
    B on average. `loss_ratio`: the share that may be refused because the queue is full.
    """

    rate_rps: float
    p99_ms: float
    rows_per_request: int = 1
    burst_ratio: float = 1.0
    loss_ratio: float = 1e-5

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rate_rps) and self.rate_rps > 0):
            raise RequirementError(f"A load of {self.rate_rps:g} requests per second makes no sense.", hint="Give a rate above 0.")
        if not (math.isfinite(self.p99_ms) and self.p99_ms > 0):
            raise RequirementError(f"A p99 of {self.p99_ms:g} ms cannot be kept.", hint="Give the milliseconds that 99 % may take.")
        if self.rows_per_request < 1:
            raise RequirementError(f"A request of {self.rows_per_request} rows makes no sense.", hint="Give 1 or more.")
        if not (math.isfinite(self.burst_ratio) and self.burst_ratio >= 1):
            raise RequirementError(f"A burst ratio of {self.burst_ratio:g} makes no sense.", hint="1 is Poisson, 5 means groups of five.")


@dataclass(frozen=True)
class ServerCosts:
    """What one request costs beside the engine's call, in milliseconds of the server's event loop, which is one thread.

    `request_ms`: reading, checking, answering one request; `round_ms`: one round of the loop, however many requests it finds;
    `handoff_ms`: a call that runs beside the loop, there and back; `path_ms`: what a client sees on top without any load (kernel,
    wake-ups). `source` says where and when this was measured.
    """

    request_ms: float
    round_ms: float
    handoff_ms: float
    path_ms: float
    source: str = ""


@dataclass(frozen=True)
class ServerShape:
    """One replica: `thread_count` threads for one call, `slot_count` calls at once, at most `batch_rows_limit` rows of several requests in
    one call, `batch_delay_ms` of waiting for company where it pays, `queue_limit` requests of a model at once.
    """

    thread_count: int = 1
    slot_count: int = 1
    batch_rows_limit: int = 64
    batch_delay_ms: float = 2.0
    queue_limit: int = 128

    @property
    def core_count(self) -> int:
        """Cores that the replica can keep busy."""
        return self.thread_count * self.slot_count


@dataclass(frozen=True)
class Operation:
    """How one replica does under one load. `rate_rps` is offered to it; `utilization_ratio` is the share of time in which it cannot begin
    another call; `batch_rows` the mean rows of a call; `loss_ratio` the share refused because the queue was full.
    """

    rate_rps: float
    p50_ms: float
    p99_ms: float
    mean_ms: float
    utilization_ratio: float
    batch_rows: float
    loss_ratio: float


@dataclass(frozen=True)
class CapacityPlan:
    """The answer: `replica_count` servers of `shape`, and how each does at its share of the load (`at_load`) and at the highest rate at
    which it keeps the promise (`at_limit`).
    """

    demand: Demand
    replica_count: int
    shape: ServerShape
    at_load: Operation
    at_limit: Operation
    sentence: str
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def max_rate_rps(self) -> float:
        """Requests per second that all replicas together answer within the promise."""
        return self.replica_count * self.at_limit.rate_rps

    @property
    def core_count(self) -> int:
        """Cores of all replicas."""
        return self.replica_count * self.shape.core_count
