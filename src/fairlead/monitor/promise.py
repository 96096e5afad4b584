"""Whether a version keeps in service what its verdict promised.

Takes a version's latency requirements and its window; gives findings that open and close with hysteresis, so that a number that dances
around its bound does not ring a bell each time. Pure: `judge` maps one state to the next.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fairlead.core.requirement import MetricKind, Requirement
from fairlead.monitor.window import Summary, Window

_OPEN_AFTER = 3  # reviews in a row that miss the bound
_CLOSE_AFTER = 3  # reviews in a row that keep it with room to spare
_CLOSE_RATIO = 0.9
_COUNT_MIN = 100  # below this a p99 is the largest of few numbers


@dataclass(frozen=True)
class Finding:
    """A promise that `model:version` does not keep (or, with `is_closed`, keeps again): what was measured against which requirement."""

    model: str
    version: int
    requirement: Requirement
    measured: float
    count: int
    is_closed: bool = False

    def __str__(self) -> str:
        verb = "keeps again" if self.is_closed else "does not keep"
        return f"{self.model}:{self.version} {verb} {self.requirement}: {self.measured:.3g} over {self.count} requests."


@dataclass(frozen=True)
class Watchpoint:
    """One promise and how the last reviews went: `streak` counts those in a row that speak for a change."""

    requirement: Requirement
    is_open: bool = False
    streak: int = 0


def is_watched(requirement: Requirement) -> bool:
    """Whether a requirement can be seen in service: latencies can."""
    return requirement.kind is MetricKind.LATENCY


def measured(requirement: Requirement, window: Window, now: float) -> tuple[float, int]:
    """Return the latency that `requirement` bounds, of requests with at most its batch size, and of how many requests it is."""
    summary = window.summary(now, row_limit=requirement.batch)
    return _latency(requirement.metric, summary), summary.count - summary.error_count


def _latency(metric: str, summary: Summary) -> float:
    return {"p50_ms": summary.p50_ms, "p95_ms": summary.p95_ms}.get(metric, summary.p99_ms)


def judge(point: Watchpoint, value: float, count: int) -> tuple[Watchpoint, bool]:
    """Return the next state and whether the finding has just opened or closed. Too few requests say nothing."""
    if count < _COUNT_MIN:
        return point, False
    if point.is_open:
        speaks, needed = value <= point.requirement.bound * _CLOSE_RATIO, _CLOSE_AFTER
    else:
        speaks, needed = not point.requirement.is_met(value), _OPEN_AFTER
    streak = point.streak + 1 if speaks else 0
    if streak < needed:
        return replace(point, streak=streak), False
    return replace(point, is_open=not point.is_open, streak=0), True
