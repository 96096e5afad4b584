"""How fast a promise's error budget burns: the share of bad events as a multiple of what the promise allows, over a fast and a slow window.

Takes counts over time; gives BurnRates. Pure: time comes with the question. An alert needs both windows: the slow one says that it matters,
the fast one that it still goes on, so that an alert ends soon after its cause (Beyer et al., "The Site Reliability Workbook", O'Reilly
2018, chapter 5, "multiwindow, multi-burn-rate alerts").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fairlead.core.interface import Array
from fairlead.core.outcome import BurnRate, Counted
from fairlead.core.requirement import MetricKind, Requirement

EVENTS_MIN = 30.0  # bad or good, in the slow window: fewer say nothing about a share


@dataclass(frozen=True)
class BurnWindow:
    """Two windows and how fast the budget has to burn in both; `is_urgent`: it is gone within a day or two at that rate."""

    fast_s: float
    slow_s: float
    factor: float
    is_urgent: bool


# For a budget of 30 days (the source's table 5-8): 2 % of it in an hour, 5 % in six, 10 % in three days.
WINDOWS = (
    BurnWindow(300.0, 3600.0, 14.4, is_urgent=True),
    BurnWindow(1800.0, 6 * 3600.0, 6.0, is_urgent=True),
    BurnWindow(6 * 3600.0, 3 * 86_400.0, 1.0, is_urgent=False),
)


def budget_of(requirement: Requirement) -> float | None:
    """Return the share of events that may be bad under a promise: 1 % of the requests may take longer than a p99 allows, 5 % of the answers
    be wrong where accuracy is 95 %. None where a promise is about no share of events.
    """
    if requirement.is_relative:
        return None
    if requirement.kind is MetricKind.LATENCY:
        return {"p50_ms": 0.5, "p95_ms": 0.05, "p99_ms": 0.01}[requirement.metric]
    if requirement.metric == "accuracy" and requirement.bound < 1.0:
        return 1.0 - requirement.bound
    return None


def counted(at: Array, is_bad: Array, width_s: float = 60.0) -> tuple[Counted, ...]:
    """Return events, each at its Unix time, counted by pieces of time; a piece stands at its end."""
    if not len(at):
        return ()
    places = np.floor(at / width_s).astype(np.int64)
    first = int(places.min())
    totals, bad = np.bincount(places - first), np.bincount(places - first, is_bad.astype(np.float64))
    kept = np.flatnonzero(totals)
    return tuple(Counted((first + place + 1) * width_s, float(bad[place]), float(totals[place])) for place in kept.tolist())


def factor_for(window: BurnWindow, budget: float) -> float:
    """Return how fast a budget has to burn: where all events together could not burn it that fast, half way to what they could."""
    return min(window.factor, (1.0 + 1.0 / budget) / 2.0)


def burn_rates(counts: Sequence[Counted], budget: float, now: float, windows: Sequence[BurnWindow] = WINDOWS) -> tuple[BurnRate, ...]:
    """Return the burn rate in every pair of windows; 0 where too little happened to say anything."""
    table = np.asarray([(one.at, one.bad, one.total) for one in counts], dtype=np.float64).reshape(-1, 3)
    return tuple(
        BurnRate(
            _rate(table, now, window.fast_s, budget, least=1.0),
            _rate(table, now, window.slow_s, budget, least=EVENTS_MIN),
            window.fast_s,
            window.slow_s,
            factor_for(window, budget),
        )
        for window in windows
    )


def most_urgent(rates: Sequence[BurnRate], windows: Sequence[BurnWindow] = WINDOWS) -> tuple[BurnRate, bool] | None:
    """Return the first pair of windows that burns, and whether it is urgent; None where none does."""
    return next(((rate, window.is_urgent) for rate, window in zip(rates, windows, strict=True) if rate.is_burning), None)


def _rate(table: Array, now: float, window_s: float, budget: float, *, least: float) -> float:
    inside = table[table[:, 0] > now - window_s]  # what a clock puts ahead of now is now
    total = float(inside[:, 2].sum())
    return float(inside[:, 1].sum()) / total / budget if total >= least and budget > 0 else 0.0
