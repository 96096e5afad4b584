"""The choice of a machine: the cheapest that keeps everything, a reason for each other, and every guess marked as one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from fairlead.app.hardware_file import own_catalogue
from fairlead.core.capacity import Demand, ServerCosts, ServerShape
from fairlead.core.facts import ArithmeticCeiling, Ceilings, MemoryCeiling, ModelFacts
from fairlead.core.hardware import Budget, HardwareChoice, HardwareKind, HardwareOffer, Obstacle
from fairlead.core.latency_profile import LatencyProfile, ProfilePoint
from fairlead.core.strategy import Need
from fairlead.plan.hardware import HardwareJob, ceilings_of, choose, predicted_profile

FACTS = ModelFacts(350_000, 1_400_000, {"Conv": 2, "Gemm": 2}, {"convolution": 1e7}, 1_400_000, 100_000, 60_000)
HERE = Ceilings(
    "here",
    (ArithmeticCeiling("FP32", 1, 6e10), ArithmeticCeiling("FP32", 2, 12e10), ArithmeticCeiling("TREES", 1, 1e9)),
    (MemoryCeiling(1, 2**18, 5e10), MemoryCeiling(1, 2**27, 1e10)),
    0.01,
    0.002,
)
POINTS = tuple(
    ProfilePoint(rows, 1, 0.2 + 0.1 * rows, 0.2 + 0.1 * rows, 0.2 + 0.1 * rows, 0.2 + 0.1 * rows, 0.0, 100, (0.2 + 0.1 * rows,))
    for rows in (1, 4, 16)
)
JOB = HardwareJob(
    facts=FACTS,
    demand=Demand(100, 20),
    costs=ServerCosts(0.06, 0.09, 0.1, 0.05),
    shapes=(ServerShape(1, queue_limit=8),),
    replica_bytes=200_000_000,
    profile=LatencyProfile(POINTS, processor="here"),
    ceilings=HERE,
)
CHEAP = HardwareOffer(
    *("cheap", HardwareKind.CPU, "AWS", "us", "slow", 2, 4_000_000_000, 0.05, "USD", "2026-11-22"),
    price_is_estimate=False,
    peak_flops_per_s={"FP32": 1e11},
    bandwidth_bytes_per_s=2e10,
)
DEAR = replace(CHEAP, name="dear", price_per_hour=0.5, peak_flops_per_s={"FP32": 1e12}, bandwidth_bytes_per_s=1e11, price_is_estimate=True)
GPU = replace(DEAR, name="gpu", kind=HardwareKind.GPU, call_ms=0.05, operator_ms=0.005, is_runnable=False)
BOARD = replace(CHEAP, name="board", kind=HardwareKind.EDGE, region="", price_per_hour=0.005)


def refused(found: HardwareChoice, name: str) -> str:
    return next(option.refused for option in found.options if option.offer.name == name)


def test_the_cheapest_that_keeps_the_promise_is_taken() -> None:
    found = choose((DEAR, CHEAP, GPU), JOB)
    assert found.chosen == "cheap"
    assert [option.offer.name for option in found.options][:1] == ["cheap"]
    assert "36.52 USD a month" in found.reason
    assert "predicted p99" in found.reason


def test_every_latency_of_another_machine_is_a_prediction_and_said_to_be_one() -> None:
    found = choose((CHEAP, DEAR), JOB)
    assert all(option.is_predicted for option in found.options)
    assert any("predicted" in note for note in found.notes)
    assert any("estimates" in note for note in found.notes)
    assert not any("estimates" in note for note in choose((CHEAP,), JOB).notes)


def test_a_machine_like_this_one_is_predicted_as_it_was_measured() -> None:
    like = replace(CHEAP, peak_flops_per_s={"FP32": 2e11}, bandwidth_bytes_per_s=1e10 * 2 / 0.6)
    profile = predicted_profile(like, JOB)
    assert profile.mean_ms(1, 1) == pytest.approx(JOB.profile.mean_ms(1, 1), rel=1e-6)  # type: ignore[union-attr]
    assert not profile.is_measured


def test_half_the_peak_takes_twice_as_long_where_arithmetic_limits() -> None:
    heavy = replace(JOB, facts=replace(FACTS, flops_by_kind={"convolution": 1e12}))
    slow, quick = (predicted_profile(replace(CHEAP, peak_flops_per_s={"FP32": peak}), heavy).mean_ms(1, 1) for peak in (1e11, 2e11))
    assert slow / quick == pytest.approx(2.0, rel=0.01)


def test_a_machine_too_slow_for_the_promise_says_what_it_could_keep() -> None:
    found = choose((replace(CHEAP, peak_flops_per_s={"FP32": 1e6}),), JOB)
    assert found.chosen == ""
    assert "p99 of 20 ms cannot be kept" in refused(found, "cheap")
    assert found.options[0].obstacle is Obstacle.SPEED


def test_too_little_memory_and_too_few_cores_are_refused() -> None:
    assert "MB" in refused(choose((CHEAP,), replace(JOB, replica_bytes=10**10)), "cheap")
    assert "fewer than one replica" in refused(choose((CHEAP,), replace(JOB, shapes=(ServerShape(4),))), "cheap")


def test_a_budget_is_kept_and_the_one_that_would_be_enough_is_named_so_that_it_works() -> None:
    found = choose((CHEAP, DEAR), replace(JOB, budget=Budget(10)))
    assert found.chosen == ""
    assert "the budget is 10.00" in refused(found, "cheap")
    (note,) = [note for note in found.notes if note.startswith("a budget of")]
    enough = float(note.split()[3])
    assert choose((CHEAP, DEAR), replace(JOB, budget=Budget(enough))).chosen == "cheap"
    assert choose((CHEAP, DEAR), replace(JOB, budget=Budget(enough * 0.95))).chosen == ""


def test_a_price_in_another_currency_is_not_compared() -> None:
    assert "EUR" in refused(choose((replace(CHEAP, currency="EUR"),), replace(JOB, budget=Budget(1000))), "cheap")


def test_needs_decide_where_it_may_stand() -> None:
    assert choose((CHEAP, BOARD), JOB).chosen == "cheap"
    assert choose((CHEAP, BOARD), replace(JOB, needs=(Need.EDGE,))).chosen == "board"
    assert choose((CHEAP, replace(CHEAP, name="own", region="")), replace(JOB, needs=(Need.OFFLINE,))).chosen == "own"


def test_an_accelerator_is_taken_only_where_no_cpu_fits_and_that_nothing_runs_there_is_said() -> None:
    heavy = replace(JOB, facts=replace(FACTS, flops_by_kind={"convolution": 2e11}), profile=None, ceilings=None)
    strong = replace(GPU, peak_flops_per_s={"FP32": 1e14})
    found = choose((CHEAP, strong), heavy)
    assert found.chosen == "gpu"
    assert "no machine that Fairlead's engines run on" in found.reason
    light = choose((DEAR, replace(GPU, price_per_hour=0.01)), JOB)
    assert light.chosen == "dear"
    assert any("less than half" in note for note in light.notes)


def test_trees_and_8_bit_devices_are_told_apart() -> None:
    trees = replace(JOB, facts=replace(FACTS, flops_by_kind={"trees": 1e4}, tree_count=10))
    assert refused(choose((CHEAP, GPU), trees), "gpu") == "trees run on a CPU"
    assert choose((CHEAP,), trees).chosen == "cheap"
    stick = replace(BOARD, peak_flops_per_s={"INT8": 4e12})
    assert "8-bit" in refused(choose((stick,), replace(JOB, needs=(Need.EDGE,))), "board")


def test_two_machines_cost_twice_as_much() -> None:
    one, two = (choose((CHEAP,), replace(JOB, machine_floor=count)).options[0].cost for count in (1, 2))
    assert one is not None
    assert two is not None
    assert two.per_month == pytest.approx(2 * one.per_month)


def test_ceilings_never_exceed_what_the_seller_states() -> None:
    for offer in own_catalogue().offers:
        ceilings = ceilings_of(offer, HERE)
        assert not ceilings.is_measured
        for item in ceilings.arithmetic:
            if item.dtype in offer.peak_flops_per_s:
                assert item.flops_per_s <= offer.peak_flops_per_s[item.dtype]


@limits(max_examples=15, deadline=None)
@given(st.floats(1, 2000), st.floats(1, 200), st.sampled_from([None, 50.0, 500.0]), st.sampled_from([(), (Need.EDGE,), (Need.OFFLINE,)]))
def test_every_offer_is_an_option_with_a_cost_or_a_reason(rate: float, p99: float, budget: float | None, needs: tuple[Need, ...]) -> None:
    job = replace(JOB, demand=Demand(rate, p99), budget=Budget(budget) if budget else None, needs=needs)
    found = choose((CHEAP, DEAR, GPU, BOARD), job)
    assert len(found.options) == 4
    for option in found.options:
        assert bool(option.refused) == (option.obstacle is not None)
        if not option.refused:
            assert option.cost is not None
            assert option.p99_ms is not None
            assert option.p99_ms <= p99
            assert budget is None or option.cost.per_month <= budget
    fitting = [option.cost.per_month for option in found.options if not option.refused and option.cost is not None]
    assert fitting == sorted(fitting)
    assert bool(found.chosen) == bool(fitting)
