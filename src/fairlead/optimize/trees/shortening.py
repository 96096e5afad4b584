"""Fewer trees: the first ones, or those that together come nearest to all of them, with weights.

Takes an ensemble and what its trees do on rows; gives the chosen trees and a weight for each. Forests of shares: trees are drawn into the
mean one by one, each time the one that lowers the loss most, the same one again if it does (ensemble selection, Caruana and others 2004),
so that a mean of probabilities stays one. Otherwise: orthogonal matching pursuit (Pati and others 1993) towards the sums of all trees, in
the metric of the loss. What the sums lose on average goes into a tree that stays. Trees of one value (a base) always stay. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fairlead.core.interface import Array
from fairlead.core.tree_ensemble import TreeEnsemble
from fairlead.engines.tree_attributes import depth_first
from fairlead.optimize.trees.link import Function
from fairlead.optimize.trees.objective import Objective
from fairlead.optimize.trees.shape import chosen_trees, is_constant, shifted
from fairlead.optimize.trees.walk import sums_from

_CELL_LIMIT = 20_000_000  # numbers that the comparison of all trees may hold
_RIDGE = 1e-6


@dataclass(frozen=True)
class Choice:
    """Trees by number, in their order, and what each is multiplied by."""

    trees: Array
    weights: Array


def shortened(trees: TreeEnsemble, leaves: Array, objective: Objective, choice: Choice) -> TreeEnsemble:
    """Return the chosen trees, weighted; sums that are no shares keep their mean on the objective's rows."""
    fewer = chosen_trees(trees, choice.trees, choice.weights)
    if objective.link.function is Function.SHARES:
        return fewer
    sums = sums_from(trees, leaves)
    _, curvature = objective.derivatives(sums)
    kept = _kept_sums(trees, leaves, choice)
    shift = (curvature * (sums - kept)).sum(axis=0) / curvature.sum(axis=0)
    return shifted(fewer, shift)


def _kept_sums(trees: TreeEnsemble, leaves: Array, choice: Choice) -> Array:
    """Return what the choice adds up to, by the leaves of the whole ensemble."""
    order, tree = depth_first(trees)
    weights = np.zeros(trees.tree_count)
    weights[choice.trees] = choice.weights
    values = np.zeros_like(trees.leaf_values)
    values[order] = trees.leaf_values[order] * weights[tree][:, np.newaxis]
    partial = replace(trees, roots=trees.roots[choice.trees], groups=trees.groups[choice.trees], leaf_values=values)
    return sums_from(partial, leaves[:, choice.trees])


def first_trees(trees: TreeEnsemble, keep: float) -> Choice:
    """Return a share `keep` of the trees of every output, the first ones; of a mean, each weighs the more."""
    chosen, weights = [], []
    always = is_constant(trees)
    for own in _by_output(trees):
        free = own[~always[own]]
        count = max(int(np.ceil(keep * len(free))), 1) if len(free) else 0
        chosen += [own[always[own]], free[:count]]
        weights += [np.ones(int(always[own].sum())), np.ones(count)]
    return _in_order(np.concatenate(chosen), np.concatenate(weights))


def scaled_to_mean(trees: TreeEnsemble, choice: Choice) -> Choice:
    """Return the choice with weights as large as all trees together weighed: for sums that are divided by a fixed number of trees."""
    whole = 1.0 if trees.is_averaged else trees.tree_count / len(choice.trees)
    return Choice(choice.trees, choice.weights * whole)


