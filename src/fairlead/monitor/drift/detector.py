"""One watched thing: evidence that it has changed, window by window, good at any time and however long it is watched. Pure.

Takes, for each window, hits of events, trials and the limits of their chances (see `events`); gives the next state. Many may be computed at
once: all arrays may have leading axes.

For an event with a chance of p at most, a bet on m times the odds multiplies the bettor's wealth by m / (1 - p + p m) at a hit and by
1 / (1 - p + p m) otherwise: on average by 1 at most, whatever was seen before (`core.betting`). Where e_t is what window t multiplies it
by,

    M_t = (M_(t-1) + 1) e_t,    M_0 = 0

adds up the wealth of bettors of which one starts at each window: one of them starts just when the change comes. While nothing has changed,
M_t grows by 1 a window on average at most. Raise an alarm when M reaches c, and begin anew from 0: then c (alarms) + M_t - t does not grow
on average, so that there are at most T / c false alarms in T windows on average. Several M, one for each event and odds, are averaged: the
average has the same law, and no detectors need to be independent of each other for the sum of their false alarms to be bounded.

It is the e-SR detector of Shin, Ramdas, Rinaldo, "E-detectors: a nonparametric framework for sequential change detection", New England
Journal of Statistics in Data Science 2 (2024), after Shiryaev (1963) and Roberts (1966). Who begins to look later has a smaller M, so
looking at several spans of time costs nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from fairlead.core.interface import Array

ODDS: Array = np.array([1.2, 1.5, 2.0, 3.0, 6.0, 20.0, 100.0])
NOWHERE = -1


@dataclass(frozen=True)
class DetectorState:
    """Logarithms of M for each bet (..., bets); for each, the largest log wealth of a bettor who started at window `starts`; `windows`
    seen.
    """

    logs: Array = field(repr=False)
    runs: Array = field(repr=False)
    starts: Array = field(repr=False)
    windows: int = 0


def begin(bets: int, *leading: int) -> DetectorState:
    """Return the state of one who has seen nothing."""
    shape = (*leading, bets)
    return DetectorState(np.full(shape, -np.inf), np.zeros(shape), np.full(shape, NOWHERE))


def log_bets(hits: Array, trials: Array, limits: Array) -> Array:
    """Return the log wealth of every bet, (..., events x odds), after `hits` (..., events) in `trials` (..., events or 1), where the
    chances are `limits` (..., events) at most.
    """
    gain = np.asarray(hits, dtype=np.float64)[..., None] * np.log(ODDS)
    price = np.asarray(trials, dtype=np.float64)[..., None] * np.log1p(np.asarray(limits)[..., None] * (ODDS - 1.0))
    bets: Array = (gain - price).reshape(*gain.shape[:-2], -1)
    return bets


def step(state: DetectorState, bets: Array) -> DetectorState:
    """Return the state after a window in which the bets multiplied wealth by exp(bets)."""
    is_new = state.runs <= 0.0
    return DetectorState(
        np.logaddexp(state.logs, 0.0) + bets,
        np.where(is_new, 0.0, state.runs) + bets,
        np.where(is_new, state.windows, state.starts),
        state.windows + 1,
    )


def log_evidence(state: DetectorState, log_weights: Array) -> Array:
    """Return log of the weighted mean of M, (...); `log_weights` (bets,) are logarithms of weights that sum to 1."""
    weighed = state.logs + log_weights
    top = np.maximum(weighed.max(axis=-1), -1e300)
    found: Array = top + np.log(np.exp(weighed - top[..., None]).sum(axis=-1))
    return found


def onset(state: DetectorState, log_weights: Array) -> int:
    """Return the window in which the change began most likely: where the bettor who has won most started."""
    return int(state.starts[int(np.argmax(state.logs + log_weights))])


def restarted(state: DetectorState) -> DetectorState:
    """Return the state after an alarm: all wealth is gone, the count of windows is not."""
    fresh = begin(state.logs.shape[-1], *state.logs.shape[:-1])
    return DetectorState(fresh.logs, fresh.runs, fresh.starts, state.windows)


def even_weights(*groups: int) -> Array:
    """Return log weights for groups of bets: each group has an equal part, and within it each bet."""
    parts = [np.full(group, -math.log(group * sum(1 for size in groups if size))) for group in groups if group]
    return np.concatenate(parts)
