from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import registered

from fairlead.app.registry_tags import read_note, spoken_tag, stage, tag, write_note
from fairlead.app.wiring import House
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.query import parse_query
from fairlead.errors import NotFoundError, SpecError
from memory_records import MemoryRecords


@pytest.fixture
def house(tmp_path: Path) -> House:
    made = registered.new_house(tmp_path / "home")
    records = MemoryRecords()
    for number in (1, 2):
        records.add_version("digits", Manifest((FileEntry("m", number, "a" * 64),)), 1.0)
    records.move_alias("digits", "production", 1, expected=0, moved_at=1.0, reason="promote")
    return replace(made, records=records, settings=replace(made.settings, user="ann"))


def test_tags_are_written_found_and_taken_away(house):
    tagged = tag("digits:2", ["team=vision", "Reviewed", "cost=3.5", "batch=12"], house)
    assert dict(tagged.tags) == {"batch": 12.0, "cost": 3.5, "reviewed": "true", "team": "vision"}
    assert [hit.label for hit in house.records.find(parse_query("tag:team=vision tag:cost>3 tag:reviewed"))] == ["digits:2"]
    assert dict(tag("digits:2", ["team=speech"], house, remove=["cost", "batch"]).tags) == {"reviewed": "true", "team": "speech"}
    history = house.records.fact_history("tag", "digits:2/team")
    assert [(fact.body, fact.author) for fact in history] == [('"vision"', "ann"), ('"speech"', "ann")]


@pytest.mark.parametrize("text", ["7.10", "007", "1e3", "1_000", "0x10", "nan", "inf", "+3", "3.", "123456789012345678901"])
def test_what_would_not_come_back_as_it_was_written_stays_text(house, text):
    assert dict(tag("digits:1", [f"v={text}"], house).tags) == {"v": text}


@pytest.mark.parametrize("text", ["0", "-5", "3.25", "1000000", "20261122", "1234567.25", "0.1"])
def test_plain_numbers_are_numbers_and_are_shown_as_they_were_written(house, text):
    assert dict(tag("digits:1", [f"v={text}"], house).tags) == {"v": float(text)}
    assert spoken_tag("v", float(text)) == f"v={text}"


@pytest.mark.parametrize(("pairs", "remove"), [(["a=1", "a=2"], []), (["a=1"], ["a"]), (["A", "a=no"], [])])
def test_a_tag_cannot_be_two_things_at_once(house, pairs, remove):
    tag("digits:1", ["a=0"], house)
    with pytest.raises(SpecError, match="'a' is to be two things at once"):
        tag("digits:1", pairs, house, remove=remove)
    assert dict(tag("digits:1", ["b", "b"], house).tags) == {"a": 0.0, "b": "true"}


def test_a_tag_that_is_there_already_is_not_written_again(house):
    tag("digits:1", ["team=vision"], house)
    before = house.records.sequence()
    tag("digits:1", ["team=vision"], house)
    assert house.records.sequence() == before


def test_a_name_alone_means_the_version_in_production(house):
    assert tag("digits", ["live"], house).version == "digits:1"


@pytest.mark.parametrize("pair", ["=x", "team=", "9lives", "a b", "stage=production", "team=\x1b[31m", "ümlaut=1", "a" * 65, ""])
def test_what_cannot_be_a_tag_is_refused_and_nothing_is_written(house, pair):
    with pytest.raises(SpecError):
        tag("digits:1", ["fine=yes", pair], house)
    assert dict(tag("digits:1", [], house).tags) == {}


def test_a_tag_that_is_not_there_cannot_be_taken_away(house):
    tag("digits:1", ["team=vision"], house)
    with pytest.raises(NotFoundError, match="no tag 'tema'") as caught:
        tag("digits:1", ["other"], house, remove=["tema"])
    assert "team" in caught.value.hint
    assert dict(tag("digits:1", [], house).tags) == {"team": "vision"}


def test_a_stage_is_one_of_those_there_are(house):
    assert stage("digits:2", "staging", house).stage == "staging"
    assert [hit.number for hit in house.records.find(parse_query("stage:staging"))] == [2]
    assert dict(tag("digits:2", [], house).tags) == {}  # shown as the stage, not as a tag
    with pytest.raises(SpecError, match="not a stage") as caught:
        stage("digits:2", "prodcution", house)
    assert "production" in caught.value.hint
    assert stage("digits:2", "", house).stage == ""


def test_versions_and_models_are_described_apart(house):
    write_note("digits:2", "trained on spring data\nsecond line", house)
    write_note("digits", "reads digits", house)
    assert read_note("digits:2", house).text == "trained on spring data\nsecond line"
    assert (read_note("digits", house).text, read_note("digits", house).author) == ("reads digits", "ann")
    assert read_note("digits:1", house).text == ""
    assert write_note("digits:2", "", house).text == ""
    write_note("digits:2", "again", house)
    assert len(house.records.fact_history("note", "digits:2")) == 3


@pytest.mark.parametrize(("text", "error"), [("a\x00b", SpecError), ("\x1b[2J", SpecError), ("x" * 10_001, SpecError)])
def test_a_note_is_plain_text_of_some_length(house, text, error):
    with pytest.raises(error):
        write_note("digits:2", text, house)


def test_what_does_not_exist_cannot_be_described(house):
    for reference in ("digit", "digits:7", "digits@staging"):
        with pytest.raises(NotFoundError):
            write_note(reference, "x", house)
