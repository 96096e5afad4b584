"""Leaves merged into their parents, those first that cost least by what the whole ensemble answers.

Takes an ensemble and what its trees do on rows; gives one with fewer leaves. The cost of merging two leaves is the change of the loss to
second order, by the ensemble's own derivatives at its present sums: so a tree may lose what the others make up for. The merged value is the
mean by what reaches it, which keeps a mean of probabilities one. After every round the sums are taken anew. As minimal cost-complexity
pruning (Breiman and others 1984, chapter 3), with the loss of the ensemble in the place of that of one tree.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fairlead.core.interface import Array
from fairlead.core.tree_ensemble import Split, TreeEnsemble
from fairlead.optimize.trees.objective import Objective
from fairlead.optimize.trees.shape import compact, leaf_count, with_values, without_constant_trees
from fairlead.optimize.trees.walk import sums_from

_ROUNDS = 16
_TINY = 1e-12


@dataclass(frozen=True)
class Budget:
    """Until a share `keep` of the leaves is left, or, with `by_path`, of the steps that a row takes through all trees."""

    keep: float
    by_path: bool = False


def pruned(trees: TreeEnsemble, leaves: Array, objective: Objective, budget: Budget) -> TreeEnsemble:
    """Return `trees` with leaves merged; `leaves` (rows, trees) are those that the objective's rows reach."""
    left, right = trees.left.astype(np.int64), trees.right.astype(np.int64)
    work = trees
    rows = len(leaves)
    whole = _steps(work, leaves) if budget.by_path else float(_free_leaf_count(work))
    is_root = np.zeros(trees.node_count, dtype=bool)
    is_root[trees.roots] = True
    remaining, step = whole, whole * (1 - budget.keep) / _ROUNDS
    while remaining > whole * budget.keep:
        nodes = _cherries(work, left, right)
        if not nodes.size:
            break
        values, costs, visits = _merges(work, leaves, objective, (nodes, left[nodes], right[nodes]))
        gains = visits / rows if budget.by_path else 1.0 + is_root[nodes]  # with its root, a whole tree goes
        order = np.argsort(costs / np.maximum(gains, 0.5 / rows), kind="stable")
        wanted = min(step, remaining - whole * budget.keep)
        count = int(np.searchsorted(np.cumsum(gains[order]), wanted)) + 1
        chosen = order[:count]
        work = _merged(work, nodes[chosen], values[chosen])
        into = np.arange(trees.node_count)
        into[left[nodes[chosen]]] = into[right[nodes[chosen]]] = nodes[chosen]
        leaves = into[leaves]
        remaining -= float(gains[chosen].sum())
    return without_constant_trees(compact(work))


def _free_leaf_count(trees: TreeEnsemble) -> int:
    """Leaves of trees that decide something: what has one value is added elsewhere."""
    return leaf_count(trees) - int((trees.splits[trees.roots] == Split.LEAF).sum())


def _steps(trees: TreeEnsemble, leaves: Array) -> float:
    """Splits that a row passes in all trees, on average."""
    depth = np.zeros(trees.node_count)
    level = trees.roots.astype(np.int64)
    while level.size:
        inner = level[trees.splits[level] != Split.LEAF]
        for side in (trees.left, trees.right):
            depth[side[inner]] = depth[inner] + 1
        level = np.concatenate([trees.left[inner], trees.right[inner]]).astype(np.int64)
    return float(depth[leaves].sum(axis=1).mean())


def _cherries(trees: TreeEnsemble, left: Array, right: Array) -> Array:
    """Return the inner nodes both of whose children are leaves, of those that a root leads to."""
    is_leaf = trees.splits == Split.LEAF
    return np.flatnonzero(~is_leaf & is_leaf[left] & is_leaf[right])


def _merged(trees: TreeEnsemble, nodes: Array, values: Array) -> TreeEnsemble:
    splits, leaf_values = trees.splits.copy(), trees.leaf_values.copy()
    splits[nodes] = Split.LEAF
    leaf_values[nodes] = values
    return with_values(replace(trees, splits=splits), leaf_values)


def _merges(trees: TreeEnsemble, leaves: Array, objective: Objective, found: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
    """Return of each node the value that it would have, what merging its leaves costs, and how many rows reach it."""
    nodes, left, right = found
    gradient, curvature = objective.derivatives(sums_from(trees, leaves))
    unit = 1.0 / trees.tree_count if trees.is_averaged else 1.0
    first, second = (leaf_totals(trees, leaves, part) for part in (gradient * unit, curvature * unit**2))
    visits = np.bincount(leaves.ravel(), minlength=trees.node_count).astype(np.float64)
    weights = [second[side].mean(axis=1, keepdims=True) + _TINY for side in (left, right)]
    sides = trees.leaf_values[left], trees.leaf_values[right]
    values = (weights[0] * sides[0] + weights[1] * sides[1]) / (weights[0] + weights[1])
    costs = np.zeros(len(nodes))
    for side, own in zip((left, right), sides, strict=True):
        shift = values - own
        costs += (first[side] * shift + second[side] * shift**2 / 2).sum(axis=1)
    return values, costs, visits[left] + visits[right]


def leaf_totals(trees: TreeEnsemble, leaves: Array, by_row: Array) -> Array:
    """Return (nodes, width): what the rows (rows, outputs) in each leaf add up to, in the outputs that the leaf adds to."""
    width = trees.leaf_values.shape[1]
    if width > 1:
        flat = leaves.ravel()
        columns = [np.bincount(flat, np.repeat(by_row[:, place], trees.tree_count), trees.node_count) for place in range(width)]
        return np.stack(columns, axis=1)
    total = np.zeros(trees.node_count)
    for output in range(trees.output_count):
        own = leaves[:, trees.groups == output]
        if own.size:
            total += np.bincount(own.ravel(), np.repeat(by_row[:, output], own.shape[1]), trees.node_count)
    return total[:, np.newaxis]
