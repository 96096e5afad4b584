"""Costs: machines by cores and memory, money per hour, month and million, and one replica that does not fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.capacity import CapacityPlan, Demand, Operation, ServerShape
from fairlead.core.hardware import HOURS_PER_MONTH, HardwareKind, HardwareOffer
from fairlead.errors import RequirementError
from fairlead.plan.cost import cost_of

OFFER = HardwareOffer("m", HardwareKind.CPU, "AWS", "here", "x", 4, 8_000_000_000, 0.2, "USD", "2026-11-22", False, {"FP32": 1e11}, 1e10)


def capacity(replicas: int, threads: int = 1, rate: float = 1000.0, rows: int = 1) -> CapacityPlan:
    load, limit = Operation(rate / replicas, 1, 2, 1, 0.5, 1, 0), Operation(2 * rate / replicas, 1, 5, 2, 0.9, 1, 0)
    return CapacityPlan(Demand(rate, 5, rows), replicas, ServerShape(threads), load, limit, "")


def test_replicas_share_machines_by_cores() -> None:
    cost = cost_of(capacity(6), OFFER, 100_000_000)
    assert (cost.machine_count, cost.replicas_per_machine, cost.replica_count) == (2, 4, 6)
    assert cost.per_hour == pytest.approx(0.4)
    assert cost.per_month == pytest.approx(0.4 * HOURS_PER_MONTH)


def test_memory_may_allow_fewer_replicas_than_cores() -> None:
    assert cost_of(capacity(4), OFFER, 3_000_000_000).replicas_per_machine == 2


def test_a_million_predictions_cost_what_the_machines_cost_while_they_are_made() -> None:
    cost = cost_of(capacity(1, rate=100, rows=10), OFFER, 1)
    assert cost.per_million == pytest.approx(0.2 / (100 * 10 * 3600) * 1e6)
    assert cost.per_million_at_limit == pytest.approx(cost.per_million / 2)


def test_a_floor_of_machines_costs_what_it_costs() -> None:
    cost = cost_of(capacity(1), OFFER, 1, machine_floor=2)
    assert (cost.machine_count, cost.replica_count, cost.per_hour) == (2, 2, 0.4)


def test_an_accelerator_holds_one_replica() -> None:
    assert cost_of(capacity(3), replace(OFFER, kind=HardwareKind.GPU), 1).machine_count == 3


def test_a_replica_that_does_not_fit_is_refused_with_both_numbers() -> None:
    with pytest.raises(RequirementError, match="8 cores, and m has 4"):
        cost_of(capacity(1, threads=8), OFFER, 1)
    with pytest.raises(RequirementError, match="9,000 MB, and m has 7,500 MB"):
        cost_of(capacity(1), OFFER, 9_000_000_000)


@given(st.integers(1, 50), st.integers(1, 8), st.integers(1, 4_000_000_000))
def test_every_replica_has_its_cores_and_its_memory(replicas: int, threads: int, replica_bytes: int) -> None:
    offer = replace(OFFER, core_count=8)
    cost = cost_of(capacity(replicas, threads), offer, replica_bytes)
    assert cost.machine_count * cost.replicas_per_machine >= replicas > (cost.machine_count - 1) * cost.replicas_per_machine
    assert cost.replicas_per_machine * threads <= offer.core_count
    assert cost.replicas_per_machine * replica_bytes <= offer.memory_bytes
