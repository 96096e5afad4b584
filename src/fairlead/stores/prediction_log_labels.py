"""Labels of an observation log, joined to its rows. Pure, but for the files that it is handed.

Laws: a label belongs to a row by either id of its request and the row's place in it; of several labels of a row the one that was told last
counts; an id that several requests of the window had says nothing about any of them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fairlead.core.interface import Array, Label
from fairlead.core.observation_log import LabelMatch, RowLabel
from fairlead.stores.prediction_log_columns import LABEL_FIELDS, LogReader, objects

Place = tuple[str, int]  # a request's id, and a row in it
_KNOWN_LIMIT = 10_000


def read_labels(reader: LogReader) -> Iterator[RowLabel]:
    """Yield the labels of a file; raises CorruptError."""
    known: dict[str, Label] = {}  # a million labels are often a few, again and again
    for piece in reader.pieces(LABEL_FIELDS):
        columns = [piece[name].tolist() for name in LABEL_FIELDS]
        for identity, row, text, at in zip(*columns, strict=True):
            label = known.get(text)
            if label is None:
                label = json.loads(text)
                if len(known) < _KNOWN_LIMIT:
                    known[text] = label
            yield RowLabel(identity, row, label, at)


class LabelIndex:
    """The label that counts for each row."""

    def __init__(self, labels: Iterable[RowLabel]) -> None:
        self._found: dict[Place, tuple[float, Label]] = {}
        for label in labels:
            key = (label.request_id, label.row)
            known = self._found.get(key)
            if known is None or label.at >= known[0]:
                self._found[key] = (label.at, label.label)
        self.ids = {identity for identity, _ in self._found}

    def get(self, place: Place) -> Label | None:
        """Return the label of a row; None where it has none."""
        found = self._found.get(place)
        return None if found is None else found[1]

    def leave_out(self, ids: Iterable[str]) -> None:
        """Forget what labels said of these requests."""
        gone = set(ids)
        self._found = {place: item for place, item in self._found.items() if place[0] not in gone}
        self.ids -= gone

    def join(self, piece: Mapping[str, Array]) -> Array:
        """Return the labels of a piece's rows, None where there are none."""
        ids, get = self.ids, self.get
        if not ids:
            return objects([None] * len(piece["row"]))
        rows, first, second = piece["row"].tolist(), piece["request_id"].tolist(), piece["own_id"].tolist()
        return objects(
            [
                get((one, row)) if one in ids else get((two, row)) if two in ids else None
                for one, two, row in zip(first, second, rows, strict=True)
            ]
        )


def places(pieces: Iterable[Mapping[str, Array]], ids: set[str]) -> Counter[Place]:
    """Return how often each row of these requests is there: more than once where several requests had the id."""
    found: Counter[Place] = Counter()
    for piece in pieces:
        rows = piece["row"].tolist()
        for one, two, row in zip(piece["request_id"].tolist(), piece["own_id"].tolist(), rows, strict=True):
            if one in ids:
                found[one, row] += 1
            if two in ids and two != one:
                found[two, row] += 1
    return found


def ambiguous(found: Mapping[Place, int]) -> set[str]:
    """Return the ids that several requests had."""
    return {identity for (identity, _), count in found.items() if count > 1}


def match(labels: Sequence[RowLabel], found: Mapping[Place, int], known: LabelIndex) -> LabelMatch:
    """Say what became of each label; `found` are the rows that are there, `known` the labels that were told before."""
    unclear, told = ambiguous(found), dict[Place, Label]()
    results: Counter[str] = Counter()
    for label in labels:
        place = (label.request_id, label.row)
        if label.request_id in unclear:
            results["ambiguous"] += 1
        elif place not in found:
            results["unknown"] += 1
        else:
            before: Any = told.get(place, known.get(place))
            results["joined" if before is None else "duplicate" if before == label.label else "contradicting"] += 1
        told[place] = label.label
    return LabelMatch(**results)
