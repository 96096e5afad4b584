"""Which unpacked versions are in use, so that the others can go: a lock on a file beside each unpacked folder.

`hold` takes a version's digest and the folder of unpacked versions; gives a function that lets go. `prune` removes what nobody holds. Any
number of processes may do both at once; the kernel lets go for a process that was killed. Raises StorageError. It never removes a version
that is held, and who takes hold while it is being removed waits and then unpacks it anew.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from fairlead.stores.durable_files import storage_error, typed_errors

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SUFFIX = ".lease"
REMOVED = ".building-"  # what is moved aside to be removed is called like an unfinished copy, so that it goes with those if we are killed


def hold(digest: str, folder: Path) -> Callable[[], None]:
    """Say that this process uses the unpacked version until the returned function is called (again does no harm)."""
    with typed_errors("taking hold of a version", folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = _locked(folder / f"{digest}{_SUFFIX}", fcntl.LOCK_SH)
        while handle is None:  # removed between opening and locking
            handle = _locked(folder / f"{digest}{_SUFFIX}", fcntl.LOCK_SH)
    held = [handle]

    def let_go() -> None:
        if held:
            last = held.pop()
            fcntl.flock(last, fcntl.LOCK_UN)  # also for copies of the handle that a forked process inherited
            os.close(last)

    return let_go


def is_held(digest: str, folder: Path) -> bool:
    """Return whether any process of this machine uses the unpacked version now. Takes hold of nothing, makes nothing."""
    try:
        handle = os.open(folder / f"{digest}{_SUFFIX}", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise storage_error(error, "asking who uses a version", folder) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def prune(folder: Path, *, keep: Collection[str] = ()) -> int:
    """Remove every unpacked version that nobody holds and whose digest is not in `keep`; return how many went."""
    if not folder.is_dir():
        return 0
    with typed_errors("removing unpacked versions", folder):
        found = {path.name.removesuffix(_SUFFIX) for path in folder.iterdir()}
        return sum(_remove(digest, folder) for digest in sorted(found) if _DIGEST.fullmatch(digest) and digest not in keep)


def _remove(digest: str, folder: Path) -> bool:
    lease = folder / f"{digest}{_SUFFIX}"
    try:
        handle = _locked(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    if handle is None:
        return False  # another process is removing it
    try:
        aside = Path(tempfile.mkdtemp(prefix=REMOVED, dir=folder))
        was_there = True
        try:
            (folder / digest).rename(aside / "unused")
        except FileNotFoundError:
            was_there = False
        lease.unlink()
    finally:
        os.close(handle)
    shutil.rmtree(aside, ignore_errors=True)
    return was_there


def _locked(path: Path, kind: int) -> int | None:
    """Return a handle of the locked file; None where the file that was locked is not the one that now stands at `path`."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(handle, kind)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), path.lstat()):
                return handle
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return None
