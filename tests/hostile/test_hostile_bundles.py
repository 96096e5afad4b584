"""Exported versions that somebody changed: each is refused before the registry hears of it; the same file unchanged is taken (A01-A08)."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "unit" / "app"))
import registered

from fairlead.app.registry_export import export_file
from fairlead.app.registry_import import import_file
from fairlead.app.wiring import House
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.errors import FairleadError, InputError, RejectedError, SandboxError, SourceError, UnsafeContentError, UnsupportedError

INDEX = "fairlead.json"
Members = dict[str, bytes]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("good")
    house = registered.new_house(folder / "home")
    registered.add_version(house, "digits", registered.classifier(folder / "m.onnx", seed=1))
    export_file("digits", folder / "d.fairlead", house)
    return (folder / "d.fairlead").read_bytes()


@pytest.fixture
def house(tmp_path: Path) -> House:
    return registered.new_house(tmp_path / "home")


def members_of(data: bytes) -> Members:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(members: Members, **how: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", how.get("compression", zipfile.ZIP_STORED)) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, how.get("compression"))
    return stream.getvalue()


def contents(members: Members) -> dict[str, bytes]:
    """The version's files by name."""
    listed = json.loads(members[INDEX])["manifest"]["files"]
    return {entry["name"]: members[f"blobs/{entry['digest']}"] for entry in listed}


def rebuilt(members: Members, changes: dict[str, bytes | None]) -> Members:
    """Return a bundle whose every digest is right, of the version's files after `changes` (None: left out): what a forger would make."""
    files = {name: content for name, content in (contents(members) | changes).items() if content is not None}
    entries = [FileEntry(name, len(content), hashlib.sha256(content).hexdigest()) for name, content in sorted(files.items())]
    index = json.loads(members[INDEX])
    index["digest"] = Manifest(tuple(entries)).digest
    index["manifest"]["files"] = [{"name": one.name, "size_bytes": one.size_bytes, "digest": one.digest} for one in entries]
    return {INDEX: json.dumps(index).encode()} | {f"blobs/{hashlib.sha256(content).hexdigest()}": content for content in files.values()}


def edited(members: Members, **values: object) -> Members:
    return members | {INDEX: json.dumps(json.loads(members[INDEX]) | values).encode()}


def json_with(members: Members, name: str, **values: object) -> Members:
    return rebuilt(members, {name: json.dumps(json.loads(contents(members)[name]) | values).encode()})


def link(data: bytes) -> bytes:
    stream = io.BytesIO(data)
    with zipfile.ZipFile(stream, "a") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return stream.getvalue()


def twice(data: bytes) -> bytes:
    stream = io.BytesIO(data)
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr(INDEX, "{}")
    return stream.getvalue()


def overlap(data: bytes) -> bytes:
    changed = bytearray(data)
    first = changed.index(b"PK\x01\x02")
    second = changed.index(b"PK\x01\x02", first + 4)
    changed[second + 42 : second + 46] = changed[first + 42 : first + 46]
    return bytes(changed)


def lie_about_size(data: bytes) -> bytes:
    changed = bytearray(data)
    place = changed.index(b"PK\x01\x02")
    changed[place + 24 : place + 28] = struct.pack("<I", 10)
    return bytes(changed)


def bomb(data: bytes) -> bytes:
    """A blob of zeros that is as long as its index says, compressed a thousandfold."""
    zeros = bytes(2**24)
    return packed(rebuilt(members_of(data), {"model.onnx": zeros}), compression=zipfile.ZIP_DEFLATED)


