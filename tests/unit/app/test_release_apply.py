from __future__ import annotations

from pathlib import Path

import pytest
from release_pets import three_pets

from fairlead.app.release import promote, rollback
from fairlead.app.release_apply import apply, difference
from fairlead.app.release_begin import ReleaseRequest
from fairlead.app.release_spec import parse_release
from fairlead.app.wiring import House
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
        ("model: pets\nversion: 0\n", "version"),
        ("model: ../pets\nversion: 1\n", "cannot name a model"),
    ],
)
def test_a_release_file_that_says_nothing_sensible_is_refused(text, said):
    with pytest.raises(SpecError, match=said):
        wish(text)
