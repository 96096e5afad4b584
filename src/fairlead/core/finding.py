"""Something that watching a model brought to light, and what to do about it. Pure values.

What gives findings says how sure it is by its own rule (`docs/reference/drift.md`, `quality.md`); what takes them, such as alerts, needs
nothing but what stands here.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class FindingKind(enum.StrEnum):
    """What was found."""

    DATA_QUALITY = "data_quality"  # values are missing, unknown, of another type or out of range
    DRIFT = "drift"  # an input, or all of them together, is distributed otherwise than in the reference
    PREDICTION_DRIFT = "prediction_drift"  # the answers are
    OUTLIER = "outlier"  # single rows are unlike everything in the reference
    QUALITY = "quality"  # answers are right less often
    PROMISE = "promise"  # a requirement of the release is not kept
    COMPRESSION = "compression"  # the version and its uncompressed original disagree


class Severity(enum.StrEnum):
    """How much it matters."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for the least."""
        return _RANKS[self]


_RANKS = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


class AdviceKind(enum.StrEnum):
    """What can be done; a policy may do it by itself."""

    ROLL_BACK = "roll_back"
    RETRAIN = "retrain"
    RECALIBRATE = "recalibrate"
    SCALE = "scale"
    LOOK_AT_SLICE = "look_at_slice"
    CHECK_SOURCE = "check_source"


@dataclass(frozen=True)
class Advice:
    """What to do, and why, in one sentence."""

    kind: AdviceKind
    sentence: str


@dataclass(frozen=True)
class Finding:
    """`model:version` shows something about `subject` (an input, a slice, a metric).

    `value` was measured on `rows` rows from `since` to `until` (Unix seconds); `bound` is what it is held against and `interval` where the
    value lies, as far as they are known. The most urgent advice comes first.
    """

    kind: FindingKind
    model: str
    version: int
    subject: str
    severity: Severity
    value: float
    rows: int
    since: float
    until: float
    sentence: str
    bound: float | None = None
    interval: tuple[float, float] | None = None
    advice: tuple[Advice, ...] = ()

    @property
    def window(self) -> tuple[float, float]:
        """From when to when it was measured."""
        return self.since, self.until

    @property
    def key(self) -> tuple[str, int, str, str]:
        """What it is about: two findings with the same key are the same matter at two times."""
        return self.model, self.version, self.kind.value, self.subject
