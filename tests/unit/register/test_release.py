"""The state machine of a release, without a store: what it becomes of what, and that it never does what nobody decided."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.gate import Finding, FindingState, GateDecision, GateVerdict, parse_gate
from fairlead.core.release import ACTIVE, Basis, Release, ReleaseKind, ReleaseStatus, ReleaseStep
from fairlead.core.release_text import parse_arms, parse_steps
from fairlead.errors import ConflictError
from fairlead.register.release import (
    GATE,
    Outlook,
    advanced,
    chosen,
    failed,
    held,
    next_state,
    promoted_by,
    resumed,
    stopped,
    taken_back,
    waits_for,
)

GATED = parse_gate("error_rate")
CANARY = Release("r1", "digits", ReleaseKind.CANARY, 3, 4, live_move=9, steps=parse_steps("1%,10%,50%"), gate=GATED, min_step_s=60.0)
SHADOW = Release("r2", "digits", ReleaseKind.SHADOW, 3, 4, live_move=9, steps=(ReleaseStep(0.0, 0.2),), gate=GATED, min_step_s=60.0)
EXPERIMENT = Release("r3", "digits", ReleaseKind.EXPERIMENT, 3, live_move=9, arms=parse_arms(["A=3:50", "B=4:50"]))
WARMING = Release("r4", "digits", ReleaseKind.BLUE_GREEN, 3, 4, live_move=9, steps=(ReleaseStep(),))
FINDING = Finding("error_rate", FindingState.REGRESSED, 0.0, 0.2, 0.1, 0.3, 500.0, 100.0, 1.0, 100.0, 321, None, None, "Far worse.")
SAID = {"now": 5.0, "author": "ann"}


def decision(verdict: GateVerdict) -> GateDecision:
    return GateDecision(verdict, (FINDING,), f"{verdict} because.")


def outlook(verdict: GateVerdict | None = None, *, age_s: float = 61.0, alias: int = 3, move: int = 9, **more) -> Outlook:
    return Outlook(100.0, age_s, alias, move, None if verdict is None else decision(verdict), **more)


GO, BACK, HOLD = (outlook(verdict) for verdict in (GateVerdict.ADVANCE, GateVerdict.ROLL_BACK, GateVerdict.HOLD))


def test_a_canary_goes_step_by_step_and_is_promoted_after_the_last():
    release, seen = CANARY, []
    while release.status is ReleaseStatus.RUNNING:
        release = next_state(release, GO)
        seen.append((release.step, release.status.value))
    assert seen == [(1, "running"), (2, "running"), (2, "promoting")]
    assert next_state(release, GO) is release  # the alias is still to be moved
    promoted = next_state(release, outlook(alias=4, move=10))
    assert promoted.status is ReleaseStatus.PROMOTED
    assert [event.sentence.partition(".")[0] for event in promoted.log] == [
        "On to 10%",
        "On to 50%",
        "Promoting digits:4",
        "digits@production is digits:4 now",
    ]


def test_the_gate_takes_it_back_with_its_numbers_in_every_step():
    release = CANARY
    for _ in range(3):
        back = next_state(release, BACK)
        assert back.status is ReleaseStatus.ROLLED_BACK
        assert back.log[-1].basis == Basis((FINDING,))
        assert (back.log[-1].author, back.log[-1].step) == (GATE, release.step)
        release = next_state(release, GO)


def test_it_waits_for_the_gate_and_for_its_time():
    assert next_state(CANARY, HOLD) is CANARY
    assert next_state(CANARY, outlook(GateVerdict.ADVANCE, age_s=59.0)) is CANARY
    assert waits_for(CANARY, HOLD) == "hold because."
    unknown = dataclasses.replace(FINDING, state=FindingState.OPEN, needed=1429, needed_s=27.0)
    still_open = dataclasses.replace(HOLD, decision=GateDecision(GateVerdict.HOLD, (unknown,), "Hold: many numbers."))
    assert waits_for(CANARY, still_open) == "Evidence on error_rate: about 1,429 more, 27 s at the present rate."
    assert waits_for(CANARY, outlook(GateVerdict.ADVANCE, age_s=20.0)) == "This step lasts 40 s more."


def test_a_held_release_does_not_go_on_and_still_goes_back():
    waiting = held(CANARY, **SAID)
    assert next_state(waiting, GO) is waiting
    assert next_state(waiting, BACK).status is ReleaseStatus.ROLLED_BACK
    assert next_state(resumed(waiting, **SAID), GO).step == 1
    assert "fairlead release resume" not in waits_for(CANARY, GO)
    assert "held" in waits_for(waiting, GO)


def test_an_obstacle_keeps_it_from_being_promoted_and_from_nothing_else():
    release = next_state(CANARY, outlook(GateVerdict.ADVANCE, obstacle="not approved"))
    assert release.step == 1
    last = next_state(release, GO)
    assert next_state(last, outlook(GateVerdict.ADVANCE, obstacle="not approved")) is last
    assert waits_for(last, outlook(GateVerdict.ADVANCE, obstacle="not approved")) == "not approved"


def test_a_version_that_cannot_be_served_is_taken_back():
    for release in (CANARY, WARMING, SHADOW):
        assert next_state(release, outlook(defect="cannot be loaded")).status is ReleaseStatus.ROLLED_BACK


def test_blue_green_promotes_once_every_server_has_it():
    assert next_state(WARMING, outlook(obstacle="a server is loading it")) is WARMING
    assert waits_for(WARMING, outlook(obstacle="a server is loading it")) == "a server is loading it"
    assert next_state(WARMING, outlook()).status is ReleaseStatus.PROMOTING


def test_a_shadow_alone_ends_with_its_time_and_promotes_nothing():
    assert next_state(SHADOW, outlook(GateVerdict.ADVANCE, age_s=10.0)) is SHADOW
    for verdict in (GateVerdict.ADVANCE, GateVerdict.HOLD, None):
        ended = next_state(SHADOW, outlook(verdict))
        assert ended.status is ReleaseStatus.FINISHED
        assert "nothing was promoted" in ended.log[-1].sentence
    seen = dataclasses.replace(outlook(), compared="12 answers were compared.")
    assert next_state(SHADOW, seen).log[-1].sentence.startswith("Its time is over; nothing was promoted. 12 answers were compared.")
    assert next_state(SHADOW, outlook(GateVerdict.ROLL_BACK, age_s=1.0)).status is ReleaseStatus.ROLLED_BACK


def test_a_shadow_before_a_canary_is_a_step_like_others():
    release = dataclasses.replace(CANARY, steps=(ReleaseStep(0.0, 0.2), ReleaseStep(0.1)))
    assert next_state(release, GO).log[-1].sentence == "On to 10%. advance because."


def test_an_experiment_goes_nowhere_by_itself():
    assert next_state(EXPERIMENT, GO) is EXPERIMENT
    assert next_state(EXPERIMENT, BACK).status is ReleaseStatus.ROLLED_BACK
    assert "until somebody chooses" in waits_for(EXPERIMENT, GO)


def test_choosing_an_arm_promotes_it_and_choosing_the_live_one_ends_it():
    promoting = chosen(EXPERIMENT, "B", **SAID)
    assert (promoting.status, promoting.candidate) == (ReleaseStatus.PROMOTING, 4)
    assert {arm.name: arm.share for arm in promoting.traffic().arms} == {"A": 0.0, "B": 1.0}
    assert chosen(EXPERIMENT, "A", **SAID).status is ReleaseStatus.FINISHED
    with pytest.raises(ConflictError, match="Arms: A, B"):
        chosen(EXPERIMENT, "C", **SAID)


@pytest.mark.parametrize("release", [CANARY, SHADOW, EXPERIMENT, WARMING], ids=lambda release: release.kind)
def test_an_alias_that_was_moved_by_hand_ends_it(release):
    elsewhere = next_state(release, outlook(alias=5, move=10))
    assert elsewhere.status is ReleaseStatus.STOPPED
    assert "moved to digits:5 by hand" in elsewhere.log[-1].sentence
    back_again = next_state(release, outlook(alias=3, move=11))
    assert back_again.status is ReleaseStatus.STOPPED
    assert "moved away and back" in back_again.log[-1].sentence
    to_candidate = next_state(release, outlook(alias=4, move=10))
    assert (to_candidate.status, to_candidate.candidate) == (ReleaseStatus.PROMOTED, 4)


def test_a_person_may_overrule_everything():
    assert advanced(CANARY, **SAID).step == 1
    assert advanced(held(CANARY, **SAID), **SAID).status is ReleaseStatus.RUNNING
    assert promoted_by(CANARY, **SAID).status is ReleaseStatus.PROMOTING
    assert stopped(CANARY, **SAID).status is ReleaseStatus.STOPPED
    assert taken_back(CANARY, **SAID).status is ReleaseStatus.ROLLED_BACK
    assert failed(CANARY, "gone", now=5.0).log[-1].sentence == "gone"
    assert all(become(CANARY, **SAID).log[-1].author == "ann" for become in (advanced, promoted_by, stopped, taken_back, held))


def test_what_cannot_be_done_is_refused():
    ended = stopped(CANARY, **SAID)
    for become in (held, resumed, stopped, taken_back, advanced, promoted_by):
        with pytest.raises(ConflictError, match=r"is over \(stopped\)"):
            become(ended, **SAID)
    promoting = promoted_by(CANARY, **SAID)
    with pytest.raises(ConflictError, match="being promoted at this moment"):
        stopped(promoting, **SAID)
    with pytest.raises(ConflictError, match="no next step"):
        advanced(EXPERIMENT, **SAID)
    with pytest.raises(ConflictError, match="no next step"):
        advanced(SHADOW, **SAID)


def test_saying_again_what_is_so_changes_nothing():
    waiting = held(CANARY, **SAID)
    assert held(waiting, **SAID) is waiting
    assert resumed(CANARY, **SAID) is CANARY


verdicts = st.sampled_from([GateVerdict.ADVANCE, GateVerdict.HOLD, GateVerdict.ROLL_BACK])
looks = st.builds(
    lambda verdict, age_s, obstacle: outlook(verdict, age_s=age_s, obstacle=obstacle),
    verdicts,
    st.floats(0, 120),
    st.sampled_from(["", "no"]),
)


@given(st.lists(looks, max_size=30), st.sampled_from([CANARY, SHADOW, EXPERIMENT]))
def test_nothing_is_promoted_that_the_gate_did_not_let_on_in_every_step(seen, release):
    allowed = 0
    for look in seen:
        before, release = release, next_state(release, look)
        if release is not before and release.status in ACTIVE:
            assert look.decision.verdict is GateVerdict.ADVANCE
            assert look.step_age_s >= 60.0
            allowed += 1
        assert len(release.log) == len(before.log) + (release is not before)
    if release.status is ReleaseStatus.PROMOTING:
        assert release.kind is ReleaseKind.CANARY
        assert allowed == len(CANARY.steps)
    assert release.status is not ReleaseStatus.PROMOTED  # that takes the alias's move


@given(st.lists(looks, max_size=10))
def test_whatever_came_before_good_evidence_ends_it(seen):
    release = CANARY
    for look in seen:
        release = next_state(release, look)
    for _ in range(4):
        release = next_state(release, GO)
    assert release.status in {ReleaseStatus.PROMOTING, ReleaseStatus.ROLLED_BACK}
    assert not next_state(release, outlook(alias=4, move=10)).is_active or release.status is ReleaseStatus.ROLLED_BACK


@given(st.sampled_from([status for status in ReleaseStatus if status not in ACTIVE]), looks)
def test_what_has_ended_stays_as_it_is(status, look):
    ended = dataclasses.replace(CANARY, status=status)
    assert next_state(ended, look) is ended
    assert waits_for(ended, look) == ""