def best_trees(trees: TreeEnsemble, leaves: Array, objective: Objective, keep: float) -> Choice:
    """Return a share `keep` of the trees of every output, chosen on rows."""
    if objective.link.function is Function.SHARES and trees.leaf_values.shape[1] > 1:
        return _drawn(trees, leaves, objective, max(int(np.ceil(keep * trees.tree_count)), 1))
    always = is_constant(trees)
    _, curvature = objective.derivatives(sums_from(trees, leaves))
    chosen, weights = [np.flatnonzero(always)], [np.ones(int(always.sum()))]
    for output, own in enumerate(_by_output(trees)):
        free = own[~always[own]]
        if not len(free):
            continue
        rows = _some_rows(len(leaves), len(free), trees.leaf_values.shape[1])
        metric = curvature[rows] if trees.leaf_values.shape[1] > 1 else curvature[rows][:, [output]]
        parts = np.stack([trees.leaf_values[leaves[rows, tree]] for tree in free])
        centered = (parts - (parts * metric).sum(axis=1, keepdims=True) / metric.sum(axis=0)) * np.sqrt(metric)
        picked, own_weights = _pursued(centered.reshape(len(free), -1), max(int(np.ceil(keep * len(free))), 1))
        chosen.append(free[picked])
        weights.append(own_weights)
    found = _in_order(np.concatenate(chosen), np.concatenate(weights))
    return Choice(found.trees, found.weights * (len(found.trees) / trees.tree_count)) if trees.is_averaged else found


def _by_output(trees: TreeEnsemble) -> list[Array]:
    if trees.leaf_values.shape[1] > 1:
        return [np.arange(trees.tree_count)]
    return [np.flatnonzero(trees.groups == output) for output in range(trees.output_count)]


def _in_order(chosen: Array, weights: Array) -> Choice:
    order = np.argsort(chosen, kind="stable")
    return Choice(chosen[order].astype(np.int64), weights[order])


def _some_rows(count: int, trees: int, width: int) -> Array:
    limit = max(_CELL_LIMIT // max(trees * width, 1), 64)
    return np.arange(count)[:: max(-(-count // limit), 1)]


def _pursued(parts: Array, count: int) -> tuple[Array, Array]:
    """Return `count` rows of `parts` (trees, cells) and the weights with which they come nearest to the sum of all."""
    gram = parts @ parts.T
    gram[np.diag_indices_from(gram)] += _RIDGE * float(np.trace(gram)) / len(gram) + 1e-300
    wanted = gram.sum(axis=1)
    picked: list[int] = []
    weights = np.zeros(0)
    norms = np.sqrt(np.diag(gram))
    for _ in range(min(count, len(gram))):
        left = np.abs(wanted - gram[:, picked] @ weights) / norms
        left[picked] = -1.0
        picked.append(int(np.argmax(left)))
        weights = np.linalg.solve(gram[np.ix_(picked, picked)], wanted[picked])
    return np.asarray(picked), weights


def _drawn(trees: TreeEnsemble, leaves: Array, objective: Objective, count: int) -> Choice:
    """Draw until `count` different trees are in the mean, or as many draws again changed nothing."""
    rows = _some_rows(len(leaves), trees.tree_count, trees.leaf_values.shape[1])
    parts = np.stack([trees.leaf_values[leaves[rows, tree]].ravel() for tree in range(trees.tree_count)])
    scale = objective.link.scale * (1.0 if trees.is_averaged else trees.tree_count)
    wanted = objective.wanted[rows].ravel() / scale
    gram, fit = parts @ parts.T, parts @ wanted
    draws = np.zeros(trees.tree_count)
    along = np.zeros(trees.tree_count)  # gram @ draws
    length = 0.0  # draws @ gram @ draws
    for number in range(1, 4 * count + 1):
        is_full = int((draws > 0).sum()) >= count
        losses = (length + 2 * along + np.diag(gram)) / number**2 - 2 * (fit @ draws + fit) / number
        if is_full:
            losses[draws == 0] = np.inf
        tree = int(np.argmin(losses))
        length += 2 * along[tree] + gram[tree, tree]
        along += gram[tree]
        draws[tree] += 1
    chosen = np.flatnonzero(draws)
    weights = draws[chosen] / draws.sum()
    return Choice(chosen, weights * (len(chosen) if trees.is_averaged else trees.tree_count))
