"""Decisions from pairs: right at the stated confidence, whatever the machine does between pairs."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.paired import Comparison, Outcome, PairedTest

ALPHA = 0.05


def decide(draw: object, *, confidence: float = 1 - ALPHA, smallest_effect: float = 0.02, pair_count: int = 400) -> Comparison:
    test = PairedTest(confidence=confidence, smallest_effect=smallest_effect)
    for _ in range(pair_count):
        test.add(draw())  # type: ignore[operator]
        if test.outcome is not Outcome.OPEN:
            break
    return test.comparison()


def machine(seed: int, true_ratio: float, *, noise: float = 0.05, drift: float = 0.0, bursts: float = 0.0):
    """Times of A and B on a machine that drifts and has bursts; each pair in random order: the second suffers no more often."""
    source = random.Random(seed)
    moment = 0.0

    def slow() -> float:
        nonlocal moment
        moment += 1
        burst = 5.0 if source.random() < bursts else 1.0
        return math.exp(source.gauss(0, noise)) * (1 + drift * moment) * burst

    def pair() -> float:
        first, second = slow(), slow()
        a, b = (first, second) if source.random() < 0.5 else (second, first)
        return math.log(true_ratio * a / b)

    return pair


@pytest.mark.parametrize("kind", [{}, {"drift": 0.02}, {"bursts": 0.2}, {"noise": 0.3, "bursts": 0.05}])
def test_equal_models_are_told_apart_no_more_often_than_the_confidence_allows(kind: dict[str, float]) -> None:
    wrong = sum(decide(machine(seed, 1.0, **kind), smallest_effect=0.0).outcome in (Outcome.FASTER, Outcome.SLOWER) for seed in range(150))

    assert wrong / 150 <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / 150)


@pytest.mark.parametrize(("ratio", "outcome"), [(0.5, Outcome.FASTER), (0.9, Outcome.FASTER), (1.1, Outcome.SLOWER), (1.0, Outcome.EQUAL)])
def test_differences_that_count_are_found_and_others_are_none(ratio: float, outcome: Outcome) -> None:
    found = [decide(machine(seed, ratio, noise=0.02), confidence=0.99).outcome for seed in range(30)]

    assert found.count(outcome) >= 28


def test_a_clear_difference_takes_a_dozen_pairs() -> None:
    assert decide(machine(0, 0.3), confidence=0.99).pair_count <= 12


def test_the_interval_holds_the_median_at_all_times_as_often_as_stated() -> None:
    missed = 0
    for seed in range(150):
        source, test = random.Random(seed), PairedTest(confidence=0.9)
        has_missed = False
        for _ in range(200):
            test.add(source.gauss(0.1, 0.3))
            low, high = test.interval
            has_missed |= not low <= 0.1 <= high
        missed += has_missed

    assert missed / 150 <= 0.1 + 3 * math.sqrt(0.1 * 0.9 / 150)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=80))
def test_a_and_b_exchanged_turn_the_comparison_round(ratios: list[float]) -> None:
    straight, turned = PairedTest(), PairedTest()
    for ratio in ratios:
        straight.add(ratio)
        turned.add(-ratio)

    low, high = straight.interval
    assert turned.interval == (-high, -low)
    opposite = {Outcome.FASTER: Outcome.SLOWER, Outcome.SLOWER: Outcome.FASTER}
    assert turned.outcome == opposite.get(straight.outcome, straight.outcome)
    assert straight.comparison().low <= straight.comparison().ratio <= straight.comparison().high


def test_few_pairs_say_nothing() -> None:
    test = PairedTest(confidence=0.99)
    for _ in range(10):
        test.add(-1.0)

    assert test.outcome is Outcome.OPEN
    assert test.comparison().outcome is Outcome.OPEN
    test.add(-1.0)
    assert test.comparison().outcome is Outcome.FASTER


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_pair_without_two_times_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="above zero"):
        PairedTest().add(bad)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="confidence"):
        PairedTest(confidence=1.0)
    with pytest.raises(ValueError, match="no pair"):
        PairedTest().comparison()


@pytest.mark.parametrize(
    ("comparison", "text"),
    [
        (Comparison(0.5, 0.45, 0.55, Outcome.FASTER, 12), "2x faster (time 0.5, 99% 0.45-0.55, 12 pairs)"),
        (Comparison(1.4, 1.31, 1.52, Outcome.SLOWER, 30), "1.4x slower (99% 1.31-1.52, 30 pairs)"),
        (Comparison(1.0, 0.99, 1.01, Outcome.EQUAL, 90), "as fast (time 1, 99% 0.99-1.01, 90 pairs)"),
        (Comparison(1.0, 0.8, 1.3, Outcome.OPEN, 9), "not told apart (time 1, 99% 0.8-1.3, 9 pairs)"),
    ],
)
def test_a_comparison_reads_as_a_sentence(comparison: Comparison, text: str) -> None:
    assert str(comparison) == text
