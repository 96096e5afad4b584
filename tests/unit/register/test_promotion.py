"""Releases in a registry: of many deciders one wins, whoever is killed anywhere is replaced, and who slept does no harm."""

from __future__ import annotations

import dataclasses
import threading

import pytest

from fairlead.core.gate import GateDecision, GateVerdict, parse_gate
from fairlead.core.manifest import Manifest
from fairlead.core.release import Release, ReleaseKind, ReleaseStatus
from fairlead.core.release_text import parse_arms, parse_steps
from fairlead.errors import ConflictError, NotFoundError, SpecError, StorageError
from fairlead.register import promotion
from fairlead.register.aliases import promote, rollback
from fairlead.register.release import Outlook, chosen, promoted_by, stopped
from memory_records import MemoryRecords

CLOCK = {"clock": lambda: 100.0}


@pytest.fixture
def records() -> MemoryRecords:
    records = MemoryRecords()
    for _ in range(5):
        records.add_version("digits", Manifest(()), 1.0)
    promote("digits", 3, records=records, **CLOCK)
    return records


def canary(records, steps: str = "10%,50%", candidate: int = 4) -> Release:
    move = promotion.live_move("digits", "production", records=records)
    return Release(
        f"r{records.sequence()}",
        "digits",
        ReleaseKind.CANARY,
        move.number,
        candidate,
        live_move=move.sequence,
        steps=parse_steps(steps),
        gate=parse_gate("error_rate"),
        author="ann",
    )


def look(records, verdict: GateVerdict) -> Outlook:
    move = promotion.live_move("digits", "production", records=records)
    return Outlook(100.0, 0.0, move.number, move.sequence, GateDecision(verdict, (), "because."))


def tick(records, verdict: GateVerdict) -> promotion.Kept | None:
    kept = promotion.current("digits", records=records)
    return promotion.judge(kept, look(records, verdict), records=records, author="gate", **CLOCK)


def state(records) -> tuple[ReleaseStatus, int, int]:
    moves = records.alias_history("digits", "production")
    return promotion.current("digits", records=records).release.status, moves[-1].number, len(moves)


def test_a_release_is_begun_goes_on_and_is_promoted(records):
    assert promotion.current("digits", records=records) is None
    promotion.begin(canary(records), records=records)
    statuses = [tick(records, GateVerdict.ADVANCE).release.status for _ in range(2)]
    assert statuses == [ReleaseStatus.RUNNING, ReleaseStatus.PROMOTED]
    assert state(records) == (ReleaseStatus.PROMOTED, 4, 2)
    assert records.alias_history("digits", "production")[-1].reason == "canary"
    assert promotion.running(records) == ()


def test_rolled_back_by_the_gate_the_alias_stays(records):
    promotion.begin(canary(records), records=records)
    tick(records, GateVerdict.ROLL_BACK)
    assert state(records) == (ReleaseStatus.ROLLED_BACK, 3, 1)


def test_a_second_release_is_refused_while_one_runs_and_taken_after(records):
    promotion.begin(canary(records), records=records)
    with pytest.raises(ConflictError, match="A canary of digits:4 for digits@production is running"):
        promotion.begin(canary(records, candidate=5), records=records)
    with pytest.raises(ConflictError, match="is running"):
        promote("digits", 5, records=records, **CLOCK)
    promotion.change("digits", lambda release: stopped(release, now=1.0, author="ann"), records=records, author="ann", **CLOCK)
    assert promotion.begin(canary(records, candidate=5), records=records).revision == 3


def test_a_release_of_what_is_live_is_refused(records):
    with pytest.raises(SpecError, match="is live already"):
        promotion.begin(canary(records, candidate=3), records=records)


def test_what_is_said_to_no_release_is_refused(records):
    with pytest.raises(NotFoundError, match="No release of digits is running"):
        promotion.change("digits", lambda release: release, records=records, author="ann", **CLOCK)


