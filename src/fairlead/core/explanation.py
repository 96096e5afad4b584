"""Why a model answered a row as it did, and what it goes by on the whole. Pure values.

Law: of an Explanation, `base` and all `weights` add up to `output`, but for `gap`; a weight is off by more than its bound in at most one
row of twenty (all bounds of a row hold together), and by nothing but rounding where the method is exact.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass

from fairlead.core.interface import Label

_NOTHING = 1e-12  # of the largest weight


class Method(enum.StrEnum):
    """How the weights were found."""

    TREES = "trees"  # exact Shapley values, from the trees themselves
    ENUMERATED = "enumerated"  # exact Shapley values: every set of features was tried
    SAMPLED = "sampled"  # Shapley values, estimated from drawn orders of the features
    OCCLUSION = "occlusion"  # what the answer loses where one part is hidden; does not add up
    GRADIENTS = "gradients"  # integrated gradients

    @property
    def is_exact(self) -> bool:
        """Whether nothing was drawn."""
        return self is not Method.SAMPLED

    @property
    def is_additive(self) -> bool:
        """Whether the weights add up to the answer."""
        return self is not Method.OCCLUSION


@dataclass(frozen=True)
class Subject:
    """What is explained: the number in column `column` of `output`, or what the trees add up to for it where `is_sum`.

    `says` is for a person: "the score of class '7'". `is_value`: the number is the answer itself (regression), and decides nothing.
    """

    output: str
    column: int
    says: str
    is_sum: bool = False
    is_value: bool = False


@dataclass(frozen=True)
class Explanation:
    """Why one row has its answer. Everything per feature is in one order, that of `features`.

    `given` is what the row has there, as text; `weights` are on the scale of `subject`; `bounds` are half the width of an interval each,
    which hold together for 95 % of rows. `base` is the mean answer over `background_count` rows; 0 of
    them where it is that for a text without its words. `gap` is what is missing to `output`.
    `asked_rows` are those that the model was asked for. `grid` is how many patches high and wide, where the features are those of an image;
    `text` is what each feature stands for with the space behind it, where they are the words of a text.
    """

    row: int
    decision: Label | None
    subject: Subject
    method: Method
    features: tuple[str, ...]
    given: tuple[str, ...]
    weights: tuple[float, ...]
    bounds: tuple[float, ...]
    base: float
    output: float
    background_count: int
    asked_rows: int
    seconds: float
    grid: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
    text: tuple[str, ...] = ()

    @property
    def gap(self) -> float:
        """What base and weights lack to the answer."""
        return self.output - self.base - sum(self.weights)

    def others(self, shown: Collection[int]) -> float:
        """Return what all features but those at `shown` add; 0 where that is nothing but rounding."""
        rest = sum(weight for place, weight in enumerate(self.weights) if place not in shown)
        return rest if abs(rest) > _NOTHING * max((abs(weight) for weight in self.weights), default=0.0) else 0.0

    @property
    def ranked(self) -> tuple[int, ...]:
        """Return the places of features, the weightiest first."""
        return tuple(sorted(range(len(self.weights)), key=lambda place: (-abs(self.weights[place]), place)))


@dataclass(frozen=True)
class Change:
    """One feature of a counterfactual, before and after, as text."""

    feature: str
    before: str
    after: str


@dataclass(frozen=True)
class Counterfactual:
    """A row nearby that is decided otherwise. `distance` is the sum over changed features: a number's change in spreads of the background
    (the width of its middle half), 1 for anything else, also for a word that is left out. `nearest_share` is the share of background rows
    that lie further from all others than this row does from the nearest of them: 0 means that no real row is as unusual; None where it
    means nothing, for texts. `is_value`: both decisions are the numbers of a regression.
    """

    row: int
    decision: Label | None
    other: Label | None
    changes: tuple[Change, ...]
    distance: float
    nearest_share: float | None
    asked_rows: int
    seconds: float
    is_value: bool = False


@dataclass(frozen=True)
class Rule:
    """Where all `conditions` hold, the model decides as for the row, in the share `precision` of rows, within `interval` (95 %).

    `coverage` is the share of background rows that it speaks about; `tried_rows` are those that the precision was measured on.
    """

    row: int
    decision: Label | None
    conditions: tuple[str, ...]
    precision: float
    interval: tuple[float, float]
    coverage: float
    tried_rows: int
    seconds: float


@dataclass(frozen=True)
class Importance:
    """What the model loses where a feature's values are exchanged between rows: the mean of `metric` and its 95 % interval."""

    feature: str
    loss: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """How the answer goes with one feature. `dependence` is the mean answer where all rows have the value (partial dependence), `local` the
    accumulated local effect, centred on 0; empty for what has no order. `values` are numbers or texts, `counts` the rows between them.
    """

    feature: str
    subject: str
    values: tuple[float, ...] | tuple[str, ...]
    dependence: tuple[float, ...]
    local: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()


@dataclass(frozen=True)
class Overview:
    """What a model goes by on the whole. `metric` says what `importances` lose; `rows` were looked at, each feature exchanged `repeats`
    times; 0: the features are words, each left out of the texts that have it.
    """

    metric: str
    rows: int
    repeats: int
    importances: tuple[Importance, ...]
    curves: tuple[Curve, ...]
    asked_rows: int
    seconds: float
    notes: tuple[str, ...] = ()
