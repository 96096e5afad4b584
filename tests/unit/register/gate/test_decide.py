"""The gate's decisions: what goes back, on, or stays, and that no order of reports matters."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from canaries import SHARES, USUAL, arm, decided, shuffled, step, times
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.core.evidence import ArmEvidence, LatencyHistogram, PairEvidence, ReleaseEvidence, StepEvidence, merge
from fairlead.core.gate import FindingState, GateDecision, GateVerdict, StepFacts, parse_gate
from fairlead.register.gate.decide import decide
from fairlead.stores import document

ADVANCE, HOLD, ROLL_BACK = GateVerdict.ADVANCE, GateVerdict.HOLD, GateVerdict.ROLL_BACK
GATES = [USUAL, "error_rate<=0.01, p99_ms<=20, accuracy>=0.9", "error_rate_rise<=0.01, p99_ms_rise<=10%, accuracy_drop<=0.02, twin_flips"]


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_without_counts_nothing_is_decided_however_long_it_takes(gate, seconds):
    decision = decided(gate, at=0, elapsed_s=seconds)
    assert decision.verdict is HOLD
    assert "nothing is known" in decision.sentence
    assert all(finding.state is FindingState.OPEN for finding in decision.findings)
    assert all((finding.requests, finding.e_value, finding.safe_e_value) == (0, 1.0, 1.0) for finding in decision.findings)
    assert decided(gate, step(0, arm(0), arm(0)), elapsed_s=seconds).verdict is HOLD


def test_a_candidate_that_fails_goes_back_within_a_handful_of_requests():
    decision = decided("error_rate", step(0, arm(500), arm(5, bad=5)), elapsed_s=1)
    assert decision.verdict is ROLL_BACK
    assert decision.sentence.startswith("Roll back: error_rate: candidate 100 %, live 0 %")


def test_two_failures_more_than_live_are_not_yet_a_reason():
    assert decided("error_rate", step(1, arm(9000, bad=20), arm(1000, bad=4))).verdict is not ROLL_BACK


def test_an_accuracy_two_points_lower_goes_back():
    live, worse = arm(50_000, labelled=50_000, right=47_500), arm(5000, labelled=5000, right=4650)
    assert decided("accuracy", step(1, live, worse)).verdict is ROLL_BACK


def test_a_slower_p99_goes_back_and_one_within_what_is_allowed_does_not():
    live = arm(45_000, latency=times(45_000))
    slow, hardly = (arm(5000, latency=times(5000, median_ms=4 * factor, seed=1)) for factor in (1.3, 1.04))
    assert decided("p99_ms", step(1, live, slow)).verdict is ROLL_BACK
    assert decided("p99_ms", step(1, live, hardly)).verdict is not ROLL_BACK


def test_too_many_flips_go_back_and_few_enough_go_on():
    calm = (arm(10_000), arm(1000))
    assert decided("disagreement", step(1, *calm, pairs=2000, flips=100)).verdict is ROLL_BACK
    assert decided("disagreement", step(1, *calm, pairs=5000, flips=50)).verdict is ADVANCE


def test_a_promise_is_kept_or_broken_whatever_live_does():
    live = arm(50_000, latency=times(50_000, median_ms=9.0))
    fast, slow = (arm(5000, latency=times(5000, median_ms=median, seed=1)) for median in (5.0, 9.0))
    assert decided("p99_ms<=20", step(1, live, slow)).verdict is ROLL_BACK
    assert decided("p99_ms<=20", step(1, live, fast)).verdict is ADVANCE


def test_failing_fast_is_not_being_fast():
    live = arm(45_000, latency=times(45_000))
    failing = ArmEvidence(1000, 300, 0, times(700, median_ms=1.0))
    assert decided("p99_ms", step(1, live, failing)).verdict is ROLL_BACK
    assert decided("p99_ms<=20", step(1, live, failing)).verdict is ROLL_BACK


def test_a_candidate_as_good_as_live_goes_on_by_proof_before_the_time_is_over():
    live = arm(90_000, bad=90, labelled=90_000, right=85_500, latency=times(90_000))
    same = arm(10_000, bad=10, labelled=10_000, right=9_500, latency=times(10_000, seed=1))
    decision = decided(USUAL, step(1, live, same, pairs=10_000, flips=100), elapsed_s=1)
    assert decision.verdict is ADVANCE
    assert {finding.state for finding in decision.findings} == {FindingState.SAFE}
    assert "proven no worse than tolerated" in decision.sentence


def test_where_proof_is_out_of_reach_the_minimum_decides_and_it_is_said():
    counted = step(0, arm(60_000, bad=60), arm(600, bad=1))
    assert decided("error_rate", counted, elapsed_s=59).verdict is HOLD
    decision = decided("error_rate", counted, elapsed_s=60)
    assert decision.verdict is ADVANCE
    assert "error_rate not proven, but nothing was found in at least 500" in decision.sentence
    assert decided("error_rate", counted, min_requests=601).verdict is HOLD


def test_what_looks_bad_without_being_proven_does_not_go_on_by_the_minimum():
    decision = decided("error_rate", step(0, arm(60_000, bad=60), arm(600, bad=5)), elapsed_s=1e6)
    assert decision.verdict is HOLD
    assert 3 < decision.findings[0].e_value < decision.findings[0].threshold


def test_what_earlier_steps_proved_needs_the_minimum_of_requests_in_this_step_too():
    before = step(1, arm(90_000, bad=90), arm(10_000, bad=10))
    decision = decided("error_rate", before, step(2, arm(30), arm(30)))
    assert decision.findings[0].state is FindingState.SAFE
    assert decision.verdict is HOLD
    assert "too little traffic in this step, the candidate had 30 of 500 requests" in decision.sentence
    assert decided("error_rate", before, step(2, arm(500), arm(500))).verdict is ADVANCE


def test_late_labels_may_come_in_any_step():
    labelled = step(0, arm(60_000, labelled=60_000, right=57_000), arm(9_000, labelled=9_000, right=8_550))
    decision = decided("accuracy", labelled, step(1, arm(9000), arm(1000)))
    assert (decision.verdict, decision.findings[0].requests) == (ADVANCE, 9_000)


def test_a_step_that_splits_nothing_is_not_asked_about_the_split():
    facts = StepFacts(0, (0.0, 0.1), 100.0, 60.0)
    shadow = StepEvidence(0, {"live": arm(1000)}, PairEvidence(pairs=5000, flips=20))
    decision = decide(parse_gate("error_rate, disagreement"), ReleaseEvidence("r", (shadow,)), "live", "candidate", facts)
    assert [finding.state for finding in decision.findings] == [FindingState.UNASKED, FindingState.SAFE]
    assert decision.verdict is ADVANCE
    early = replace(facts, elapsed_s=10.0)
    assert decide(parse_gate("error_rate"), ReleaseEvidence("r", (shadow,)), "live", "candidate", early).verdict is HOLD


def test_shadow_answers_that_never_came_count_against_the_candidate_and_those_not_tried_do_not():
    lost = StepEvidence(0, {}, PairEvidence(pairs=100, failures=20))
    untried = StepEvidence(0, {}, PairEvidence(pairs=1000, flips=1, dropped=500))
    assert decided("disagreement", lost).verdict is ROLL_BACK
    assert decided("disagreement", untried).findings[0].requests == 1000


def test_a_twin_that_never_came_is_not_the_candidates_fault():
    counted = StepEvidence(0, {}, twin=PairEvidence(pairs=1000, flips=1, failures=500))
    assert decided("twin_flips", counted).findings[0].state is FindingState.SAFE


def test_an_outage_of_both_arms_in_a_larger_step_does_not_roll_back():
    """All steps in one pot would say 0.2 % against 3.3 %: the candidate had most of its requests while everything failed."""
    calm, outage = step(0, arm(99_000, bad=99), arm(1_000, bad=1)), step(2, arm(5_000, bad=250), arm(5_000, bad=250))
    decision = decided("error_rate", calm, outage)
    assert decision.verdict is not ROLL_BACK
    assert decision.findings[0].live == pytest.approx((1 * 99 / 99_000 * 1000 + 250) / 6000, rel=1e-9)


def test_servers_that_had_not_loaded_the_candidate_make_no_false_alarm():
    """Of 100,000 requests at 50 %, the candidate got 10,000, all on the one server where everything fails more often."""
    sick, well = step(2, arm(10_000, bad=200), arm(10_000, bad=200)), step(2, arm(80_000, bad=80), arm(0))
    total = merge("r", [ReleaseEvidence("r", (sick,)), ReleaseEvidence("r", (well,))])
    assert decided("error_rate", *total.steps).verdict is not ROLL_BACK


def test_latencies_that_are_all_equal_are_no_reason_for_anything():
    same = LatencyHistogram((1400,), (50_000,))
    decision = decided("p99_ms", step(2, arm(50_000, latency=same), arm(50_000, latency=same)))
    assert decision.verdict is ADVANCE
    assert decision.findings[0].live == decision.findings[0].candidate


def test_two_heavy_ties_shared_alike_are_no_reason_for_a_roll_back():
    live, candidate = (LatencyHistogram((1400, 1500), (int(count * 0.985), int(count * 0.015))) for count in (90_000, 10_000))
    assert decided("p99_ms", step(1, arm(90_000, latency=live), arm(10_000, latency=candidate))).verdict is not ROLL_BACK


def test_each_metric_has_its_part_of_alpha():
    one, four = (decided(gate, at=0).findings[0].threshold for gate in ("error_rate", USUAL))
    assert (one, four) == (pytest.approx(100), pytest.approx(400))


def test_requests_that_share_one_fate_count_as_one():
    counted = step(1, arm(90_000, bad=900), arm(10_000, bad=160))
    assert decided("error_rate", counted).verdict is ROLL_BACK
    assert decided("error_rate", counted, cluster=8).verdict is not ROLL_BACK


def test_what_is_needed_is_about_what_it_takes():
    def counted(times):
        return step(1, arm(900 * times, bad=9 * times), arm(100 * times, bad=2 * times))

    first = decided("error_rate", counted(4))
    assert first.findings[0].needed is not None
    assert f"about {first.findings[0].needed:,} more requests would decide" in first.sentence
    later = next(times for times in range(4, 200) if decided("error_rate", counted(times)).verdict is ROLL_BACK)
    assert 0.5 < first.findings[0].needed / (100 * (later - 4)) < 2
    assert first.findings[0].needed_s == pytest.approx(first.findings[0].needed / 4.0)  # 400 requests in 100 s


def test_a_value_that_lies_on_the_bound_cannot_be_told_and_it_is_said():
    decision = decided("disagreement<=0.02", StepEvidence(0, {}, PairEvidence(pairs=10_000, flips=200)), elapsed_s=1)
    assert "would hardly tell" in decision.sentence


@pytest.mark.parametrize("gate", GATES)
def test_a_decision_comes_back_from_its_document(gate):
    decision = decided(gate, step(1, arm(9000, bad=9, labelled=10, right=9), arm(1000, bad=900, labelled=10, right=1), pairs=5, flips=5))
    assert document.load(document.dump(decision), GateDecision) == decision


@st.composite
def arms(draw):
    ok, bad, client = (draw(st.integers(0, 2000)) for _ in range(3))
    cut = sorted(draw(st.lists(st.integers(0, ok), min_size=2, max_size=2)))
    parts = dict(zip((1300, 1400, 1500), (cut[0], cut[1] - cut[0], ok - cut[1]), strict=True))
    used = tuple(bucket for bucket, count in parts.items() if count)
    labelled = draw(st.integers(0, ok))
    latency = LatencyHistogram(used, tuple(parts[bucket] for bucket in used))
    return ArmEvidence(ok + bad + client, bad, client, latency, labelled, draw(st.integers(0, labelled)))


@st.composite
def steps(draw, number):
    pairs = draw(st.integers(0, 1000))
    pair = PairEvidence(pairs, draw(st.integers(0, pairs)))
    return StepEvidence(number, {"live": draw(arms()), "candidate": draw(arms())}, pair, pair)


@st.composite
def reports(draw):
    count = draw(st.integers(1, 3))
    return ReleaseEvidence("r", tuple(draw(steps(number)) for number in range(count)))


@settings(max_examples=30)
@given(st.lists(reports(), min_size=1, max_size=4), st.integers(0, 99), st.sampled_from(GATES))
def test_a_decision_does_not_depend_on_the_order_of_the_servers_reports(parts, seed, gate):
    facts = StepFacts(1, SHARES, 100.0, 60.0)
    one, two = (decide(parse_gate(gate), merge("r", order), "live", "candidate", facts) for order in (parts, shuffled(parts, seed)))
    assert one == two


def worsened(evidence, count, draw):
    """The same requests, but up to `count` of the candidate's good answers have failed, been wrong, late or flipped."""
    changed = []
    for one in evidence.steps:
        candidate = one.arm("candidate")
        failing = min(count, sum(candidate.latency.counts))
        kept = list(candidate.latency.counts)
        for _ in range(failing):
            kept[draw.choice([place for place, left in enumerate(kept) if left])] -= 1
        left = [(bucket, number) for bucket, number in zip(candidate.latency.buckets, kept, strict=True) if number]
        worse = replace(
            candidate,
            server_errors=candidate.server_errors + failing,
            latency=LatencyHistogram(tuple(bucket for bucket, _ in left), tuple(number for _, number in left)),
            right=max(candidate.right - count, 0),
        )
        shadow = replace(one.shadow, flips=min(one.shadow.flips + count, one.shadow.pairs))
        changed.append(replace(one, arms={**one.arms, "candidate": worse}, shadow=shadow))
    return replace(evidence, steps=tuple(changed))