class Killed(BaseException):
    """The process is gone."""


class Mortal:
    """Records whose user is killed at the `count`th write: just before it, or just after it."""

    def __init__(self, records: MemoryRecords, count: int, *, is_after: bool) -> None:
        self._records, self._left, self._is_after = records, count, is_after
        self.write_count = 0

    def __getattr__(self, name: str) -> object:
        inner = getattr(self._records, name)
        if name not in {"put_fact", "move_alias"}:
            return inner

        def write(*arguments: object, **keywords: object) -> object:
            self.write_count += 1
            self._left -= 1
            if self._left == 0 and not self._is_after:
                raise Killed
            result = inner(*arguments, **keywords)
            if self._left == 0:
                raise Killed
            return result

        return write


@pytest.mark.parametrize("is_after", [False, True])
@pytest.mark.parametrize("count", range(1, 8))
def test_killed_at_any_write_somebody_else_takes_it_to_the_same_end(records, count, is_after):
    mortal = Mortal(records, count, is_after=is_after)
    was_killed = False
    try:
        promotion.begin(canary(records), records=mortal)
        while promotion.running(records):
            tick(mortal, GateVerdict.ADVANCE)
    except Killed:
        was_killed = True
    if promotion.current("digits", records=records) is None:
        assert count == 1  # killed before anything was written: nothing was begun
        assert records.aliases("digits") == {"production": 3}
        return
    for _ in range(4):
        tick(records, GateVerdict.ADVANCE)
    assert state(records) == (ReleaseStatus.PROMOTED, 4, 2)
    assert was_killed == (count <= mortal.write_count)
    promoted = [event for _, event, _ in promotion.events("digits", records=records) if event.status is ReleaseStatus.PROMOTED]
    assert len(promoted) == 1


def test_the_sweep_above_reaches_every_write(records):
    mortal = Mortal(records, 1000, is_after=False)
    promotion.begin(canary(records), records=mortal)
    while promotion.running(records):
        tick(mortal, GateVerdict.ADVANCE)
    assert mortal.write_count == 5  # begun, on, promoting, moved, promoted: fewer than the sweep tries


