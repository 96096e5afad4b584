"""Shapley values of a game: exact by trying every set of features, or estimated from drawn orders with a stated bound.

Takes a Game; gives `Shapley`. The worth of a set of features is the mean, over the background rows, of the answer for the row with the
other features taken from there; the Shapley value of a feature is the mean of what it adds, over all orders in which features can come
(Shapley 1953). Drawn orders come in pairs, each with its reverse (antithetic sampling: Mitchell et al. 2022,
https://arxiv.org/abs/2104.12199), each pair on its own background row, all of which are used alike. Estimates are brought to add up as the
law says, by moving each in proportion to its variance. Raises DeadlineError where the time does not allow an estimate at all. Repeatable by
its seed where the number of pairs is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from fairlead.core.interface import Array
from fairlead.errors import DeadlineError
from fairlead.explain.game import Game

ENUMERATED_ROWS = 2**14  # rows that trying every set may ask for
FEWEST_PAIRS = 8  # below, a spread says nothing
MOST_PAIRS = 4096
_CONFIDENCE = 0.95
_FEW_EFFECTS = 10  # effects of a feature that were seen to differ from 0; below, its spread is not trusted alone
_NOTHING = 1e-9  # of the spread of answers
_SHARE = 0.9  # of the time that is left, which the next pairs may be expected to take


@dataclass(frozen=True)
class Shapley:
    """`weights` and `bounds` (features,), `base` and `output`; the bounds hold together with 95 % confidence, and are 0 where exact."""

    weights: Array
    bounds: Array
    base: float
    output: float
    pair_count: int = 0


@dataclass(frozen=True)
class Budget:
    """How long to draw: until `clock` says `deadline`, but for `pair_limit` pairs at most."""

    clock: Callable[[], float]
    deadline: float = math.inf
    pair_limit: int = MOST_PAIRS


def can_enumerate(game: Game, limit: int = ENUMERATED_ROWS) -> bool:
    """Whether trying every set of features asks for `limit` rows at most."""
    return game.size < limit.bit_length() and game.hiding.background_count << game.size <= limit


def enumerate_shapley(game: Game) -> Shapley:
    """Return the exact values: every set of features with every background row."""
    size, count = game.size, game.hiding.background_count
    sets = np.arange(1 << size)
    keep = ((sets[:, np.newaxis] >> np.arange(size)) & 1).astype(np.bool_)
    worth = game.worths(np.repeat(keep, count, axis=0), np.tile(np.arange(count), len(sets))).reshape(len(sets), count).mean(axis=1)
    sizes = np.bitwise_count(sets)
    weights = np.empty(size)
    for feature in range(size):
        without = sets[~keep[:, feature]]
        chance = np.array([1 / (size * math.comb(size - 1, others)) for others in range(size)])[sizes[without]]
        weights[feature] = chance @ (worth[without | (1 << feature)] - worth[without])
    return Shapley(weights, np.zeros(size), float(worth[0]), float(worth[-1]))


def sample_shapley(game: Game, budget: Budget, seed: int) -> Shapley:
    """Return estimates from as many pairs of orders as the budget allows, at least FEWEST_PAIRS."""
    began = budget.clock()
    random = np.random.default_rng(seed)
    ends, output = game.ends()
    others = _used_alike(random, len(ends), budget.pair_limit)
    seen: list[Array] = []
    done = 0
    started = budget.clock()
    while done < budget.pair_limit:
        now = budget.clock()
        if now >= budget.deadline:
            break
        count = min(done or FEWEST_PAIRS, max(game.piece_rows // (2 * game.size), 1), budget.pair_limit - done)
        if done and math.isfinite(budget.deadline):  # what comes next takes as long as what came before
            count = min(count, int(_SHARE * (budget.deadline - now) * done / max(now - started, 1e-9)))
        if count < 1:
            break
        try:
            seen.append(_effects(game, random, others[done : done + count], ends, output))
        except DeadlineError:  # whoever runs the model looks at the time, too: what was found before holds
            break
        done += count
    if done < FEWEST_PAIRS:
        raise too_short(budget.deadline - began)
    return _estimate(np.concatenate(seen), ends, output)


def too_short(budget_s: float) -> DeadlineError:
    """Return the error for a row that cannot be explained in the time that it has."""
    return DeadlineError(
        f"The model is too slow for this row to be explained within {budget_s:.3g} s.",
        hint="Allow more time: --budget 10s, for example; at a server, FAIRLEAD_EXPLAIN_BUDGET_S.",
    )


def _used_alike(random: np.random.Generator, count: int, length: int) -> Array:
    """Return background rows in drawn order, each once before any comes again."""
    rounds = -(-length // count)
    return random.permuted(np.tile(np.arange(count), (rounds, 1)), axis=1).reshape(-1)[:length]


def _effects(game: Game, random: np.random.Generator, others: Array, ends: Array, output: float) -> Array:
    """Return what each feature adds in a drawn order and in its reverse, the mean of both, for each background row of `others`."""
    count, size = len(others), game.size
    ranks = random.permuted(np.tile(np.arange(size), (count, 1)), axis=1)
    both = np.stack([ranks, size - 1 - ranks])  # (2, count, features): the place of each feature in the order
    keep = both[:, :, np.newaxis, :] < np.arange(1, size)[:, np.newaxis]
    inside = np.zeros((2, count, 0))
    if size > 1:
        whom = np.broadcast_to(others[:, np.newaxis], (2, count, size - 1)).reshape(-1)
        inside = game.worths(keep.reshape(-1, size), whom).reshape(2, count, size - 1)
    start = np.broadcast_to(ends[others][:, np.newaxis], (2, count, 1))
    steps = np.diff(np.concatenate([start, inside, np.full((2, count, 1), output)], axis=2), axis=2)
    return np.asarray(np.take_along_axis(steps, both, axis=2).mean(axis=0))


def _estimate(effects: Array, ends: Array, output: float) -> Shapley:
    """Return the means of effects (pairs, features), and bounds from their spread: Student's, one for each feature (Bonferroni).

    A feature that hardly ever mattered may matter much, and rarely: what happens in one of k orders is missed by n of them with the chance
    (1 - 1/k)^n, so that its bound is at least the spread of all answers times log(features / 0.05) / n.
    """
    count, size = effects.shape
    means = effects.mean(axis=0)
    variances = effects.var(axis=0, ddof=1) / count if count > 1 else np.zeros(size)
    alpha = (1 - _CONFIDENCE) / size
    bounds = t_quantile(1 - alpha / 2, max(count - 1, 1)) * np.sqrt(variances)
    spread = max(float(np.ptp(np.append(ends, output))), float(np.abs(effects).max()))
    is_rare = (np.abs(effects) > _NOTHING * spread).sum(axis=0) < _FEW_EFFECTS
    bounds = np.where(is_rare, np.maximum(bounds, spread * -math.log(alpha) / count), bounds)
    base = float(ends.mean())
    lacking = output - base - float(means.sum())
    total = float(variances.sum())
    shares = variances / total if total > 0 else np.full(size, 1 / size)
    return Shapley(means + lacking * shares, bounds, base, output, count)


def t_quantile(chance: float, freedom: int) -> float:
    """Return Student's quantile (Abramowitz and Stegun 1964, 26.7.5): off by less than 1 % for 7 degrees of freedom or more."""
    z = NormalDist().inv_cdf(chance)
    n = freedom
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    fourth = (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160
    return z + first / n + second / n**2 + third / n**3 + fourth / n**4
