"""Where a search's trials lie between small and fast, as numbers that a page draws: one dot per trial, round ticks on two log scales.

Takes a core SearchResult; gives a Picture in SVG units. Trials without size or latency have no place and are counted. Draws nothing itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.core.manifest import readable_size
from fairlead.core.search import PointStatus, SearchPoint, SearchResult

WIDTH, HEIGHT = 720, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 24, 18, 46
_ROOM = 0.06  # of the scale's length, on each side
_NARROWEST = math.log10(3)  # a scale always covers a round value: they are at most a factor of 2.5 apart
_STEPS = (1, 2, 5)
_MOST_TICKS = 7


@dataclass(frozen=True)
class Dot:
    """A trial at (x, y). `kind` is its status, or "best", "baseline" or "pareto" for those that stand out; `says` names its figures."""

    x: float
    y: float
    kind: str
    name: str
    says: str


@dataclass(frozen=True)
class Tick:
    """A round value on a scale, at `place` along it."""

    place: float
    text: str


@dataclass(frozen=True)
class Picture:
    """Dots (those that stand out last, so that they lie on top), the ticks of both scales, and the line that joins the Pareto points."""

    dots: tuple[Dot, ...]
    across: tuple[Tick, ...]
    upward: tuple[Tick, ...]
    front: str
    missing_count: int
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM
    width: int = WIDTH
    height: int = HEIGHT


@dataclass(frozen=True)
class _Scale:
    """From values to places: logarithmic, `start` at `low`."""

    low: float
    high: float
    start: float
    stop: float

    def place(self, value: float) -> float:
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.stop - self.start), 1)

    def round_values(self) -> list[float]:
        """Values of 1, 2 or 5 times a power of ten within the scale; whole powers where that were too many."""
        powers = range(math.floor(self.low) - 1, math.ceil(self.high) + 1)
        for steps in (_STEPS, (1,)):
            inside = [step * 10.0**power for power in powers for step in steps if self.low <= math.log10(step * 10.0**power) <= self.high]
            if len(inside) <= _MOST_TICKS:
                return inside
        return inside[:: math.ceil(len(inside) / _MOST_TICKS)]


def draw_trials(search: SearchResult) -> Picture | None:
    """Return the picture; None where no trial has both a size and a latency."""
    placed = [point for point in search.points if point.size_bytes > 0 and point.latency_ms]
    if not placed:
        return None
    across = _scale([point.latency_ms or 0.0 for point in placed], _LEFT, WIDTH - _RIGHT)
    upward = _scale([float(point.size_bytes) for point in placed], HEIGHT - _BOTTOM, _TOP)
    dots = sorted((_dot(point, search, across, upward) for point in placed), key=lambda dot: _RANKS.index(dot.kind))
    front = sorted((dot.x, dot.y) for dot in dots if dot.name in search.pareto)
    return Picture(
        tuple(dots),
        tuple(Tick(across.place(value), f"{value:g} ms") for value in across.round_values()),
        tuple(Tick(upward.place(value), readable_size(round(value))) for value in upward.round_values()),
        " ".join(f"{x},{y}" for x, y in front),
        len(search.points) - len(placed),
    )


_RANKS = [*(status.value for status in PointStatus), "pareto", "baseline", "best"]


def _dot(point: SearchPoint, search: SearchResult, across: _Scale, upward: _Scale) -> Dot:
    name = point.candidate.name
    kind = point.status.value
    if name == search.best:
        kind = "best"
    elif name == search.baseline:
        kind = "baseline"
    elif name in search.pareto:
        kind = "pareto"
    latency = point.latency_ms or 0.0
    says = f"{name}: {latency:.3g} ms, {readable_size(point.size_bytes)}; {point.status.value}{': ' + point.reason if point.reason else ''}"
    return Dot(across.place(latency), upward.place(point.size_bytes), kind, name, says)


def _scale(values: Sequence[float], start: float, stop: float) -> _Scale:
    low, high = math.log10(min(values)), math.log10(max(values))
    short = max(_NARROWEST - (high - low), 0.0) / 2
    low, high = low - short, high + short
    room = (high - low) * _ROOM
    return _Scale(low - room, high + room, start, stop)
