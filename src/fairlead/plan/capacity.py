"""How many servers of which shape answer so many requests per second within a p99, from measured calls and what a server costs.

Takes a LatencyProfile, a Demand, ServerCosts and the shapes to choose from; gives a CapacityPlan. Pure. Raises RequirementError where no
shape keeps the promise at any rate, with the p99 that could be kept. It measures nothing and promises nothing: docs/reference/capacity.md
says how far it was from a real server.

The server's own rules are taken as they are (docs/reference/scheduling.md): calls of less than a millisecond run in the event loop, and
as many rows together as take 4 ms; longer calls run beside it, with as many rows as make a row cheaper. The loop's work for a request is
added to the call that it comes with, as if there were one processor: on a machine whose cores are all in use, that is so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from fairlead.core.capacity import CapacityPlan, Demand, Operation, ServerCosts, ServerShape
from fairlead.core.interface import Array
from fairlead.core.latency_profile import LatencyProfile
from fairlead.errors import RequirementError
from fairlead.plan.queueing import BulkQueue, Steady, mixed, representatives

INLINE_MS = 1.0  # as in serve/scheduler.py
_HELD_MS = 4.0
_FRUGAL = 1.1
_STEP = 1.02  # how exactly the highest rate is found
_LIGHT = 0.02  # share of the highest conceivable rate at which a p99 that cannot be kept then cannot be kept at all

USUAL_COSTS = ServerCosts(
    request_ms=0.072,
    round_ms=0.072,
    handoff_ms=0.022,
    path_ms=0.1,
    source="`fairlead serve` with requests of 30 numbers as JSON on a virtual Intel Xeon, 2026-11-22: docs/reference/capacity.md",
)

_MEASURED_NUMBERS = (30, 784)  # of a request, where the costs of both were measured
_ADDED_MS = (0.16 - USUAL_COSTS.request_ms, 0.18 - USUAL_COSTS.round_ms)  # of a request, and of a round


def usual_costs(numbers: int) -> ServerCosts:
    """Return what a server costs for requests of that many numbers as JSON: a line through what was measured for two sizes, and not less
    than for the smaller one.
    """
    low, high = _MEASURED_NUMBERS
    share = max((numbers - low) / (high - low), 0.0)
    if not share:
        return USUAL_COSTS
    request_ms, round_ms = (
        cost + share * added for cost, added in zip((USUAL_COSTS.request_ms, USUAL_COSTS.round_ms), _ADDED_MS, strict=True)
    )
    return replace(USUAL_COSTS, request_ms=request_ms, round_ms=round_ms, source=f"{USUAL_COSTS.source}; for {numbers:,} numbers")


@dataclass(frozen=True)
class ReplicaModel:
    """One replica under requests of `rows` rows: `costs` beside calls that take what `profile` says."""

    profile: LatencyProfile
    costs: ServerCosts
    shape: ServerShape
    rows: int = 1
    burst_ratio: float = 1.0

    @property
    def is_inline(self) -> bool:
        """Whether calls run in the server's event loop."""
        return self.profile.mean_ms(self.rows, self.shape.thread_count) < INLINE_MS

    @cached_property
    def batch_limit(self) -> int:
        """How many requests the server takes into one call."""
        limit = self.shape.batch_rows_limit
        rows = self._rows_within(limit) if self.is_inline else self._useful_rows(limit)
        return min(max(rows // self.rows, 1), self.shape.queue_limit)

    @property
    def slot_count(self) -> int:
        """How many calls run at once."""
        return 1 if self.is_inline else self.shape.slot_count

    def call_ms(self, count: int, speed: float = 1.0) -> Array:
        """Return equally likely times of a call for `count` requests, with the loop's work for them; `speed` 2 takes twice as long."""
        own = self.costs.round_ms + count * self.costs.request_ms
        if not self.is_inline:
            own += self.costs.handoff_ms
        return (self.profile.samples_ms(count * self.rows, self.shape.thread_count) + own) * speed

    @property
    def peak_rps(self) -> float:
        """Requests per second at which calls follow each other without a pause."""
        count = self.batch_limit
        mean = float(np.mean([self.call_ms(count, speed).mean() for speed in self.profile.drift]))
        return count * self.slot_count / mean * 1e3

    def steady(self, rate_rps: float) -> Steady:
        """Return the long run at `rate_rps` requests per second, over the speeds that the machine was found to have."""
        return mixed([self._queue(rate_rps / 1e3, speed).solve() for speed in self.profile.drift])

    def operation(self, rate_rps: float) -> Operation:
        """Return how the replica does at `rate_rps`, as its clients see it."""
        steady, path = self.steady(rate_rps), self.costs.path_ms
        return Operation(
            rate_rps=rate_rps,
            p50_ms=steady.quantile_ms(0.5) + path,
            p99_ms=steady.quantile_ms(0.99) + path,
            mean_ms=steady.mean_ms + path,
            utilization_ratio=steady.busy_ratio,
            batch_rows=steady.batch_size * self.rows,
            loss_ratio=steady.loss_ratio,
        )

    def _queue(self, rate: float, speed: float) -> BulkQueue:
        hold = 0.0
        if not self.is_inline and self.batch_limit > 1 and self.slot_count == 1:
            alone = float(self.call_ms(1, speed).mean())
            is_worth = rate * alone > 1.0 and 1.0 / rate <= self.shape.batch_delay_ms  # serve/batching.py: hold_s
            hold = self.shape.batch_delay_ms if is_worth else 0.0
        return BulkQueue(
            rate=rate,
            lengths=self._lengths * speed,
            queue_limit=self.shape.queue_limit,
            burst_ratio=self.burst_ratio,
            idle_hold_ms=hold,
            slot_count=self.slot_count,
        )

    @cached_property
    def _lengths(self) -> Array:
        return np.array([representatives(self.call_ms(count)) for count in range(1, self.batch_limit + 1)])

    def _rows_within(self, limit: int) -> int:
        while limit > 1 and self.profile.mean_ms(limit, self.shape.thread_count) > _HELD_MS:
            limit //= 2
        return limit

    def _useful_rows(self, limit: int) -> int:
        """Return the rows up to which a larger call makes a row cheaper: serve/batching.py, ServiceTimes.useful_rows."""
        rows, useful, best = self.rows, self.rows, math.inf
        while rows <= limit:
            per_row = self.profile.mean_ms(rows, self.shape.thread_count) / rows
            if per_row * _FRUGAL < best:
                best, useful = per_row, rows
            rows *= 2
        return min(limit, 2 * useful - 1)


def size(profile: LatencyProfile, demand: Demand, costs: ServerCosts, shapes: Sequence[ServerShape]) -> CapacityPlan:
    """Return the plan with the fewest cores for `demand`; of equal ones, that with the lowest p99.

    Requests are taken to be shared evenly and at random among replicas, as a balancer that knows nothing of them does. Raises
    RequirementError where one replica alone with hardly any load is slower than the promise, whatever its shape.
    """
    found = [plan for shape in shapes if (plan := _with_shape(profile, demand, costs, shape)) is not None]
    if not found:
        models = [ReplicaModel(profile, costs, shape, demand.rows_per_request, demand.burst_ratio) for shape in shapes]
        best = min(model.operation(model.peak_rps * _LIGHT).p99_ms for model in models)
        raise RequirementError(
            f"A p99 of {demand.p99_ms:g} ms cannot be kept by any number of servers: with hardly any load it is {best:.3g} ms.",
            hint=f"Allow at least {best * 1.1:.2g} ms, or deploy a faster model.",
        )
    return min(found, key=lambda plan: (plan.core_count, plan.at_load.p99_ms))


def max_rate(model: ReplicaModel, demand: Demand) -> Operation | None:
    """Return how `model` does at the highest rate that keeps the promise of `demand`; None where no rate does."""
    high = model.peak_rps
    low = high * _LIGHT
    best = model.operation(low)
    if not _keeps(best, demand):
        return None
    while high / low > _STEP:
        middle = math.sqrt(low * high) if high / low > 1.5 else (low + high) / 2
        tried = model.operation(middle)
        if _keeps(tried, demand):
            low, best = middle, tried
        else:
            high = middle
    return best


def _keeps(operation: Operation, demand: Demand) -> bool:
    return operation.p99_ms <= demand.p99_ms and operation.loss_ratio <= demand.loss_ratio


def _with_shape(profile: LatencyProfile, demand: Demand, costs: ServerCosts, shape: ServerShape) -> CapacityPlan | None:
    model = ReplicaModel(profile, costs, shape, demand.rows_per_request, demand.burst_ratio)
    at_limit = max_rate(model, demand)
    if at_limit is None:
        return None
    count = math.ceil(demand.rate_rps / at_limit.rate_rps - 1e-9)
    at_load = model.operation(demand.rate_rps / count)
    used = ServerShape(shape.thread_count, shape.slot_count, model.batch_limit * model.rows, shape.batch_delay_ms, shape.queue_limit)
    return CapacityPlan(
        demand, count, used, at_load, at_limit, _sentence(demand, count, used, at_load, at_limit), _reasons(model), _notes(model)
    )


def _sentence(demand: Demand, count: int, shape: ServerShape, at_load: Operation, at_limit: Operation) -> str:
    servers = "1 server" if count == 1 else f"{count:,} servers"
    cores = "1 core" if shape.core_count == 1 else f"{shape.core_count} cores"
    return (
        f"{servers} of {cores} for {demand.rate_rps:,.0f} requests/s: p99 {at_load.p99_ms:.3g} ms of the {demand.p99_ms:g} ms allowed, "
        f"{at_load.utilization_ratio:.0%} busy; {'it keeps' if count == 1 else 'together they keep'} the promise up to "
        f"{count * at_limit.rate_rps:,.0f} requests/s"
    )


def _reasons(model: ReplicaModel) -> tuple[str, ...]:
    limit, threads = model.batch_limit, model.shape.thread_count
    mean = model.profile.mean_ms(model.rows, threads)
    row_ms = model.profile.mean_ms(limit * model.rows, threads) / (limit * model.rows)
    own = model.costs.request_ms + model.costs.round_ms
    where = "in the server's event loop" if model.is_inline else f"beside the event loop, {model.slot_count} at once"
    joined = f"up to {limit} requests share a call, a row of which then takes {row_ms:.3g} ms"
    return (
        f"a call takes {mean:.3g} ms and runs {where}",
        joined if limit > 1 else "requests do not share calls: a larger call makes no row cheaper",
        f"the server's own work is about {own:.3g} ms for a request alone",
    )


def _notes(model: ReplicaModel) -> tuple[str, ...]:
    notes = (
        [] if model.profile.is_measured else ["calls were predicted, not measured: see docs/reference/capacity.md for how far that is off"]
    )
    slowest = max(model.profile.drift)
    if slowest > 1.1:
        notes.append(f"the machine was up to {slowest:.2f} times slower than on average while it was measured: the promise holds then, too")
    return tuple(notes)
