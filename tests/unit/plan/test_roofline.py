"""The roofline: whichever is longer, and the start."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fairlead.core.facts import ArithmeticCeiling, Ceilings, MemoryCeiling, ModelFacts
from fairlead.core.latency_profile import LatencyProfile, ProfilePoint
from fairlead.errors import UnsupportedError
from fairlead.plan.roofline import bound_of, predict_profile, scaled

FACTS = ModelFacts(
    parameter_count=1000,
    parameter_bytes=4000,
    operation_count={"Gemm": 2, "Relu": 1},
    flops_by_kind={"matrix": 2e6, "elementwise": 1e6},
    weight_bytes=4_000_000,
    activation_bytes=1_000_000,
    activation_peak_bytes=500_000,
)
HERE = Ceilings(
    processor="here",
    arithmetic=(ArithmeticCeiling("FP32", 1, 1e9), ArithmeticCeiling("FP32", 2, 2e9)),
    memory=(MemoryCeiling(1, 10_000_000, 1e9), MemoryCeiling(1, 100, 1e12)),
    call_ms=0.01,
    operator_ms=0.001,
)


def test_one_row_waits_for_the_weights_and_many_rows_for_the_arithmetic():
    alone, many = bound_of(FACTS, HERE), bound_of(FACTS, HERE, rows=32)
    assert (alone.arithmetic_ms, alone.memory_ms, alone.start_ms) == pytest.approx((3.0, 5.0, 0.013))
    assert alone.total_ms == pytest.approx(5.013)
    assert (alone.limit, many.limit) == ("memory", "arithmetic")
    assert many.total_ms == pytest.approx(96.013)


def test_threads_share_the_arithmetic():
    assert bound_of(FACTS, HERE, rows=32, thread_count=2).arithmetic_ms == pytest.approx(48.0)


def test_a_model_that_hardly_computes_waits_for_the_call():
    small = replace(FACTS, flops_by_kind={"matrix": 10.0}, weight_bytes=0, activation_bytes=8, activation_peak_bytes=8)
    assert bound_of(small, HERE).limit == "starting calls"


def test_whole_numbers_are_computed_at_their_own_ceiling():
    facts = replace(FACTS, operation_count={"MatMulInteger": 1}, flops_by_kind={"matrix": 2e6})
    fast = replace(HERE, arithmetic=(*HERE.arithmetic, ArithmeticCeiling("INT8", 1, 4e9)))
    assert bound_of(facts, fast).arithmetic_ms == pytest.approx(0.5)


def test_a_ceiling_that_is_not_known_is_an_error_and_no_guess():
    trees = replace(FACTS, flops_by_kind={"trees": 10.0})
    with pytest.raises(UnsupportedError, match="'here' is at TREES"):
        bound_of(trees, HERE)
    with pytest.raises(UnsupportedError, match="memory of 'here'"):
        bound_of(FACTS, replace(HERE, memory=()))


def test_a_predicted_profile_says_that_it_is_predicted():
    profile = predict_profile(FACTS, HERE, (1, 8), (1, 2))
    assert not profile.is_measured
    assert any("predicted" in note for note in profile.notes)
    assert profile.mean_ms(1, 1) == pytest.approx(5.013)
    assert [point.batch for point in profile.at(2)] == [1, 8]


def test_what_was_measured_here_is_carried_over_by_the_ratio_of_the_bounds():
    measured = LatencyProfile((ProfilePoint(1, 1, 10.0, 11.0, 12.0, 10.5, 0.1, 100, (9.0, 12.0)),), drift=(0.9, 1.1))
    there = replace(HERE, processor="there", memory=(MemoryCeiling(1, 10_000_000, 2e9),), call_ms=0.0, operator_ms=0.0)
    carried = scaled(measured, FACTS, HERE, there)
    ratio = 3.0 / 5.013  # there, arithmetic takes longer than memory
    assert carried.at(1)[0].p99_ms == pytest.approx(12.0 * ratio)
    assert carried.at(1)[0].sample_ms == pytest.approx((9.0 * ratio, 12.0 * ratio))
    assert (carried.processor, carried.is_measured, carried.drift) == ("there", False, (0.9, 1.1))
