"""A version's files as files: copied from the blob store by its manifest, each checked against its digest while it is copied.

Takes a Version, a BlobStore and a cache folder that any number of servers may share; gives name -> path. Raises CorruptError that names
the file which is missing or not what was registered, NoSpaceError, StorageError. Never gives a file that the manifest does not list,
never follows a link, never trusts what lies in the cache: it is hashed again each time.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

from fairlead.core.manifest import FileEntry
from fairlead.core.ports import BlobStore
from fairlead.core.version import Version
from fairlead.errors import CorruptError, NotFoundError
from fairlead.stores.durable_files import typed_errors

_CHUNK_BYTES = 2**20
_BUILDING = ".building-"
_ABANDONED_S = 3600.0  # a copy that is still not finished after this long belongs to nobody
_HINT = "Register the model again, or restore the registry from a backup."


def materialize(version: Version, blobs: BlobStore, folder: Path) -> dict[str, Path]:
    """Return name -> path of every file of `version`, in `folder`/<digest of the version>, checked just now.

    A sound folder is shared by all who ask for the same content; a damaged one is built again from the blobs.
    """
    _check_names(version)
    target = folder / version.digest
    with typed_errors(f"unpacking {version.label}", folder):
        if not _is_sound(version, target):
            folder.mkdir(parents=True, exist_ok=True)
            _install(version, _build(version, blobs, folder), target)
    return {entry.name: target / entry.name for entry in version.manifest.files}


def read_file(version: Version, name: str, blobs: BlobStore) -> bytes:
    """Return the checked bytes of one file of `version`; raises NotFoundError where the version has no such file."""
    for entry in version.manifest.files:
        if entry.name == name:
            return b"".join(_checked_chunks(version, entry, blobs))
    listed = ", ".join(entry.name for entry in version.manifest.files)
    raise NotFoundError(f"{version.label} has no file '{name}'.", hint=f"It has: {listed}.")


def _check_names(version: Version) -> None:
    if not version.manifest.is_bare:
        raise CorruptError(f"The manifest of {version.label} lists a name that is not a plain file name.", hint=_HINT)


def _build(version: Version, blobs: BlobStore, folder: Path) -> Path:
    """Copy every file into a fresh folder and return it. No sync: whoever uses it later hashes it first."""
    building = Path(tempfile.mkdtemp(prefix=_BUILDING, dir=folder))
    with ExitStack() as undo:
        undo.callback(shutil.rmtree, building, ignore_errors=True)
        _remove_abandoned(folder, newest=building)
        for entry in version.manifest.files:
            with _create(building / entry.name) as file:
                for chunk in _checked_chunks(version, entry, blobs):
                    file.write(chunk)
        undo.pop_all()
    return building


def _create(path: Path) -> BinaryIO:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o444)
    return os.fdopen(handle, "wb")


def _checked_chunks(version: Version, entry: FileEntry, blobs: BlobStore) -> Iterator[bytes]:
    """Yield the bytes of `entry`; raises CorruptError at the end unless they are all there, no more, and have the digest."""
    hasher, missing_bytes = hashlib.sha256(), entry.size_bytes
    try:
        with blobs.open(entry.digest) as source:
            while missing_bytes >= 0 and (chunk := source.read(min(_CHUNK_BYTES, missing_bytes + 1))):
                missing_bytes -= len(chunk)
                hasher.update(chunk)
                yield chunk
    except NotFoundError:
        raise CorruptError(f"File '{entry.name}' of {version.label} is missing.", hint=_HINT) from None
    if missing_bytes or hasher.hexdigest() != entry.digest:
        raise CorruptError(f"File '{entry.name}' of {version.label} is not what was registered.", hint=_HINT)


def _is_sound(version: Version, target: Path) -> bool:
    """Whether `target` holds the files of `version`, with their bytes, and nothing else."""
    try:
        folder = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - of the open folder, not of what now stands at its path
        is_listed = names == [entry.name for entry in version.manifest.files]
        return is_listed and all(_is_file_sound(folder, entry) for entry in version.manifest.files)
    finally:
        os.close(folder)


def _is_file_sound(folder: int, entry: FileEntry) -> bool:
    try:
        # Without O_NONBLOCK a pipe in the place of the file would hold us for ever.
        handle = os.open(entry.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return False
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode) or status.st_size != entry.size_bytes:
        os.close(handle)
        return False
    with os.fdopen(handle, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == entry.digest


def _install(version: Version, building: Path, target: Path) -> None:
    """Give the finished folder its name, unless another server was faster; what is unsound there goes."""
    lock = os.open(target.parent / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a sound folder that somebody reads is never moved away, not even for its twin
        if not _is_sound(version, target):
            _move_aside(target)
            building.rename(target)
    finally:
        os.close(lock)
        shutil.rmtree(building, ignore_errors=True)


def _move_aside(target: Path) -> None:
    aside = Path(tempfile.mkdtemp(prefix=_BUILDING, dir=target.parent))
    with suppress(FileNotFoundError):
        target.rename(aside / "unsound")
    shutil.rmtree(aside, ignore_errors=True)


def _remove_abandoned(folder: Path, *, newest: Path) -> None:
    """Remove what killed servers left; ages are measured from `newest`, so by the file system's own clock."""
    now = newest.stat().st_mtime
    for path in folder.glob(f"{_BUILDING}*"):
        with suppress(FileNotFoundError):
            if now - path.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(path, ignore_errors=True)
