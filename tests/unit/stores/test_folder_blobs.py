from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
import time
from pathlib import Path

import pytest

from fairlead.errors import NoSpaceError, NotFoundError, StorageError
from fairlead.stores.folder_blobs import FolderBlobs

DIGEST = hashlib.sha256(b"weights").hexdigest()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


@pytest.fixture
def blobs(root: Path) -> FolderBlobs:
    return FolderBlobs(root)


def leftovers(root: Path) -> list[Path]:
    return list((root / "incoming").iterdir())


def test_a_blob_is_a_read_only_file_in_its_shard(blobs, root):
    blobs.put(io.BytesIO(b"weights"))
    path = root / DIGEST[:2] / DIGEST
    assert path.read_bytes() == b"weights"
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert leftovers(root) == []


def test_file_and_folders_are_synced_before_the_put_returns(blobs, root, monkeypatch):
    steps = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (steps.append(str(Path(f"/proc/self/fd/{handle}").readlink())), fsync(handle)))
    monkeypatch.setattr(Path, "replace", lambda part, target: (steps.append("rename"), replace(part, target)))
    blobs.put(io.BytesIO(b"weights"))
    tail = [step if step == "rename" else step.removeprefix(str(root.parent)) for step in steps][-4:]
    assert tail[0].startswith("/blobs/incoming/")
    assert tail[1:] == ["rename", f"/blobs/{DIGEST[:2]}", "/blobs"]
    assert str(root.parent) in steps  # the root itself was made durable when it was created


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["write", "fsync", "fchmod"])
def test_a_full_disk_is_said_and_leaves_nothing(blobs, root, monkeypatch, code, call):
    other = blobs.put(io.BytesIO(b"to make the folders"))

    def fail(*_arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(NoSpaceError, match="No space is left"):
        blobs.put(io.BytesIO(b"weights"))
    monkeypatch.undo()
    assert leftovers(root) == []
    assert list(blobs.list()) == [other]
    assert blobs.put(io.BytesIO(b"weights")) == DIGEST


def test_a_failed_sync_is_never_reported_as_success(blobs, root, monkeypatch):
    fsync, calls = os.fsync, []
    blobs.put(io.BytesIO(b"to make the folders"))

    def fail_at(turn: int) -> None:
        calls.clear()

        def sync(handle: int) -> None:
            calls.append(handle)
            if len(calls) == turn:
                raise OSError(errno.EIO, "Input/output error")
            fsync(handle)

        monkeypatch.setattr(os, "fsync", sync)

    for turn in (1, 2, 3):
        fail_at(turn)
        with pytest.raises(StorageError, match="Input/output error"):
            blobs.put(io.BytesIO(b"weights"))
    fail_at(4)
    assert blobs.put(io.BytesIO(b"weights")) == DIGEST
    assert leftovers(root) == []


def test_short_writes_are_continued(blobs, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, bytes(data)[:3]))
    assert blobs.put(io.BytesIO(b"weights")) == DIGEST
    with blobs.open(DIGEST) as file:
        assert file.read() == b"weights"


def test_a_damaged_blob_is_healed_by_the_next_put(blobs, root):
    blobs.put(io.BytesIO(b"weights"))
    path = root / DIGEST[:2] / DIGEST
    path.chmod(0o644)
    path.write_bytes(b"w")
    blobs.put(io.BytesIO(b"weights"))
    assert path.read_bytes() == b"weights"


def test_a_reader_keeps_its_blob_while_it_is_put_again_and_deleted(blobs):
    blobs.put(io.BytesIO(b"weights"))
    with blobs.open(DIGEST) as file:
        blobs.put(io.BytesIO(b"weights"))
        blobs.delete(DIGEST)
        assert file.read() == b"weights"


def test_a_link_in_the_place_of_a_blob_is_not_followed(blobs, root, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("sk_live_TEST")
    blobs.put(io.BytesIO(b"weights"))
    path = root / DIGEST[:2] / DIGEST
    path.unlink()
    path.symlink_to(secret)
    with pytest.raises(StorageError), blobs.open(DIGEST):
        pass
    assert path.read_text() == "sk_live_TEST"  # the attack is real: a plain open follows


def test_a_folder_in_the_place_of_a_blob_is_refused(blobs, root):
    (root / DIGEST[:2] / DIGEST).mkdir(parents=True)
    with pytest.raises(StorageError), blobs.open(DIGEST):
        pass
    assert not blobs.has(DIGEST)


def test_what_a_killed_put_left_is_swept_once_it_is_old(blobs, root):
    blobs.put(io.BytesIO(b"weights"))
    old, young, other = (root / "incoming" / name for name in ("old.part", "young.part", "note.txt"))
    for path in (old, young, other):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    os.utime(other, (time.time() - 7200,) * 2)
    assert blobs.discard_unfinished(older_than_s=3600.0) == 1
    assert (old.exists(), young.exists(), other.exists()) == (False, True, True)
    assert list(blobs.list()) == [DIGEST]


def test_strangers_in_the_folder_are_not_listed(blobs, root):
    blobs.put(io.BytesIO(b"weights"))
    (root / DIGEST[:2] / "README").write_text("hello")
    (root / "zz").mkdir()
    assert list(blobs.list()) == [DIGEST]


def test_a_folder_that_may_not_be_written_is_said(tmp_path, monkeypatch):
    def refuse(*_arguments: object, **_keywords: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StorageError, match="Permission denied") as caught:
        FolderBlobs(tmp_path / "blobs").put(io.BytesIO(b"weights"))
    assert str(tmp_path) in caught.value.hint
    assert str(tmp_path) not in caught.value.message


def test_a_blob_that_vanishes_while_it_is_looked_at_is_not_found(blobs):
    with pytest.raises(NotFoundError):
        blobs.age_s(DIGEST)
