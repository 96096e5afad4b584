from __future__ import annotations

from pathlib import Path

import pytest
from release_pets import three_pets

from fairlead.app.release import promote, rollback
from fairlead.app.release_apply import apply, difference
from fairlead.app.release_begin import ReleaseRequest
from fairlead.app.release_spec import parse_release
from fairlead.app.release_view import choose
from fairlead.app.wiring import House
from fairlead.core.release import ReleaseStatus
from fairlead.errors import ConflictError, SpecError
from fairlead.register import promotion


@pytest.fixture
def pets(house: House, tmp_path: Path) -> House:
    return three_pets(house, tmp_path)


def wish(text: str) -> ReleaseRequest:
    return parse_release(text).request()


CANARY = "model: pets\nversion: 2\ncanary: {steps: [10%, 50%], step_time: 0}\ngate: error_rate\n"


def test_a_release_file_is_applied_once_however_often_it_is_applied(pets):
    assert difference(wish(CANARY), pets).to_do == ("begin the canary of pets:2",)
    assert apply(wish(CANARY), pets).begun is not None
    sequence = pets.records.sequence()
    assert apply(wish(CANARY), pets).difference.to_do == ()
    assert pets.records.sequence() == sequence
    promote("pets:2", pets)
    assert apply(wish(CANARY), pets).difference.to_do == ()


def test_another_wish_ends_what_runs_and_begins_what_is_wanted(pets):
    apply(wish(CANARY), pets)
    other = CANARY.replace("version: 2", "version: 3")
    assert difference(wish(other), pets).to_do == ("end the canary of pets:2", "begin the canary of pets:3")
    assert apply(wish(other), pets).begun.release.candidate == 3
    assert apply(wish("model: pets\nversion: 1\n"), pets).difference.to_do == ("end the canary of pets:3",)
    assert promotion.running(pets.records) == ()


def test_what_was_taken_back_is_not_begun_again_unless_that_is_said(pets):
    apply(wish(CANARY), pets)
    rollback("pets", pets)
    with pytest.raises(ConflictError, match="with these very settings has ended: Rolled back by ann"):
        apply(wish(CANARY), pets)
    assert apply(wish(CANARY), pets, is_forced=True).begun is not None
    rollback("pets", pets)
    assert apply(wish(CANARY.replace("50%", "60%")), pets).begun is not None  # the file was changed


@pytest.mark.parametrize("text", [CANARY.replace("version: 2", "version: 3"), "model: pets\nversion: 3\n"])
def test_what_was_live_and_rolled_back_is_not_promoted_again_however_far_the_rollback_went(pets, text):
    promote("pets:2", pets)
    apply(wish(text), pets)
    promote("pets:3", pets)
    for _ in range(2):
        rollback("pets", pets)
    with pytest.raises(ConflictError, match="pets:3 was rolled back from pets@production"):
        apply(wish(text), pets)
    found = difference(wish(text), pets)
    assert found.to_do
    assert found.why_not
    assert apply(wish(text), pets, is_forced=True).difference.to_do == found.to_do


def test_a_version_that_gave_way_to_a_newer_one_may_come_back_by_file(pets):
    for number in (2, 3):
        promote(f"pets:{number}", pets)
    assert apply(wish("model: pets\nversion: 2\n"), pets).outcome.number == 2


SHADOW = "model: pets\nversion: 2\nshadow: {share: 20%, time: 90s}\n"


def test_a_shadow_that_has_finished_is_not_begun_again_unless_that_is_said(pets):
    assert apply(wish(SHADOW), pets).begun.release.min_step_s == 90
    release_ends(pets, ReleaseStatus.FINISHED)
    found = apply(wish(SHADOW), pets).difference
    assert found.to_do == ()
    assert found.is_now == "pets:1 is live; the shadow of pets:2 has ended: That is it."
    assert apply(wish(SHADOW), pets, is_forced=True).begun is not None
    release_ends(pets, ReleaseStatus.FINISHED)
    assert apply(wish(SHADOW.replace("20%", "30%")), pets).begun is not None  # the file was changed


def release_ends(house: House, status: ReleaseStatus) -> None:
    clock = house.clock
    promotion.change(
        "pets", lambda kept: kept.with_event(clock(), "That is it.", "gate", status=status), records=house.records, clock=clock, author="x"
    )


def test_at_once_by_file(pets):
    at_once = wish("model: pets\nversion: 2\n")
    assert apply(at_once, pets).outcome.number == 2
    assert apply(at_once, pets).outcome is None
    rollback("pets", pets)
    with pytest.raises(ConflictError, match="pets:2 was rolled back from pets@production"):
        apply(at_once, pets)
    assert apply(at_once, pets, is_forced=True).outcome.number == 2


def test_an_experiment_by_file(pets):
    text = "model: pets\nexperiment: {A: {version: 1, share: 50%}, B: {version: 2, share: 50%}}\nsticky: user_id\n"
    assert apply(wish(text), pets).begun.release.arms[1].version == 2
    assert apply(wish(text), pets).difference.to_do == ()
    choose("pets", "A", pets)
    assert apply(wish(text), pets).difference.to_do == ()
    apply(wish(text), pets, is_forced=True)
    choose("pets", "B", pets)
    assert apply(wish(text), pets).difference.to_do == ()  # it was decided: the file does not ask for another one
    assert apply(wish(text), pets, is_forced=True).begun.release.control == "B"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model: pets\n", "either `version` or `experiment`"),
        ("model: pets\nversion: 2\nexperiment: {A: {version: 1, share: 1.0}}\n", "either `version` or `experiment`"),
        ("model: pets\nversion: 2\ncanery: {steps: [10%]}\n", "canery"),
        ("model: pets\nversion: 2\ncanary: {steps: []}\n", "canary.steps"),
        ("model: pets\nversion: 2\ncanary: {steps: [50%, 10%]}\n", "do not grow"),
        ("model: pets\nversion: 2\ncanary: {steps: [10%]}\ngate: acuracy\n", "unknown metric: 'acuracy'"),
        ("model: pets\nversion: 2\ngate: accuracy\n", "need a canary, a shadow or an experiment"),
        ("model: pets\nexperiment: {A: {version: 1, share: 50%}, B: {version: 2, share: 40%}}\n", "add up to 90%"),
        ("model: pets\nexperiment: {A: {version: 1, share: 100%}}\n", "at least two versions"),
        ("model: pets\nversion: 2\ncanary: {steps: [10%]}\nshadow: {share: 10%, time: 1h}\n", "the time of a shadow alone"),
        ("model: pets\nversion: 0\n", "version"),
        ("model: ../pets\nversion: 1\n", "cannot name a model"),
    ],
)
def test_a_release_file_that_says_nothing_sensible_is_refused(text, said):
    with pytest.raises(SpecError, match=said):
        wish(text)
