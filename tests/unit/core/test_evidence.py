"""Evidence: buckets, counters, and merging that no order can change."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.core.evidence import (
    ArmCounter,
    ArmEvidence,
    DifferenceHistogram,
    LatencyCounter,
    LatencyHistogram,
    Outcome,
    PairCounter,
    PairEvidence,
    ReleaseCounter,
    ReleaseEvidence,
    StepEvidence,
    bucket_of,
    bucket_start_ns,
    merge,
)
from fairlead.stores import document

LONGEST = (1 << 42) - 1
counts = st.integers(0, 10**9)


@st.composite
def histograms(draw, kind, buckets):
    held = draw(st.dictionaries(buckets, st.integers(1, 10**6), max_size=5))
    return kind(tuple(sorted(held)), tuple(held[bucket] for bucket in sorted(held)))


latencies = histograms(LatencyHistogram, st.integers(0, 2300))
arms = st.builds(ArmEvidence, counts, counts, counts, latencies, counts, counts)
pairs = st.builds(
    PairEvidence,
    counts,
    counts,
    counts,
    counts,
    st.floats(0, 1e9),
    histograms(DifferenceHistogram, st.integers(-1075, 1025)),
    latencies,
    latencies,
)


@st.composite
def evidence(draw):
    numbers = sorted(draw(st.sets(st.integers(0, 3), max_size=3)))
    named = st.dictionaries(st.sampled_from(["live", "candidate", "c"]), arms, max_size=3)
    return ReleaseEvidence("r", tuple(StepEvidence(number, draw(named), draw(pairs), draw(pairs)) for number in numbers))


@settings(max_examples=40)
@given(st.integers(0, LONGEST))
def test_a_time_lies_in_its_bucket_and_no_bucket_is_wider_than_a_64th(time_ns):
    bucket = bucket_of(time_ns)
    start, end = bucket_start_ns(bucket), bucket_start_ns(bucket + 1)
    assert start <= time_ns < end
    assert end - start <= max(1, start / 64)


@settings(max_examples=40)
@given(st.lists(st.integers(-10, 1 << 45), max_size=30))
def test_the_counter_counts_every_time_where_bucket_of_says(times):
    counter = LatencyCounter()
    for time_ns in times:
        counter.add(time_ns)
    expected = sorted(bucket_of(min(max(time_ns, 0), LONGEST)) for time_ns in times)
    read = counter.read()
    assert [bucket for bucket, count in zip(read.buckets, read.counts, strict=True) for _ in range(count)] == expected


@settings(max_examples=40)
@given(st.lists(st.integers(1000, 10**10), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_a_quantile_is_at_most_one_bucket_above_the_exact_one(times, quantile):
    counter = LatencyCounter()
    for time_ns in times:
        counter.add(time_ns)
    exact_ms = sorted(times)[max(math.ceil(quantile * len(times) - 1e-9), 1) - 1] / 1e6
    shown = counter.read().quantile_ms(quantile)
    assert exact_ms < shown <= exact_ms * (1 + 1 / 64)


def test_nothing_counted_has_no_quantile():
    assert LatencyHistogram().quantile_ms(0.99) is None
    assert DifferenceHistogram().quantile(0.5) is None


@settings(max_examples=40)
@given(evidence(), evidence(), evidence())
def test_merging_is_associative_and_commutative(one, two, three):
    left = merge("r", [merge("r", [one, two]), three])
    right = merge("r", [one, merge("r", [two, three])])
    assert left == right == merge("r", [three, one, two])


@settings(max_examples=40)
@given(evidence())
def test_merging_with_nothing_changes_nothing(one):
    assert merge("r", [one, ReleaseEvidence("r")]) == merge("r", [one])
    assert [step.step for step in merge("r", [one]).steps] == [step.step for step in one.steps]


@settings(max_examples=40)
@given(st.lists(evidence(), max_size=3))
def test_what_servers_counted_is_all_in_the_sum(parts):
    total = merge("r", parts)
    for name in ("live", "candidate", "c"):
        for number in range(4):
            assert total.step(number).arm(name).requests == sum(part.step(number).arm(name).requests for part in parts)
            assert total.step(number).arm(name).latency.count == sum(part.step(number).arm(name).latency.count for part in parts)


def test_evidence_of_another_release_is_not_added():
    with pytest.raises(ValueError, match="release 'other'"):
        merge("r", [ReleaseEvidence("other")])


@settings(max_examples=40)
@given(evidence())
def test_evidence_comes_back_from_its_document(one):
    assert document.load(document.dump(one), ReleaseEvidence) == one


def test_the_document_of_ten_thousand_answers_is_small():
    counter, draw = ReleaseCounter("r"), random.Random(0)
    for _ in range(10_000):
        counter.arm(0, "live").answered(int(draw.lognormvariate(15, 0.5)), Outcome.OK)
    assert len(document.dump(counter.read())) < 6_000


def test_an_arm_counts_each_answer_by_how_it_ended():
    counter = ArmCounter()
    for outcome in (Outcome.OK, Outcome.OK, Outcome.SERVER, Outcome.CLIENT):
        counter.answered(1_000_000, outcome)
    counter.labelled(is_right=True)
    counter.labelled(is_right=False)
    read = counter.read()
    assert (read.requests, read.server_errors, read.client_errors, read.latency.count) == (4, 1, 1, 2)
    assert (read.labelled, read.right) == (2, 1)


def test_pairs_keep_the_largest_difference_and_nan_is_the_largest():
    counter = PairCounter()
    for difference, is_flip in ((0.0, False), (-0.3, True), (0.26, False)):
        counter.compared(is_flip=is_flip, difference=difference, latency_ns=10, live_latency_ns=20)
    counter.failed()
    counter.dropped()
    read = counter.read()
    assert (read.pairs, read.flips, read.failures, read.dropped, read.largest_difference) == (3, 1, 1, 1, 0.3)
    assert (read.differences.quantile(0.1), read.differences.quantile(0.9)) == (0.0, 0.5)
    counter.compared(is_flip=False, difference=math.nan, latency_ns=1, live_latency_ns=1)
    assert counter.read().largest_difference == math.inf == counter.read().differences.quantile(1.0)
    assert document.load(document.dump(counter.read()), PairEvidence) == counter.read()


def test_a_release_counter_keeps_steps_and_arms_apart():
    counter = ReleaseCounter("r")
    counter.arm(1, "candidate").answered(5, Outcome.OK)
    counter.arm(0, "live").answered(5, Outcome.OK)
    counter.arm(0, "live").answered(5, Outcome.OK)
    counter.shadow(2).failed()
    counter.twin(0).dropped()
    read = counter.read()
    assert [step.step for step in read.steps] == [0, 1, 2]
    assert (read.step(0).arm("live").requests, read.step(1).arm("candidate").requests, read.step(1).arm("live").requests) == (2, 1, 0)
    assert (read.step(2).shadow.failures, read.step(0).twin.dropped) == (1, 1)
    assert counter.arm(0, "live") is counter.arm(0, "live")
