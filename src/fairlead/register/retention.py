"""Which versions of a model stay and which go, and why: the decision of `fairlead gc`. Pure.

Takes versions with what uses each (sentences that somebody looked up), a Policy and the time; gives a Fate for every version. Raises
nothing. Laws: a version that anything uses stays; so do the newest `keep_count`, and whatever is younger than `min_age_s`, one from the
future included. A larger count or age never lets a version go that stayed before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fairlead.core.version import Version

_DAY_S = 86_400.0


@dataclass(frozen=True)
class Policy:
    """The newest `keep_count` versions of a model stay, and those that are younger than `min_age_s`. `because` says whose wish that is."""

    keep_count: int
    min_age_s: float = 0.0
    because: str = ""


@dataclass(frozen=True)
class Fate:
    """What becomes of one version, and every reason for it."""

    version: Version
    stays: bool
    why: tuple[str, ...]


def decide(versions: Sequence[Version], uses: Mapping[int, Sequence[str]], policy: Policy, now: float) -> tuple[Fate, ...]:
    """Return the fate of each of a model's versions, oldest first. `uses` says by number what uses it; `now` is Unix seconds."""
    ordered = sorted(versions, key=lambda version: version.number)
    return tuple(
        _fate(version, uses.get(version.number, ()), len(ordered) - 1 - place, policy, now) for place, version in enumerate(ordered)
    )


def _fate(version: Version, uses: Sequence[str], newer_count: int, policy: Policy, now: float) -> Fate:
    age_s = now - version.created_at
    why = list(uses)
    if newer_count < policy.keep_count:
        newest = "the newest" if policy.keep_count == 1 else f"one of the {policy.keep_count} newest"
        why.append(newest + (f" ({policy.because})" if policy.because else ""))
    if age_s < policy.min_age_s:
        why.append(f"younger than {spoken_days(policy.min_age_s)}")
    if why:
        return Fate(version, stays=True, why=tuple(why))
    return Fate(version, stays=False, why=(f"nothing uses it; {newer_count} newer, registered {spoken_days(age_s)} ago",))


def spoken_days(seconds: float) -> str:
    """Return a time as a person says it: `5 minutes`, `3 hours`, `41 days`."""
    for unit, noun in ((_DAY_S, "day"), (3600.0, "hour")):
        if seconds >= unit:
            return _counted(int(seconds // unit), noun)
    return _counted(max(int(seconds // 60), 0), "minute")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
