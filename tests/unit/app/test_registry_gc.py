from __future__ import annotations

import itertools
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
import registered

from fairlead.app.registry_gc import collect
from fairlead.app.registry_tags import stage, tag
from fairlead.app.wiring import House
from fairlead.core.heartbeat import Applied, ServerBeat
from fairlead.core.release import Release, ReleaseKind, ReleaseStatus, ReleaseStep
from fairlead.core.traffic import Arm
from fairlead.errors import NotFoundError
from fairlead.register import aliases, promotion
from fairlead.register.approval import approve
from fairlead.register.release import GATE
from fairlead.stores.document import dump
from fairlead.stores.leases import hold
from fairlead.stores.version_files import materialize

DAY_S = 86_400.0


@pytest.fixture(scope="module")
def six_versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("six")
    made = registered.new_house(folder / "home")
    for seed in range(1, 7):
        registered.add_version(made, "digits", registered.classifier(folder / f"{seed}.onnx", seed=seed), alias="")
    return folder / "home"


@pytest.fixture
def house(six_versions: Path, tmp_path: Path) -> House:
    """Six versions, registered two days ago."""
    shutil.copytree(six_versions, tmp_path / "home")
    made = registered.new_house(tmp_path / "home")
    age_blobs(made)
    ahead = time.time() + 2 * DAY_S
    return replace(made, clock=lambda: ahead, settings=replace(made.settings, user="ann"))


def age_blobs(house: House, age_s: float = 2 * DAY_S) -> None:
    then = time.time() - age_s
    for path in (house.settings.home / "blobs").glob("??/*"):
        os.utime(path, (then, then))


def promote(house: House, number: int, alias: str = "production") -> None:
    aliases.promote("digits", number, records=house.records, clock=house.clock, alias=alias)


def staying(house: House, **options: object) -> dict[int, str]:
    fates = collect(house, keep_count=1, is_dry_run=True, **options).fates
    return {int(fate.version.partition(":")[2]): "; ".join(fate.why) for fate in fates if fate.stays}


def test_what_nothing_uses_goes_and_its_files_with_it(house):
    promote(house, 4)
    before = set(house.blobs.list())
    planned = collect(house, keep_count=2, is_dry_run=True)
    assert set(house.blobs.list()) == before
    assert [one.number for one in house.records.versions("digits")] == [1, 2, 3, 4, 5, 6]
    done = collect(house, keep_count=2)
    assert planned.retired == done.retired == ("digits:1", "digits:2", "digits:3")
    assert (planned.freed_bytes, planned.file_count) == (done.freed_bytes, done.file_count)
    assert done.freed_bytes > 0
    assert [one.number for one in house.records.versions("digits")] == [4, 5, 6]
    for version in house.records.versions("digits"):  # nothing that stays has lost a byte
        materialize(version, house.blobs, house.loaded)
    listed = {entry.digest for version in house.records.versions("digits") for entry in version.manifest.files}
    assert set(house.blobs.list()) == listed
    (first, *_) = house.records.retired("digits")
    assert first.reason.startswith("ann ran fairlead gc: nothing uses it")
    assert collect(house, keep_count=2).retired == ()


def test_young_files_wait_for_a_later_run(house):
    age_blobs(house, 0.0)
    done = collect(house, keep_count=5)
    assert (done.retired, done.file_count, done.freed_bytes) == (("digits:1",), 0, 0)
    assert done.waiting_count > 0
    age_blobs(house)
    later = collect(house, keep_count=5)
    assert (later.retired, later.file_count) == ((), done.waiting_count)


@pytest.mark.parametrize("is_dry_run", [True, False])
def test_files_that_another_model_lists_too_do_not_wait_for_a_later_run(house, is_dry_run):
    age_blobs(house, 0.0)
    for version in house.records.versions("digits"):
        house.records.add_version("copies", version.manifest, 1.0)
    done = collect(house, ["digits"], keep_count=5, is_dry_run=is_dry_run)
    assert (done.retired, done.file_count, done.waiting_count) == (("digits:1",), 0, 0)


def test_only_what_is_old_enough_goes(house):
    assert collect(house, keep_count=1, min_age_s=3 * DAY_S, is_dry_run=True).retired == ()
    assert len(collect(house, keep_count=1, min_age_s=DAY_S, is_dry_run=True).retired) == 5


