from __future__ import annotations

import errno
import hashlib
import os
import socket
import stat
from pathlib import Path

import pytest

from fairlead.errors import NoSpaceError, SourceError, StorageError
from fairlead.security import snapshot
from fairlead.security.snapshot import take_snapshot


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "model.h5"
    path.write_bytes(b"abc" * 1_000_000)
    return path


def test_the_copy_has_the_bytes_and_the_digest_of_the_source(source, tmp_path):
    entry = take_snapshot(source, tmp_path / "work" / "source")
    copy = tmp_path / "work" / "source" / "model.h5"
    assert copy.read_bytes() == source.read_bytes()
    assert entry.digest == hashlib.sha256(source.read_bytes()).hexdigest()
    assert (entry.name, entry.size_bytes) == ("model.h5", 3_000_000)
    assert stat.S_IMODE(copy.parent.stat().st_mode) == 0o700


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(SourceError, match=r"no file .*nothing.h5"):
        take_snapshot(tmp_path / "nothing.h5", tmp_path / "work")


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), os.mkfifo, lambda path: path.touch()], ids=["folder", "fifo", "empty"])
def test_what_is_not_a_plain_file_with_content_is_refused_and_leaves_nothing(make, tmp_path):
    path = tmp_path / "model.h5"
    make(path)
    with pytest.raises(SourceError, match=r"is a folder|not a regular file|is empty"):
        take_snapshot(path, tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_a_socket_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("model.h5")
        with pytest.raises(SourceError, match="not a regular file"):
            take_snapshot(Path("model.h5"), tmp_path / "work")


def test_a_device_is_refused(tmp_path):
    with pytest.raises(SourceError, match="not a regular file"):
        take_snapshot(Path("/dev/zero"), tmp_path / "work")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_says_permission_denied(source, tmp_path):
    source.chmod(0)
    with pytest.raises(SourceError, match="permission denied"):
        take_snapshot(source, tmp_path / "work")


def test_a_symbolic_link_is_followed_only_when_the_caller_says_so(source, tmp_path):
    link = tmp_path / "link.h5"
    link.symlink_to(source)
    with pytest.raises(SourceError, match="symbolic link"):
        take_snapshot(link, tmp_path / "work")
    assert take_snapshot(link, tmp_path / "work", follow_link=True).name == "link.h5"


def test_a_second_hard_link_is_refused_when_the_caller_says_so(source, tmp_path):
    os.link(source, tmp_path / "other.h5")
    take_snapshot(source, tmp_path / "allowed")
    with pytest.raises(SourceError, match="hard link"):
        take_snapshot(source, tmp_path / "work", allow_hard_link=False)


def test_a_file_above_the_limit_is_refused(source, tmp_path):
    with pytest.raises(SourceError, match=r"3000000 bytes.*limit is 1000"):
        take_snapshot(source, tmp_path / "work", limit_bytes=1000)


def test_an_existing_copy_is_never_overwritten(source, tmp_path):
    take_snapshot(source, tmp_path / "work")
    with pytest.raises(StorageError, match="already holds one"):
        take_snapshot(source, tmp_path / "work")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_and_leaves_no_partial_copy(source, tmp_path, monkeypatch, code):
    real = snapshot.os.fdopen

    class FullDisk:
        def __init__(self, stream):
            self.stream = stream

        def __enter__(self):
            return self

        def __exit__(self, *details):
            self.stream.close()

        def write(self, piece):
            raise OSError(code, "full")

    monkeypatch.setattr(
        snapshot.os, "fdopen", lambda fd, mode, **rest: FullDisk(real(fd, mode, **rest)) if mode == "wb" else real(fd, mode, **rest)
    )
    with pytest.raises(NoSpaceError):
        take_snapshot(source, tmp_path / "work")
    assert list((tmp_path / "work").iterdir()) == []


def test_a_file_that_changes_while_it_is_read_is_refused(source, tmp_path, monkeypatch):
    real = snapshot._copy

    def copy_and_append(*arguments):
        with source.open("ab") as stream:
            stream.write(b"more")
        return real(*arguments)

    monkeypatch.setattr(snapshot, "_copy", copy_and_append)
    with pytest.raises(SourceError, match="changed while"):
        take_snapshot(source, tmp_path / "work")
    assert list((tmp_path / "work").iterdir()) == []


def test_a_path_with_a_nul_byte_is_refused(tmp_path):
    with pytest.raises(SourceError):
        take_snapshot(Path("a\0b"), tmp_path / "work")
