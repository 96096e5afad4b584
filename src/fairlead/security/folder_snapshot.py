"""A private copy of a foreign folder: regular files only, each copied while its digest is taken; see `snapshot` for one file.

Takes a folder's path and where the copy goes (a folder that is not there yet); gives one entry per file, named by its path in the folder
with slashes. Raises SourceError for links, devices, too many files, too deep folders, names that are no plain text, an empty folder, and
one that changes while it is read; what `take_snapshot` raises otherwise. Every folder is opened from the one above it and never by its
path, so that nobody can put a link in its place meanwhile. Leaves no partial copy.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path

from fairlead.core.interface import shorten
from fairlead.core.manifest import FileEntry
from fairlead.errors import NoSpaceError, SourceError, StorageError
from fairlead.security.snapshot import LIMIT_BYTES, take_snapshot

_ENTRY_LIMIT, _DEPTH_LIMIT = 4096, 8
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_HINT = "Give the folder that the model was saved to."


def take_folder_snapshot(source: Path, target: Path, *, limit_bytes: int = LIMIT_BYTES) -> list[FileEntry]:
    """Copy every file under `source`, at most `limit_bytes` in all, to the same place under the new folder `target`; return their entries
    in order of name. `source` itself may be a link, which is the user's own choice.
    """
    root = _open(source)
    try:
        _make(target)
        try:
            return _Copy(source, target, limit_bytes).take_all(root)
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise
    finally:
        os.close(root)


class _Copy:
    """One run through a folder: what was copied so far, and how much may follow."""

    def __init__(self, source: Path, target: Path, limit_bytes: int) -> None:
        self._entries: list[FileEntry] = []
        self._source, self._target = source, target
        self._limit_bytes = self._left_bytes = limit_bytes
        self._left_entries = _ENTRY_LIMIT

    def take_all(self, root: int) -> list[FileEntry]:
        """Copy what the open `root` holds and return the entries in order of name."""
        self._take(root, Path(), depth=0)
        if not self._entries:
            raise SourceError(f"The folder '{_shown(self._source)}' is empty.", hint=_HINT)
        return sorted(self._entries, key=lambda entry: entry.name)

    def _take(self, folder: int, inside: Path, *, depth: int) -> None:
        """Copy what the open `folder` holds to `inside` the target."""
        before = os.fstat(folder).st_mtime_ns
        for name in self._names(folder, inside):
            place = inside / name
            status = self._status(folder, name, place)
            if stat.S_ISDIR(status.st_mode):
                if depth == _DEPTH_LIMIT:
                    raise SourceError(f"'{self._name(place)}' lies too deep.", hint=_HINT)
                self._take_folder(folder, place, depth + 1)
            elif stat.S_ISREG(status.st_mode):
                self._take_file(folder, place)
            else:
                raise SourceError(f"'{self._name(place)}' is a link or a device.", hint="Put copies in place of links.")
        if os.fstat(folder).st_mtime_ns != before:
            raise SourceError(f"'{self._name(inside)}' changed while it was read.", hint="Wait until whoever writes it has finished.")

    def _names(self, folder: int, inside: Path) -> list[str]:
        names = []
        with os.scandir(folder) as children:
            for child in children:
                if not child.name.isprintable() or "\\" in child.name:
                    raise SourceError(f"'{self._name(inside / child.name)}' has a name that no model's file has.", hint=_HINT)
                self._left_entries -= 1
                if self._left_entries < 0:
                    raise SourceError(f"The folder '{_shown(self._source)}' holds more than {_ENTRY_LIMIT} files and folders.", hint=_HINT)
                names.append(child.name)
        return sorted(names)

    def _status(self, folder: int, name: str, place: Path) -> os.stat_result:
        try:
            return os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            raise _unreadable(self._source / place, error) from None

    def _take_folder(self, folder: int, place: Path, depth: int) -> None:
        try:
            child = os.open(place.name, _FLAGS | os.O_NOFOLLOW, dir_fd=folder)
        except OSError as error:
            raise _unreadable(self._source / place, error) from None
        try:
            self._take(child, place, depth=depth)
        finally:
            os.close(child)

    def _take_file(self, folder: int, place: Path) -> None:
        entry = take_snapshot(
            self._source / place,
            self._target / place.parent,
            allow_hard_link=False,
            allow_empty=True,  # markers such as fingerprint files may be empty
            limit_bytes=self._limit_bytes,
            dir_fd=folder,
        )
        self._left_bytes -= entry.size_bytes
        if self._left_bytes < 0:
            raise SourceError(f"The folder '{_shown(self._source)}' holds more than {self._limit_bytes} bytes.", hint=_HINT)
        self._entries.append(FileEntry(place.as_posix(), entry.size_bytes, entry.digest))

    def _name(self, inside: Path) -> str:
        return _shown(self._source / inside)


def _open(source: Path) -> int:
    try:
        return os.open(source, _FLAGS)
    except OSError as error:
        raise _unreadable(source, error) from None
    except ValueError:  # a NUL byte
        raise SourceError("That cannot be a path.", hint=_HINT) from None


def _make(target: Path) -> None:
    try:
        target.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        raise StorageError("The folder for the copy of the model is there already.", hint="Use a fresh folder for every import.") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpaceError("No space is left for a copy of the model.", hint="Free some space.") from None
        raise StorageError(f"The copy of the model cannot be written: {error.strerror}.", hint="Check FAIRLEAD_HOME.") from None


def _unreadable(path: Path, error: OSError) -> SourceError:
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return SourceError(f"'{_shown(path)}' is a link or no folder.", hint="Put copies in place of links.")
    return SourceError(f"'{_shown(path)}' cannot be read: {error.strerror}.", hint="Make it readable, or give a copy.")


def _shown(path: Path) -> str:
    return shorten(str(path), 200)
