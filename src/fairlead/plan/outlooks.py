"""What is expected of every candidate of a plan, in its order. Pure.

Takes a Plan, the Means that it was made with, and what was measured of the model as converted; gives core Outlooks. What was not measured
is an estimate and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fairlead.core.latency_profile import LatencyProfile
from fairlead.core.outlook import Outlook
from fairlead.core.plan import Candidate, Plan
from fairlead.plan.families import Means, compressed

_TIMED_LATER = "timed beside the others when it is deployed"


@dataclass(frozen=True)
class AsConverted:
    """What is known of the model as converted: its files' bytes, its form, and how long calls take (None: not measured)."""

    size_bytes: int
    form: str
    profile: LatencyProfile | None = None


def outlooks_of(found: Plan, means: Means, model: AsConverted, absent: Mapping[str, str]) -> tuple[Outlook, ...]:
    """Return the outlook of each candidate. `absent` are engines that are not installed, with the command that brings each."""
    size_bytes, profile = model.size_bytes, model.profile
    weight_bytes = means.weight_bytes or size_bytes
    families, _ = compressed(found.requirements, means, weight_bytes=weight_bytes, is_trees=means.is_trees)
    by_name = {outlook.candidate.name: outlook for outlook in families}
    usual = _median(profile, 1)
    told = []
    for candidate in found.candidates:
        family = by_name.get(candidate.name)
        if family is not None:
            is_same = family.speed.startswith("as fast as before")
            size = None if family.size_bytes is None else family.size_bytes + max(size_bytes - weight_bytes, 0)
            told.append(replace(family, size_bytes=size, latency_ms=usual if is_same else None))
        else:
            told.append(_exact(candidate, model))
    return tuple(
        replace(outlook, speed=f"not installed: {absent[outlook.candidate.engine]}", is_installed=False)
        if outlook.candidate.engine in absent
        else outlook
        for outlook in told
    )


def _exact(candidate: Candidate, model: AsConverted) -> Outlook:
    """Return the outlook of a candidate that answers as the original does."""
    if candidate.form != model.form:
        return Outlook(candidate, speed=_TIMED_LATER)
    median = _median(model.profile, candidate.thread_count)
    is_itself = not candidate.passes
    speed = "" if median is not None else _TIMED_LATER
    return Outlook(candidate, "", model.size_bytes, median, is_latency_measured=median is not None and is_itself, speed=speed)


def _median(profile: LatencyProfile | None, thread_count: int) -> float | None:
    """Return the measured median of a call with one row."""
    if profile is None or thread_count not in profile.thread_counts:
        return None
    first = profile.at(thread_count)[0]
    return first.p50_ms if first.batch == 1 else None
