"""The observation log in Parquet files, in a folder or in a store that speaks S3.

Takes rows and labels, one file for each call of `append` and `add_labels`; gives rows in pieces, with their labels. What a file's name says
decides whether it is opened. Files that are torn or of somebody else are left out and named. Raises StorageError where the store fails.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

import numpy as np
import pyarrow as pa

from fairlead.core.interface import Array
from fairlead.core.observation_log import LABEL, LabelMatch, LogSize, LogWindow, ObservedRows, Pruned, RowLabel
from fairlead.core.ports import Clock
from fairlead.errors import CorruptError, NotFoundError
from fairlead.stores.prediction_log_columns import LogReader, encode_labels, encode_rows, objects
from fairlead.stores.prediction_log_labels import LabelIndex, ambiguous, match, places, read_labels
from fairlead.stores.prediction_log_names import LogFile, name_labels, name_rows, read_name

_IDS = ("request_id", "own_id", "row")
_LEFTOVER_S = 3600.0
_LATE_LABEL_S = 86_400.0  # how far behind a request's clock the clock of its labels may be
_KNOWN_LIMIT = 100_000  # files whose columns are remembered
_SMALL_ROWS_PER_S = 2_000  # up to here there is time to make files small


class LogFiles(Protocol):
    """Where the files are: a folder, or a bucket."""

    def list(self, beginning: str = "") -> Iterator[tuple[str, int]]:
        """Yield the path and size of every file below `beginning`, in order."""
        ...

    def open(self, path: str) -> pa.NativeFile:
        """Open a file for reading. Raises NotFoundError."""
        ...

    def write(self, path: str, content: memoryview) -> None:
        """Write a file, whole or not at all, durably when it returns."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file; no error where it is absent."""
        ...

    def sweep(self, *, older_than_s: float) -> int:
        """Remove what killed writers left, and return how much that was."""
        ...


