"""The bulk-service queue against laws that are known exactly, and against a plain simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.plan.queueing import BulkQueue, arrival_law, mixed, representatives

EXPONENTIAL = -np.log(1 - (np.arange(4000) + 0.5) / 4000)  # mean 1 ms


def queue(rate: float, service, limit: int, places: int, burst: float = 1.0, hold: float = 0.0) -> BulkQueue:
    lengths = np.array([representatives(service(size)) for size in range(1, limit + 1)])
    return BulkQueue(rate, lengths, places, burst, hold)


def constant(time_ms: float):
    return lambda _count: np.array([time_ms])


@pytest.mark.parametrize("busy", [0.3, 0.6, 0.9])
def test_one_server_with_exponential_calls_has_exponential_response_times(busy):
    """M/M/1: the response time is exponential with rate 1 - busy."""
    steady = queue(busy, lambda _count: EXPONENTIAL, 1, 200).solve()
    assert steady.mean_ms == pytest.approx(1 / (1 - busy), rel=0.02)
    assert steady.quantile_ms(0.99) == pytest.approx(math.log(100) / (1 - busy), rel=0.04)
    assert steady.busy_ratio == pytest.approx(busy, rel=1e-3)


@pytest.mark.parametrize("busy", [0.3, 0.6, 0.9])
def test_one_server_with_constant_calls_waits_half_as_long(busy):
    """M/D/1, Pollaczek and Khinchine: the mean wait is busy / (2 (1 - busy)) calls."""
    steady = queue(busy, constant(1.0), 1, 200).solve()
    assert steady.mean_ms == pytest.approx(1 + busy / (2 * (1 - busy)), rel=0.01)
    assert steady.batch_size == pytest.approx(1.0)


def test_a_full_queue_refuses_what_erlang_says():
    """M/M/1/K: the share refused is (1 - r) r^K / (1 - r^(K+1))."""
    steady = queue(1.2, lambda _count: EXPONENTIAL, 1, 5).solve()
    assert steady.loss_ratio == pytest.approx((1 - 1.2) * 1.2**5 / (1 - 1.2**6), rel=0.02)
    assert steady.answered == pytest.approx(1.2 * (1 - steady.loss_ratio), rel=1e-6)


def simulated(rate: float, service, limit: int, count: int = 60_000) -> tuple[float, float, float]:
    """Percentiles 50 and 99, and the mean size of a call, request by request."""
    arrivals = np.cumsum(np.random.default_rng(1).exponential(1 / rate, count))
    now, first, times, sizes = 0.0, 0, [], []
    while first < count:
        now = max(now, arrivals[first])
        size = min(limit, int(np.searchsorted(arrivals, now, side="right")) - first)
        now += float(service(size)[0])
        times.extend(now - arrivals[first : first + size])
        sizes.append(size)
        first += size
    return float(np.percentile(times, 50)), float(np.percentile(times, 99)), float(np.mean(sizes))


@pytest.mark.parametrize(
    ("rate", "fixed", "each", "limit"),
    [(3.0, 1.0, 0.0, 8), (10.0, 0.055, 0.07, 64), (0.5, 4.0, 1.0, 16), (0.15, 0.0, 5.0, 2)],
)
def test_calls_that_are_shared_behave_as_request_by_request(rate, fixed, each, limit):
    def service(size: int):
        return np.array([fixed + each * size])

    steady = queue(rate, service, limit, 128).solve()
    middle, slow, size = simulated(rate, service, limit)
    assert steady.quantile_ms(0.5) == pytest.approx(middle, rel=0.08)
    assert steady.quantile_ms(0.99) == pytest.approx(slow, rel=0.08)
    assert steady.batch_size == pytest.approx(size, rel=0.03)


def test_a_server_that_is_slow_half_of_the_time_has_the_slow_half_in_its_tail():
    fast, slow = (queue(0.5, constant(time_ms), 1, 128).solve() for time_ms in (0.5, 1.5))
    both = mixed([fast, slow])
    assert both.quantile_ms(0.99) == pytest.approx(slow.quantile_ms(0.98), rel=0.01)
    assert both.mean_ms == pytest.approx((fast.mean_ms + slow.mean_ms) / 2, rel=1e-3)
    assert both.answered == pytest.approx(0.5)


def test_the_law_of_arrivals_is_poisson_or_has_the_variance_of_groups():
    poisson = arrival_law(np.array([3.0]), 60)[0]
    assert poisson[:4] == pytest.approx([math.exp(-3) * 3**k / math.factorial(k) for k in range(4)], abs=1e-9)
    grouped, numbers = arrival_law(np.array([3.0]), 200, 4.0)[0], np.arange(200)
    mean = float(grouped @ numbers)
    assert mean == pytest.approx(3.0, abs=1e-6)
    assert float(grouped @ (numbers - mean) ** 2) == pytest.approx(3.0 * (2 * 4 - 1), abs=1e-4)  # mean x (2 B - 1)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.05, 0.95), st.integers(1, 8), st.floats(1.0, 4.0), st.floats(0.0, 2.0))
def test_whatever_the_load_weights_add_up_and_more_load_is_never_faster(busy, limit, burst, hold):
    def at(rate: float):
        return queue(rate, lambda size: np.array([1.0 + 0.2 * size]), limit, 32, burst, hold).solve()

    rate = busy * limit / (1.0 + 0.2 * limit)
    low, high = at(rate * 0.8), at(rate)
    for steady in (low, high):
        assert steady.weights.sum() == pytest.approx(1.0)
        assert 0 <= steady.loss_ratio < 1
        assert 0 < steady.busy_ratio <= 1
        assert 1 - 1e-9 <= steady.batch_size <= limit + 1e-9
        assert steady.quantile_ms(0.5) <= steady.quantile_ms(0.99)
        assert steady.quantile_ms(0.5) >= 1.0
    assert high.busy_ratio >= low.busy_ratio - 1e-9
    assert high.loss_ratio >= low.loss_ratio - 1e-6