@pytest.mark.parametrize("verdict", [GateVerdict.ADVANCE, GateVerdict.ROLL_BACK])
def test_of_many_deciders_exactly_one_wins_each_step(records, verdict):
    promotion.begin(canary(records), records=records)
    barrier = threading.Barrier(8)

    def decide() -> None:
        barrier.wait()
        for _ in range(6):
            tick(records, verdict)

    threads = [threading.Thread(target=decide) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ends = {GateVerdict.ADVANCE: (ReleaseStatus.PROMOTED, 4, 2), GateVerdict.ROLL_BACK: (ReleaseStatus.ROLLED_BACK, 3, 1)}
    assert state(records) == ends[verdict]
    sentences = [event.sentence for _, event, _ in promotion.events("digits", records=records)]
    assert len(sentences) == len(set(sentences)) == (3 if verdict is GateVerdict.ADVANCE else 1)


def test_a_decider_that_disagrees_with_one_that_was_faster_changes_nothing(records):
    kept = promotion.begin(canary(records), records=records)
    tick(records, GateVerdict.ROLL_BACK)
    late = promotion.judge(kept, look(records, GateVerdict.ADVANCE), records=records, author="gate", **CLOCK)
    assert late is None
    assert state(records) == (ReleaseStatus.ROLLED_BACK, 3, 1)


def test_a_promoter_that_slept_between_decision_and_move_does_not_undo_a_rollback(records):
    promotion.begin(canary(records, "50%"), records=records)
    kept = promotion.current("digits", records=records)
    decided = promoted_by(kept.release, now=1.0, author="ann")
    promotion.change("digits", lambda _: decided, records=(slow := Sleeping(records)), author="ann", **CLOCK)
    assert slow.was_asked
    assert records.aliases("digits") == {"production": 3}  # promoted by another, rolled back, and not promoted once more
    assert [move.number for move in records.alias_history("digits", "production")] == [3, 4, 3]


class Sleeping:
    """Records whose user sleeps just before it moves an alias; meanwhile others finish its promotion and roll it back."""

    def __init__(self, records: MemoryRecords) -> None:
        self._records, self.was_asked = records, False

    def __getattr__(self, name: str) -> object:
        return getattr(self._records, name)

    def move_alias(self, *arguments: object, **keywords: object) -> object:
        if not self.was_asked:
            self.was_asked = True
            tick(self._records, GateVerdict.ADVANCE)
            rollback("digits", records=self._records, **CLOCK)
        return self._records.move_alias(*arguments, **keywords)


def test_a_candidate_that_was_retired_is_not_promoted_and_that_is_said(records):
    promotion.begin(canary(records, "50%"), records=records)
    records.retire_version("digits", 4, at=1.0, reason="bad")
    ended = tick(records, GateVerdict.ADVANCE)
    assert ended.release.status is ReleaseStatus.STOPPED
    assert "could not be promoted" in ended.release.log[-1].sentence
    assert records.aliases("digits") == {"production": 3}


def test_a_person_who_says_the_same_at_once_as_the_gate_is_asked_again(records):
    promotion.begin(canary(records), records=records)
    seen = []

    def become(release: Release) -> Release:
        if not seen:
            tick(records, GateVerdict.ADVANCE)  # the gate is faster
        seen.append(release.step)
        return stopped(release, now=1.0, author="ann")

    ended = promotion.change("digits", become, records=records, author="ann", **CLOCK)
    assert (seen, ended.release.status) == ([0, 1], ReleaseStatus.STOPPED)


def test_the_store_gone_in_the_middle_of_a_promotion_is_taken_up_again(records):
    promotion.begin(canary(records, "50%"), records=records)
    away = Away(records)
    with pytest.raises(StorageError):
        tick(away, GateVerdict.ADVANCE)
    assert state(records) == (ReleaseStatus.PROMOTING, 3, 1)
    assert tick(records, GateVerdict.HOLD).release.status is ReleaseStatus.PROMOTED
    assert state(records) == (ReleaseStatus.PROMOTED, 4, 2)


class Away:
    """Records that are away when an alias is to be moved."""

    def __init__(self, records: MemoryRecords) -> None:
        self._records = records

    def __getattr__(self, name: str) -> object:
        return getattr(self._records, name)

    def move_alias(self, *arguments: object, **keywords: object) -> object:
        raise StorageError("The registry is away.")


def test_an_arm_that_was_chosen_is_promoted_as_an_experiment(records):
    move = promotion.live_move("digits", "production", records=records)
    release = Release(
        "r", "digits", ReleaseKind.EXPERIMENT, 3, live_move=move.sequence, arms=parse_arms(["A=3:50", "B=4:50"]), author="ann"
    )
    promotion.begin(release, records=records)
    promotion.change("digits", lambda item: chosen(item, "B", now=1.0, author="ann"), records=records, author="ann", **CLOCK)
    assert state(records) == (ReleaseStatus.PROMOTED, 4, 2)
    assert records.alias_history("digits", "production")[-1].reason == "experiment"


def test_events_are_those_of_all_releases_in_the_registrys_order(records):
    promotion.begin(dataclasses.replace(canary(records)).with_event(5.0, "Began.", "ann"), records=records)
    tick(records, GateVerdict.ROLL_BACK)
    promotion.begin(canary(records).with_event(1.0, "Began again.", "ann"), records=records)  # the clock was set back
    found = promotion.events("digits", records=records)
    assert [event.sentence for _, event, _ in found] == ["Began.", "because.", "Began again."]
    assert [sequence for *_, sequence in found] == sorted(sequence for *_, sequence in found)
