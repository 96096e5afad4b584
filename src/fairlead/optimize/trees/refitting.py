"""Leaf values fitted anew, all trees together: what pruning and shortening took is made up for by the leaves that are left.

Takes an ensemble and rows; gives one with other leaf values. Every step moves each leaf by the ensemble's own Newton step over the rows in
it, divided by the number of trees that move at once (simultaneous iterative reconstruction, Gilbert 1972, which converges), with momentum
(Nesterov 1983) that starts again where the loss rises. It stops where the judging rows get worse, which is what keeps it from learning rows
by heart. Leaves of forests stay probabilities: each is brought back to the simplex (Duchi and others 2008). The idea of fitting the leaves
of all trees together: Ren and others, Global Refinement of Random Forest, 2015.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from fairlead.core.interface import Array
from fairlead.core.tree_ensemble import Split, TreeEnsemble
from fairlead.optimize.trees.link import Function
from fairlead.optimize.trees.objective import Objective
from fairlead.optimize.trees.pruning import leaf_totals
from fairlead.optimize.trees.shape import with_values
from fairlead.optimize.trees.walk import sums_from

_STEP_LIMIT = 200
_CURVATURE_STEPS = 10  # that one look at the curvature serves
_PATIENCE = 10  # steps without a better held-out loss


@dataclass(frozen=True)
class Rows:
    """The leaves (rows, trees) that rows reach, and what their answers should be."""

    leaves: Array = field(repr=False)
    objective: Objective


@dataclass(frozen=True)
class Limits:
    """`ridge` is how many rows of no news each leaf counts beside its own; `time_s` how long it may take (0: no limit)."""

    ridge: float = 1.0
    time_s: float = 0.0


def refitted(trees: TreeEnsemble, fitted: Rows, judging: Rows, limits: Limits) -> tuple[TreeEnsemble, float, float]:
    """Return the ensemble with the leaf values that were best on the judging rows, and their loss before and after."""
    deadline = time.monotonic() + limits.time_s if limits.time_s else float("inf")
    before = judging.objective.loss(sums_from(trees, judging.leaves))
    best, best_loss, best_step = trees, before, 0
    at, ahead, momentum, scale = trees, trees, 1.0, np.zeros(0)
    last_loss = float("inf")
    for step in range(1, _STEP_LIMIT + 1):
        sums = sums_from(ahead, fitted.leaves)
        loss = fitted.objective.loss(sums)
        if loss > last_loss:
            momentum, ahead = 1.0, at
            last_loss = float("inf")
            continue
        last_loss = loss
        if step % _CURVATURE_STEPS == 1:
            scale = _step_scale(ahead, sums, fitted, limits.ridge)
        following = _stepped(ahead, sums, fitted, scale)
        judged = judging.objective.loss(sums_from(following, judging.leaves))
        if judged < best_loss:
            best, best_loss, best_step = following, judged, step
        if step - best_step >= _PATIENCE or time.monotonic() > deadline:
            break
        grown = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        values = following.leaf_values + (momentum - 1) / grown * (following.leaf_values - at.leaf_values)
        at, ahead, momentum = following, with_values(following, values), grown
    return best, before, best_loss


def _step_scale(trees: TreeEnsemble, sums: Array, fitted: Rows, ridge: float) -> Array:
    """Return (nodes, width): what a leaf moves by for a derivative of 1."""
    unit = 1.0 / trees.tree_count if trees.is_averaged else 1.0
    _, curvature = fitted.objective.derivatives(sums)
    second = leaf_totals(trees, fitted.leaves, curvature * unit**2) + ridge * float(curvature.mean()) * unit**2
    together = trees.tree_count if trees.leaf_values.shape[1] > 1 else max(int(np.bincount(trees.groups).max()), 1)
    return np.asarray(unit / (together * np.maximum(second, 1e-300)))


def _stepped(trees: TreeEnsemble, sums: Array, fitted: Rows, scale: Array) -> TreeEnsemble:
    gradient, _ = fitted.objective.derivatives(sums)
    values = trees.leaf_values - leaf_totals(trees, fitted.leaves, gradient) * scale
    is_vector = trees.leaf_values.shape[1] > 1
    if fitted.objective.link.function is Function.SHARES and is_vector:
        is_leaf = trees.splits == Split.LEAF
        totals = trees.leaf_values[is_leaf].sum(axis=1, keepdims=True)
        values[is_leaf] = on_simplex(values[is_leaf], np.maximum(totals, 0))
    return with_values(trees, values)


def on_simplex(values: Array, totals: Array) -> Array:
    """Return the nearest rows of numbers that are not negative and add up to `totals` (rows, 1)."""
    count = values.shape[1]
    ordered = -np.sort(-values, axis=1)
    excess = np.cumsum(ordered, axis=1) - totals
    is_kept = ordered * np.arange(1, count + 1) > excess
    last = np.maximum(is_kept.sum(axis=1), 1) - 1
    shift = excess[np.arange(len(values)), last] / (last + 1)
    return np.asarray(np.maximum(values - shift[:, np.newaxis], 0.0))
