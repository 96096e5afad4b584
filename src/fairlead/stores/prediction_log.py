"""The observation log in Parquet files, in a folder or in a store that speaks S3.

Takes what LogWriter takes; gives rows in pieces, with their labels. What a file's name says decides whether it is opened. Files that are
torn or of somebody else are left out and named, those that a merged file replaces are left out. Raises StorageError where the store fails.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from fairlead.core.interface import Array
from fairlead.core.observation_log import LABEL, LabelMatch, LogSize, LogWindow, RowLabel
from fairlead.errors import CorruptError, NotFoundError
from fairlead.stores.prediction_log_columns import LogReader, objects
from fairlead.stores.prediction_log_files import LogFiles
from fairlead.stores.prediction_log_labels import LabelIndex, ambiguous, match, places, read_labels
from fairlead.stores.prediction_log_merging import hidden
from fairlead.stores.prediction_log_names import LogFile
from fairlead.stores.prediction_log_writing import LogWriter, go_on

_IDS = ("request_id", "own_id", "row")
_LATE_LABEL_S = 86_400.0  # how far behind a request's clock the clock of its labels may be
_KNOWN_LIMIT = 100_000  # files whose columns are remembered


class Described(NamedTuple):
    """What a file says of itself: its columns and what they hold, its rows, and the paths of the files that it was made of."""

    kinds: dict[str, str]
    row_count: int
    replaces: frozenset[str]


class PredictionLog(LogWriter):
    """A core.observation_log.ObservationLog over `files`. `pause` is called between pieces of long work."""

    def __init__(self, files: LogFiles, *, pause: Callable[[], None] = go_on) -> None:
        super().__init__(files, pause=pause)
        self._lock = threading.Lock()
        self._known: dict[str, Described] = {}  # by path; files never change
        self._torn: set[str] = set()

    def columns(self, window: LogWindow) -> Mapping[str, str]:
        """Return the columns of the window's rows and what they hold."""
        return self._kinds(self._rows_of(window))

    def scan(self, window: LogWindow, columns: Sequence[str] = ()) -> Iterator[Mapping[str, Array]]:
        """Yield the window's rows in pieces."""
        files = self._rows_of(window)
        kinds = self._kinds(files)
        wanted = tuple(columns or kinds)
        labels = self._labels_of(window, files) if LABEL in wanted else None
        for file in files:
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
        files, strange = self.listed(window.model)
        told = [(file, self._describe(file)) for file in self._counting(files, window)]
        good = [(file, known.row_count) for file, known in told if known is not None and file.path not in self._torn]
        bad = {file.path for file, _ in told} - {file.path for file, _ in good}
        return LogSize(
            len(good),
            sum(count for _, count in good),
            sum(file.size_bytes for file, _ in good),
            min((file.first_at for file, _ in good), default=math.nan),
            max((file.last_at for file, _ in good), default=math.nan),
            (*strange, *sorted(bad)),
        )

    def match(self, model: str, labels: Sequence[RowLabel]) -> LabelMatch:
        """Say what labels would mean to what is kept of the model."""
        window = LogWindow(model)
        ids = {label.request_id for label in labels}
        known = LabelIndex(label for label in self._read_labels(window) if label.request_id in ids)
        return match(labels, places(self._id_pieces(window, self._rows_of(window)), ids), known)

    # Files.

    def _forget(self, path: str) -> None:
        with self._lock:
            self._known.pop(path, None)

    def _rows_of(self, window: LogWindow) -> list[LogFile]:
        """Return the files that count and can hold rows of the window."""
        return self._counting(self.listed(window.model)[0], window)

    def _counting(self, files: Sequence[LogFile], window: LogWindow) -> list[LogFile]:
        files = [file for file in files if not file.is_labels and file.touches(window)]
        gone = hidden(files, self.replaces)
        return [file for file in files if file.path not in gone]

    def _kinds(self, files: Sequence[LogFile]) -> dict[str, str]:
        found: dict[str, str] = {}
        for file in files:
            known = self._describe(file)
            for name, kind in known.kinds.items() if known is not None else ():
                found[name] = _wider(found.get(name, kind), kind)
        return found | {LABEL: "label"} if found else {}

    def replaces(self, file: LogFile) -> frozenset[str] | None:
        """Return the paths of the files that one was made of; None where it cannot be read."""
        known = self._describe(file)
        return None if known is None else known.replaces

    def _describe(self, file: LogFile) -> Described | None:
        """Return what a file says of itself; None where it cannot be read, or is gone."""
        with self._lock:
            known = self._known.get(file.path)
        if known is not None:
            return known
        try:
            with self._files.open(file.path) as source:
                reader = LogReader(source)
                known = Described(reader.kinds(), reader.row_count, reader.replaces)
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

    def _id_pieces(self, window: LogWindow, files: Sequence[LogFile]) -> Iterator[dict[str, Array]]:
        for file in files:
            yield from self._pieces(file, window, _IDS)

    def _labels_of(self, window: LogWindow, files: Sequence[LogFile]) -> LabelIndex:
        index = LabelIndex(self._read_labels(window))
        if index.ids:
            index.leave_out(ambiguous(places(self._id_pieces(window, files), index.ids)))
        return index

    def _read_labels(self, window: LogWindow) -> Iterator[RowLabel]:
        for file in self.listed(f"{window.model}/labels")[0]:
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