@settings(max_examples=50)
@given(reports(), st.integers(1, 50), st.integers(0, 99), st.sampled_from(GATES))
def test_more_failures_never_turn_a_roll_back_into_anything_else(evidence, count, seed, gate):
    facts = StepFacts(len(evidence.steps) - 1, SHARES, 100.0, 60.0)
    spec = parse_gate(gate)
    before = decide(spec, evidence, "live", "candidate", facts)
    after = decide(spec, worsened(evidence, count, random.Random(seed)), "live", "candidate", facts)
    for one, two in zip(before.findings, after.findings, strict=True):
        assert two.e_value >= one.e_value * (1 - 1e-9)
        assert two.safe_e_value <= one.safe_e_value * (1 + 1e-9)
    if before.verdict is ROLL_BACK:
        assert after.verdict is ROLL_BACK
    if after.verdict is ADVANCE:
        assert before.verdict is ADVANCE


@settings(max_examples=40)
@given(reports(), st.sampled_from(GATES), st.integers(0, 2), st.floats(0, 200))
def test_every_decision_has_numbers_and_a_sentence_for_each_metric(evidence, gate, at, seconds):
    spec = parse_gate(gate)
    decision = decide(spec, evidence, "live", "candidate", StepFacts(at, SHARES, seconds, 60.0))
    assert [finding.metric for finding in decision.findings] == [str(metric) for metric in spec.metrics]
    for finding in decision.findings:
        assert finding.sentence.startswith(f"{finding.metric}: ")
        assert 0 <= finding.e_value < math.inf
        assert finding.low is None or finding.high is None or finding.low <= finding.high
    assert decision.sentence.endswith(".")


def test_canaries_that_are_no_worse_are_rarely_rolled_back():
    """At alpha 0.3 with a look every 50 requests, 18 of 60 may be; a test for a fixed sample size would send back most."""
    back = 0
    for seed in range(60):
        draw = np.random.default_rng(seed)
        is_bad, is_mine = draw.random(1000) < 0.1, draw.random(1000) < 0.5
        for number in range(50, 1001, 50):
            bad, mine = is_bad[:number], is_mine[:number]
            counted = step(2, arm(int((~mine).sum()), bad=int((bad & ~mine).sum())), arm(int(mine.sum()), bad=int((bad & mine).sum())))
            if decided("error_rate", counted, alpha=0.3).verdict is ROLL_BACK:
                back += 1
                break
    assert 0 < back <= 18
