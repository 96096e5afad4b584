"""The false-alarm budget: how strict each detector has to be so that all of them together raise at most k false alarms a month. Pure.

A detector with threshold c raises at most T / c false alarms in T windows on average (see `detector`), so one that is given the share s of
k alarms a month has c = (windows a month) / (k s). Averages add up whatever hangs on what, so no correction for the number of features is
lost on their being alike. Features that the model's answers hang on get more of the budget and are found sooner; those that it does not
use get none and stay silent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.core.profile import FeatureProfile, Profile
from fairlead.errors import SpecError

MONTH_S = 30 * 86_400.0
_INPUTS, _PREDICTIONS, _JOINT = 0.6, 0.3, 0.1
_SHAPE, _VALUES = 0.75, 0.25  # of a feature's part: its distribution, and what is missing, unseen or out of range
_LEAST = 0.05  # a feature that is hardly used still has this much of what one that decides everything has


@dataclass(frozen=True)
class WatchOptions:
    """What a user grants and asks: false alarms a month, all features together; the smallest effects that count, as shares of the rows (of
    the distribution; of values that are missing, unseen or out of range); the length of a window in seconds.
    """

    alarms_per_month: float = 1.0
    effect: float = 0.1
    values_effect: float = 0.01
    window_s: float = 3600.0

    def __post_init__(self) -> None:
        if not 0.0 < self.alarms_per_month < math.inf:
            raise SpecError("The false alarms granted a month have to be a number above 0.", hint="Write it like 1 or 0.1.")
        if not (0.0 <= self.effect < 1.0 and 0.0 <= self.values_effect < 1.0):
            raise SpecError("The smallest effect that counts is a share of the rows.", hint="Write it like 0.1, for one row in ten.")
        if not 60.0 <= self.window_s <= MONTH_S:
            raise SpecError("A window lasts from a minute to 30 days.", hint="Write it like 1h.")


@dataclass(frozen=True)
class Shares:
    """Each detector's share of the budget: by feature, of its distribution (`shape`) and of its values; and of all inputs together."""

    shape: dict[str, float]
    values: dict[str, float]
    joint: float

    @property
    def total(self) -> float:
        """All of it: 1 at most."""
        return sum(self.shape.values()) + sum(self.values.values()) + self.joint


def divide(profile: Profile) -> Shares:
    """Return who gets how much. What nobody gets, as of a model without predictions, goes to nobody: fewer false alarms."""
    inputs = _parts(profile.features, _INPUTS)
    answers = _parts(profile.predictions, _PREDICTIONS)
    parts = inputs | answers
    has_joint = profile.embedding is not None and len(inputs) > 1
    return Shares(
        {name: part * _SHAPE for name, part in parts.items()},
        {name: part * _VALUES for name, part in parts.items()},
        _JOINT if has_joint else 0.0,
    )


def log_threshold(share: float, options: WatchOptions) -> float:
    """Return the logarithm of the evidence at which a detector with that share of the budget raises an alarm; infinite for none."""
    if share <= 0.0:
        return math.inf
    return math.log(MONTH_S / options.window_s) - math.log(options.alarms_per_month * share)


def _parts(features: Sequence[FeatureProfile], whole: float) -> dict[str, float]:
    used = [feature for feature in features if feature.is_used]
    known = [feature.use for feature in used if feature.use is not None]
    usual = sum(known) / len(known) if known else 1.0
    weights = {feature.name: max(usual if feature.use is None else feature.use, _LEAST) for feature in used}
    total = sum(weights.values())
    return {name: whole * weight / total for name, weight in weights.items()}
