"""Bets: fair where nothing is wrong, and intervals that hold at all times. Everything here is computed exactly, nothing is drawn."""

import math
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.core.betting import ODDS, Stratum, Wealth, bet, log_bets, mixed, nothing, rate_interval, two_sided


def expected_wealth(chance, supposed, trials, *, is_above):
    wealth = [bet([Stratum(hits, trials, supposed)], Stratum(0, 0, 0.5), is_above=is_above).value for hits in range(trials + 1)]
    return sum(comb(trials, hits) * chance**hits * (1 - chance) ** (trials - hits) * wealth[hits] for hits in range(trials + 1))


@settings(max_examples=40)
@given(st.floats(0.01, 0.99), st.integers(0, 12), st.booleans())
def test_nobody_gains_on_average_where_the_chance_is_as_supposed(chance, trials, is_above):
    assert expected_wealth(chance, chance, trials, is_above=is_above) == pytest.approx(1.0, rel=1e-9)


@settings(max_examples=40)
@given(st.floats(0.01, 0.98), st.floats(0.001, 0.5), st.integers(1, 12))
def test_nobody_gains_where_the_chance_lies_on_the_other_side(supposed, distance, trials):
    assert expected_wealth(max(supposed - distance, 0.0), supposed, trials, is_above=True) <= 1 + 1e-9
    assert expected_wealth(min(supposed + distance, 1.0), supposed, trials, is_above=False) <= 1 + 1e-9


def test_a_bettor_gains_where_the_chance_is_larger():
    assert expected_wealth(0.5, 0.2, 12, is_above=True) > 5


@settings(max_examples=40)
@given(st.integers(0, 30), st.integers(0, 30), st.floats(0.05, 0.9), st.floats(0.05, 0.9))
def test_strata_multiply(one, two, first, second):
    apart = log_bets([Stratum(one, 30, first)], is_above=True) + log_bets([Stratum(two, 30, second)], is_above=True)
    assert log_bets([Stratum(one, 30, first), Stratum(two, 30, second)], is_above=True) == pytest.approx(apart)


@settings(max_examples=40)
@given(st.integers(0, 39), st.floats(0.01, 0.99))
def test_one_hit_more_never_makes_the_upper_bet_poorer_or_the_lower_one_richer(hits, chance):
    for is_above in (True, False):
        less, more = (log_bets([Stratum(count, 40, chance)], is_above=is_above) for count in (hits, hits + 1))
        assert ((more > less) == is_above).all()


@settings(max_examples=40)
@given(st.integers(0, 200), st.integers(1, 200), st.sampled_from([0.2, 0.01, 1e-6]))
def test_the_ends_of_an_interval_are_where_the_wealth_is_just_enough(hits, more, alpha):
    trials = hits + more
    low, high = rate_interval(hits, trials, alpha)
    assert 0 <= low <= hits / trials <= high <= 1

    def log_wealth(chance):
        return two_sided(hits, trials) - (hits * math.log(chance) if hits else 0) - more * math.log1p(-chance)

    ends = ([low] if hits else []) + [high]
    for end in ends:
        assert log_wealth(end) == pytest.approx(-math.log(alpha), abs=0.05)
        assert log_wealth(end) >= -math.log(alpha) - 1e-5  # rounded to the outside
    assert hits or low == 0.0


def test_without_trials_every_chance_is_possible():
    assert rate_interval(0, 0, 0.01) == (0.0, 1.0)


def test_hits_alone_bound_the_chance_from_below_only():
    low, high = rate_interval(50, 50, 0.01)
    assert (low > 0.7, high) == (True, 1.0)


@pytest.mark.parametrize("chance", [0.02, 0.3, 0.5])
def test_an_interval_holds_the_chance_at_all_times_with_its_confidence(chance):
    """The chance that any of the first 150 intervals misses it, over all paths, step by step."""
    alpha, missed = 0.1, 0.0
    alive = np.array([1.0])
    for trials in range(1, 151):
        alive = np.append(alive * (1 - chance), 0.0) + np.append(0.0, alive * chance)
        for hits in range(trials + 1):
            low, high = rate_interval(hits, trials, alpha)
            if not low <= chance <= high:
                missed += alive[hits]
                alive[hits] = 0.0
    assert 0 < missed <= alpha
    assert missed + alive.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("chance", [0.02, 0.5])
def test_the_wealth_ever_reaches_its_threshold_with_probability_alpha_at_most(chance):
    alpha, reached = 0.1, 0.0
    alive = np.array([1.0])
    for trials in range(1, 151):
        alive = np.append(alive * (1 - chance), 0.0) + np.append(0.0, alive * chance)
        for hits in range(trials + 1):
            if bet([Stratum(hits, trials, chance)], Stratum(0, 0, chance), is_above=True).log >= -math.log(alpha):
                reached += alive[hits]
                alive[hits] = 0.0
    assert 0.01 < reached <= alpha


def test_what_is_needed_is_told_from_the_growth():
    wealth = Wealth(np.log(np.array([1.0, 4.0])), np.array([0.5, -1.0]))
    assert wealth.needed(math.log(8.0)) == pytest.approx(math.log(16.0) / 0.5)
    assert wealth.needed(math.log(2.0)) == 0.0
    assert Wealth(np.zeros(1), np.zeros(1)).needed(1.0) is None


def test_a_mixture_is_the_mean_and_who_never_bet_has_what_he_had():
    rich = bet([Stratum(20, 20, 0.5)], Stratum(0, 0, 0.5), is_above=True)
    assert mixed(rich, Wealth(np.zeros(len(ODDS)), np.zeros(len(ODDS)))).value == pytest.approx((rich.value + 1) / 2)
    assert nothing().value == 1.0


def test_an_overwhelming_wealth_is_still_a_number():
    assert bet([Stratum(1e6, 1e6, 0.01)], Stratum(0, 0, 0.5), is_above=True).value < math.inf
