from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fairlead.core.gate import parse_gate
from fairlead.core.heartbeat import Applied, ServerBeat
from fairlead.core.release import Basis, Release, ReleaseKind, ReleaseStatus, ReleaseStep, check_release, percent
from fairlead.core.release_text import canary_steps, check_arms, parse_arms, parse_segment, parse_share, parse_span, parse_steps
from fairlead.core.traffic import CANDIDATE, LIVE, Arm, Segment, Shadow, assign
from fairlead.errors import SpecError
from fairlead.stores.document import dump, load

CANARY = Release(
    "r1", "digits", ReleaseKind.CANARY, 3, 4, steps=parse_steps("1%,10%,50%"), gate=parse_gate("error_rate, p99_ms<=20"), author="ann"
)
EXPERIMENT = Release("r2", "digits", ReleaseKind.EXPERIMENT, 3, arms=parse_arms(["A=3:50", "B=4:50"]))
BEAT = ServerBeat(
    "s", "h", 1, "", "production", "0", 0.0, 1, 7, {"digits": Applied(3, (3, 4)), "churn": Applied(1, (1,), problem="loading")}
)


def test_a_release_is_kept_and_read_as_it_was():
    logged = CANARY.with_event(1.0, "Began.", "ann", Basis())
    assert load(dump(logged), Release) == logged
    assert load(dump(EXPERIMENT), Release) == EXPERIMENT


def test_the_traffic_of_a_canary_is_that_of_its_step():
    plan = CANARY.traffic()
    assert plan.arms == (Arm(LIVE, 3, 0.99), Arm(CANDIDATE, 4, 0.01))
    assert (plan.release, plan.step, plan.salt) == ("r1", 0, "r1")


def test_while_it_is_promoted_everything_goes_to_the_candidate():
    promoting = CANARY.with_event(1.0, "Promoting.", "gate", status=ReleaseStatus.PROMOTING)
    assert {assign(promoting.traffic(), str(key)).name for key in range(50)} == {CANDIDATE}


def test_what_has_ended_directs_nothing_and_needs_no_version():
    for status in (ReleaseStatus.PROMOTED, ReleaseStatus.ROLLED_BACK, ReleaseStatus.STOPPED, ReleaseStatus.FINISHED):
        ended = CANARY.with_event(1.0, "Over.", "gate", status=status)
        assert ended.traffic() is None
        assert ended.in_use() == ()
    assert (CANARY.in_use(), EXPERIMENT.in_use()) == ((3, 4), (3, 4))


def test_a_shadow_answers_nothing():
    shadow = Release("r3", "digits", ReleaseKind.SHADOW, 3, 4, steps=(ReleaseStep(0.0, 0.2),))
    assert shadow.traffic().shadow == Shadow(4, 0.2)
    assert shadow.traffic().arms == (Arm(LIVE, 3, 1.0), Arm(CANDIDATE, 4, 0.0))


@given(st.text(min_size=1), st.integers(0, 1))
def test_the_next_step_never_takes_a_key_from_the_candidate(key, step):
    before = CANARY.traffic() if step == 0 else Release(**{**vars(CANARY), "step": 1}).traffic()
    after = Release(**{**vars(CANARY), "step": step + 1}).traffic()
    assert assign(before, key).name == LIVE or assign(after, key).name == CANDIDATE


@pytest.mark.parametrize(
    ("release", "said"),
    [
        (Release("r", "digits", ReleaseKind.CANARY, 0, 4, steps=(ReleaseStep(0.1),)), "nothing to compare with"),
        (Release("r", "digits", ReleaseKind.CANARY, 4, 4, steps=(ReleaseStep(0.1),)), "is live already"),
        (Release("r", "digits", ReleaseKind.CANARY, 3, 4), "needs a step"),
        (Release("r", "digits", ReleaseKind.EXPERIMENT, 5, arms=EXPERIMENT.arms), "No arm is the live version digits:5"),
        (Release("r", "digits", ReleaseKind.CANARY, 3, 4, steps=(ReleaseStep(0.1),), segments=(Segment("x", ("1",), "C"),)), "no arm 'C'"),
        (Release("r", "digits", ReleaseKind.CANARY, 3, 4, steps=(ReleaseStep(0.1),), min_step_s=-1.0), "not negative"),
        (Release("r", "../digits", ReleaseKind.CANARY, 3, 4, steps=(ReleaseStep(0.1),)), "cannot name a model"),
    ],
)
def test_a_release_that_cannot_run_is_refused(release, said):
    with pytest.raises(SpecError, match=said):
        check_release(release)


