"""From what a log keeps of answers, and labels as people write them, to rows of one form: class numbers, or numbers.

Takes an interface and pieces of columns (core.observation_log); gives LabelledRows. Pure. Raises DataError where what decides was not
recorded. A label that can be no answer of the model is counted and left out, never guessed at.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fairlead.core.deciding import undecided
from fairlead.core.interface import Array, DecisionKind, Interface, Label, TensorSpec, decide
from fairlead.core.observation_log import LABEL, OUTPUT, columns_of, is_text
from fairlead.core.outcome import LabelledRows
from fairlead.errors import DataError
from fairlead.monitor.quality.confidence import class_scores, confidence_of

UNDECIDED = -1  # what stands for no decision: no class has this number
MISSING = "(missing)"
_ALWAYS = ("at", "version", "status", LABEL)


@dataclass(frozen=True)
class Gathered:
    """The rows, and how many labels could be no answer of the model (`unfit`; `example` is one of them)."""

    rows: LabelledRows
    unfit: int = 0
    example: str = ""


def wanted_columns(interface: Interface, slices: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the columns of a log that `gather` needs; raises DataError where the model decides nothing."""
    columns = [name for spec in deciding_outputs(interface) for name in columns_of(spec, OUTPUT)]
    return tuple(dict.fromkeys((*_ALWAYS, *columns, *slices)))


def gather(
    pieces: Iterable[Mapping[str, Array]], interface: Interface, slices: Sequence[str] = (), *, has_scores: bool = False
) -> Gathered:
    """Return the answered rows of all pieces; `has_scores` keeps each class's score, which AUC and calibration need."""
    reader = LabelReader(interface)
    parts = [_part(piece, interface, reader, slices, has_scores=has_scores) for piece in pieces]
    parts = [part for part in parts if part.count]
    rows = _joined(parts, slices, interface)
    return Gathered(rows, reader.unfit, reader.example)


class LabelReader:
    """Reads labels of one model as its own numbers; counts those that cannot be."""

    def __init__(self, interface: Interface) -> None:
        rule = interface.decision
        self._is_number = rule is not None and rule.kind is DecisionKind.VALUE
        self._is_class = rule is not None and rule.kind in (DecisionKind.ARGMAX, DecisionKind.THRESHOLD)
        self._width = _class_count(interface)
        self._numbers = {plain_text(label): number for number, label in enumerate(interface.labels)}
        self._is_closed = bool(interface.labels)
        self.unfit, self.example = 0, ""

    def read(self, label: Label | None) -> float:
        """Return the number that a label means; NaN for none, and for one that is none."""
        if label is None:
            return math.nan
        found = self._value(label) if self._is_number else self._class(label)
        if math.isnan(found):
            self.unfit += 1
            self.example = self.example or str(label)[:64]
        return found

    def number_of(self, said: Array) -> Array:
        """Return decisions in the same numbers."""
        if self._is_number or self._is_class:
            return np.asarray(said, dtype=np.float64)
        return np.asarray([self._class(item) for item in said.tolist()], dtype=np.float64)

    def problem(self, label: Label) -> str:
        """Return why a label can be no answer of the model, "" where it can."""
        if not math.isnan(self._value(label) if self._is_number else self._class(label)):
            return ""
        return "is no finite number" if self._is_number else "is no class of the model"

    def _value(self, label: Label) -> float:
        if isinstance(label, bool):
            return math.nan
        try:
            value = float(label)
        except ValueError:
            return math.nan
        return value if math.isfinite(value) else math.nan

    def _class(self, label: object) -> float:
        text = plain_text(label)
        if text in self._numbers:
            return float(self._numbers[text])
        if self._is_closed or text == "nan":
            return math.nan
        if self._is_class:
            if text in {"true", "false"}:
                return float(text == "true")
            return float(text) if text.isdecimal() and (self._width is None or int(text) < self._width) else math.nan
        return float(self._numbers.setdefault(text, len(self._numbers)))


def plain_text(label: object) -> str:
    """Return one form for labels that mean the same: 3, 3.0 and "3"; true and True."""
    if isinstance(label, np.generic):
        label = label.item()
    if isinstance(label, bytes):
        return label.decode("utf-8", "replace")
    if isinstance(label, bool):
        return str(label).lower()
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    text = str(label)
    if isinstance(label, str):
        if text in {"True", "False"}:
            return text.lower()
        whole, point, rest = text.partition(".")
        if point and whole.removeprefix("-").isdecimal() and rest and not rest.strip("0"):
            return whole
    return text


