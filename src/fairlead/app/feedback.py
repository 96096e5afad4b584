"""Late labels from a file: read in pieces, checked against what the model can answer, matched with the log, kept.

Takes a model's name and a .csv, .jsonl or .parquet file with the columns request_id and label (and row, for requests of several rows);
gives FedBack. Raises NotFoundError, DataError for a file that cannot be read or holds no label that fits, StorageError. What was kept
before an interruption stays; giving the file again changes nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fairlead.app.observations import open_log
from fairlead.app.wiring import House
from fairlead.core.interface import DecisionKind, Interface, Label, shorten
from fairlead.core.observation_log import LabelMatch, RowLabel
from fairlead.core.ports import Progress
from fairlead.core.version import Version, parse_reference
from fairlead.datasets.stream import Chunk, Wanted, open_stream
from fairlead.errors import DataError
from fairlead.monitor.quality.labels import LabelReader, plain_text
from fairlead.register.resolve import resolve
from fairlead.stores.document import load
from fairlead.stores.version_files import read_file

if TYPE_CHECKING:
    from fairlead.core.observation_log import ObservationLog

_PIECE_ROWS = 250_000  # each piece is matched with all labels that were there before
_ID_LIMIT = 128
_KNOWN_LIMIT = 10_000
_COUNTS = ("joined", "unknown", "ambiguous", "duplicate", "contradicting")


@dataclass(frozen=True)
class FedBack:
    """What became of a file's labels: `labels` were read, `match` says of those that were kept what they mean to the log, `empty` had no
    label or no id, `unfit` cannot be an answer of the model (`example`: the first of them).
    """

    model: str
    labels: int
    match: LabelMatch
    empty: int = 0
    unfit: int = 0
    example: str = ""

    @property
    def kept(self) -> int:
        """How many were kept."""
        return self.labels - self.empty - self.unfit


@dataclass(frozen=True)
class LabelColumns:
    """What the file calls them; `row` may be missing from it: every request then has one row."""

    request_id: str = "request_id"
    label: str = "label"
    row: str = "row"


def feed(name: str, path: Path, house: House, progress: Progress, columns: LabelColumns | None = None) -> FedBack:
    """Keep the labels in a file."""
    version = resolve(parse_reference(name), records=house.records)
    interface = interface_of(version, house)
    log, keeper = open_log(house), _Keeper(interface)
    wanted = columns or LabelColumns()
    progress.step(f"labels: {path.name}")
    total = FedBack(version.name, 0, LabelMatch())
    for chunk, has_row in _chunks(path, wanted):
        labels = keeper.read(chunk, wanted, has_row=has_row, at=house.clock())
        total = _kept(total, version.name, labels, chunk.rows, log)
        total = replace(total, empty=keeper.empty, unfit=keeper.unfit, example=keeper.example)
        progress.tell(f"{total.labels:,} labels, {chunk.fraction:.0%} of the file")
    if total.labels and not total.kept:
        what = f"'{shorten(total.example)}' {keeper.problem}" if total.unfit else "every id or label is empty"
        raise DataError(f"No label in '{path.name}' can be an answer of {version.label}: {what}.", hint=_hint(interface))
    progress.done(f"{total.kept:,} labels kept")
    return total


def interface_of(version: Version, house: House) -> Interface:
    """Return what a version takes and gives."""
    return load(read_file(version, "interface.json", house.blobs), Interface)


class _Keeper:
    """Brings labels of a file into the form of the model's own."""

    def __init__(self, interface: Interface) -> None:
        rule = interface.decision
        if rule is None:
            raise DataError(
                "It is not known how this model's outputs decide, so no label can be compared with them.",
                hint="Deploy it with --task classification or --task regression.",
            )
        self._reader, self._interface = LabelReader(interface), interface
        self._is_number = rule.kind is DecisionKind.VALUE
        self._is_index = rule.kind in (DecisionKind.ARGMAX, DecisionKind.THRESHOLD)
        self._known: dict[tuple[type, Label], Label] = {}  # most labels of a file are among a few
        self.empty, self.unfit, self.example, self.problem = 0, 0, "", ""

    def read(self, chunk: Chunk, columns: LabelColumns, *, has_row: bool, at: float) -> list[RowLabel]:
        """Return the labels of a chunk that can be."""
        table = chunk.keep(None)
        ids, labels = (table.column(name).to_pylist() for name in (columns.request_id, columns.label))
        rows = table.column(columns.row).to_pylist() if has_row else [0] * len(ids)
        found = []
        for place, (identity, label, row) in enumerate(zip(ids, labels, rows, strict=True)):
            text = "" if identity is None else str(identity).strip()
            if not text or label is None or label == "" or (isinstance(label, float) and math.isnan(label)):
                self.empty += 1
                continue
            if len(text) > _ID_LIMIT:
                raise DataError(f"The id in row {chunk.first + place} has {len(text)} characters, at most {_ID_LIMIT} are ids.")
            fitting = self._fitting(label)
            if fitting is not None:
                found.append(RowLabel(text, _row(row, chunk.first + place), fitting, at))
        return found

    def _fitting(self, label: Label) -> Label | None:
        """Return the label in the model's own form; None for one that can be no answer."""
        key = (type(label), label)
        fitting = self._known.get(key)
        if fitting is None:
            fitting = self._formed(label)
            if fitting is not None and len(self._known) < _KNOWN_LIMIT:
                self._known[key] = fitting
        return fitting

    def _formed(self, label: Label) -> Label | None:
        problem = self._reader.problem(label)
        if problem:
            self.unfit += 1
            self.example, self.problem = self.example or str(label), self.problem or problem
            return None
        if self._is_number:
            return float(label)
        number = self._reader.read(label)
        if self._interface.labels:
            return self._interface.labels[int(number)]
        return int(number) if self._is_index else label if isinstance(label, str) else plain_text(label)


def _chunks(path: Path, columns: LabelColumns) -> Iterator[tuple[Chunk, bool]]:
    """Yield the file in pieces, and whether it has a column of rows."""
    needed = (columns.request_id, columns.label)
    try:
        stream, file = open_stream(path, Wanted(kept=(*needed, columns.row)))
        has_row = True
    except DataError:
        stream, file = open_stream(path, Wanted(kept=needed))  # says what is missing
        has_row = False
    with closing(file):
        for chunk in stream.chunks(_PIECE_ROWS, 0):
            yield chunk, has_row


def _kept(total: FedBack, name: str, labels: list[RowLabel], count: int, log: ObservationLog) -> FedBack:
    before = Counter({part: getattr(total.match, part) for part in _COUNTS})
    if labels:
        match = log.match(name, labels)
        log.add_labels(name, labels)
        before.update({part: getattr(match, part) for part in _COUNTS})
    return replace(total, labels=total.labels + count, match=LabelMatch(**{part: before[part] for part in _COUNTS}))


def _row(value: object, place: int) -> int:
    if type(value) is int and value >= 0:
        return value
    text = plain_text(value)
    if not text.isdecimal():
        raise DataError(f"'{shorten(text)}' in row {place} is no row of a request.", hint="Rows of a request count from 0.")
    return int(text)


def _hint(interface: Interface) -> str:
    if interface.labels:
        return f"Its answers are {', '.join(plain_text(label) for label in interface.labels[:10])}."
    rule = interface.decision
    is_number = rule is not None and rule.kind is DecisionKind.VALUE
    return "Its answers are numbers." if is_number else "Its answers are whole numbers from 0 on: the classes in their order."
