"""Blobs in a folder: each lies under its SHA-256, whole or not at all, and is never changed.

    <root>/<first two hex digits>/<digest>   a blob, read-only
    <root>/incoming/*.part                   puts in progress, or what is left of killed ones
    <root>/lock                              held shared while a blob appears, alone while one is discarded

Takes binary streams, gives digests and read-only streams. Raises NotFoundError, NoSpaceError, StorageError; InputError for what is not a
digest. Never acknowledges a put before file and folder are synced, never follows a link.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from fairlead.core.ports import Clock
from fairlead.errors import InputError, NotFoundError, StorageError
from fairlead.stores.durable_files import make_folder, storage_error, sync_folder, typed_errors

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SHARD = re.compile(r"[0-9a-f]{2}")
_CHUNK_BYTES = 2**20
_PUTTING = "storing a file of the version"


class FolderBlobs:
    """A core.ports.BlobStore in the folder `root`. Safe for several threads and processes; `clock` is what ages are measured with."""

    def __init__(self, root: Path, *, clock: Clock = time.time) -> None:
        self._root = root
        self._incoming = root / "incoming"
        self._clock = clock

    def put(self, source: BinaryIO) -> str:
        """Store `source` to its end and return its digest."""
        with typed_errors(_PUTTING, self._root):
            make_folder(self._incoming)
            handle, part = tempfile.mkstemp(suffix=".part", dir=self._incoming)
        with ExitStack() as undo:
            undo.callback(_remove, Path(part))
            digest = self._write(handle, source)
            with typed_errors(_PUTTING, self._root):
                self._publish(Path(part), digest)
            undo.pop_all()
        return digest

    def _write(self, handle: int, source: BinaryIO) -> str:
        """Copy `source` into the open file, sync and close it, and return the digest of what went through."""
        hasher = hashlib.sha256()
        # The copy is synced before it gets its name: a name never stands for bytes that a power cut could take.
        with typed_errors(_PUTTING, self._root), os.fdopen(handle, "wb", buffering=0) as file:
            while chunk := source.read(_CHUNK_BYTES):
                hasher.update(chunk)
                _write_all(file.fileno(), chunk)
            os.fchmod(file.fileno(), 0o444)
            os.fsync(file.fileno())
        return hasher.hexdigest()

    def _publish(self, part: Path, digest: str) -> None:
        """Give the copy its name. It replaces a blob of the same digest: same bytes, new age, and a damaged one is healed."""
        target = self._path(digest)
        target.parent.mkdir(exist_ok=True)
        with self._lock(fcntl.LOCK_SH):
            part.replace(target)
        sync_folder(target.parent)
        # Also where another put made the shard: it may not have come to its own sync.
        sync_folder(self._root)

    @contextmanager
    def open(self, digest: str) -> Iterator[BinaryIO]:
        """Open the blob for reading; what is read is not checked here."""
        path = self._path(digest)
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            raise _missing(digest) from None
        except OSError as error:
            raise storage_error(error, f"reading blob {digest[:12]}", self._root) from error
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise StorageError(f"Blob {digest[:12]} is not a file.", hint=f"Somebody changed {self._root}.")
        with os.fdopen(handle, "rb") as file:
            yield file

    def has(self, digest: str) -> bool:
        """Whether the blob is there."""
        return self._path(digest).is_file()

    def delete(self, digest: str) -> None:
        """Remove the blob. A power cut may bring it back, which harms nothing."""
        with typed_errors("removing a blob", self._root):
            self._path(digest).unlink(missing_ok=True)

    def list(self) -> Iterator[str]:
        """Yield every digest, in order."""
        with typed_errors("listing the blobs", self._root):
            for shard in _entries(self._root, _SHARD):
                yield from _entries(self._root / shard, _DIGEST)

    def age_s(self, digest: str) -> float:
        """Return the seconds since the blob was last put."""
        path = self._path(digest)
        if not self.has(digest):
            raise _missing(digest)
        with typed_errors("reading a blob's age", self._root):
            return self._clock() - path.lstat().st_mtime

    def discard(self, digest: str, *, older_than_s: float) -> bool:
        """Remove the blob if it is old; puts wait meanwhile."""
        if not self.has(digest):
            return False
        with typed_errors("removing a blob", self._root), self._lock(fcntl.LOCK_EX):
            return self._remove_if_old(self._path(digest), older_than_s)

    def discard_unfinished(self, *, older_than_s: float) -> int:
        """Remove the copies of interrupted puts that were last written longer ago than that."""
        with typed_errors("removing leftovers", self._root):
            parts = list(_entries(self._incoming, re.compile(r".+\.part")))
            return sum(self._remove_if_old(self._incoming / part, older_than_s) for part in parts)

    def _remove_if_old(self, path: Path, older_than_s: float) -> bool:
        try:
            if self._clock() - path.lstat().st_mtime <= older_than_s:
                return False
            path.unlink()
        except FileNotFoundError:
            return False
        return True

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise InputError(f"{digest[:80]!r} is not a SHA-256 digest.")
        return self._root / digest[:2] / digest

    @contextmanager
    def _lock(self, kind: int) -> Iterator[None]:
        handle = os.open(self._root / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, kind)
            yield
        finally:
            os.close(handle)


def _entries(folder: Path, pattern: re.Pattern[str]) -> Iterator[str]:
    """Yield the names in `folder` that match, in order; none where it does not exist."""
    try:
        names = [entry.name for entry in folder.iterdir()]
    except FileNotFoundError:
        return
    yield from sorted(name for name in names if pattern.fullmatch(name))


def _write_all(handle: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(handle, view) :]


def _remove(part: Path) -> None:
    with suppress(OSError):  # what cannot be removed now is swept later; the error that led here is the one to tell
        part.unlink()


def _missing(digest: str) -> NotFoundError:
    return NotFoundError(f"There is no blob {digest[:12]}.", hint="The version that needs it cannot be loaded; register it again.")
