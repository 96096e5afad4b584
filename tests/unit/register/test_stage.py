from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from fairlead.core.target import Machine
from fairlead.core.verdict import Check, Parity, Verdict
from fairlead.errors import InputError, NoSpaceError, RejectedError, SpecError, StorageError
from fairlead.register.collect import sweep
from fairlead.register.stage import Registration, register
from fairlead.stores.folder_blobs import FolderBlobs
from fairlead.stores.sqlite_records import SqliteRecords

MODEL = b"weights"


def verdict(*checks: Check, model: bytes = MODEL) -> Verdict:
    return Verdict(
        candidate="as it is",
        engine="onnxruntime",
        reference="keras",
        checks=checks,
        parity=Parity(1, 0, (), 0, {}, is_deterministic=True, tolerance=1e-5),
        quality=(),
        speed=(),
        size_bytes=7,
        memory_peak_bytes=1,
        original_size_bytes=7,
        model_digest=hashlib.sha256(model).hexdigest(),
        data_digest="",
        data_description="drawn",
        row_count=1,
        seed=0,
        machine=Machine("Linux", "x", 2, 1),
    )


PASSED = Check("parity", is_met=True, measured=1e-7, bound="<=1e-5")
FAILED = Check("accuracy_drop", is_met=False, measured=0.0213, bound="<=0.005")


class House:
    """Two stores and a folder of files to register."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "work"
        self.folder.mkdir()
        self.records = SqliteRecords(folder / "registry.sqlite")
        self.blobs = FolderBlobs(folder / "blobs")

    def registration(self, name: str = "digits", model: bytes = MODEL, **others: bytes) -> Registration:
        files = {"model.onnx": model} | {key.replace("_", "."): data for key, data in others.items()}
        for key, data in files.items():
            (self.folder / key).write_bytes(data)
        return Registration(name, {key: self.folder / key for key in files}, verdict(PASSED, model=model))

    def register(self, registration: Registration, at: float = 5.0):
        return register(registration, records=self.records, blobs=self.blobs, clock=lambda: at)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_green_verdict_makes_a_version_with_all_files(house):
    version = house.register(house.registration(card_md=b"# digits", plan_json=b"{}"), at=7.5)
    assert (version.label, version.created_at) == ("digits:1", 7.5)
    assert [(entry.name, entry.size_bytes) for entry in version.manifest.files] == [("card.md", 8), ("model.onnx", 7), ("plan.json", 2)]
    assert {entry.digest for entry in version.manifest.files} == set(house.blobs.list())
    assert house.records.version("digits", 1) == version
    assert house.records.aliases("digits") == {}


def test_a_red_verdict_writes_nothing_and_says_by_how_much(house):
    red = replace(house.registration(), verdict=verdict(PASSED, FAILED))
    with pytest.raises(RejectedError, match=r"accuracy_drop: measured 0\.0213, bound <=0\.005"):
        house.register(red)
    assert (house.records.names(), list(house.blobs.list())) == ((), [])


def test_a_verdict_without_checks_proves_nothing(house):
    with pytest.raises(RejectedError, match="no check"):
        house.register(replace(house.registration(), verdict=verdict()))
    assert (house.records.names(), list(house.blobs.list())) == ((), [])


def test_a_green_verdict_about_another_model_is_refused(house):
    with pytest.raises(RejectedError, match="about another model"):
        house.register(replace(house.registration(), verdict=verdict(PASSED, model=b"others")))
    assert house.records.names() == ()


@pytest.mark.parametrize(("name", "files", "error"), [("Digits", {"model.onnx": MODEL}, SpecError), ("digits", {}, InputError)])
def test_what_cannot_be_registered_is_refused_before_anything_is_written(house, name, files, error):
    good = house.registration()
    with pytest.raises(error):
        house.register(Registration(name, {key: good.files[key] for key in files}, good.verdict))
    assert list(house.blobs.list()) == []


def test_a_file_name_with_a_path_is_refused(house):
    good = house.registration()
    with pytest.raises(InputError, match="plain names"):
        house.register(replace(good, files={**good.files, "../evil": good.files["model.onnx"]}))
    assert house.records.names() == ()


def test_a_missing_file_is_named(house):
    good = house.registration()
    with pytest.raises(StorageError, match=r"'card\.md' cannot be read"):
        house.register(replace(good, files={**good.files, "card.md": house.folder / "nowhere"}))
    assert house.records.names() == ()


def test_registering_the_same_again_is_the_same_version(house):
    first = house.register(house.registration())
    assert house.register(house.registration(), at=99.0) == first
    second = house.register(house.registration(model=b"other weights"))
    assert house.register(house.registration(), at=100.0).number == second.number + 1 == 3


def test_registrations_at_once_get_numbers_of_their_own(house):
    registrations = [
        Registration("digits", {"model.onnx": path}, verdict(PASSED, model=str(own).encode()))
        for own in range(8)
        if (path := house.folder / f"model-{own}.onnx").write_bytes(str(own).encode())
    ]
    versions = []
    threads = [threading.Thread(target=lambda one=one: versions.append(house.register(one))) for one in registrations]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(version.number for version in versions) == list(range(1, 9))
    assert sorted(version.digest for version in versions) == sorted(version.digest for version in house.records.versions("digits"))


def test_a_record_store_that_fails_leaves_blobs_that_a_sweep_removes(house, monkeypatch):
    def refuse(*_arguments: object) -> None:
        raise NoSpaceError("No space is left for the registry.")

    monkeypatch.setattr(house.records, "add_version", refuse)
    with pytest.raises(NoSpaceError):
        house.register(house.registration(card_md=b"# digits"))
    assert len(list(house.blobs.list())) == 2
    assert len(sweep(records=house.records, blobs=house.blobs, grace_s=-1.0).blobs) == 2
    assert list(house.blobs.list()) == []
