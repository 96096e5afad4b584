"""What a server does for releases, without a server: it says that it lives, tells what it counted, decides, and survives its registry."""

from __future__ import annotations

import dataclasses
import socket
import time
from pathlib import Path

import pytest
import registered
from release_pets import live, request, three_pets

from fairlead.app import webhooks
from fairlead.app.release_begin import begin
from fairlead.app.release_keeper import ReleaseKeeper, keeping
from fairlead.app.release_outlook import EVIDENCE, Assessor, evidence_of
from fairlead.app.servers import BEAT, Roll
from fairlead.app.wiring import House
from fairlead.core.evidence import Outcome, ReleaseCounter, ReleaseEvidence
from fairlead.core.gate import parse_gate
from fairlead.core.heartbeat import Applied
from fairlead.core.release import ReleaseStatus
from fairlead.core.release_text import parse_steps
from fairlead.errors import CorruptError, StoreAwayError
from fairlead.register import promotion
from fairlead.register.approval import APPROVAL, Approval, protect
from fairlead.stores.document import dump


@pytest.fixture
def pets(house: House, tmp_path: Path) -> House:
    return three_pets(house, tmp_path)


class Witness:
    """Counts what a test says."""

    def __init__(self) -> None:
        self.counters: dict[str, ReleaseCounter] = {}

    def count(self, release: str, step: int, arm: str, outcome: Outcome, count: int) -> None:
        counter = self.counters.setdefault(release, ReleaseCounter(release))
        for _ in range(count):
            counter.arm(step, arm).answered(1_000_000, outcome)

    def snapshot(self) -> dict[str, ReleaseEvidence]:
        return {release: counter.read() for release, counter in self.counters.items()}


class Fallible:
    """Records that can be away."""

    def __init__(self, records) -> None:
        self._records, self.is_away = records, False

    def __getattr__(self, name: str) -> object:
        if self.is_away:
            raise StoreAwayError("The registry is away.")
        return getattr(self._records, name)


def keeper(house: House, witness: Witness, said: list[str] | None = None) -> ReleaseKeeper:
    made = ReleaseKeeper(house, "production", witness, (said if said is not None else []).append)
    made.applied(house.records.sequence(), {"pets": Applied(1, (1, 2))})
    return made


def wait(condition) -> None:
    registered.wait_until(condition)


def test_a_server_says_that_it_lives_where_it_listens_and_that_it_went(pets):
    one = keeper(pets, Witness())
    urls = []
    with keeping(one):
        one.announced(urls.append)("http://here:1")
        wait(lambda: [beat.url for beat in Roll(pets.records, pets.clock).call()] == ["http://here:1"])
        beat = Roll(pets.records, pets.clock).call()[0]
        assert (beat.alias, beat.applied["pets"]) == ("production", Applied(1, (1, 2)))
        wait(lambda: Roll(pets.records, pets.clock).call()[0].count > beat.count)
    assert urls == ["http://here:1"]
    assert pets.records.reports(BEAT) == ()


def test_what_was_followed_is_said_at_once(pets):
    one = keeper(pets, Witness())
    with keeping(one):
        wait(lambda: bool(pets.records.reports(BEAT)))
        one.applied(77, {"pets": Applied(2, (1, 2))})
        wait(lambda: Roll(pets.records, pets.clock).call()[0].sequence == 77)


@pytest.mark.parametrize(("outcome", "status"), [(Outcome.OK, ReleaseStatus.PROMOTED), (Outcome.SERVER, ReleaseStatus.ROLLED_BACK)])
def test_two_servers_add_up_what_they_counted_and_one_of_them_decides(pets, outcome, status):
    release = begin(request(steps=parse_steps("50%"), gate=parse_gate("error_rate", min_requests=100)), pets).release
    said: list[str] = []
    witnesses = Witness(), Witness()
    with keeping(keeper(pets, witnesses[0], said)), keeping(keeper(pets, witnesses[1], said)):
        for witness in witnesses:  # half of what is needed, each
            witness.count(release.id, 0, "live", Outcome.OK, 60)
            witness.count(release.id, 0, "candidate", outcome, 60)
        wait(lambda: not promotion.running(pets.records))
    assert promotion.current("pets", records=pets.records).release.status is status
    assert live(pets) == (2 if status is ReleaseStatus.PROMOTED else 1)
    assert sum("pets: " in sentence for sentence in said) == 1


