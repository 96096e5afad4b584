"""Trees of an ONNX model: how many, how many nodes, how deep. Takes the attributes of a tree operator; gives TreeFacts. Pure.

Knows TreeEnsembleClassifier and TreeEnsembleRegressor (ai.onnx.ml 1 to 4) and TreeEnsemble (5). Raises UncountableError for children that
are out of range or go in circles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairlead.core.interface import Array
from fairlead.plan.operator_work import UncountableError

OPERATORS = frozenset({"TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor"})


@dataclass(frozen=True)
class TreeFacts:
    """`node_count` has the leaves in it. `mean_depth`: splits on the way to a leaf, all leaves of all trees weighing the same.

    `comparison_count`: what one row costs on average, tree by tree.
    """

    tree_count: int
    node_count: int
    max_depth: int
    mean_depth: float
    comparison_count: float


def tree_facts(operator: str, attributes: Mapping[str, Any]) -> TreeFacts:
    """Return the facts of one tree operator."""
    roots, left, right, node_count = _joined(attributes) if operator == "TreeEnsemble" else _by_number(attributes)
    return _walk(roots, left, right, node_count)


def _by_number(attributes: Mapping[str, Any]) -> tuple[Array, Array, Array, int]:
    """Nodes are named by tree and number; a leaf's mode is LEAF. Children become places, -1 at leaves; a tree's first node is its root."""
    trees = np.asarray(attributes["nodes_treeids"], np.int64)
    numbers = np.asarray(attributes["nodes_nodeids"], np.int64)
    leaf = np.array([mode in {b"LEAF", "LEAF"} for mode in attributes["nodes_modes"]])
    span = int(numbers.max(initial=0)) + 1
    keys = trees * span + numbers
    order = np.argsort(keys, kind="stable")

    def places(name: str) -> Array:
        wanted = trees * span + np.asarray(attributes[name], np.int64)
        at = np.minimum(np.searchsorted(keys[order], wanted), len(order) - 1)
        found = order[at]
        if np.any((keys[found] != wanted) & ~leaf):
            raise UncountableError("its trees are damaged")
        return np.where(leaf, -1, found)

    _, roots = np.unique(trees, return_index=True)
    return roots, places("nodes_truenodeids"), places("nodes_falsenodeids"), len(trees)


def _joined(attributes: Mapping[str, Any]) -> tuple[Array, Array, Array, int]:
    """Nodes and leaves are numbered apart; flags say which one a child is."""

    def children(side: str) -> Array:
        found = np.asarray(attributes[f"nodes_{side}nodeids"], np.int64)
        return np.where(np.asarray(attributes[f"nodes_{side}leafs"], np.int64) != 0, -2, found)

    left, right = children("true"), children("false")
    return np.asarray(attributes["tree_roots"], np.int64), left, right, len(left) + len(attributes["leaf_targetids"])


def _walk(roots: Array, left: Array, right: Array, node_count: int) -> TreeFacts:
    """Go down all trees at once, level by level. A child is a place, -1 where the node itself is a leaf, -2 for a leaf without a place."""
    tree_count = len(roots)
    leaf_counts, depth_sums = np.zeros(tree_count), np.zeros(tree_count)
    places, trees, depth, deepest = roots, np.arange(tree_count), 0, 0
    while len(places):
        if depth > node_count:
            raise UncountableError("its trees go in circles")
        if np.any(places >= len(left)):
            raise UncountableError("its trees are damaged")
        is_leaf = (places == -2) | (left[np.maximum(places, 0)] == -1)
        np.add.at(leaf_counts, trees[is_leaf], 1)
        np.add.at(depth_sums, trees[is_leaf], depth)
        deepest = depth if is_leaf.any() else deepest
        inner, inner_trees = places[~is_leaf], trees[~is_leaf]
        places, trees, depth = np.concatenate([left[inner], right[inner]]), np.tile(inner_trees, 2), depth + 1
    means = depth_sums / np.maximum(leaf_counts, 1)
    return TreeFacts(tree_count, node_count, deepest, float(depth_sums.sum() / max(leaf_counts.sum(), 1)), float(means.sum()))
