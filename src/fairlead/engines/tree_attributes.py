"""core.tree_ensemble.TreeEnsemble -> the attributes of a tree operator of ai.onnx.ml, in the order of the trees, depth first.

Takes an ensemble in ONNX's meaning (engines.tree_operator); gives attributes of the nodes and leaves alone. The true branch stands right
behind its node, as ONNX Runtime lays nodes out. Pure.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import numpy_helper

from fairlead.core.dtype import DType
from fairlead.core.interface import Array
from fairlead.core.tree_ensemble import Split, TreeEnsemble

# Node modes of TreeEnsemble: https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsemble.html
_MODES = {Split.LESS_OR_EQUAL: 0, Split.LESS: 1, Split.GREATER: 3, Split.EQUAL: 4, Split.CATEGORY: 6}
_LEGACY_MODES = {
    Split.LEAF: "LEAF", Split.LESS_OR_EQUAL: "BRANCH_LEQ", Split.LESS: "BRANCH_LT", Split.GREATER: "BRANCH_GT", Split.EQUAL: "BRANCH_EQ",
}  # fmt: skip
_NO_CATEGORY, _NOTHING = -1.0, -2.0


def depth_first(trees: TreeEnsemble) -> tuple[Array, Array]:
    """Return all nodes tree by tree, each before its left and then its right subtree, and the tree of each."""
    left, right, is_leaf = trees.left.tolist(), trees.right.tolist(), (trees.splits == Split.LEAF).tolist()
    order: list[int] = []
    ends = []
    for root in trees.roots.tolist():
        waiting = [root]
        while waiting:
            node = waiting.pop()
            order.append(node)
            if not is_leaf[node]:
                waiting += [right[node], left[node]]
        ends.append(len(order))
    found = np.asarray(order, dtype=np.int64)
    return found, np.repeat(np.arange(len(ends)), np.diff([0, *ends]))


def legacy_attributes(trees: TreeEnsemble, entries: str) -> dict[str, Any]:
    """Return those of TreeEnsembleRegressor (`entries` "target") or TreeEnsembleClassifier ("class"); sets have no form there."""
    order, tree = depth_first(trees)
    starts = np.searchsorted(tree, np.arange(trees.tree_count))
    places = np.empty(trees.node_count, dtype=np.int64)
    places[order] = np.arange(len(order)) - starts[tree]
    splits = trees.splits[order]
    is_leaf = splits == Split.LEAF
    attributes: dict[str, Any] = {
        "nodes_treeids": tree.tolist(),
        "nodes_nodeids": places[order].tolist(),
        "nodes_featureids": np.where(is_leaf, 0, trees.features[order]).tolist(),
        "nodes_modes": [_LEGACY_MODES[Split(split)] for split in splits.tolist()],
        "nodes_truenodeids": np.where(is_leaf, 0, places[trees.left[order]]).tolist(),
        "nodes_falsenodeids": np.where(is_leaf, 0, places[trees.right[order]]).tolist(),
    }
    if trees.missing_left[order].any():
        attributes["nodes_missing_value_tracks_true"] = trees.missing_left[order].astype(int).tolist()
    leaf, target, weights = _entries(trees, order, is_leaf)
    attributes |= {
        f"{entries}_treeids": tree[leaf].tolist(),
        f"{entries}_nodeids": places[order][leaf].tolist(),
        f"{entries}_ids": target.tolist(),
    }
    thresholds = np.where(is_leaf, 0.0, trees.thresholds[order])
    if trees.compare_dtype is DType.FP64:
        return attributes | {
            "nodes_values_as_tensor": numpy_helper.from_array(thresholds),
            f"{entries}_weights_as_tensor": numpy_helper.from_array(weights),
        }
    return attributes | {"nodes_values": thresholds.tolist(), f"{entries}_weights": weights.tolist()}


def _entries(trees: TreeEnsemble, order: Array, is_leaf: Array) -> tuple[Array, Array, Array]:
    """Return what the leaves add: position in `order`, output and number. Zeros of vectors are left out where no number is negative."""
    leaf = np.flatnonzero(is_leaf)
    values = trees.leaf_values[order[leaf]]
    width = values.shape[1]
    if width == 1:
        tree = np.repeat(np.arange(trees.tree_count), np.diff([*np.flatnonzero(np.isin(order, trees.roots)), len(order)]))
        return leaf, trees.groups[tree[leaf]].astype(np.int64), np.ascontiguousarray(values[:, 0])
    is_given = values != 0 if (values >= 0).all() else np.ones(values.shape, dtype=bool)
    is_given[~is_given.any(axis=1), 0] = True
    row, column = np.nonzero(is_given)
    return leaf[row], column, np.ascontiguousarray(values[row, column])


def modern_attributes(trees: TreeEnsemble) -> dict[str, Any]:
    """Return those of TreeEnsemble; a leaf there adds to one output, so that leaves of several become as many trees."""
    dtype = trees.compare_dtype.numpy
    order, tree = depth_first(trees)
    width = trees.leaf_values.shape[1]
    is_root_leaf = trees.splits[trees.roots] == Split.LEAF
    parts = []
    for number, (start, end) in enumerate(_spans(tree, trees.tree_count)):
        for place in range(width):
            target = place if width > 1 else int(trees.groups[number])
            parts.append((order[start:end], place, target, bool(is_root_leaf[number])))
    return _modern(trees, parts, dtype)


def _spans(tree: Array, count: int) -> list[tuple[int, int]]:
    bounds = np.searchsorted(tree, np.arange(count + 1)).tolist()
    return list(itertools.pairwise(bounds))


def _modern(trees: TreeEnsemble, parts: list[tuple[Array, int, int, bool]], dtype: Any) -> dict[str, Any]:
    """Number inner nodes and leaves apart, tree by tree; a tree of one leaf becomes a split whose sides are equal."""
    columns: dict[str, list[Any]] = {
        name: []
        for name in ("roots", "features", "modes", "splits", "tracks", "true", "false", "true_leaf", "false_leaf", "targets", "weights")
    }
    members: list[float] = []
    number = np.zeros(trees.node_count, dtype=np.int64)
    inner_count = leaf_count = 0
    for nodes, place, target, is_single in parts:
        columns["roots"].append(inner_count)
        is_leaf = trees.splits[nodes] == Split.LEAF
        values = trees.leaf_values[nodes[is_leaf], place].tolist()
        if is_single:
            _append(columns, [0], [0], [0.0], [0], ([leaf_count], [1]), ([leaf_count + 1], [1]))
            values = values * 2
        else:
            inner = nodes[~is_leaf]
            number[inner] = inner_count + np.arange(len(inner))
            number[nodes[is_leaf]] = leaf_count + np.arange(int(is_leaf.sum()))
            sides = [
                (number[side].tolist(), (trees.splits[side] == Split.LEAF).astype(int).tolist())
                for side in (trees.left[inner], trees.right[inner])
            ]
            modes = [_MODES[Split(split)] for split in trees.splits[inner].tolist()]
            _append(
                columns,
                trees.features[inner].tolist(),
                modes,
                trees.thresholds[inner].tolist(),
                trees.missing_left[inner].astype(int).tolist(),
                *sides,
            )
            for node in inner[trees.splits[inner] == Split.CATEGORY].tolist():
                members += _members(trees, node)
        inner_count, leaf_count = len(columns["features"]), leaf_count + len(values)
        columns["targets"] += [target] * len(values)
        columns["weights"] += values
    return _modern_attributes(columns, members, dtype)


def _append(
    columns: dict[str, list[Any]],
    features: list[int],
    modes: list[int],
    splits: list[float],
    tracks: list[int],
    true: tuple[list[int], list[int]],
    false: tuple[list[int], list[int]],
) -> None:
    named: dict[str, Sequence[Any]] = {"features": features, "modes": modes, "splits": splits, "tracks": tracks}
    sides: dict[str, Sequence[Any]] = {"true": true[0], "true_leaf": true[1], "false": false[0], "false_leaf": false[1]}
    for name, values in (named | sides).items():
        columns[name] += values


def _members(trees: TreeEnsemble, node: int) -> list[float]:
    own = trees.category_values[trees.category_offsets[node] : trees.category_offsets[node + 1]].astype(np.float64).tolist()
    if trees.unknown_category_left[node]:
        own.append(_NO_CATEGORY)
    return [*(own or [_NOTHING]), float("nan")]


def _modern_attributes(columns: dict[str, list[Any]], members: list[float], dtype: Any) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "tree_roots": columns["roots"],
        "nodes_featureids": columns["features"],
        "nodes_modes": numpy_helper.from_array(np.asarray(columns["modes"], np.uint8)),
        "nodes_splits": numpy_helper.from_array(np.asarray(columns["splits"], dtype)),
        "nodes_truenodeids": columns["true"],
        "nodes_trueleafs": columns["true_leaf"],
        "nodes_falsenodeids": columns["false"],
        "nodes_falseleafs": columns["false_leaf"],
        "leaf_targetids": columns["targets"],
        "leaf_weights": numpy_helper.from_array(np.asarray(columns["weights"], dtype)),
    }
    if any(columns["tracks"]):
        attributes["nodes_missing_value_tracks_true"] = columns["tracks"]
    if members:
        attributes["membership_values"] = numpy_helper.from_array(np.asarray(members, dtype))
    return attributes
