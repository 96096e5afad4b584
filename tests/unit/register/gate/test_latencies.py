"""Latency quantiles: buckets, intervals, and who is slower."""

import math

import numpy as np
import pytest
from canaries import times
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.core.evidence import LatencyHistogram, bucket_of, bucket_start_ns
from fairlead.register.gate import latencies
from fairlead.register.gate.counts import TOP, Tail, TailStep
from fairlead.register.gate.judgement import Levels

LEVELS = Levels(0.01, 0.01, 1)


def tail(histogram: LatencyHistogram, failures: int = 0) -> Tail:
    return Tail(histogram.buckets, [*histogram.counts, failures])


def two(live: Tail, candidate: Tail, share: float = 0.5) -> list[TailStep]:
    return [TailStep(0, share, candidate, live)]


@settings(max_examples=40)
@given(st.lists(st.integers(0, (1 << 42) - 1), min_size=1, max_size=20))
def test_buckets_of_many_times_are_those_of_each(drawn):
    assert latencies.bucket_of_each(np.array(drawn, dtype=np.float64)).tolist() == [bucket_of(time_ns) for time_ns in drawn]


@settings(max_examples=40)
@given(st.lists(st.integers(0, 2300), min_size=1, max_size=20), st.floats(1.0, 3.0))
def test_scaled_buckets_hold_the_scaled_edge(buckets, factor):
    scaled = latencies.scaled_buckets(np.array(buckets, dtype=np.int64), factor)
    for bucket, found in zip(buckets, scaled, strict=True):
        edge = math.floor((bucket_start_ns(bucket + 1) - 1) * factor)
        assert bucket_start_ns(int(found)) <= edge < bucket_start_ns(int(found) + 1)


@settings(max_examples=40)
@given(
    st.dictionaries(st.integers(1000, 1040), st.integers(1, 500), min_size=1, max_size=8),
    st.integers(0, 50),
    st.sampled_from([0.5, 0.05, 0.01]),
)
def test_the_interval_of_a_quantile_holds_what_was_measured_and_grows_with_confidence(held, failures, chance):
    buckets = sorted(held)
    counted = Tail(buckets, [*(held[bucket] for bucket in buckets), failures])
    later = chance * counted.count
    measured = next((bucket for bucket in buckets if counted.above(np.array([bucket]))[0] <= later), TOP)
    low, high = latencies.quantile_buckets(counted, chance, 0.05)
    wider_low, wider_high = latencies.quantile_buckets(counted, chance, 0.0005)
    assert wider_low <= low <= measured <= high <= wider_high


def test_a_few_answers_say_nothing_about_a_p99():
    low, high = latencies.quantile_buckets(tail(times(20)), 0.01, 0.01)
    assert high == TOP
    assert low > 0  # but it is not below what nearly all took


def test_the_interval_narrows_on_the_true_quantile():
    true_ms = 4.0 * math.exp(0.4 * 2.3263)
    low, high = latencies.bounds_ms(tail(times(200_000)), 0.01, 0.01)
    assert true_ms * 0.9 < low < true_ms < high < true_ms * 1.1


def test_a_quantile_among_failures_is_no_number():
    failing = tail(times(900), failures=100)
    assert failing.quantile_ms(0.99) is None
    assert failing.quantile_ms(0.5) is not None
    longest_ms = bucket_start_ns(int(failing.buckets[-1]) + 1) / 1e6
    assert latencies.bounds_ms(failing, 0.01, 0.01) == (longest_ms, None)


@pytest.mark.parametrize(("factor", "is_proven"), [(1.0, False), (1.04, False), (1.3, True)])
def test_slower_than_allowed_is_proven_and_nothing_else(factor, is_proven):
    judged = latencies.against_live(two(tail(times(40_000)), tail(times(40_000, median_ms=4 * factor, seed=1))), 0.99, 0.05, 0.2, LEVELS)
    assert (judged.alarm.log >= math.log(100)) is is_proven
    assert judged.candidate / judged.live == pytest.approx(factor, rel=0.04)
    assert judged.low <= judged.candidate / judged.live - 1 <= judged.high


def test_as_fast_as_live_is_proven_with_enough_answers():
    judged = latencies.against_live(two(tail(times(60_000)), tail(times(60_000, seed=1))), 0.99, 0.05, 0.2, LEVELS)
    assert judged.safe.log >= math.log(100)
    few = latencies.against_live(two(tail(times(600)), tail(times(600, seed=1))), 0.99, 0.05, 0.2, LEVELS)
    assert few.safe.log < math.log(100)


def test_without_answers_of_one_arm_nothing_is_bet():
    for steps in ([], two(tail(times(100)), tail(LatencyHistogram()))):
        judged = latencies.against_live(steps, 0.99, 0.05, 0.2, LEVELS)
        assert (judged.alarm.value, judged.safe.value, judged.low, judged.high) == (1.0, 1.0, None, None)


def test_a_promise_counts_the_bound_itself_as_kept():
    """All answers take 19.9 ms, in the bucket that holds 20 ms: none is proven later, none is proven earlier."""
    held = tail(LatencyHistogram((bucket_of(20_000_000),), (5000,)))
    judged = latencies.against_bound(two(held, held), 0.99, 20.0, LEVELS)
    assert judged.alarm.log < 0
    assert judged.safe.log < 0


def test_tails_add_up():
    one, other = tail(times(100), 3), tail(times(50, seed=1), 2)
    total = Tail.together([one, other])
    assert total.count == 155
    for bucket in (1400, 1450, 1500):
        at = np.array([bucket])
        assert total.above(at)[0] == one.above(at)[0] + other.above(at)[0]
    assert Tail.together([]).count == 0
