from __future__ import annotations

import hashlib
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import registered

from fairlead.app.catalogue import show
from fairlead.app.load import open_model
from fairlead.app.registry_export import export_file
from fairlead.app.registry_import import import_file
from fairlead.app.registry_tags import read_note, stage, tag, write_note
from fairlead.app.wiring import House
from fairlead.errors import CorruptError, NotFoundError, SourceError, SpecError


def named(house: House, user: str) -> House:
    return replace(house, settings=replace(house.settings, user=user))


@pytest.fixture(scope="module")
def one_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    house = registered.new_house(folder / "home")
    for seed in (1, 2, 3):
        registered.add_version(house, "digits", registered.classifier(folder / f"{seed}.onnx", seed=seed))
    return folder / "home"


@pytest.fixture
def house(one_version: Path, tmp_path: Path) -> House:
    shutil.copytree(one_version, tmp_path / "home")
    return named(registered.new_house(tmp_path / "home"), "ann")


@pytest.fixture
def other(tmp_path: Path) -> House:
    return named(registered.new_house(tmp_path / "other"), "bob")


def test_a_version_goes_to_another_registry_and_stays_what_it_is(house, other, tmp_path):
    tag("digits", ["team=vision", "cost=3"], house)
    stage("digits", "staging", house)
    write_note("digits:3", "spring data", house)
    written = export_file("digits", tmp_path / "d.fairlead", house)
    taken = import_file(tmp_path / "d.fairlead", other)
    assert (taken.version, taken.origin, taken.is_new, taken.digest) == ("digits:1", "digits:3", True, written.digest)
    assert taken.trial == "answered its golden requests here (onnxruntime)"
    assert (taken.aliases, taken.stage) == (("production",), "staging")
    version = other.records.version("digits", 1)
    assert version.manifest == house.records.version("digits", 3).manifest
    assert other.records.aliases("digits") == {}  # what pointed at it elsewhere is information
    assert dict(taken.tags) == {"cost": 3.0, "team": "vision"}
    assert read_note("digits:1", other).text == "spring data"
    view = show("digits:1", other)
    assert (view.written.publisher, view.written.stage) == ("bob", "")
    assert other.records.traits("digits", 1)["origin"] == "digits:3"
    with open_model("digits:1", other) as model:
        assert model.predict([[1.0, 2.0, 3.0, 4.0]]).shape == (1, 3)


def test_equal_versions_make_equal_files(house, other, tmp_path):
    first = export_file("digits:3", tmp_path / "a.fairlead", house)
    second = export_file("digits:3", tmp_path / "b.fairlead", house)
    assert first.sha256 == second.sha256 == hashlib.sha256((tmp_path / "a.fairlead").read_bytes()).hexdigest()
    import_file(tmp_path / "a.fairlead", other)
    again = export_file("digits:1", tmp_path / "c.fairlead", other)
    assert again.digest == first.digest


def test_the_file_is_a_plain_archive_of_an_index_and_blobs(house, tmp_path):
    export_file("digits:3", tmp_path / "a.fairlead", house)
    with zipfile.ZipFile(tmp_path / "a.fairlead") as archive:
        index, *blobs = archive.namelist()
        assert index == "fairlead.json"
        assert blobs == sorted(f"blobs/{hashlib.sha256(archive.read(name)).hexdigest()}" for name in blobs)
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


def test_taking_it_twice_makes_nothing_new_but_completes_what_was_cut_short(house, other, tmp_path):
    tag("digits:3", ["team=vision"], house)
    export_file("digits:3", tmp_path / "a.fairlead", house)
    import_file(tmp_path / "a.fairlead", other)
    tag("digits:1", ["mine"], other, remove=["team"])
    registered.add_version(other, "digits", registered.classifier(tmp_path / "next.onnx", seed=9), alias="")
    again = import_file(tmp_path / "a.fairlead", other)
    assert (again.version, again.is_new) == ("digits:1", False)
    assert dict(again.tags) == {"mine": "true", "team": "vision"}
    assert len(other.records.versions("digits")) == 2


def test_it_may_have_another_name_here(house, other, tmp_path):
    export_file("digits:3", tmp_path / "a.fairlead", house)
    assert import_file(tmp_path / "a.fairlead", other, name="numbers").version == "numbers:1"
    with pytest.raises(SpecError):
        import_file(tmp_path / "a.fairlead", other, name="../numbers")


def test_a_file_that_is_there_is_not_replaced_unasked(house, tmp_path):
    target = tmp_path / "a.fairlead"
    target.write_text("mine")
    with pytest.raises(SpecError, match="is there already"):
        export_file("digits:3", target, house)
    assert target.read_text() == "mine"
    export_file("digits:3", target, house, may_replace=True)
    assert zipfile.is_zipfile(target)
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


def test_a_place_where_no_file_can_be_is_said_before_anything_is_read(house, tmp_path):
    for place, said in ((tmp_path, "is a folder"), (tmp_path / "nowhere" / "a.fairlead", "There is no folder")):
        with pytest.raises(SpecError, match=said):
            export_file("digits:3", place, house, may_replace=True)


def test_a_file_that_was_cut_behind_an_archive_inside_it_is_said_to_be_cut(house, other, tmp_path):
    path = tmp_path / "a.fairlead"
    export_file("digits:3", path, house)
    whole = path.read_bytes()
    inner = whole.index(b"PK\x05\x06") + 22  # the golden requests are an archive of their own
    assert inner < len(whole)
    for content in (whole[:inner], whole[:-1], whole + b"more"):
        path.write_bytes(content)
        with pytest.raises(SourceError, match="cut short, or something follows"):
            import_file(path, other)
    path.write_bytes(whole)
    assert import_file(path, other).is_new


def test_what_cannot_be_exported_leaves_no_file(house, tmp_path):
    with pytest.raises(NotFoundError):
        export_file("digits:9", tmp_path / "a.fairlead", house)
    house.blobs.delete(house.records.version("digits", 1).manifest.entry("model.onnx").digest)
    with pytest.raises(CorruptError):
        export_file("digits:1", tmp_path / "a.fairlead", house)
    assert list(tmp_path.glob("*.fairlead")) == []


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"hello", b"\x1f\x8b\x08\x00"])
def test_what_is_no_archive_is_said_to_be_none(other, tmp_path, content):
    path = tmp_path / "a.fairlead"
    path.write_bytes(content)
    with pytest.raises(SourceError):
        import_file(path, other)
    assert other.records.names() == ()
