from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import registered

from fairlead.app import catalogue
from fairlead.app.registry_search import search
from fairlead.app.registry_tags import stage, tag, write_note
from fairlead.app.registry_traits import catch_up
from fairlead.app.wiring import House
from fairlead.core.release import Release, ReleaseKind, ReleaseStep
from fairlead.errors import NotFoundError, SpecError
from fairlead.register import promotion
from fairlead.register.approval import approve, protect


@pytest.fixture(scope="module")
def four_versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("four")
    house = registered.new_house(folder / "home")
    for seed in (1, 2, 3):
        model = registered.classifier(folder / f"{seed}.onnx", seed=seed)
        registered.add_version(house, "digits", model, alias="production" if seed == 2 else "")
    registered.add_version(house, "prices", registered.scaler(folder / "s.onnx"), alias="")
    return folder / "home"


@pytest.fixture
def house(four_versions: Path, tmp_path: Path) -> House:
    shutil.copytree(four_versions, tmp_path / "home")
    made = registered.new_house(tmp_path / "home")
    return replace(made, settings=replace(made.settings, user="ann"))


def found(query: str, house: House) -> list[str]:
    return [hit.label for hit in search(query, house).hits]


def test_old_versions_are_found_by_what_their_files_show(house):
    """None of them was registered with traits."""
    assert found("task:classification alias:production", house) == ["digits:2"]
    assert found("engine:onnxruntime p99_ms<1 name:pri*", house) == ["prices:1"]
    assert found("", house) == ["digits:1", "digits:2", "digits:3", "prices:1"]


def test_they_are_read_once_and_new_ones_when_they_come(house, tmp_path):
    assert catch_up(house) == 4
    assert catch_up(house) == 0
    registered.add_version(house, "digits", registered.classifier(tmp_path / "9.onnx", seed=9), alias="")
    assert catch_up(house) == 1
    tag("digits:1", ["x"], house)  # a tag alone is no trait
    assert catch_up(house) == 0


def test_a_damaged_version_keeps_no_other_from_being_found(house):
    entry = house.records.version("digits", 1).manifest.entry("verdict.json")
    house.blobs.delete(entry.digest)
    assert "digits:3" in found("engine:onnxruntime", house)


@pytest.mark.parametrize("query", ["acuracy>0.9", "tags:x", "engine!=tree nokey:1"])
def test_a_word_that_no_version_knows_is_an_error_and_not_an_empty_answer(house, query):
    with pytest.raises(SpecError, match="No version knows") as caught:
        search(query, house)
    assert "engine" in caught.value.hint


def test_a_word_that_is_known_may_find_nothing(house):
    assert found("p99_ms>1000", house) == []
    assert found("engine:trees", house) == []


def test_a_misspelt_word_with_unequal_is_an_error_although_it_would_hold_everywhere(house):
    with pytest.raises(SpecError, match="No version knows 'framwork'"):
        search("framwork!=keras", house)


def test_who_forgets_that_it_is_a_tag_is_told(house):
    tag("digits:1", ["team=vision"], house)
    with pytest.raises(SpecError) as caught:
        search("team:vision", house)
    assert "tag:team" in caught.value.hint


def test_a_long_answer_is_cut_and_that_is_said(house):
    cut = search("", house, limit=2)
    assert (len(cut.hits), cut.is_cut) == (2, True)
    assert not search("", house, limit=4).is_cut


def test_the_list_of_models_says_what_is_going_on(house):
    write_note("digits", "reads digits", house)
    protect("digits", records=house.records, clock=house.clock, author="boss")
    move = promotion.live_move("digits", "production", records=house.records)
    promotion.begin(
        Release("r1", "digits", ReleaseKind.CANARY, 2, 3, live_move=move.sequence, steps=(ReleaseStep(0.1),), author="ann"),
        records=house.records,
    )
    digits, prices = catalogue.list_models(house)
    assert (digits.name, digits.version_count, digits.latest, digits.production) == ("digits", 3, 3, 2)
    assert (digits.note, digits.protected) == ("reads digits", ("production",))
    assert "canary of digits:3" in digits.release
    assert (prices.production, prices.release, prices.note, prices.protected) == (None, "", "", ())


def test_the_versions_of_a_model_are_listed_newest_first(house):
    stage("digits:3", "staging", house)
    tag("digits:3", ["reviewed"], house)
    rows = catalogue.list_versions("digits", house, limit=2)
    assert [row.version for row in rows] == ["digits:3", "digits:2"]
    assert (rows[0].stage, dict(rows[0].tags), rows[1].aliases) == ("staging", {"reviewed": "true"}, ("production",))
    with pytest.raises(NotFoundError):
        catalogue.list_versions("digit", house)


def test_versions_before_many_that_were_retired_are_listed_too(house):
    manifest = house.records.version("digits", 1).manifest
    for _ in range(20):
        house.records.add_version("digits", manifest, 1.0)
    for number in (1, *range(4, 23)):
        house.records.retire_version("digits", number, at=1.0, reason="old")
    assert [row.version for row in catalogue.list_versions("digits", house, limit=3)] == ["digits:23", "digits:3", "digits:2"]
    assert [row.version for row in catalogue.list_versions("digits", house, limit=2)] == ["digits:23", "digits:3"]
    assert len(catalogue.list_versions("digits", house, limit=50)) == 3


def test_a_version_is_shown_with_what_people_wrote_on_it(house):
    house.records.add_traits("digits", 2, {"publisher": "ann"})
    write_note("digits:2", "spring data", house)
    protect("digits", records=house.records, clock=house.clock, author="boss")
    approve(house.records.version("digits", 2), records=house.records, clock=house.clock, approver="bob")
    house.records.retire_version("digits", 1, at=house.clock(), reason="too old")
    written = catalogue.show("digits", house).written
    assert (written.note, written.publisher, written.approval.approver) == ("spring data", "ann", "bob")
    assert [(one.number, one.reason) for one in written.retired] == [(1, "too old")]
    with pytest.raises(NotFoundError, match="retired"):
        catalogue.show("digits:1", house)
