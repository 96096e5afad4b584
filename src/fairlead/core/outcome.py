"""How a model does in production: numbers with intervals over windows and slices, estimates without labels, what compression costs.

Pure values; `monitor` makes them, front doors and alerts show them. Times are Unix seconds. Every interval is of 95 % unless it says other.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from fairlead.core.interface import Array

RELIABILITY = "reliability.json"  # a version's file that holds its Reliability


@dataclass(frozen=True)
class Measured:
    """A number of `rows` rows with the interval that holds the true one; NaN for what cannot be said."""

    value: float
    low: float
    high: float
    rows: int

    @property
    def is_known(self) -> bool:
        """Whether there is a number."""
        return not math.isnan(self.value)


NOTHING = Measured(math.nan, math.nan, math.nan, 0)


@dataclass(frozen=True)
class WindowQuality:
    """What the answers of one version (0: all) to one slice ("" all) from `since` to `until` were worth. `answered` rows, `labelled` of
    them, `contradicted` had labels that differed: the newest counts. `measured` by metric; `value` is business value per decision.
    """

    since: float
    until: float
    version: int
    slice: str
    answered: int
    labelled: int
    measured: Mapping[str, Measured] = field(default_factory=dict)
    value: Measured | None = None
    contradicted: int = 0


@dataclass(frozen=True)
class Reliability:
    """How often answers of which confidence were right on the release's own labelled rows.

    `edges` part the confidences into bins, one fewer than bins; by bin there are `rows`, of them `right`, and `mean`, their mean
    confidence. `class_rows` and `class_right` are the same by class that was said (its number as a text). `support` says what the rows
    looked like; `sample` are some of them: the class that was said, the confidence, 1 for right, and where the row lies along the
    support's first axes.
    """

    edges: tuple[float, ...]
    rows: tuple[int, ...]
    right: tuple[int, ...]
    mean: tuple[float, ...]
    class_rows: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    class_right: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    support: Support | None = None
    sample: tuple[tuple[float, ...], ...] = ()

    @property
    def row_count(self) -> int:
        """How many rows it was learned from."""
        return sum(self.rows)

    @property
    def accuracy(self) -> float:
        """The share of them that was right."""
        return sum(self.right) / self.row_count if self.row_count else math.nan


@dataclass(frozen=True)
class Support:
    """Where the release's rows lay: rows as flat numbers less `centre`, divided by `scale`, in the directions `axes` (count, numbers) have
    the lengths `spread`. A row's distance is sum((along / spread)^2) / count + what is left of it / `rest`; of the release's own rows that
    none of it was learned from, a share of 1 - `quantile` lies farther than `limit`.
    """

    centre: tuple[float, ...]
    scale: tuple[float, ...]
    axes: tuple[tuple[float, ...], ...]
    spread: tuple[float, ...]
    rest: float
    limit: float
    quantile: float


@dataclass(frozen=True)
class EstimatedQuality:
    """Accuracy without labels, and whether it can be believed: `doubts` say what breaks the assumption that answers of the same confidence
    are right as often as they were at release. `novel` is the share of rows that are unlike those of the release.
    """

    accuracy: Measured
    at_release: float
    doubts: tuple[str, ...] = ()
    novel: float = math.nan

    @property
    def is_sound(self) -> bool:
        """Whether nothing speaks against the assumption."""
        return not self.doubts


class LossBasis(enum.StrEnum):
    """What a loss by compression was found from."""

    LABELS = "labels"  # of the rows on which both decided differently
    FLIPS = "flips"  # how many rows were decided differently bounds it


@dataclass(frozen=True)
class CompressionLoss:
    """Accuracy that the compressed model loses against its original in production (below 0: it gains), from `pairs` rows that both
    answered; `flips` were decided differently, `labelled` of those have labels: of these the original alone has `lost` right, the
    compressed model alone `won`.
    """

    loss: Measured
    basis: LossBasis
    pairs: int
    flips: int
    labelled: int
    lost: int = 0
    won: int = 0


@dataclass(frozen=True)
class CostMatrix:
    """What a decision is worth by what is right and what was said (labels as texts). `right_value` is for right decisions without an entry
    of their own, `wrong_value` for wrong ones.
    """

    entries: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    right_value: float = 0.0
    wrong_value: float = 0.0
    unit: str = ""

    def value(self, right: str, said: str) -> float:
        """Return the value of one decision."""
        entry = self.entries.get(right, {}).get(said)
        if entry is not None:
            return entry
        return self.right_value if right == said else self.wrong_value


class Keeping(enum.StrEnum):
    """Whether a promise is kept in production."""

    KEPT = "kept"
    BROKEN = "broken"  # also at the end of the interval that speaks most for it
    UNCLEAR = "unclear"  # the number misses the bound, its interval does not
    UNMEASURED = "unmeasured"  # nothing, or too little, was seen that it could be measured on


@dataclass(frozen=True)
class PromiseReading:
    """A requirement of the release (`requirement` as its user wrote it), measured in production. `at_release` is what its verdict measured,
    NaN where it did not; `source` says what it was measured on.
    """

    requirement: str
    model: str
    version: int
    keeping: Keeping
    measured: Measured
    at_release: float
    source: str


@dataclass(frozen=True)
class Counted:
    """Events of a promise in one piece of time: `bad` of `total`."""

    at: float
    bad: float
    total: float


@dataclass(frozen=True)
class BurnRate:
    """How fast a promise's error budget is used up: 1 is just as fast as it may. `fast` and `slow` are over the two windows (seconds);
    `is_burning` where both are at least `factor`.
    """

    fast: float
    slow: float
    fast_window_s: float
    slow_window_s: float
    factor: float

    @property
    def is_burning(self) -> bool:
        """Whether both windows say so."""
        return self.fast >= self.factor and self.slow >= self.factor


@dataclass(frozen=True)
class LabelledRows:
    """Answers and labels, row by row, in one form. `said` and `right` are class numbers (or numbers, for a regression), `right` where
    `is_labelled`; `confidence` is the probability of what was said (NaN: none). `slices` are the wanted columns as texts.
    """

    at: Array = field(repr=False)
    version: Array = field(repr=False)
    said: Array = field(repr=False)
    right: Array = field(repr=False)
    is_labelled: Array = field(repr=False)
    confidence: Array = field(repr=False)
    scores: Array | None = field(default=None, repr=False)
    slices: Mapping[str, Array] = field(default_factory=dict, repr=False)
    is_number: bool = False
    is_binary: bool = False

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self.at)
