"""Sketches of what was observed, kept beside the observation log: a file for each model, version and day (UTC).

    .sketches/<model>/v<version>/<day>.sketches

Takes windows of a day and the key of what they were counted against; gives them back. A file is there whole or not at all, and is replaced
as a whole. Raises CorruptError for one that is damaged, UnsupportedError for one of a newer Fairlead, StorageError where the store fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fairlead.core.sketch_window import WindowSketch, from_bytes, to_bytes
from fairlead.errors import CorruptError, NotFoundError

if TYPE_CHECKING:
    from fairlead.stores.prediction_log_files import LogFiles

FOLDER = ".sketches"  # no model can be called so
_NAME = re.compile(rf"{re.escape(FOLDER)}/[^/]+/v\d+/(\d{{4}}-\d\d-\d\d)\.sketches")


class SketchArchive:
    """Sketches below `files`, the place of an observation log. Safe for several processes: of two that write a day, the later one stays."""

    def __init__(self, files: LogFiles) -> None:
        self._files = files

    def days(self, model: str, version: int) -> tuple[float, ...]:
        """Return the days of which something is kept, in order: when each begins, Unix seconds."""
        dates = sorted(date for date, _, _ in self._listed(_folder(model, version)))
        return tuple(datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp() for date in dates)

    def read(self, model: str, version: int, day: float, key: str) -> tuple[WindowSketch, ...]:
        """Return what is kept of a day; nothing where that was counted against something else."""
        try:
            with self._files.open(_path(model, version, day)) as source:
                kept_key, windows = from_bytes(source.read())
        except NotFoundError:
            return ()
        except OSError as error:
            raise CorruptError(f"Sketches of {_date(day)} cannot be read: {error}.", hint="Look at the disk.") from error
        return windows if kept_key == key else ()

    def write(self, model: str, version: int, day: float, key: str, windows: Sequence[WindowSketch]) -> None:
        """Keep these windows as what is known of a day, durably when it returns."""
        self._files.write(_path(model, version, day), to_bytes(key, windows))

    def prune(self, keep_bytes: int) -> int:
        """Remove the oldest days of all models until `keep_bytes` at most are left, and return how many files that were."""
        files = sorted(self._listed(FOLDER))
        size, count = sum(one for _, _, one in files), 0
        for _, path, one in files:
            if size <= keep_bytes:
                break
            self._files.remove(path)
            size -= one
            count += 1
        return count

    def _listed(self, beginning: str) -> Iterator[tuple[str, str, int]]:
        """Yield the date, path and size of every file below."""
        for path, size in self._files.list(beginning):
            name = _NAME.fullmatch(path)
            if name is not None:
                yield name[1], path, size


def _folder(model: str, version: int) -> str:
    return f"{FOLDER}/{model}/v{version}"


def _path(model: str, version: int, day: float) -> str:
    return f"{_folder(model, version)}/{_date(day)}.sketches"


def _date(day: float) -> str:
    return datetime.fromtimestamp(day, UTC).strftime("%Y-%m-%d")
