"""The observation log's files in a folder: each is there whole or not at all, also after a power cut.

Takes paths relative to the folder, and bytes; gives files to read. A file is written under another name, synced, and named; what a killed
writer left is removed by the next sweep. Raises NoSpaceError, NotFoundError, StorageError. Files can be read by their owner alone.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fairlead.errors import NotFoundError
from fairlead.stores.durable_files import make_folder, sync_folder, typed_errors

if TYPE_CHECKING:
    import pyarrow as pa

_INCOMING = ".incoming-"
_TOGETHER_BYTES = 2**15  # parts that are smaller are written together


class LogFolder:
    """Files below `folder`, which is made when something is written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def shown(self) -> str:
        """Where it is, for a person."""
        return str(self._folder)

    def list(self, beginning: str = "") -> Iterator[tuple[str, int]]:
        """Yield the path and size of every file below `beginning`, a folder, in order; unfinished ones are left out."""
        with typed_errors("reading the observations", self._folder):
            for place, folders, names in os.walk(self._folder / beginning):
                folders.sort()
                for name in sorted(names):
                    path = Path(place) / name
                    if name.startswith(_INCOMING) or path.is_symlink():
                        continue
                    with suppress(FileNotFoundError):  # it has just been removed
                        yield path.relative_to(self._folder).as_posix(), path.stat().st_size

    def open(self, path: str) -> pa.NativeFile:
        """Open a file for reading."""
        import pyarrow as pa  # noqa: PLC0415 - who only writes does without Arrow, which takes 40 MB

        with typed_errors("reading the observations", self._folder):
            try:
                return pa.OSFile(str(self._folder / path), "rb")
            except FileNotFoundError:
                raise NotFoundError(f"There is no file {path} any more.", hint="It was removed meanwhile: ask again.") from None

    def write(self, path: str, *parts: bytes | memoryview) -> None:
        """Write a file of the parts, durably when it returns. Leaves nothing where it fails."""
        target = self._folder / path
        with typed_errors("the observations", self._folder):
            try:
                self._write(target, parts)
            except FileNotFoundError:  # somebody removed the folder, which was empty, in between
                self._write(target, parts)

    def _write(self, target: Path, parts: Sequence[bytes | memoryview]) -> None:
        make_folder(target.parent)
        incoming = target.with_name(f"{_INCOMING}{uuid.uuid4().hex}")
        try:
            handle = os.open(incoming, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with open(handle, "wb", buffering=_TOGETHER_BYTES) as file:  # noqa: PTH123 - it is open already
                file.writelines(parts)
                file.flush()
                os.fsync(file.fileno())
            incoming.replace(target)
        except BaseException:
            incoming.unlink(missing_ok=True)
            raise
        sync_folder(target.parent)

    def remove(self, path: str) -> None:
        """Remove a file, and its folder where that is empty then; no error where it is absent."""
        target = self._folder / path
        with typed_errors("removing observations", self._folder):
            target.unlink(missing_ok=True)
        with suppress(OSError):  # others are in it
            target.parent.rmdir()

    def sweep(self, *, older_than_s: float) -> int:
        """Remove what killed writers left, and return how much that was."""
        oldest, count = time.time() - older_than_s, 0
        with typed_errors("removing leftovers", self._folder):
            for path in self._folder.rglob(_INCOMING + "*"):
                with suppress(FileNotFoundError):
                    if path.stat().st_mtime < oldest:
                        path.unlink()
                        count += 1
        return count
