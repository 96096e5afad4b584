"""Which rows are decided otherwise than by the original, and which numbers jump. Pure.

Takes the interface and the outputs of both on the same rows, data first and probes behind them; gives counts and the first rows. A class
that is decided otherwise is a flip, however near the scores are. Where the answer is a label and the scores stand beside it, a row also
flips if label and highest score agree in one model and not in the other: a client may read either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairlead.core.deciding import undecided
from fairlead.core.interface import Array, DecisionKind, Interface, Label, Tensors, decide, shorten
from fairlead.core.verdict import Flip
from fairlead.verify.differences import differences

SHOWN = 10  # flips that a report shows


@dataclass(frozen=True)
class Decisions:
    """`flip_count` is None where nothing is decided or the answer is a number, `jump_count` where it is none. Both count probes too."""

    flip_count: int | None = None
    jump_count: int | None = None
    probe_count: int = 0
    first: tuple[Flip, ...] = ()

    @property
    def sentence(self) -> str:
        """The first row, for a person; "" where none differs."""
        if not self.first:
            return ""
        flip = self.first[0]
        return f"{'threshold row' if flip.is_probe else 'row'} {flip.row}: original {flip.original}, candidate {flip.candidate}"


def compare_decisions(interface: Interface, original: Tensors, candidate: Tensors, *, row_count: int, tolerance: float) -> Decisions:
    """Return what flips or jumps; rows from `row_count` on are probes. A number jumps where its scaled difference exceeds `tolerance`."""
    rule = interface.decision
    if rule is None:
        return Decisions()
    is_number = rule.kind is DecisionKind.VALUE
    before, after = (_said(interface, outputs) for outputs in (original, candidate))
    if before.shape != after.shape:
        differs = np.ones(len(before), dtype=bool)
        shown = [Flip(0, row_count == 0, f"shape {list(before.shape)}", f"shape {list(after.shape)}")]
    else:
        unequal = differences(before, after)[1] > tolerance if is_number else np.asarray(before != after)
        differs = _by_row(unequal)
        if rule.kind is DecisionKind.LABEL:
            differs |= _by_row(_contradicts(interface, original) != _contradicts(interface, candidate))
        nothing = undecided(interface, original), undecided(interface, candidate)
        differs = np.where(nothing[0] | nothing[1], nothing[0] != nothing[1], differs)
        shown = [
            Flip(
                int(row) if row < row_count else int(row) - row_count,
                bool(row >= row_count),
                _shown(interface, original, before, row),
                _shown(interface, candidate, after, row),
            )
            for row in np.flatnonzero(differs)[:SHOWN]
        ]
    count, probes = int(differs.sum()), int(differs[row_count:].sum())
    return Decisions(None if is_number else count, count if is_number else None, probes, tuple(shown))


def _said(interface: Interface, outputs: Tensors) -> Array:
    return np.asarray(decide(interface, outputs))


def _by_row(unequal: Array) -> Array:
    return np.asarray(np.asarray(unequal, dtype=bool).reshape(len(unequal), -1).any(axis=1))


def _contradicts(interface: Interface, outputs: Tensors) -> Array:
    """Whether a row's label is not the one with the highest score; False for all where that cannot be told."""
    said = _said(interface, outputs)
    highest = _highest(interface, outputs)
    return np.zeros(len(said), dtype=bool) if highest is None else np.asarray(said.reshape(-1) != highest)


def _highest(interface: Interface, outputs: Tensors) -> Array | None:
    """The label with the highest score of each row; None where the scores do not stand beside the labels one to one."""
    rule = interface.decision
    if rule is None or not rule.scores or not interface.labels:
        return None
    scores = np.asarray(outputs[rule.scores])
    if scores.ndim != 2 or scores.shape[1] != len(interface.labels) or outputs[rule.output].size != len(scores):
        return None
    return np.asarray(_as_array(interface.labels)[np.argmax(scores, axis=1)])


def _as_array(labels: tuple[Label, ...]) -> Array:
    array = np.empty(len(labels), dtype=object)
    array[:] = labels
    return array


def _shown(interface: Interface, outputs: Tensors, said: Array, row: int) -> str:
    rule = interface.decision
    if undecided(interface, outputs)[row]:
        return "no decision (NaN)"
    decision = np.asarray(said[row])  # one row of text labels is a plain str
    if decision.size != 1:
        return str(decision.tolist())[:80]
    value = decision.item()
    if rule is not None and rule.kind is DecisionKind.VALUE:
        return f"{value:.9g}"
    if rule is not None and rule.kind is not DecisionKind.LABEL:
        return shorten(str(interface.labels[value])) if 0 <= value < len(interface.labels) else str(value)
    text = shorten(str(value))
    highest = _highest(interface, outputs)
    if highest is None or highest[row] == value:
        return text
    return f"{text} (highest score: {shorten(str(highest[row]))})"