def tarred(data: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../canary"), io.BytesIO(b""))
    return stream.getvalue()


def other_model(members: Members) -> Members:
    """The verdict is green, but about another model."""
    model = contents(members)["model.onnx"]
    return rebuilt(members, {"model.onnx": model + b"\x00"})


def red(members: Members) -> Members:
    verdict = json.loads(contents(members)["verdict.json"])
    verdict["checks"][0]["is_met"] = False
    return rebuilt(members, {"verdict.json": json.dumps(verdict).encode()})


def unproven(members: Members) -> Members:
    return json_with(members, "verdict.json", checks=[])


def pickled_golden(members: Members) -> Members:
    stream = io.BytesIO()
    np.savez(stream, **{"inputs/x": np.array([object()], dtype=object)})
    return rebuilt(members, {"golden.npz": stream.getvalue()})


def other_answers(members: Members) -> Members:
    """The golden answers are those of another model."""
    stream = io.BytesIO()
    with np.load(io.BytesIO(contents(members)["golden.npz"])) as golden:
        tensors = {name: golden[name] for name in golden.files}
    tensors["outputs/scores"] = tensors["outputs/scores"][:, ::-1].copy()
    np.savez(stream, **tensors)
    return rebuilt(members, {"golden.npz": stream.getvalue()})


def broken_graph(members: Members) -> Members:
    """A model that no runtime loads; the verdict is made to be about it."""
    graph = b"\x08\x08garbage"
    changed = rebuilt(members, {"model.onnx": graph})
    return json_with(changed, "verdict.json", model_digest=hashlib.sha256(graph).hexdigest())


def broken_twin(members: Members) -> Members:
    """The uncompressed original beside a compressed model is opened by servers, too."""
    return rebuilt(members, {"twin.onnx": b"\x08\x08garbage"})


def flipped(data: bytes) -> bytes:
    place = data.index(b"PK\x03\x04", 4) + 200
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def first_blob(members: Members) -> str:
    return next(name for name in members if name != INDEX)


Change = Callable[[bytes], bytes]
ARCHIVES: dict[str, tuple[Change, type[FairleadError]]] = {
    "traversal": (lambda data: packed(members_of(data) | {"../canary": b"x"}), UnsafeContentError),
    "absolute": (lambda data: packed(members_of(data) | {"/tmp/canary": b"x"}), UnsafeContentError),
    "backslash": (lambda data: packed(members_of(data) | {"..\\canary": b"x"}), UnsafeContentError),
    "link": (link, UnsafeContentError),
    "twice": (twice, UnsafeContentError),
    "overlap": (overlap, InputError),
    "size": (lie_about_size, InputError),
    "bomb": (bomb, UnsafeContentError),
    "tar": (tarred, SourceError),
    "prefix": (lambda data: b"MZ" + data, InputError),
    "truncated": (lambda data: data[: len(data) // 2], SourceError),
    "tail": (lambda data: data[:-10], SourceError),
    "flipped": (flipped, InputError),
    "7z": (lambda _: b"7z\xbc\xaf\x27\x1c" + bytes(100), SourceError),
}
CONTENTS: dict[str, tuple[Callable[[Members], Members], type[FairleadError]]] = {
    "extra member": (lambda members: members | {"blobs/" + "0" * 64: b"x"}, UnsafeContentError),
    "hidden member": (lambda members: members | {".canary": b"x"}, UnsafeContentError),
    "missing blob": (lambda members: {name: data for name, data in members.items() if name != first_blob(members)}, SourceError),
    "no index": (lambda members: {name: data for name, data in members.items() if name != INDEX}, SourceError),
    "index is no JSON": (lambda members: members | {INDEX: b"{"}, SourceError),
    "index is a list": (lambda members: members | {INDEX: b"[]"}, SourceError),
    "index is deep": (lambda members: members | {INDEX: b"[" * 100_000 + b"]" * 100_000}, SourceError),
    "no format": (lambda members: edited(members, format=None), SourceError),
    "later format": (lambda members: edited(members, format=99), UnsupportedError),
    "other digest": (lambda members: edited(members, digest="0" * 64), UnsafeContentError),
    "name is a path": (lambda members: edited(members, name="../digits"), SourceError),
    "control characters": (lambda members: edited(members, note="\x1b[2Jgone"), UnsafeContentError),
    "turned text": (lambda members: edited(members, note="\u202eevil"), UnsafeContentError),
    "traits are no traits": (lambda members: edited(members, traits={"Name!": "x"}), SourceError),
    "trait is a list": (lambda members: edited(members, traits={"a": [1]}), SourceError),
    "tag is no tag": (lambda members: edited(members, tags={"../x": "y"}), SourceError),
    "long note": (lambda members: edited(members, note="x" * 10_001), UnsafeContentError),
    "blob under another name": (lambda members: members | {first_blob(members): members[first_blob(members)][::-1]}, SourceError),
    "longer blob": (lambda members: members | {first_blob(members): members[first_blob(members)] + b"x"}, InputError),
    "shorter blob": (lambda members: members | {first_blob(members): members[first_blob(members)][:-1]}, SourceError),
    "file name is a path": (lambda members: rebuilt(members, {"../canary": b"x"}), UnsafeContentError),
    "hidden file": (lambda members: rebuilt(members, {".canary": b"x"}), UnsafeContentError),
    "no verdict": (lambda members: rebuilt(members, {"verdict.json": None}), SourceError),
    "verdict is no verdict": (lambda members: rebuilt(members, {"verdict.json": b"{}"}), SourceError),
    "verdict of another model": (other_model, RejectedError),
    "red verdict": (red, RejectedError),
    "verdict without checks": (unproven, RejectedError),
    "no model": (lambda members: rebuilt(members, {"model.onnx": None}), UnsupportedError),
    "unknown form": (lambda members: json_with(members, "engine.json", form="exe"), UnsupportedError),
    "control characters in evidence": (
        lambda members: json_with(members, "lineage.json", source_name="\x1b]0;gone\x07"),
        UnsafeContentError,
    ),
    "pickle in the golden requests": (pickled_golden, SourceError),
    "golden answers of another model": (other_answers, RejectedError),
    "a twin that does not load": (broken_twin, (RejectedError, SandboxError)),
    "a graph that does not load": (broken_graph, (RejectedError, SandboxError)),
}


def assert_refused(data: bytes, error: type[FairleadError], house: House, folder: Path) -> FairleadError:
    path = folder / "d.fairlead"
    path.write_bytes(data)
    with pytest.raises(error) as caught:
        import_file(path, house)
    assert house.records.names() == ()
    assert house.records.sequence() == 0
    assert list(house.blobs.list()) == []
    assert list(house.work.iterdir()) == []
    assert list(folder.rglob("*canary*")) == []
    assert str(folder) not in caught.value.message
    return caught.value


def test_the_unchanged_file_is_taken(good, house, tmp_path):
    """The positive control of everything below: as it is, packed again by these tests' own hands, and with a twin that loads."""
    members = members_of(good)
    with_twin = rebuilt(members, {"twin.onnx": contents(members)["model.onnx"]})
    for number, data in enumerate((good, packed(members), packed(rebuilt(members, {})), packed(with_twin))):
        path = tmp_path / f"{number}.fairlead"
        path.write_bytes(data)
        assert import_file(path, house, name=f"m{number}").is_new


def test_a_forger_who_changes_what_nobody_checks_gets_a_version_of_another_digest(good, house, tmp_path):
    """The positive control of the forged ones: with every digest made right, a changed report is another version, and no error."""
    path = tmp_path / "d.fairlead"
    path.write_bytes(packed(rebuilt(members_of(good), {"report.html": b"<p>other</p>"})))
    assert import_file(path, house).digest != json.loads(members_of(good)[INDEX])["digest"]


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_that_no_honest_writer_makes_is_refused(name, good, house, tmp_path):
    change, error = ARCHIVES[name]
    assert_refused(change(good), error, house, tmp_path)


@pytest.mark.parametrize("name", CONTENTS)
def test_content_that_does_not_agree_with_itself_is_refused(name, good, house, tmp_path):
    change, error = CONTENTS[name]
    assert_refused(packed(change(members_of(good))), error, house, tmp_path)


def test_every_cut_of_the_file_is_refused(good, house, tmp_path):
    for length in range(0, len(good), max(len(good) // 40, 1)):
        assert_refused(good[:length], SourceError, house, tmp_path)


@pytest.mark.slow
def test_no_flipped_bit_makes_another_version(good, house, tmp_path):
    """Whatever bit is flipped, the file is refused, or the version is the same to the bit (the bit meant nothing)."""
    digest = json.loads(members_of(good)[INDEX])["digest"]
    path = tmp_path / "d.fairlead"
    for place in range(0, len(good), max(len(good) // 60, 1)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x10]) + good[place + 1 :])
        try:
            taken = import_file(path, house)
        except FairleadError:
            continue
        assert taken.digest == digest
