"""A private copy of a foreign file, taken once: everything later reads the copy, so that nobody can swap the file in between.

Takes a path and a folder, gives the copy's name, size and SHA-256. Raises SourceError where the path is not a plain, readable, non-empty
file that holds still, NoSpaceError where the disk is full, StorageError where the folder cannot be written. Never opens a device or a
FIFO for good, never parses, never leaves a partial copy.

Links: a path that the user typed may be a symbolic link, that is the user's own choice, and the caller says so with `follow_link=True`
(the copy keeps the name that was typed). A name that came out of a file is never followed, and `allow_hard_link=False` refuses a file
that has a second name elsewhere.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO

from fairlead.core.interface import shorten
from fairlead.core.manifest import FileEntry
from fairlead.errors import NoSpaceError, SourceError, StorageError
from fairlead.security.digests import CHUNK_BYTES

LIMIT_BYTES = 4 * 2**30
_FULL = (errno.ENOSPC, errno.EDQUOT)


def take_snapshot(
    source: Path,
    folder: Path,
    *,
    follow_link: bool = False,
    allow_hard_link: bool = True,
    allow_empty: bool = False,
    limit_bytes: int = LIMIT_BYTES,
    dir_fd: int | None = None,
) -> FileEntry:
    """Copy `source` to `folder / source.name` while hashing it, and return its entry. `folder` is made (0700) where it is absent.

    With `dir_fd`, an open folder, `source` is only what errors call it: the file of that name is opened in that folder.
    """
    reader = _open_source(source, follow_link=follow_link, dir_fd=dir_fd)
    with reader:
        before = os.fstat(reader.fileno())
        _check_status(source, before, allow_hard_link=allow_hard_link, limit_bytes=limit_bytes)
        if before.st_size == 0 and not allow_empty:
            raise SourceError(
                f"'{_shown(source)}' is empty.", hint="Save the model again; an empty file is what an interrupted save or copy leaves."
            )
        target = _make_folder(folder) / source.name
        try:
            writer = os.fdopen(
                os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o400), "wb", buffering=0
            )
        except OSError as error:
            raise _storage_error(error) from None
        try:
            with writer:
                digest, size = _copy(source, reader, writer, limit_bytes)
            _check_still(source, before, os.fstat(reader.fileno()), size)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
    return FileEntry(source.name, size, digest)


def _open_source(source: Path, *, follow_link: bool, dir_fd: int | None) -> BinaryIO:
    # O_NONBLOCK: opening a FIFO that nobody writes must not hang; it has no meaning for regular files.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | (0 if follow_link else os.O_NOFOLLOW)
    try:
        return os.fdopen(os.open(source if dir_fd is None else source.name, flags, dir_fd=dir_fd), "rb", buffering=0)
    except IsADirectoryError:  # fdopen refuses a folder's descriptor and closes it
        raise _folder_error(source) from None
    except ValueError:  # a NUL byte
        raise SourceError("That cannot be a path.", hint="Give the path of a model file.") from None
    except OSError as error:
        raise _source_error(source, error) from None


def _source_error(source: Path, error: OSError) -> SourceError:
    name = _shown(source)
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return SourceError(f"There is no file '{name}'.", hint="Check the path; it is relative to the folder you are in.")
        case errno.ELOOP:
            return SourceError(f"'{name}' is a symbolic link.", hint="Give the file that it points to.")
        case errno.EACCES | errno.EPERM:
            return SourceError(f"'{name}' cannot be read: permission denied.", hint="Make it readable for the user that runs Fairlead.")
        case errno.ENXIO | errno.ENODEV:
            return SourceError(f"'{name}' is not a regular file.", hint="Give the path of a model file.")
        case errno.ENAMETOOLONG:
            return SourceError("That path is too long.", hint="Give the path of a model file.")
        case _:
            return SourceError(
                f"'{name}' cannot be read: {os.strerror(error.errno or 0)}.", hint="Copy it to a healthy disk and try again."
            )


def _folder_error(source: Path) -> SourceError:
    return SourceError(f"'{_shown(source)}' is a folder.", hint="Give the model file in it.")


def _check_status(source: Path, status: os.stat_result, *, allow_hard_link: bool, limit_bytes: int) -> None:
    name = _shown(source)
    if stat.S_ISDIR(status.st_mode):
        raise _folder_error(source)
    if not stat.S_ISREG(status.st_mode):
        raise SourceError(f"'{name}' is not a regular file.", hint="Pipes, sockets and devices are not read; save it to a file first.")
    if status.st_size > limit_bytes:
        raise SourceError(f"'{name}' has {status.st_size} bytes.", hint=f"The limit is {limit_bytes} bytes.")
    if not allow_hard_link and status.st_nlink > 1:
        raise SourceError(f"'{name}' is a hard link to a file that also lies elsewhere.", hint="Put a copy of its own there.")


def _check_still(source: Path, before: os.stat_result, after: os.stat_result, size: int) -> None:
    if size != before.st_size or (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise SourceError(f"'{_shown(source)}' changed while it was read.", hint="Wait until whoever writes it has finished.")


def _make_folder(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _storage_error(error) from None
    return folder


def _copy(source: Path, reader: BinaryIO, writer: BinaryIO, limit_bytes: int) -> tuple[str, int]:
    state = hashlib.sha256()
    size = 0
    while True:
        try:
            piece = reader.read(CHUNK_BYTES)
        except OSError as error:
            raise _source_error(source, error) from None
        if not piece:
            return state.hexdigest(), size
        size += len(piece)
        if size > limit_bytes:
            raise SourceError(f"'{_shown(source)}' grows beyond {limit_bytes} bytes while it is read.")
        state.update(piece)
        try:
            rest = memoryview(piece)
            while rest:
                rest = rest[writer.write(rest) :]
        except OSError as error:
            raise _storage_error(error) from None


def _storage_error(error: OSError) -> StorageError:
    if error.errno in _FULL:
        return NoSpaceError(
            "No space is left for a copy of the model file.", hint="Free some space, or set FAIRLEAD_HOME to a larger disk."
        )
    if error.errno == errno.EEXIST:
        return StorageError("The folder for the copy of the model file already holds one.", hint="Use a fresh folder for every import.")
    return StorageError(f"The copy of the model file cannot be written: {os.strerror(error.errno or 0)}.", hint="Check FAIRLEAD_HOME.")


def _shown(source: Path) -> str:
    return shorten(str(source), 200)