class PredictionLog:
    """A core.observation_log.ObservationLog over `files`. `monotonic` only tells how fast rows come."""

    def __init__(self, files: LogFiles, *, monotonic: Clock = time.monotonic) -> None:
        self._files, self._monotonic = files, monotonic
        self._writer = uuid.uuid4().hex[:8]
        self._numbers = itertools.count(1)
        self._appended_at = -math.inf
        self._lock = threading.Lock()
        self._known: dict[str, tuple[dict[str, str], int]] = {}  # path -> columns and rows; files never change
        self._torn: set[str] = set()

    def models(self) -> tuple[str, ...]:
        """Return the names of the models of which something is kept."""
        return tuple(sorted({file.model for file in self._listed("")[0]}))

    def append(self, rows: ObservedRows) -> int:
        """Keep rows, and return the bytes that they take."""
        at = rows.columns["at"]
        now, before = self._monotonic(), self._appended_at
        self._appended_at = now
        content = encode_rows(rows, is_small=rows.row_count < _SMALL_ROWS_PER_S * (now - before))
        path = name_rows(rows.model, rows.version, (float(np.min(at)), float(np.max(at))), self._writer, next(self._numbers))
        self._files.write(path, content)
        return content.nbytes

    def columns(self, window: LogWindow) -> Mapping[str, str]:
        """Return the columns of the window's rows and what they hold."""
        found: dict[str, str] = {}
        for file in self._rows_of(window):
            known = self._describe(file)
            for name, kind in known[0].items() if known is not None else ():
                found[name] = _wider(found.get(name, kind), kind)
        return found | {LABEL: "label"} if found else {}

    def scan(self, window: LogWindow, columns: Sequence[str] = ()) -> Iterator[Mapping[str, Array]]:
        """Yield the window's rows in pieces."""
        kinds = self.columns(window)
        wanted = tuple(columns or kinds)
        labels = self._labels_of(window) if LABEL in wanted else None
        for file in self._rows_of(window):
            for piece in self._pieces(file, window, wanted if labels is None else (*wanted, *_IDS)):
                count = len(next(iter(piece.values())))
                if labels is not None:
                    piece[LABEL] = labels.join(piece)
                yield {name: piece[name] if name in piece else _missing(kinds.get(name, "number"), count) for name in wanted}

    def sources(self, window: LogWindow) -> Mapping[str, tuple[float, float]]:
        """Return the files in which rows of the window can be, with their first and last times."""
        return {file.path: (file.first_at, file.last_at) for file in self._rows_of(window)}

    def size(self, window: LogWindow) -> LogSize:
        """Return how much there is in the files that touch the window."""
        files, strange = self._listed(window.model)
        touching = [file for file in files if not file.is_labels and file.model == window.model and file.touches(window)]
        told = [(file, self._describe(file)) for file in touching]
        good = [(file, known[1]) for file, known in told if known is not None and file.path not in self._torn]
        bad = {file.path for file, _ in told} - {file.path for file, _ in good}
        return LogSize(
            len(good),
            sum(count for _, count in good),
            sum(file.size_bytes for file, _ in good),
            min((file.first_at for file, _ in good), default=math.nan),
            max((file.last_at for file, _ in good), default=math.nan),
            (*strange, *sorted(bad)),
        )

    def add_labels(self, model: str, labels: Sequence[RowLabel]) -> None:
        """Keep labels."""
        if labels:
            span = min(label.at for label in labels), max(label.at for label in labels)
            self._files.write(name_labels(model, span, self._writer, next(self._numbers)), encode_labels(labels))

    def match(self, model: str, labels: Sequence[RowLabel]) -> LabelMatch:
        """Say what labels would mean to what is kept of the model."""
        window = LogWindow(model)
        ids = {label.request_id for label in labels}
        return match(labels, places(self._id_pieces(window), ids), LabelIndex(self._read_labels(window)))

    def prune(self, *, before: float = -math.inf, keep_bytes: float = math.inf, model: str = "") -> Pruned:
        """Remove what is too old, and then the oldest rows until the rest is small enough."""
        self._files.sweep(older_than_s=_LEFTOVER_S)
        files = self._listed(model)[0]
        gone = [file for file in files if file.last_at < before]
        left = sorted((file for file in files if file.last_at >= before), key=lambda file: (file.is_labels, file.last_at))
        size = sum(file.size_bytes for file in left)
        for file in left:
            if size <= keep_bytes:
                break
            gone.append(file)
            size -= file.size_bytes
        for file in gone:
            self._files.remove(file.path)
            with self._lock:
                self._known.pop(file.path, None)
        return Pruned(len(gone), sum(file.size_bytes for file in gone), size)

    # Files.

    def _listed(self, model: str) -> tuple[list[LogFile], list[str]]:
        """Return the log's files, and the names of others that lie among them."""
        files, strange = [], []
        for path, size_bytes in self._files.list(model):
            file = read_name(path, size_bytes)
            if file is None:
                strange.append(path)
            else:
                files.append(file)
        return files, strange

    def _rows_of(self, window: LogWindow) -> list[LogFile]:
        return [file for file in self._listed(window.model)[0] if not file.is_labels and file.touches(window)]

    def _describe(self, file: LogFile) -> tuple[dict[str, str], int] | None:
        """Return a file's columns and rows; None where it cannot be read, or is gone."""
        with self._lock:
            known = self._known.get(file.path)
        if known is not None:
            return known
        try:
            with self._files.open(file.path) as source:
                reader = LogReader(source)
                known = reader.kinds(), reader.row_count
        except (CorruptError, NotFoundError):
            return None
        with self._lock:
            while len(self._known) >= _KNOWN_LIMIT:
                del self._known[next(iter(self._known))]
            self._known[file.path] = known
        return known

    def _pieces(self, file: LogFile, window: LogWindow, columns: Sequence[str]) -> Iterator[dict[str, Array]]:
        """Yield the columns that a file has of the window's rows; nothing where it is gone, and no more from where it cannot be read."""
        try:
            with self._files.open(file.path) as source:
                for whole in LogReader(source).pieces((*columns, "at")):
                    piece = whole if file.lies_within(window) else _within(whole, window)
                    if len(piece["at"]):
                        yield piece
        except CorruptError:
            with self._lock:
                self._torn.add(file.path)
        except NotFoundError:
            return

    # Labels.

    def _id_pieces(self, window: LogWindow) -> Iterator[dict[str, Array]]:
        for file in self._rows_of(window):
            yield from self._pieces(file, window, _IDS)

    def _labels_of(self, window: LogWindow) -> LabelIndex:
        index = LabelIndex(self._read_labels(window))
        if index.ids:
            index.leave_out(ambiguous(places(self._id_pieces(window), index.ids)))
        return index

    def _read_labels(self, window: LogWindow) -> Iterator[RowLabel]:
        for file in self._listed(f"{window.model}/labels")[0]:
            if file.last_at >= window.since - _LATE_LABEL_S:
                with suppress(CorruptError, NotFoundError), self._files.open(file.path) as source:
                    yield from read_labels(LogReader(source))


def _within(piece: dict[str, Array], window: LogWindow) -> dict[str, Array]:
    is_in = (piece["at"] >= window.since) & (piece["at"] < window.until)
    return {name: column[is_in] for name, column in piece.items()}


def _wider(one: str, two: str) -> str:
    """Return what holds both kinds of values."""
    return one if one == two else "number" if {one, two} <= {"flag", "whole", "number"} else "text"


def _missing(kind: str, count: int) -> Array:
    return np.full(count, np.nan) if kind in {"flag", "whole", "number"} else objects([None] * count)