def deciding_outputs(interface: Interface) -> tuple[TensorSpec, ...]:
    """Return the outputs that decide and that say how sure; raises DataError where the model decides nothing."""
    rule = interface.decision
    if rule is None:
        raise DataError(
            "It is not known how this model's outputs decide, so no label can be compared with them.",
            hint="Deploy it with --task classification or --task regression.",
        )
    names = dict.fromkeys(filter(None, (rule.output, rule.scores)))
    return tuple(interface.output(name) for name in names)


def _class_count(interface: Interface) -> int | None:
    rule = interface.decision
    if rule is None or rule.kind is not DecisionKind.ARGMAX:
        return 2 if rule is not None and rule.kind is DecisionKind.THRESHOLD else None
    return interface.output(rule.output).shape[-1]


def _part(
    piece: Mapping[str, Array], interface: Interface, reader: LabelReader, slices: Sequence[str], *, has_scores: bool
) -> LabelledRows:
    is_answer = np.asarray(piece["status"] == "ok", dtype=bool) if "status" in piece else np.ones(len(piece["at"]), bool)
    outputs = {spec.name: tensor_of(piece, spec, OUTPUT)[is_answer] for spec in deciding_outputs(interface)}
    count = int(is_answer.sum())
    if not count:
        return _joined((), slices, interface)
    decisions = decide(interface, outputs)
    if decisions.size != count:
        raise DataError("The model decides several things for each row, so one label says too little.", hint="Labels are one for each row.")
    said = reader.number_of(decisions.reshape(count))
    missing = undecided(interface, outputs)
    said[missing] = UNDECIDED
    labels = piece[LABEL][is_answer] if LABEL in piece else np.full(count, None, object)
    right = np.asarray([reader.read(_none_for_nan(label)) for label in labels.tolist()], dtype=np.float64)
    texts = {name: _texts(piece[name][is_answer]) if name in piece else np.full(count, MISSING, object) for name in slices}
    return LabelledRows(
        np.asarray(piece["at"][is_answer], dtype=np.float64),
        np.asarray(piece["version"][is_answer], dtype=np.int64),
        said,
        right,
        ~np.isnan(right),
        confidence_of(interface, outputs),
        class_scores(interface, outputs) if has_scores else None,
        texts,
    )


def _none_for_nan(label: Label | None) -> Label | None:
    return None if isinstance(label, float) and math.isnan(label) else label


def tensor_of(piece: Mapping[str, Array], spec: TensorSpec, side: str) -> Array:
    """Return an input or output as it was, from the columns of the log that it became (`side`: INPUT or OUTPUT)."""
    names = columns_of(spec, side)
    absent = [name for name in names if name not in piece]
    if absent:
        raise DataError(f"The log has no column '{absent[0]}'.", hint="Let it be kept: fairlead observe --redact.")
    if len(names) == 1:
        column = piece[names[0]]
        if column.dtype == object and not is_text(spec):
            column = np.stack([np.asarray(item) for item in column])
    else:
        column = np.stack([piece[name] for name in names], axis=1)
    shape = [size or -1 for size in spec.shape[1:]]
    return column.reshape(len(column), *shape) if shape.count(-1) < 2 else column


def _texts(column: Array) -> Array:
    found = np.empty(len(column), object)
    found[:] = [MISSING if item is None or item != item else plain_text(item) for item in column.tolist()]  # noqa: PLR0124 - NaN
    return found


def _joined(parts: Sequence[LabelledRows], slices: Sequence[str], interface: Interface) -> LabelledRows:
    rule = interface.decision
    is_number = rule is not None and rule.kind is DecisionKind.VALUE

    def together(name: str, kind: type) -> Array:
        arrays = [getattr(part, name) for part in parts]
        return np.concatenate(arrays) if arrays else np.zeros(0, kind)

    scores = [part.scores for part in parts if part.scores is not None]
    return LabelledRows(
        together("at", float),
        together("version", int),
        together("said", float),
        together("right", float),
        together("is_labelled", bool),
        together("confidence", float),
        np.concatenate(scores) if scores and len(scores) == len(parts) else None,
        {name: np.concatenate([part.slices[name] for part in parts]) if parts else np.zeros(0, object) for name in slices},
        is_number=is_number,
        is_binary=_class_count(interface) == 2 or len(interface.labels) == 2,
    )
