"""Measures give what SciPy gives, and say so where nothing can be said."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.monitor.drift import measures

COUNTS = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=2, max_size=20)


@settings(max_examples=25, deadline=None)
@given(pairs=COUNTS)
def test_chi_square_is_scipys(pairs: list[tuple[int, int]]) -> None:
    stats = pytest.importorskip("scipy.stats", reason="SciPy is the reference")
    table = np.array(pairs, float).T
    statistic, chance = measures.chi_square(*table)
    kept = table[:, table.sum(axis=0) > 0]
    if kept.shape[1] < 2 or not table.sum(axis=1).all():
        assert math.isnan(statistic) or (statistic, chance) == (0.0, 1.0)
        return
    expected = stats.chi2_contingency(kept, correction=False)
    assert statistic == pytest.approx(expected.statistic, rel=1e-9, abs=1e-12)
    assert chance == pytest.approx(expected.pvalue, rel=1e-8, abs=1e-300)


@settings(max_examples=25, deadline=None)
@given(pairs=COUNTS)
def test_jensen_shannon_is_scipys(pairs: list[tuple[int, int]]) -> None:
    distance = pytest.importorskip("scipy.spatial.distance", reason="SciPy is the reference")
    reference, live = np.array(pairs, float).T
    if reference.sum() and live.sum():
        assert measures.jensen_shannon(reference, live) == pytest.approx(distance.jensenshannon(reference, live, base=2), abs=1e-7)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 80))
def test_wasserstein_and_kolmogorov_smirnov_are_scipys(seed: int, size: int) -> None:
    stats = pytest.importorskip("scipy.stats", reason="SciPy is the reference")
    generator = np.random.default_rng(seed)
    one, two = np.round(generator.normal(size=size), 1), np.round(generator.normal(0.5, 2.0, size=37), 1)
    weights = generator.random(size) + 0.01
    found = measures.wasserstein(one, weights, two, np.ones(37))
    assert found == pytest.approx(stats.wasserstein_distance(one, two, weights, np.ones(37)), rel=1e-9)
    points = np.unique(np.concatenate([one, two]))
    cells = [np.array([(values == point).sum() for point in points]) for values in (one, two)]
    assert measures.kolmogorov_smirnov(*cells) == pytest.approx(stats.ks_2samp(one, two).statistic, rel=1e-12)


@pytest.mark.parametrize("distance", [0.0, 0.001, 0.02, 0.05, 0.1, 0.3])
def test_the_probability_of_a_distance_is_scipys(distance: float) -> None:
    stats = pytest.importorskip("scipy.stats", reason="SciPy is the reference")
    expected = stats.kstwobign.sf(distance * math.sqrt(500 * 800 / 1300))
    assert measures.kolmogorov_smirnov_p(distance, 500, 800) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize(("shape", "value"), [(0.5, 0.1), (0.5, 30.0), (3.0, 2.0), (31.5, 31.5), (31.5, 200.0), (200.0, 100.0), (2.0, 0.0)])
def test_the_incomplete_gamma_function_is_scipys(shape: float, value: float) -> None:
    special = pytest.importorskip("scipy.special", reason="SciPy is the reference")
    assert measures.upper_gamma(shape, value) == pytest.approx(special.gammaincc(shape, value), rel=1e-9)


def test_the_stability_index_is_known_by_hand() -> None:
    # 50:50 against 80:20 with half a row in each cell: 2 (q - p) ln(q / p), with q = 80.5 / 101 and p = 0.5.
    share = 80.5 / 101
    expected = (share - 0.5) * math.log(share / 0.5) + (0.5 - share) * math.log((1 - share) / 0.5)
    assert measures.population_stability(np.array([50, 50]), np.array([80, 20])) == pytest.approx(expected)
    assert math.isfinite(measures.population_stability(np.array([100, 0]), np.array([0, 100])))


def test_moving_a_tenth_of_the_rows_is_a_total_variation_of_a_tenth() -> None:
    assert measures.total_variation(np.array([60, 40]), np.array([500, 500])) == pytest.approx(0.1)


def test_equal_shares_are_no_distance() -> None:
    cells, more = np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 30.0])
    for measure in (measures.total_variation, measures.kolmogorov_smirnov, measures.jensen_shannon):
        assert measure(cells, more) == pytest.approx(0.0, abs=1e-8)


def test_nothing_can_be_said_of_nothing() -> None:
    nothing, some = np.zeros(3), np.ones(3)
    assert math.isnan(measures.total_variation(some, nothing))
    assert math.isnan(measures.population_stability(some, nothing))
    assert math.isnan(measures.jensen_shannon(some, nothing))
    assert math.isnan(measures.chi_square(some, nothing)[0])
    assert math.isnan(measures.wasserstein(some, nothing, some, some))
    assert math.isnan(measures.kolmogorov_smirnov_p(math.nan, 5, 5))
