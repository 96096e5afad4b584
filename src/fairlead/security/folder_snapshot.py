"""A private copy of a foreign folder: regular files only, each copied while its digest is taken; see `snapshot` for one file.

Takes a folder's path and where the copy goes; gives one entry per file, named by its path in the folder with slashes. Raises SourceError
for links, devices, too many files, too deep folders, names that are no plain text, and an empty folder; what `take_snapshot` raises
otherwise. Leaves no partial copy.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from fairlead.core.interface import shorten
from fairlead.core.manifest import FileEntry
from fairlead.errors import SourceError
from fairlead.security.snapshot import LIMIT_BYTES, take_snapshot

_FILE_LIMIT, _DEPTH_LIMIT = 4096, 8
_EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # SHA-256 of no bytes
_HINT = "Give the folder that the model was saved to."


def take_folder_snapshot(source: Path, target: Path, *, limit_bytes: int = LIMIT_BYTES) -> list[FileEntry]:
    """Copy every file under `source` to the same place under `target`; return their entries in order of name."""
    try:
        entries = [_take(source, path, target, limit_bytes) for path in sorted(_files(source, depth=0), key=Path.as_posix)]
        _check_all(source, entries, limit_bytes)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    return entries


def _check_all(source: Path, entries: list[FileEntry], limit_bytes: int) -> None:
    if not entries:
        raise SourceError(f"The folder '{_shown(source)}' is empty.", hint=_HINT)
    if sum(entry.size_bytes for entry in entries) > limit_bytes:
        raise SourceError(f"The folder '{_shown(source)}' holds more than {limit_bytes} bytes.", hint=_HINT)


def _files(folder: Path, *, depth: int) -> list[Path]:
    """Every regular file under `folder`; nothing else may be there."""
    found: list[Path] = []
    try:
        children = list(os.scandir(folder))
    except OSError as error:
        raise SourceError(f"'{_shown(folder)}' cannot be read: {error.strerror}.", hint="Make it readable, or give a copy.") from None
    for child in children:
        path = Path(child.path)
        mode = child.stat(follow_symlinks=False).st_mode
        if not child.name.isprintable() or "\\" in child.name:
            raise SourceError(f"'{_shown(path)}' has a name that no model's file has.", hint="Give the folder as it was saved.")
        if stat.S_ISDIR(mode):
            if depth == _DEPTH_LIMIT:
                raise SourceError(f"'{_shown(path)}' lies too deep.", hint=_HINT)
            found += _files(path, depth=depth + 1)
        elif stat.S_ISREG(mode):
            found.append(path)
        else:
            raise SourceError(f"'{_shown(path)}' is a link or a device.", hint="Put copies in place of links.")
        if len(found) > _FILE_LIMIT:
            raise SourceError(f"'{_shown(folder)}' holds more than {_FILE_LIMIT} files.", hint=_HINT)
    return found


def _take(source: Path, path: Path, target: Path, limit_bytes: int) -> FileEntry:
    inside = path.relative_to(source)
    if path.stat(follow_symlinks=False).st_size == 0:  # markers such as fingerprint files may be empty; a model is not
        (target / inside.parent).mkdir(mode=0o700, parents=True, exist_ok=True)
        (target / inside).touch(mode=0o400, exist_ok=False)
        return FileEntry(inside.as_posix(), 0, _EMPTY)
    entry = take_snapshot(path, target / inside.parent, follow_link=False, allow_hard_link=False, limit_bytes=limit_bytes)
    return FileEntry(inside.as_posix(), entry.size_bytes, entry.digest)


def _shown(path: Path) -> str:
    return shorten(str(path), 200)
