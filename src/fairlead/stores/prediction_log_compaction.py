"""Many small files of the observation log to few, and nobody who reads meanwhile sees a row twice or misses one.

Takes the log's files and a model; makes one file of those that belong together, and removes these an hour later (the laws are in
prediction_log_merging). A kill at any moment leaves either the many or the one that counts. Files that cannot be read are left alone.
Raises StorageError.
"""

from __future__ import annotations

import itertools
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from fairlead.core.ports import Clock
from fairlead.errors import CorruptError, NotFoundError, StorageError
from fairlead.stores.prediction_log import PredictionLog
from fairlead.stores.prediction_log_columns import LogReader, encode_merged
from fairlead.stores.prediction_log_files import LogFiles
from fairlead.stores.prediction_log_merging import GRACE_S, groups, hidden
from fairlead.stores.prediction_log_names import LogFile, name_merged


@dataclass(frozen=True)
class Compacted:
    """What became of a model's files: so many were made of so many; so many that did not count any more were removed. `has_ended`: there
    was time for all.
    """

    made_count: int = 0
    source_count: int = 0
    removed_count: int = 0
    has_ended: bool = True

    def __add__(self, other: Compacted) -> Compacted:
        return Compacted(
            self.made_count + other.made_count,
            self.source_count + other.source_count,
            self.removed_count + other.removed_count,
            self.has_ended and other.has_ended,
        )


class Compactor:
    """Compacts the log in `files`. `is_enough` is asked before each file is made, whether to stop."""

    def __init__(self, files: LogFiles, clock: Clock, is_enough: Callable[[], bool]) -> None:
        self._files, self._clock, self._is_enough = files, clock, is_enough
        self._log = PredictionLog(files)
        self._writer = uuid.uuid4().hex[:8]
        self._numbers = itertools.count(1)

    def compact_all(self, models: Iterable[str]) -> Compacted:
        """Merge and remove what is due of several models."""
        done = Compacted()
        for model in models:
            done += self.compact(model)
        return done

    def compact(self, model: str) -> Compacted:
        """Merge and remove what is due of a model."""
        done = Compacted(removed_count=self._remove_replaced(model))
        for group in self._groups(model):
            if self._is_enough():
                return done + Compacted(has_ended=False)
            done += self._merge(model, group)
        return done

    def _groups(self, model: str) -> list[list[LogFile]]:
        return groups(self._counting(model), self._clock())

    def _counting(self, model: str) -> list[LogFile]:
        files = self._log.listed(model)[0]
        gone = hidden(files, self._log.replaces)
        return [file for file in files if file.path not in gone]

    def _remove_replaced(self, model: str) -> int:
        """Remove what has not counted for so long that nobody reads it any more. What shows that a merged file was made twice goes after
        that file: without it, both would count.
        """
        files = self._log.listed(model)[0]
        gone, long_ago = hidden(files, self._log.replaces), self._clock() - GRACE_S
        due = [file for file in gone.twice if file.merged_at < long_ago]
        shows = {path for file in gone.twice if file not in due for path in self._log.replaces(file) or ()}
        for file in files:
            merged = gone.replaced.get(file.path)
            if merged is not None and merged.merged_at < long_ago and file.path not in shows:
                due.append(file)
        for file in due:
            self._files.remove(file.path)
        return len(due)

    def _merge(self, model: str, group: Sequence[LogFile]) -> Compacted:
        """Make one file of each set of files with the same columns."""
        sets: dict[bytes, list[tuple[LogFile, pa.Table]]] = defaultdict(list)
        for file in group:
            table = self._read(file.path)
            if table is not None:
                sets[table.schema.serialize().to_pybytes()].append((file, table))
        done = Compacted()
        for pairs in sets.values():
            files, tables = [file for file, _ in pairs], [table for _, table in pairs]
            content = encode_merged(tables, [file.path for file in files])
            counting = {file.path for file in self._counting(model)}
            if all(file.path in counting for file in files):  # nobody else was at it meanwhile
                self._write(name_merged(files, self._clock(), self._writer, next(self._numbers)), content, sum(map(len, tables)))
                done += Compacted(1, len(files))
        return done

    def _write(self, path: str, content: memoryview, row_count: int) -> None:
        """Write a merged file: once it is there, it counts. One that does not come back as it was made goes again."""
        self._files.write(path, content)
        table = self._read(path)
        if table is None or len(table) != row_count:
            self._files.remove(path)
            raise StorageError("A file of observations did not come back as it was written.", hint="Look at the disk; nothing is lost.")

    def _read(self, path: str) -> pa.Table | None:
        try:
            with self._files.open(path) as source:
                return LogReader(source).table()
        except (CorruptError, NotFoundError):
            return None
