"""Which leaf each row reaches in each tree, and what the leaves add up to: fast enough for 10,000 rows and 500 trees.

Takes core.tree_ensemble.TreeEnsemble in ONNX's meaning (engines.tree_operator) and the rows that its operator sees. Every split by order is
`x <= threshold` here, without another answer for any number. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairlead.core.interface import Array
from fairlead.core.tree_ensemble import Split, TreeEnsemble
from fairlead.engines.tree_attributes import depth_first
from fairlead.engines.tree_ensemble_engine import leaves_of


@dataclass(frozen=True)
class Questions:
    """Per node: a row goes to `yes` where x <= threshold, or where x is NaN and `nan_is_yes`; no number is at most a threshold of NaN."""

    thresholds: Array
    yes: Array
    no: Array
    nan_is_yes: Array


def questions_of(trees: TreeEnsemble) -> Questions:
    """Return what the splits by order ask; what stands at other splits and at leaves means nothing."""
    dtype = trees.compare_dtype.numpy
    thresholds = trees.thresholds.astype(dtype)
    with np.errstate(over="ignore", under="ignore"):
        below = np.nextafter(thresholds, dtype.type(-np.inf))
    below = np.where(np.isneginf(thresholds), dtype.type(np.nan), below)
    is_turned = trees.splits == Split.GREATER
    return Questions(
        thresholds=np.where(trees.splits == Split.LESS, below, thresholds),
        yes=np.where(is_turned, trees.right, trees.left).astype(np.int64),
        no=np.where(is_turned, trees.left, trees.right).astype(np.int64),
        nan_is_yes=trees.missing_left != is_turned,
    )


def reached(trees: TreeEnsemble, table: Array) -> Array:
    """Return the node of the leaf that each row reaches in each tree: int32 (rows, trees)."""
    if np.isin(trees.splits, (Split.EQUAL, Split.CATEGORY)).any():
        return leaves_of(trees, table).astype(np.int32)
    asked = questions_of(trees)
    with np.errstate(over="ignore", invalid="ignore"):
        columns = np.ascontiguousarray(table.astype(trees.compare_dtype.numpy).T)
    has_nan = bool(np.isnan(columns).any())
    rows = np.arange(columns.shape[1])
    order, tree = depth_first(trees)
    bounds = np.searchsorted(tree, np.arange(trees.tree_count + 1))
    found = np.empty((trees.tree_count, len(rows)), dtype=np.int32)
    for number in range(trees.tree_count):
        nodes = order[bounds[number] : bounds[number + 1]]
        found[number] = nodes[_walk(trees, asked, nodes, columns, rows, has_nan=has_nan)]
    return np.ascontiguousarray(found.T)


def _walk(trees: TreeEnsemble, asked: Questions, nodes: Array, columns: Array, rows: Array, *, has_nan: bool) -> Array:
    """Return the place in `nodes`, those of one tree depth first, of each row's leaf."""
    place = np.zeros(trees.node_count if len(nodes) == trees.node_count else int(nodes.max()) + 1, dtype=np.int32)
    place[nodes] = np.arange(len(nodes))
    is_leaf = trees.splits[nodes] == Split.LEAF
    own = np.arange(len(nodes))
    sides = np.stack([np.where(is_leaf, own, place[np.where(is_leaf, nodes[0], side[nodes])]) for side in (asked.no, asked.yes)], axis=1)
    sides, thresholds = sides.reshape(-1), asked.thresholds[nodes]
    offsets = trees.features[nodes].astype(np.int64) * columns.shape[1]
    nan_is_yes, flat = asked.nan_is_yes[nodes], columns.reshape(-1)
    at = np.zeros(len(rows), dtype=np.int64)
    while True:
        values = flat[offsets[at] + rows] if flat.size else np.zeros(len(rows))
        is_yes = values <= thresholds[at]
        if has_nan:
            is_yes |= np.isnan(values) & nan_is_yes[at]
        following = sides[2 * at + is_yes]
        if np.array_equal(following, at):
            return at
        at = following


def sums_from(trees: TreeEnsemble, leaves: Array) -> Array:
    """Return double (rows, outputs): base and leaf values added up, divided where the ensemble averages."""
    sums = np.repeat(trees.base[np.newaxis], len(leaves), axis=0)
    if trees.leaf_values.shape[1] > 1:
        for tree in range(trees.tree_count):
            sums += trees.leaf_values[leaves[:, tree]]
    else:
        values = trees.leaf_values[:, 0]
        for output in range(trees.output_count):
            sums[:, output] += values[leaves[:, trees.groups == output]].sum(axis=1)
    return sums / trees.tree_count if trees.is_averaged and trees.tree_count else sums
