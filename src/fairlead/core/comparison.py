"""What differs between two versions: values for `fairlead diff`, and the rule by which answers to the same rows are compared. Pure.

Laws: a version differs from itself in nothing; swapping the two turns every change around and flips the same rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fairlead.core.fact import Traits
from fairlead.core.interface import Array

SHOWN_FLIPS = 5


@dataclass(frozen=True)
class MetricChange:
    """A metric of both, each as its own verdict measured it, with its 95 % interval; None where one has no such figure."""

    metric: str
    left: float | None
    right: float | None
    left_interval: tuple[float, float] | None = None
    right_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class RowFlip:
    """A row (from 0) that is decided otherwise, and how."""

    row: int
    left: str
    right: str


@dataclass(frozen=True)
class AnswerChange:
    """Both versions on the same rows. `flip_count` counts rows that are decided otherwise, None where the answer is a number; `interval`
    holds their share with 95 % confidence. `largest` and `mean` are differences of numbers. `left_right` and `right_right` count right
    answers where those are known, `only_left` and `only_right` the rows that one of the two alone gets right.
    """

    source: str
    row_count: int
    flip_count: int | None = None
    interval: tuple[float, float] | None = None
    flips: tuple[RowFlip, ...] = ()
    largest: float | None = None
    mean: float | None = None
    left_right: int | None = None
    right_right: int | None = None
    only_left: int = 0
    only_right: int = 0


@dataclass(frozen=True)
class VersionDiff:
    """Everything that differs between `left` and `right` (labels). `interface` are sentences on what clients would notice; `same_rows` and
    `same_machine` say whether the two verdicts' figures can be compared. `answers` is None where both could not be asked; `unasked` says
    why. `costs` are figures by name, (left, right).
    """

    left: str
    right: str
    is_same_content: bool
    interface: tuple[str, ...]
    metrics: tuple[MetricChange, ...]
    same_rows: bool
    costs: Mapping[str, tuple[float | None, float | None]]
    same_machine: bool
    made: Mapping[str, tuple[str, str]]
    left_tags: Traits
    right_tags: Traits
    answers: AnswerChange | None = None
    unasked: str = ""


def compare_labels(left: Array, right: Array, source: str) -> AnswerChange:
    """Compare decisions, (rows, ...) each: labels, indices, or None where a version does not decide. A row flips where any of its
    decisions does.
    """
    count = len(left)
    flipped: Array = np.ones(count, np.bool_)
    if left.shape == right.shape:
        flipped = np.any(np.asarray(_spelled(left) != _spelled(right), np.bool_).reshape(count, -1), axis=1)
    flips = int(flipped.sum())
    rows = np.flatnonzero(flipped)[:SHOWN_FLIPS]
    return AnswerChange(source, count, flips, flips=tuple(RowFlip(int(row), _said(left[row]), _said(right[row])) for row in rows))


def compare_numbers(left: Array, right: Array, source: str) -> AnswerChange:
    """Compare answers that are numbers, (rows, ...) each; NaN against NaN is no difference, NaN against a number an infinite one."""
    count = len(left)
    if left.shape != right.shape:
        return AnswerChange(source, count, largest=math.inf, mean=math.inf)
    one, other = np.asarray(left, np.float64), np.asarray(right, np.float64)
    with np.errstate(invalid="ignore"):
        gaps = np.where((one == other) | (np.isnan(one) & np.isnan(other)), 0.0, np.abs(one - other))
    gaps = np.where(np.isnan(gaps), math.inf, gaps)
    return AnswerChange(source, count, largest=float(gaps.max(initial=0.0)), mean=float(gaps.mean()) if gaps.size else 0.0)


def _spelled(decisions: Array) -> Array:
    """Labels may be numbers in one version and texts in the other: 3 is "3"."""
    return np.asarray([_said(item) for item in decisions.reshape(-1)], dtype=object).reshape(decisions.shape)


def _said(decision: object) -> str:
    if isinstance(decision, np.ndarray):
        return " ".join(_said(item) for item in decision.reshape(-1)[:8])
    if decision is None:
        return "nothing"
    value = decision.item() if isinstance(decision, np.generic) else decision
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