def test_the_versions_of_a_production_alias_and_its_way_back_stay(house):
    promote(house, 1)
    promote(house, 3)
    promote(house, 2, "staging")
    assert staying(house) == {
        1: "a rollback of @production goes back to it",
        2: "@staging points at it",
        3: "@production points at it",
        6: "the newest",
    }


def test_the_way_back_past_a_version_that_a_gate_rejected_stays_too(house):
    for number in (1, 2, 3):
        promote(house, number)
    assert 1 not in staying(house)
    release = Release("r", "digits", ReleaseKind.CANARY, 3, 2, steps=(ReleaseStep(0.1),), author="ann")
    ended = release.with_event(1.0, "Worse.", GATE, status=ReleaseStatus.ROLLED_BACK)
    house.records.put_fact("release", "digits", dump(ended).decode(), expected=0, at=1.0, author="ann")
    assert staying(house)[1] == "a rollback of @production goes back to it"
    assert collect(house, keep_count=1).retired == ("digits:4", "digits:5")
    assert aliases.rollback("digits", records=house.records, clock=house.clock, rejected={2}).number == 1


def test_what_a_release_needs_stays_until_it_has_ended(house):
    promote(house, 1)
    move = promotion.live_move("digits", "production", records=house.records)
    release = Release("r", "digits", ReleaseKind.CANARY, 1, 2, live_move=move.sequence, steps=(ReleaseStep(0.1),), author="ann")
    promotion.begin(release, records=house.records)
    assert staying(house)[2].startswith("A canary of digits:2 for digits@production is running")
    from fairlead.register.release import stopped

    promotion.change(
        "digits", lambda one: stopped(one, now=house.clock(), author="ann"), records=house.records, clock=house.clock, author="ann"
    )
    assert 2 not in staying(house)


def test_what_an_experiment_compares_stays(house):
    promote(house, 1)
    move = promotion.live_move("digits", "production", records=house.records)
    arms = (Arm("A", 1, 0.4), Arm("B", 3, 0.3), Arm("C", 4, 0.3))
    promotion.begin(
        Release("r", "digits", ReleaseKind.EXPERIMENT, 1, arms=arms, live_move=move.sequence, author="ann"), records=house.records
    )
    assert {1, 3, 4} <= set(staying(house))


def beat(house: House, at: float, *versions: int) -> None:
    said = ServerBeat("s1", "host", 1, "http://host:8080", "production", "0.1", at, 1, 1, {"digits": Applied(0, versions)})
    house.records.put_report("server", said.id, dump(said).decode(), at)


def test_what_a_server_has_loaded_stays_also_when_it_fell_silent_lately(house):
    beat(house, house.clock(), 2)
    assert staying(house)[2] == "the server http://host:8080 has it loaded"
    beat(house, house.clock() - 1800, 2, 3)
    assert staying(house)[3] == "the server http://host:8080 had it loaded within the hour"
    beat(house, house.clock() - 2 * DAY_S, 2)
    assert 2 not in staying(house)


def test_what_a_process_of_this_machine_has_loaded_stays(house):
    let_go = hold(house.records.version("digits", 2).digest, house.loaded)
    try:
        assert staying(house)[2] == "a process of this machine has it loaded"
    finally:
        let_go()
    assert 2 not in staying(house)


def test_what_people_marked_stays(house):
    tag("digits:1", ["protected"], house)
    stage("digits:2", "staging", house)
    stage("digits:3", "archived", house)
    house.records.add_traits("digits", 4, {"publisher": "ann"})
    approve(house.records.version("digits", 4), records=house.records, clock=house.clock, approver="bob")
    assert staying(house) == {1: "it is tagged 'protected'", 2: "its stage is staging", 4: "bob approved of it", 6: "the newest"}


