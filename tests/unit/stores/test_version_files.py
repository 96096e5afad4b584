from __future__ import annotations

import errno
import io
import os
import stat
import threading
import time
from pathlib import Path

import pytest

from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.version import Version
from fairlead.errors import CorruptError, NoSpaceError, NotFoundError
from fairlead.stores.folder_blobs import FolderBlobs
from fairlead.stores.version_files import materialize, read_file

FILES = {"card.md": b"", "model.onnx": bytes(range(256)) * 5000, "verdict.json": b"{}"}


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path / "blobs")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def version(blobs: FolderBlobs) -> Version:
    entries = [FileEntry(name, len(data), blobs.put(io.BytesIO(data))) for name, data in FILES.items()]
    return Version("digits", 3, Manifest(tuple(entries)), 1.0)


def blob_path(tmp_path: Path, version: Version, name: str = "model.onnx") -> Path:
    digest = version.manifest.entry(name).digest
    path = tmp_path / "blobs" / digest[:2] / digest
    path.chmod(0o644)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_manifests_files_and_nothing_else_are_given(version, blobs, cache):
    paths = materialize(version, blobs, cache)
    assert {name: path.read_bytes() for name, path in paths.items()} == FILES
    assert contents(cache / version.digest) == FILES
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths.values()} == {0o444}
    assert sorted(path.name for path in cache.iterdir()) == sorted([version.digest, "lock"])


def test_equal_content_is_unpacked_once(version, blobs, cache):
    first = materialize(version, blobs, cache)
    inode = first["model.onnx"].stat().st_ino
    again = materialize(Version("other", 1, version.manifest, 9.0), blobs, cache)
    assert again == first
    assert again["model.onnx"].stat().st_ino == inode


def damage(kind: str, path: Path, position: int) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    if kind == "flip":
        data[position] ^= 1
    elif kind == "cut":
        del data[position:]
    elif kind == "append":
        data += b"\0"
    path.write_bytes(data)


DAMAGES = [
    *(("flip", position) for position in (0, 1, 1000, 2**20, len(FILES["model.onnx"]) - 1)),
    *(("cut", position) for position in (0, 1, 1000, len(FILES["model.onnx"]) - 1)),
    ("append", 0),
]


@pytest.mark.parametrize(("kind", "position"), DAMAGES)
def test_a_damaged_blob_is_refused_by_the_files_name(version, blobs, cache, tmp_path, kind, position):
    damage(kind, blob_path(tmp_path, version), position)
    with pytest.raises(CorruptError, match=r"'model\.onnx' of digits:3 is not what was registered"):
        materialize(version, blobs, cache)
    with pytest.raises(CorruptError, match=r"model\.onnx"):
        read_file(version, "model.onnx", blobs)
    assert [path.name for path in cache.iterdir()] == []


@pytest.mark.parametrize(("kind", "position"), DAMAGES)
def test_a_damaged_cache_is_built_again(version, blobs, cache, kind, position):
    damage(kind, materialize(version, blobs, cache)["model.onnx"], position)
    materialize(version, blobs, cache)
    assert contents(cache / version.digest) == FILES


def test_swapped_blobs_are_refused(version, blobs, cache, tmp_path):
    one, other = (blob_path(tmp_path, version, name) for name in ("verdict.json", "model.onnx"))
    one.rename(tmp_path / "aside")
    other.rename(one)
    (tmp_path / "aside").rename(other)
    with pytest.raises(CorruptError, match=r"'model\.onnx'"):
        materialize(version, blobs, cache)


def test_a_missing_blob_is_refused_by_the_files_name(version, blobs, cache):
    blobs.delete(version.manifest.entry("verdict.json").digest)
    with pytest.raises(CorruptError, match=r"'verdict\.json' of digits:3 is missing"):
        materialize(version, blobs, cache)


@pytest.mark.parametrize("intruder", ["extra", "link", "folder", "pipe", "missing", "linked folder"])
def test_what_does_not_belong_in_the_cache_does_not_stay(version, blobs, cache, tmp_path, intruder):
    path = materialize(version, blobs, cache)["verdict.json"]
    folder = cache / version.digest
    if intruder == "extra":
        (folder / "sitecustomize.py").write_text("evil")
    elif intruder == "linked folder":
        folder.rename(tmp_path / "elsewhere")
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        path.unlink()
        if intruder == "link":
            (tmp_path / "copy").write_bytes(FILES["verdict.json"])
            path.symlink_to(tmp_path / "copy")
        elif intruder == "folder":
            path.mkdir()
        elif intruder == "pipe":
            os.mkfifo(path)
    materialize(version, blobs, cache)
    assert contents(folder) == FILES
    assert not folder.is_symlink()
    assert all(path.is_file() and not path.is_symlink() for path in folder.iterdir())


@pytest.mark.parametrize("name", ["../model.onnx", "a/b", ".hidden", "/etc/passwd", "model.onnx\n"])
def test_a_manifest_with_a_path_in_it_is_refused_before_a_file_is_touched(blobs, cache, name):
    digest = blobs.put(io.BytesIO(b"x"))
    with pytest.raises(CorruptError, match="plain file name"):
        materialize(Version("digits", 1, Manifest((FileEntry(name, 1, digest),)), 1.0), blobs, cache)
    assert not cache.exists()


def test_servers_that_unpack_at_once_share_one_folder(version, blobs, cache):
    results: list[dict[str, Path]] = []
    threads = [threading.Thread(target=lambda: results.append(materialize(version, blobs, cache))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert len({tuple(result.values()) for result in results}) == 1
    assert contents(cache / version.digest) == FILES
    assert sorted(path.name for path in cache.iterdir()) == sorted([version.digest, "lock"])


def test_what_killed_servers_left_goes_once_it_is_old(version, blobs, cache):
    old, young = cache / ".building-old", cache / ".building-young"
    for folder in (old, young):
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    materialize(version, blobs, cache)
    assert (old.exists(), young.exists()) == (False, True)


def test_a_full_disk_is_said_and_leaves_nothing(version, blobs, cache, monkeypatch):
    class Full(io.BytesIO):
        def write(self, _data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("fairlead.stores.version_files._create", lambda _path: Full())
    with pytest.raises(NoSpaceError, match="unpacking digits:3"):
        materialize(version, blobs, cache)
    assert list(cache.iterdir()) == []


def test_one_file_is_read_and_checked(version, blobs):
    assert read_file(version, "verdict.json", blobs) == b"{}"
    with pytest.raises(NotFoundError, match=r"has no file 'plan\.json'.*card\.md, model\.onnx, verdict\.json"):
        read_file(version, "plan.json", blobs)
