"""Theory's sample sizes: against closed forms, and against a few simulated canaries."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from canaries import SHARES

from fairlead.core.betting import ODDS
from fairlead.register.gate import rates
from fairlead.register.gate.counts import RateStep
from fairlead.register.gate.judgement import Levels
from fairlead.register.gate.sample_size import against_bound, against_live, latency_against_live


def lognormal(median_ms: float):
    return lambda time_ns: 1 - NormalDist().cdf(math.log(max(time_ns, 1) / (median_ms * 1e6)) / 0.4)


def test_about_is_the_threshold_over_the_divergence_where_a_bet_fits_exactly():
    """Truth has twice the odds of the bound, which is one of the bets: its growth is the Kullback-Leibler divergence."""
    bound = 0.1
    truth = 2 * bound / (1 + bound)
    divergence = truth * math.log(truth / bound) + (1 - truth) * math.log((1 - truth) / (1 - bound))
    assert against_bound(truth, bound, 0.01).about == math.ceil(math.log(len(ODDS) / 0.01) / divergence)


def test_no_failure_at_all_needs_about_the_logarithm_over_the_bound():
    found = against_bound(0.0, 0.005, 0.01, is_above=False)
    assert math.log(100) / 0.005 < found.about <= found.enough < 2 * math.log(100) / 0.005


@pytest.mark.parametrize("share", SHARES)
def test_larger_effects_and_more_power_need_what_one_expects(share):
    small, large = against_live(0.01, 0.015, share, 0.01), against_live(0.01, 0.02, share, 0.01)
    assert large.about < small.about
    assert large.about < large.enough < small.enough
    assert against_live(0.01, 0.02, share, 0.01, power=0.99).enough > large.enough


def test_where_there_is_no_effect_no_number_is_enough():
    assert against_live(0.01, 0.01, 0.1, 0.01).enough is None
    assert against_bound(0.02, 0.02, 0.01).about is None
    same = lognormal(4.0)
    assert latency_against_live(same, same, quantile=0.99, limit=0.05, share=0.1, alpha=0.01).enough is None


def test_slower_candidates_are_found_sooner():
    found = [
        latency_against_live(lognormal(4.0), lognormal(4.0 * by), quantile=0.99, limit=0.05, share=0.1, alpha=0.01) for by in (1.2, 1.5)
    ]
    assert found[0].about > found[1].about
    assert all(one.about < one.enough for one in found)


def test_canaries_are_caught_within_what_is_promised():
    share, rates_of, alpha = 0.5, (0.05, 0.10), 0.01
    promised = against_live(*rates_of, share, alpha)
    caught, at = 0, []
    for seed in range(60):
        draw = np.random.default_rng(seed)
        mine = draw.binomial(int(promised.enough / share), share)
        live = int(promised.enough / share) - mine
        for part in np.linspace(0.05, 1, 20):
            counted = [int(part * number) for number in (mine, live)]
            step = RateStep(
                0, share, counted[0], draw.binomial(counted[0], rates_of[1]), counted[1], draw.binomial(counted[1], rates_of[0])
            )
            if rates.against_live([step], 0.0, 0.02, Levels(alpha, alpha, 1), 0).alarm.log >= -math.log(alpha):
                caught += 1
                at.append(counted[0])
                break
    assert caught >= 57
    assert np.median(at) < promised.about * 1.5
