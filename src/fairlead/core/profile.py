"""What the data of a release looked like: the reference that live requests are held against. Pure values; no rows.

Law: of a number, bin j holds the values x with edges[j - 1] < x <= edges[j], so there is one count more than edges; of a category, counts
belong to `categories` in order and `rest` to all others. Missing values (NaN, None) are in no bin: sum(counts) + rest + missing == count.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import numpy as np

from fairlead.core.interface import Array

BIN_COUNT = 64
CATEGORY_LIMIT = 256
COARSE_COUNT = 16  # bins of the tests and of PSI: what a reference of a thousand rows can bear
UNUSED = 0.01  # a feature with less than this share in the answers is not used


class FeatureKind(enum.StrEnum):
    """How the values of a feature are told apart."""

    NUMBER = "number"
    CATEGORY = "category"
    FLAG = "flag"  # 0 and 1, False and True
    SUMMARY = "summary"  # a number worked out of an image, a text or a wide row

    @property
    def is_number(self) -> bool:
        """Whether its values have an order."""
        return self in (FeatureKind.NUMBER, FeatureKind.SUMMARY)


@dataclass(frozen=True)
class FeatureProfile:
    """One feature over `count` rows, of which `missing` have no value.

    `input` is the tensor that it comes from and `part` what of it: a column's number, the name of a summary, or "" for all. `low` and
    `high` bound the finite values seen, `mean` and `std` are theirs (population's formula). `is_whole`: all were whole numbers. `use` is
    how much of the answers hangs on the feature, from 0 to 1 (see `Profile`); None where nobody measured it.
    """

    name: str
    kind: FeatureKind
    input: str
    part: str = ""
    count: int = 0
    missing: int = 0
    mean: float = 0.0
    std: float = 0.0
    low: float = 0.0
    high: float = 0.0
    edges: tuple[float, ...] = field(default=(), repr=False)
    counts: tuple[int, ...] = field(default=(), repr=False)
    categories: tuple[str, ...] = field(default=(), repr=False)
    rest: int = 0
    distinct: int = 0
    is_whole: bool = False
    use: float | None = None

    @property
    def present(self) -> int:
        """Rows that have a value."""
        return self.count - self.missing

    @property
    def is_used(self) -> bool:
        """Whether the model's answers hang on it, as far as anybody knows: what was not measured counts as used."""
        return self.use is None or self.use >= UNUSED

    @property
    def cells(self) -> Array:
        """Counts of every bin, or of every category, the rest of them, and the unseen ones: of these there are none."""
        return np.asarray(self.counts if self.kind.is_number else (*self.counts, self.rest, 0), dtype=np.float64)


@dataclass(frozen=True)
class Embedding:
    """The mean, over the reference's rows, of random Fourier features of all inputs: what a test of all of them together needs.

    Drawn anew from `seed` and `scale` by who computes it; `mean` has one number for each of them, from `rows` rows of `features`.
    """

    features: tuple[str, ...]
    seed: int
    scale: float
    rows: int
    mean: tuple[float, ...] = field(repr=False)


@dataclass(frozen=True)
class Profile:
    """Features of the inputs, and of the answers (`predictions`: decision, confidence, value), over `row_count` rows of `source`.

    A feature's `use` is how much the answers change when its values are shuffled among the rows, as a share of how much they change when
    whole rows are; `shuffled_change` is the latter: the share of decisions, or the mean distance of numbers in their standard deviations.
    """

    features: tuple[FeatureProfile, ...]
    predictions: tuple[FeatureProfile, ...]
    row_count: int
    source: str
    digest: str = ""
    shuffled_change: float | None = None
    embedding: Embedding | None = None

    @property
    def everything(self) -> tuple[FeatureProfile, ...]:
        """Features of inputs and answers."""
        return (*self.features, *self.predictions)

    def feature(self, name: str) -> FeatureProfile | None:
        """Return the feature of that name, of inputs or answers; None where there is none."""
        return next((item for item in self.everything if item.name == name), None)
