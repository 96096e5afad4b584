"""The observation log as whoever writes it needs it: rows and labels into files, and files out of the log again. It reads none.

Takes rows and labels; makes one file for each call of `append` and `add_labels`. Raises StorageError where the store fails. Arrow is loaded
for columns of lists alone.
"""

from __future__ import annotations

import itertools
import json
import math
import uuid
from collections.abc import Callable, Sequence

import numpy as np

from fairlead.core.observation_log import ObservedRows, Pruned, RowLabel
from fairlead.stores.prediction_log_files import LogFiles
from fairlead.stores.prediction_log_names import LogFile, name_labels, name_rows, read_name
from fairlead.stores.prediction_log_plain import MARK, Bytes, is_flat, plain_file

_LEFTOVER_S = 3600.0


def go_on() -> None:
    """Wait for nobody."""


class LogWriter:
    """A core.observation_log.ObservationWriter over `files`. `pause` is called between pieces of long work."""

    def __init__(self, files: LogFiles, *, pause: Callable[[], None] = go_on) -> None:
        self._files, self._pause = files, pause
        self._writer = uuid.uuid4().hex[:8]
        self._numbers = itertools.count(1)

    def models(self) -> tuple[str, ...]:
        """Return the names of the models of which something is kept."""
        return tuple(sorted({file.model for file in self.listed("")[0]}))

    def append(self, rows: ObservedRows) -> int:
        """Keep rows, and return the bytes that they take."""
        at = rows.columns["at"]
        parts = self._encoded(rows)
        path = name_rows(rows.model, rows.version, (float(np.min(at)), float(np.max(at))), self._writer, next(self._numbers))
        self._files.write(path, *parts)
        return sum(map(len, parts))

    def add_labels(self, model: str, labels: Sequence[RowLabel]) -> None:
        """Keep labels."""
        if labels:
            span = min(label.at for label in labels), max(label.at for label in labels)
            path = name_labels(model, span, self._writer, next(self._numbers))
            self._files.write(path, *encode_labels(labels, pause=self._pause))

    def prune(self, *, before: float = -math.inf, keep_bytes: float = math.inf, model: str = "") -> Pruned:
        """Remove what is too old, and then the oldest rows until the rest is small enough."""
        self._files.sweep(older_than_s=_LEFTOVER_S)
        files = self.listed(model)[0]
        gone = [file for file in files if file.last_at < before]
        left = sorted((file for file in files if file.last_at >= before), key=lambda file: (file.is_labels, file.last_at, file.merged_at))
        size = sum(file.size_bytes for file in left)
        for file in left:
            if size <= keep_bytes:
                break
            gone.append(file)
            size -= file.size_bytes
        # What a merged file was made of goes first: while it is there, nobody reads that.
        for file in sorted(gone, key=lambda file: file.merged_at):
            self._files.remove(file.path)
            self._forget(file.path)
        return Pruned(len(gone), sum(file.size_bytes for file in gone), size)

    def _forget(self, path: str) -> None:
        """A file is gone."""

    def _encoded(self, rows: ObservedRows) -> Sequence[Bytes]:
        if all(map(is_flat, rows.columns.values())):
            return plain_file(rows.columns, MARK, pause=self._pause)
        from fairlead.stores.prediction_log_columns import encode_rows  # noqa: PLC0415 - lists are rare, and Arrow takes 40 MB

        return [encode_rows(rows)]

    def listed(self, model: str) -> tuple[list[LogFile], list[str]]:
        """Return the log's files, and the names of others that lie among them."""
        files, strange = [], []
        for path, size_bytes in self._files.list(model):
            file = read_name(path, size_bytes)
            if file is None:
                strange.append(path)
            else:
                files.append(file)
        return files, strange


def encode_labels(labels: Sequence[RowLabel], *, pause: Callable[[], None] = go_on) -> list[Bytes]:
    """Return a file with the labels."""
    ids, rows, values, times = zip(*labels, strict=True)
    texts = np.empty((2, len(labels)), object)
    texts[0], texts[1] = ids, [json.dumps(value) for value in values]
    columns = {"request_id": texts[0], "row": np.array(rows, np.int32), "label": texts[1], "at": np.array(times, np.float64)}
    return plain_file(columns, MARK, pause=pause)