def test_the_registry_away_is_survived_and_what_was_counted_is_told_then(pets):
    records = Fallible(pets.records)
    release = begin(request(), pets).release
    witness = Witness()
    with keeping(keeper(dataclasses.replace(pets, records=records), witness)):
        wait(lambda: bool(pets.records.reports(BEAT)))
        records.is_away = True
        witness.count(release.id, 0, "candidate", Outcome.OK, 7)
        time.sleep(1.2)
        assert evidence_of(release, pets.records).steps == ()
        records.is_away = False
        wait(lambda: evidence_of(release, pets.records).step(0).arm("candidate").requests == 7)
    assert pets.records.reports(BEAT) == ()


def test_what_was_counted_of_what_has_ended_is_taken_away(pets):
    release = begin(request(), pets).release
    witness = Witness()
    witness.count(release.id, 0, "live", Outcome.OK, 1)
    with keeping(keeper(pets, witness)):
        wait(lambda: bool(pets.records.reports(EVIDENCE)))
        promotion.change(
            "pets",
            lambda item: item.with_event(1.0, "Over.", "ann", status=ReleaseStatus.STOPPED),
            records=pets.records,
            clock=pets.clock,
            author="ann",
        )
        wait(lambda: not pets.records.reports(EVIDENCE))


def test_a_release_of_another_alias_is_no_matter_of_this_server(pets):
    release = begin(request(steps=parse_steps("50%"), gate=parse_gate("error_rate", min_requests=10)), pets).release
    witness = Witness()
    witness.count(release.id, 0, "live", Outcome.OK, 50)
    witness.count(release.id, 0, "candidate", Outcome.OK, 50)
    other = ReleaseKeeper(pets, "staging", witness, print)
    other.applied(1, {"pets": Applied(1, (1,))})
    with keeping(other):
        wait(lambda: bool(pets.records.reports(EVIDENCE)))
        time.sleep(1.2)
        assert promotion.current("pets", records=pets.records).release.status is ReleaseStatus.RUNNING


class Damaged:
    """Records in which what became of one model's aliases is not what was written."""

    def __init__(self, records) -> None:
        self._records = records

    def __getattr__(self, name: str) -> object:
        return getattr(self._records, name)

    def alias_history(self, name: str, alias: str) -> object:
        if name == "pets":
            raise CorruptError("The moves of pets are damaged.")
        return self._records.alias_history(name, alias)


def test_what_is_damaged_about_one_model_is_said_once_and_keeps_no_other_waiting(pets, tmp_path):
    for seed in range(2):
        registered.add_version(
            pets, "zebras", registered.classifier(tmp_path / f"z{seed}.onnx", seed=seed), alias="" if seed else "production"
        )
    begin(request(gate=None, min_step_s=3600.0), pets)
    begin(request("zebras:2", gate=None, steps=parse_steps("10%,50%")), pets)
    pets.records.put_fact("release", "owls", '{"id": 1}', expected=0, at=1.0, author="x")  # of a newer Fairlead, say
    said: list[str] = []
    made = keeper(dataclasses.replace(pets, records=Damaged(pets.records)), Witness(), said)
    made.applied(10**6, {"pets": Applied(1, (1, 2)), "zebras": Applied(1, (1, 2))})
    with keeping(made):
        wait(lambda: promotion.current("zebras", records=pets.records).release.status is ReleaseStatus.PROMOTED)
    assert [line for line in said if "damaged" in line] == ["pets: The moves of pets are damaged."]
    assert promotion.current("pets", records=pets.records).release.is_active


def test_an_approval_of_other_content_is_an_obstacle_and_is_said(pets):
    kept = begin(request(gate=None), pets)
    protect("pets", records=pets.records, clock=pets.clock, author="ann")
    forged = dump(Approval("0" * 64, "bob", "ann", 1.0)).decode()
    pets.records.put_fact(APPROVAL, "pets:2", forged, expected=0, at=1.0, author="bob")
    outlook = Assessor(pets.records, pets.clock).assess(kept).outlook
    assert "Somebody changed the registry" in outlook.obstacle


def test_a_webhook_that_is_not_taken_is_said_in_the_servers_log(pets):
    trusting = dataclasses.replace(pets, settings=dataclasses.replace(pets.settings, allow_private_webhooks=True))
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listening: every connection is refused
        added = webhooks.add(f"http://127.0.0.1:{nobody.getsockname()[1]}/", "alias.moved", trusting)
        said: list[str] = []
        with keeping(keeper(trusting, Witness(), said)):
            trusting.records.move_alias("pets", "staging", 1, expected=0, moved_at=1.0, reason="promote")
            wait(lambda: any(added.id in line for line in said))
    assert any("alias.moved pets@staging" in line and "again in" in line for line in said)
