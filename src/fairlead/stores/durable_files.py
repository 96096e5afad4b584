"""What survives a power cut: folders whose entries are synced, and what the system's errors mean for a store.

Raises StorageError, and NoSpaceError where the disk or a quota is full. Never reports success after a failed sync.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fairlead.errors import NoSpaceError, StorageError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def typed_errors(doing: str, folder: Path) -> Iterator[None]:
    """Turn an OSError of the block into a StorageError that says what Fairlead was `doing` in `folder`."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, doing, folder) from error


def storage_error(error: OSError, doing: str, folder: Path) -> StorageError:
    """Return the error to raise for `error`; the path stands in the hint alone, which servers keep to themselves."""
    if error.errno in _FULL:
        return NoSpaceError(f"No space is left for {doing}.", hint=f"Free space (or quota) for {folder} and do it again.")
    reason = error.strerror or type(error).__name__
    return StorageError(f"The system refused {doing}: {reason}.", hint=f"Look at {folder}: its disk, and whether you may write there.")


def make_folder(folder: Path) -> None:
    """Create `folder` and its missing parents, and sync each parent, so that the folder is there after a power cut. Raises OSError."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the entries of `folder` are on the disk. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_full(folder: Path) -> bool:
    """Whether the file system under `folder` has no free block or inode left for this user."""
    try:
        free = os.statvfs(folder)
    except OSError:
        return False
    return free.f_bavail == 0 or (free.f_files > 0 and free.f_favail == 0)
