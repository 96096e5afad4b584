"""What ends a release: servers follow before the command returns, and a rollback goes where it should."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest
from release_pets import Server, live, request, servers, three_pets

from fairlead.app import release_view
from fairlead.app.release import promote, rollback
from fairlead.app.release_apply import apply
from fairlead.app.release_begin import ReleaseRequest, begin
from fairlead.app.release_spec import parse_release
from fairlead.app.wiring import House
from fairlead.core.release import ReleaseKind, ReleaseStatus
from fairlead.core.release_text import parse_arms, parse_steps
from fairlead.errors import NotFoundError
from fairlead.register import promotion
from fairlead.stores.document import dump


@pytest.fixture
def pets(house: House, tmp_path: Path) -> House:
    return three_pets(house, tmp_path)


# Whatever ends a release returns when living servers have followed: from then on no new request meets what was taken back.


def rejected_by_the_gate(house: House) -> None:
    reject(house, 2)
    seen = list(release_view.watch("pets", house))
    assert [view.followed is not None for view in seen] == [False, True]
    assert seen[-1].followed.behind == ()


def applied(house: House, text: str) -> None:
    apply(parse_release(text).request(), house)


ENDS = {
    "stop": lambda house: release_view.say("pets", "stop", house),
    "advance": lambda house: release_view.say("pets", "advance", house),
    "choose": lambda house: release_view.choose("pets", "B", house),
    "watch": rejected_by_the_gate,
    "apply another": lambda house: applied(house, "model: pets\nversion: 3\ncanary: {steps: [10%]}\n"),
    "apply what is live": lambda house: applied(house, "model: pets\nversion: 1\n"),
}


@pytest.mark.parametrize("act", ENDS)
def test_what_ends_a_release_returns_when_servers_have_followed(pets, act):
    with servers(server := Server(pets, "slow", lag=30)):
        if act == "choose":
            begin(ReleaseRequest(ReleaseKind.EXPERIMENT, "pets", arms=parse_arms(["A=1:50", "B=2:50"])), pets)
        elif act != "watch":
            begin(request(steps=parse_steps("10%")), pets)
        running = pets.records.sequence()
        ENDS[act](pets)
        assert server.beat.sequence > running


def test_a_server_that_has_not_followed_the_end_in_time_is_named(pets):
    with servers(Server(pets, "deaf", is_deaf=True)):
        begin(request(), pets)
        told = release_view.say("pets", "hold", pets, wait_s=60.0)
        assert told.followed is None  # nothing has ended
        told = release_view.say("pets", "stop", pets, wait_s=0.2)
        assert [beat.label for beat in told.followed.behind] == ["http://deaf"]
        (*_, last) = release_view.watch("pets", pets, wait_s=0.2)
        assert [beat.label for beat in last.followed.behind] == ["http://deaf"]


# Back.


def test_rolling_back_ends_the_release_first_and_the_alias_after(pets):
    promote("pets:2", pets)
    begin(request("pets:3"), pets)
    outcome = rollback("pets", pets)
    assert (outcome.number, outcome.release.status, live(pets)) == (2, ReleaseStatus.ROLLED_BACK, 2)
    assert rollback("pets", pets).number == 2  # said twice in a hurry
    assert rollback("pets", pets, is_further=True).number == 1
    with pytest.raises(NotFoundError, match="nothing to roll back to"):
        rollback("pets", pets)


def reject(house: House, number: int) -> None:
    """Let the gate take a canary of that version back."""
    kept = begin(request(f"pets:{number}"), house)
    rejected = kept.release.with_event(house.clock(), "Roll back: far too slow.", "gate", status=ReleaseStatus.ROLLED_BACK)
    house.records.put_fact("release", "pets", dump(rejected).decode(), expected=kept.revision, at=1.0, author="gate")


def test_a_rollback_just_after_the_gates_own_moves_nothing_and_says_so(pets):
    promote("pets:2", pets)
    reject(pets, 3)
    outcome = rollback("pets", pets)
    assert (outcome.number, outcome.previous, live(pets), outcome.release.candidate) == (2, 2, 2, 3)
    later = dataclasses.replace(pets, clock=lambda: time.time() + 3600.0)
    assert rollback("pets", later).number == 1


def test_what_a_gate_rejected_is_gone_back_to_only_by_name(pets):
    promote("pets:2", pets)
    promote("pets:3", pets)
    reject(pets, 2)
    outcome = rollback("pets", pets, is_further=True)
    assert (outcome.number, outcome.previous) == (1, 3)
    promote("pets:3", pets)
    reject(pets, 1)
    with pytest.raises(NotFoundError, match="Everything before pets:3 on pets@production was rejected by a gate: pets:1"):
        rollback("pets", pets, is_further=True)
    assert rollback("pets", pets, to=1).number == 1
    with pytest.raises(NotFoundError, match="pets:2 does not stand before pets:1"):
        rollback("pets", pets, to=2)


def test_who_promotes_what_a_gate_rejected_takes_the_rejection_back(pets):
    reject(pets, 2)
    assert promotion.rejected("pets", records=pets.records) == {2}
    begin(request(), pets)
    promote("pets:2", pets)
    assert promotion.rejected("pets", records=pets.records) == frozenset()


def test_who_moves_the_alias_to_what_a_gate_rejected_takes_the_rejection_back_also_where_no_server_runs(pets):
    reject(pets, 2)
    promote("pets:2", pets, alias="staging")
    assert promotion.rejected("pets", records=pets.records) == {2}  # it was rejected from production
    for number in (2, 3):
        promote(f"pets:{number}", pets)
    assert rollback("pets", pets, is_further=True).number == 2


def test_rolling_back_while_it_is_promoted_takes_the_alias_back(pets):
    kept = begin(request(), pets)
    promoting = kept.release.with_event(1.0, "Promoting.", "gate", status=ReleaseStatus.PROMOTING)
    pets.records.put_fact("release", "pets", dump(promoting).decode(), expected=kept.revision, at=1.0, author="gate")  # and killed there
    outcome = rollback("pets", pets)
    assert (outcome.number, outcome.previous, live(pets)) == (1, 2, 1)
    assert [move.number for move in pets.records.alias_history("pets", "production")] == [1, 2, 1]
