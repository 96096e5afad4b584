"""What a detector says when its evidence is enough. Pure values."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Aspect(enum.StrEnum):
    """What of a feature changed."""

    SHAPE = "shape"  # how its values are distributed
    MISSING = "missing"  # more rows have no value
    OUTSIDE = "outside"  # values lie outside of the range that the reference has
    UNSEEN = "unseen"  # values that the reference does not have
    FRACTIONS = "fractions"  # numbers with fractions, where the reference has whole ones
    JOINT = "joint"  # how the inputs hang together


VALUE_ASPECTS = (Aspect.MISSING, Aspect.OUTSIDE, Aspect.UNSEEN, Aspect.FRACTIONS)


@dataclass(frozen=True)
class Alarm:
    """Evidence has reached its threshold: `since` is when the change began most likely, `at` when it was proven (Unix seconds)."""

    feature: str
    aspect: Aspect
    since: float
    at: float
    log_evidence: float
    log_threshold: float