def test_shares_are_written_as_percent_or_as_parts():
    assert [parse_share(text) for text in ("10%", "0.1", "0.5 %", "100%", "0")] == [0.1, 0.1, 0.005, 1.0, 0.0]
    assert [percent(share) for share in (0.1, 0.005, 1.0)] == ["10%", "0.5%", "100%"]
    assert parse_steps("1%, 10%,0.5") == (ReleaseStep(0.01), ReleaseStep(0.1), ReleaseStep(0.5))
    assert parse_steps("10%,100%") == (ReleaseStep(0.1),)  # all of it is the promotion


@pytest.mark.parametrize("text", ["10", "ten", "-1%", "101%", "nan", "1e9", ""])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(SpecError):
        parse_share(text)


def test_a_share_that_looks_like_percent_is_asked_about():
    with pytest.raises(SpecError, match=r"Did you mean 10%\?"):
        parse_share("10")


@pytest.mark.parametrize("text", ["", "100%", "10%,5%", "10%,10%", "0%,10%", ",", "10%,100%,50%"])
def test_steps_that_do_not_grow_are_refused(text):
    with pytest.raises(SpecError):
        parse_steps(text)


@given(st.lists(st.floats(allow_nan=True), max_size=6))
@example([float("nan"), 0.5])
@example([0.1, float("nan"), 0.5])
def test_whatever_the_shares_are_steps_grow_or_are_refused(shares):
    try:
        steps = canary_steps(shares)
    except SpecError:
        return
    kept = [step.share for step in steps]
    assert kept == sorted(set(kept))
    assert 0 < kept[0] <= kept[-1] < 1


@pytest.mark.parametrize(
    ("arms", "said"),
    [
        (["A=3:50", "B=4:40"], "add up to 90, not to 100"),
        (["A=3:0.5", "B=4:0.4"], "add up to 0.9, not to 1"),
        (["A=3:100"], "at least two versions"),
        (["A=3:50", "A=4:50"], "the same name"),
        (["A=3:50", "B=3:50"], "the same version"),
        (["A=3:100", "B=4:0"], "gets no traffic"),
        (["A=x:50", "B=4:50"], "is not an arm"),
        (["A=3"], "is not an arm"),
    ],
)
def test_arms_that_make_no_experiment_are_refused(arms, said):
    with pytest.raises(SpecError, match=said):
        parse_arms(arms)


def test_arms_are_written_apart_or_with_commas():
    assert parse_arms(["A=3:50,B=4:50"]) == parse_arms(["A=3:50", "B=4:50"]) == parse_arms(["A=3:0.5 B=4:0.5"])
    assert parse_arms(["A=3:33.3", "B=4:33.3", "C=5:33.4"])[2].share == pytest.approx(0.334)
    with pytest.raises(SpecError, match="add up to 80%"):
        check_arms((Arm("A", 3, 0.5), Arm("B", 4, 0.3)))


def test_spans_and_segments_are_parsed():
    assert [parse_span(text) for text in ("90", "90s", "10m", "1.5h")] == [90.0, 90.0, 600.0, 5400.0]
    assert parse_segment("x-country=FR,BE") == Segment("x-country", ("FR", "BE"), CANDIDATE)
    assert parse_segment("x-country=FR:B") == Segment("x-country", ("FR",), "B")
    for text in ("x-country", "x-country=", "=FR", "x country=FR"):
        with pytest.raises(SpecError):
            parse_segment(text)
    for text in ("soon", "-1s", "1d", ""):
        with pytest.raises(SpecError):
            parse_span(text)


def test_a_server_has_caught_up_once_it_looked_and_has_what_is_wanted():
    assert BEAT.has_caught_up("digits", 7)
    assert not BEAT.has_caught_up("digits", 8)
    assert not BEAT.has_caught_up("churn", 7)
    assert BEAT.has_caught_up("not-served-there", 7)
    assert BEAT.in_use() == ("churn:1", "digits:3", "digits:4")
