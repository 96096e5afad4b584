"""Ensembles made of others: nodes that became leaves, trees that went, what nobody reaches dropped.

Takes and gives core.tree_ensemble.TreeEnsemble; equal arguments give equal values. Pure.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fairlead.core.interface import Array
from fairlead.core.tree_ensemble import Split, TreeEnsemble
from fairlead.engines.tree_attributes import depth_first

_PER_NODE = ("splits", "features", "thresholds", "missing", "missing_left", "leaf_values", "unknown_category_left")


def compact(trees: TreeEnsemble) -> TreeEnsemble:
    """Return the same trees without nodes that no root leads to, depth first."""
    order, _ = depth_first(trees)
    place = np.zeros(trees.node_count, dtype=np.int32)
    place[order] = np.arange(len(order))
    is_leaf = trees.splits[order] == Split.LEAF
    parts: dict[str, Any] = {name: getattr(trees, name)[order] for name in _PER_NODE}
    parts["features"] = np.where(is_leaf, 0, parts["features"])
    parts["thresholds"] = np.where(is_leaf, 0.0, parts["thresholds"])
    parts["leaf_values"] = np.where(is_leaf[:, np.newaxis], parts["leaf_values"], 0.0)
    for side in ("left", "right"):
        parts[side] = np.where(is_leaf, 0, place[getattr(trees, side)[order]]).astype(np.int32)
    counts = np.where(trees.splits[order] == Split.CATEGORY, np.diff(trees.category_offsets)[order], 0)
    starts = trees.category_offsets[order]
    members = [trees.category_values[start : start + count] for start, count in zip(starts, counts, strict=True) if count]
    parts["category_offsets"] = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    parts["category_values"] = np.concatenate([np.zeros(0, np.int32), *members]).astype(np.int32)
    return replace(trees, roots=place[trees.roots], **parts)


def chosen_trees(trees: TreeEnsemble, chosen: Array, weights: Array | None = None) -> TreeEnsemble:
    """Return the trees numbered `chosen`, in that order, their leaves multiplied by `weights` (one per tree) and rounded to `sum_dtype`."""
    kept = compact(replace(trees, roots=trees.roots[chosen], groups=trees.groups[chosen]))
    if weights is None:
        return kept
    _, tree = depth_first(kept)
    return with_values(kept, kept.leaf_values * weights[tree][:, np.newaxis])


def with_values(trees: TreeEnsemble, values: Array) -> TreeEnsemble:
    """Return the trees with other leaf values (nodes, width), rounded to what they are added in."""
    is_leaf = (trees.splits == Split.LEAF)[:, np.newaxis]
    return replace(trees, leaf_values=np.where(is_leaf, values, 0.0).astype(trees.sum_dtype.numpy).astype(np.float64))


def leaf_count(trees: TreeEnsemble) -> int:
    """How many leaves there are."""
    return int((trees.splits == Split.LEAF).sum())


def is_constant(trees: TreeEnsemble) -> Array:
    """Whether each tree has one value: bool (trees,)."""
    roots = trees.roots
    left, right = trees.left[roots], trees.right[roots]
    are_leaves = (trees.splits[left] == Split.LEAF) & (trees.splits[right] == Split.LEAF)
    are_equal = are_leaves & (trees.leaf_values[left] == trees.leaf_values[right]).all(axis=1)
    return np.asarray((trees.splits[roots] == Split.LEAF) | are_equal)


def shifted(trees: TreeEnsemble, shift: Array) -> TreeEnsemble:
    """Add `shift` (outputs,) to the sums, in the leaves of the first tree of each output."""
    order, tree = depth_first(trees)
    unit = trees.tree_count if trees.is_averaged else 1
    values = trees.leaf_values.copy()
    if values.shape[1] > 1:
        values[order[tree == 0]] += shift * unit
    else:
        for output in range(trees.output_count):
            own = np.flatnonzero(trees.groups == output)
            if own.size:
                values[order[tree == own[0]]] += shift[output] * unit
    return with_values(trees, values)


def without_constant_trees(trees: TreeEnsemble) -> TreeEnsemble:
    """Return `trees` without those of one value, whose values go into the first that stays of the same output; one always stays."""
    idle = is_constant(trees)
    if trees.leaf_values.shape[1] == 1:
        for output in range(trees.output_count):
            own = np.flatnonzero(trees.groups == output)
            idle[own[:1]] &= not idle[own].all()
    else:
        idle[:1] &= not idle.all()
    if not idle.any():
        return trees
    unit = 1.0 / trees.tree_count if trees.is_averaged else 1.0
    shift = np.zeros(trees.output_count)
    for tree in np.flatnonzero(idle).tolist():
        root = int(trees.roots[tree])
        value = trees.leaf_values[root if trees.splits[root] == Split.LEAF else trees.left[root]]
        if len(value) > 1:
            shift += value * unit
        else:
            shift[trees.groups[tree]] += value[0] * unit
    stays = np.flatnonzero(~idle)
    weights = np.full(len(stays), len(stays) / trees.tree_count) if trees.is_averaged else None
    return shifted(chosen_trees(trees, stays, weights), shift)