def test_a_version_that_is_taken_meanwhile_stays(house):
    """An alias, a tag: whatever comes between the look and the deed."""
    records, retire = house.records, house.records.retire_version

    class Meanwhile:
        def __getattr__(self, name: str) -> object:
            return getattr(records, name)

        def retire_version(self, name: str, number: int, **options: object) -> None:
            if number == 1:
                records.move_alias(name, "production", 1, expected=0, moved_at=1.0, reason="promote")
                tag("digits:2", ["protected"], house)
            retire(name, number, **options)

    done = collect(replace(house, records=Meanwhile()), keep_count=3)
    assert done.retired == ("digits:3",)
    why = {fate.version: fate.why[0] for fate in done.fates}
    assert "production points at it" in why["digits:1"]
    assert "protected" in why["digits:2"]


def test_a_release_that_begins_in_the_last_moment_keeps_its_version(house):
    """It begins between gc's last look and the retirement, which the registry therefore refuses."""
    records, retire = house.records, house.records.retire_version
    begun = []

    class Meanwhile:
        def __getattr__(self, name: str) -> object:
            return getattr(records, name)

        def retire_version(self, name: str, number: int, **options: object) -> None:
            if number == 2 and not begun:
                live = records.move_alias(name, "production", 6, expected=0, moved_at=1.0, reason="deploy")
                release = Release("r1", name, ReleaseKind.CANARY, 6, 2, live_move=live.sequence, steps=(ReleaseStep(0.1),), author="ann")
                begun.append(promotion.begin(release, records=records))
            retire(name, number, **options)

    done = collect(replace(house, records=Meanwhile()), keep_count=3)
    assert done.retired == ("digits:1", "digits:3")
    why = {fate.version: fate.why[0] for fate in done.fates}
    assert "canary of digits:2" in why["digits:2"]
    assert records.version("digits", 2).number == 2


def test_what_changes_all_the_time_elsewhere_does_not_keep_a_version_for_ever(house):
    records, retire = house.records, house.records.retire_version

    class Busy:
        def __getattr__(self, name: str) -> object:
            return getattr(records, name)

        def retire_version(self, name: str, number: int, **options: object) -> None:
            if (turn := next(turns)) % 3:
                tag("digits:6", [f"turn={turn}"], house)
            retire(name, number, **options)

    turns = itertools.count(1)
    assert collect(replace(house, records=Busy()), keep_count=3).retired == ("digits:1", "digits:2", "digits:3")


def test_a_version_that_is_registered_meanwhile_keeps_the_files_that_it_shares(house, tmp_path):
    """The sweep has seen that nobody lists the old files; then somebody registers the same model again."""
    blobs, delete = house.blobs, house.blobs.discard
    again = []

    class Meanwhile:
        def __getattr__(self, name: str) -> object:
            return getattr(blobs, name)

        def discard(self, digest: str, *, older_than_s: float) -> bool:
            if not again:
                again.append(registered.add_version(house, "other", registered.classifier(tmp_path / "again.onnx", seed=1), alias=""))
            return delete(digest, older_than_s=older_than_s)

    collect(replace(house, blobs=Meanwhile()), keep_count=1)
    (version,) = again
    materialize(version, house.blobs, house.loaded)
    assert set(house.blobs.list()) >= {entry.digest for entry in version.manifest.files}


def test_killed_between_retirement_and_files_the_next_run_finishes(house):
    class Killed(BaseException):
        pass

    blobs = house.blobs

    class Dying:
        def __getattr__(self, name: str) -> object:
            return getattr(blobs, name)

        def discard(self, digest: str, *, older_than_s: float) -> bool:
            raise Killed

    with pytest.raises(Killed):
        collect(replace(house, blobs=Dying()), keep_count=5)
    assert [one.number for one in house.records.versions("digits")] == [2, 3, 4, 5, 6]
    assert collect(house, keep_count=5).file_count > 0
    for version in house.records.versions("digits"):
        materialize(version, house.blobs, house.loaded)


def test_only_the_models_that_were_named_are_looked_at(house, tmp_path):
    registered.add_version(house, "prices", registered.scaler(tmp_path / "a.onnx", factor=0.1), alias="")
    registered.add_version(house, "prices", registered.scaler(tmp_path / "b.onnx", factor=0.2), alias="")
    assert collect(house, ["prices"], keep_count=1, is_dry_run=True).retired == ("prices:1",)
    with pytest.raises(NotFoundError, match="price"):
        collect(house, ["price"])


def test_five_stay_where_nobody_says_how_many(house):
    assert collect(house, is_dry_run=True).retired == ("digits:1",)
