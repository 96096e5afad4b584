"""The tree operators of ai.onnx.ml -> core.tree_ensemble.TreeEnsemble, and back into a node of the same operator.

Takes a TreeEnsemble (ai.onnx.ml 5), TreeEnsembleRegressor or TreeEnsembleClassifier node; gives the ensemble whose sums the node computes,
in ONNX's meaning: features are compared as they come, NaN takes the side of `missing_left`, a set holds whole numbers and, by
`unknown_category_left`, -1. `>=` and `!=` become their opposites with sides exchanged, which answers alike for every number. Written
attributes keep what the node does after summing (post_transform, labels, base). Raises UnsupportedError for what the value cannot hold;
the operators: https://onnx.ai/onnx/operators/index_ai.onnx.ml.html. Never changes the node that it is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import helper, numpy_helper

from fairlead.core.dtype import DType
from fairlead.core.interface import Array
from fairlead.core.tree_ensemble import Missing, Split, TreeEnsemble
from fairlead.engines.tree_attributes import legacy_attributes, modern_attributes
from fairlead.errors import CorruptError, UnsupportedError

OPERATORS = ("TreeEnsemble", "TreeEnsembleRegressor", "TreeEnsembleClassifier")
DOMAIN = "ai.onnx.ml"
_LEAF, _LEQ, _LT, _GTE, _GT, _EQ, _NEQ, _MEMBER = range(-1, 7)
_LEGACY_MODES = {
    b"LEAF": _LEAF, b"BRANCH_LEQ": _LEQ, b"BRANCH_LT": _LT, b"BRANCH_GTE": _GTE, b"BRANCH_GT": _GT, b"BRANCH_EQ": _EQ, b"BRANCH_NEQ": _NEQ,
}  # fmt: skip
_SPLITS = {
    _LEAF: Split.LEAF, _LEQ: Split.LESS_OR_EQUAL, _LT: Split.LESS, _GTE: Split.LESS, _GT: Split.GREATER, _EQ: Split.EQUAL,
    _NEQ: Split.EQUAL, _MEMBER: Split.CATEGORY,
}  # fmt: skip
_NO_CATEGORY = -1
_NOTHING = -2  # a set that holds nothing is written as this number, which no column has
_AGGREGATES = {b"SUM": False, b"AVERAGE": True, 0: True, 1: False}


@dataclass(frozen=True)
class _Raw:
    """Nodes and what their leaves add, before they are made an ensemble. `true` and `false` are positions, -1 at leaves."""

    roots: Array
    modes: Array
    features: Array
    values: Array
    true: Array
    false: Array
    tracks: Array
    sets: dict[int, list[float]]
    leaf_nodes: Array  # of each entry: its node, target and weight
    leaf_targets: Array
    leaf_weights: Array
    dtype: DType


def is_tree_node(node: Any) -> bool:
    """Whether the node is one of the tree operators."""
    return node.domain == DOMAIN and node.op_type in OPERATORS


def read_operator(node: Any) -> TreeEnsemble:
    """Return the trees of `node`; raises UnsupportedError, CorruptError."""
    found = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    raw = _read_modern(found) if node.op_type == "TreeEnsemble" else _read_legacy(found, node.op_type)
    aggregate = found.get("aggregate_function", 1 if node.op_type == "TreeEnsemble" else b"SUM")
    if aggregate not in _AGGREGATES:
        raise UnsupportedError("The trees take the smallest or largest leaf instead of adding them up.")
    trees = _ensemble(raw, found, is_averaged=_AGGREGATES[aggregate])
    try:
        trees.check()
    except CorruptError as error:
        raise UnsupportedError(f"The trees of the graph cannot be read: {error.message}") from None
    return trees


def write_operator(trees: TreeEnsemble, node: Any) -> Any:
    """Return a node like `node` with these trees; raises UnsupportedError where the operator would take other decisions from them."""
    old = {item.name: item for item in node.attribute}
    is_modern = node.op_type == "TreeEnsemble"
    is_classifier = node.op_type == "TreeEnsembleClassifier"
    if is_classifier:
        _check_same_rule(read_operator(node), trees)
    attributes = modern_attributes(trees) if is_modern else legacy_attributes(trees, "class" if is_classifier else "target")
    tree_parts = ("nodes_", "leaf_", "membership_", "tree_roots", "target_", "class_")
    kept = [item for name, item in old.items() if not name.startswith(tree_parts)]
    written = helper.make_node(node.op_type, list(node.input), list(node.output), name=node.name, domain=DOMAIN, **attributes)
    written.attribute.extend(kept)
    return written


def _check_same_rule(before: TreeEnsemble, after: TreeEnsemble) -> None:
    """The classifier decides by which classes its leaves name and, with a single one, by whether all its weights are positive."""

    def rule(trees: TreeEnsemble) -> tuple[set[int], bool]:
        is_leaf = trees.splits == Split.LEAF
        classes = set(range(trees.output_count)) if trees.leaf_values.shape[1] > 1 else set(trees.groups.tolist())
        return classes, bool((trees.leaf_values[is_leaf] >= 0).all())

    if rule(before)[0] != rule(after)[0] or (len(rule(before)[0]) == 1 and rule(before)[1] != rule(after)[1]):
        raise UnsupportedError("The classifier's own rule for labels would change with these trees.", hint="Leave the pass out.")


def _read_modern(found: dict[str, Any]) -> _Raw:
    inner = len(found["nodes_featureids"])
    splits = numpy_helper.to_array(found["nodes_splits"])
    weights = numpy_helper.to_array(found["leaf_weights"])
    leaves = len(weights)
    modes = np.concatenate([numpy_helper.to_array(found["nodes_modes"]).astype(np.int64), np.full(leaves, _LEAF)])
    sides = [
        np.concatenate([_integers(found[f"nodes_{side}nodeids"]) + inner * _integers(found[f"nodes_{side}leafs"]), np.full(leaves, -1)])
        for side in ("true", "false")
    ]
    dtype = DType.FP64 if splits.dtype == np.float64 else DType.FP32
    if splits.dtype not in (np.float32, np.float64):
        raise UnsupportedError(f"The trees compare in {splits.dtype}.")
    pad = np.zeros(leaves, dtype=np.int64)
    members = numpy_helper.to_array(found["membership_values"]) if "membership_values" in found else np.zeros(0)
    return _Raw(
        roots=_integers(found["tree_roots"]),
        modes=modes,
        features=np.concatenate([_integers(found["nodes_featureids"]), pad]),
        values=np.concatenate([splits.astype(np.float64), pad]),
        true=sides[0],
        false=sides[1],
        tracks=np.concatenate([_tracks(found, inner), pad.astype(bool)]),
        sets=_sets(modes, members),
        leaf_nodes=inner + np.arange(leaves),
        leaf_targets=_integers(found["leaf_targetids"]),
        leaf_weights=weights.astype(np.float64),
        dtype=dtype,
    )


def _sets(modes: Array, members: Array) -> dict[int, list[float]]:
    """The members of each node on a set: one list, the sets in the order of their nodes, a NaN behind each."""
    nodes = np.flatnonzero(modes == _MEMBER)
    ends = np.flatnonzero(np.isnan(members))
    if len(ends) != len(nodes):
        raise UnsupportedError("The trees of the graph have other sets than nodes that ask for them.")
    starts = [0, *(ends + 1)][: len(nodes)]
    return {int(node): members[start:end].tolist() for node, start, end in zip(nodes, starts, ends, strict=True)}


def _read_legacy(found: dict[str, Any], kind: str) -> _Raw:
    entries = "class" if kind == "TreeEnsembleClassifier" else "target"
    tree, number = _integers(found["nodes_treeids"]), _integers(found["nodes_nodeids"])
    unknown = set(found["nodes_modes"]) - set(_LEGACY_MODES)
    if unknown:
        raise UnsupportedError(f"The trees have nodes of kind {min(unknown)!r}.")
    modes = np.array([_LEGACY_MODES[mode] for mode in found["nodes_modes"]])
    values, is_double = _numbers(found, "nodes_values")
    weights, _ = _numbers(found, f"{entries}_weights")
    span = 1 + max(int(_integers(part).max(initial=0)) for part in (number, found["nodes_truenodeids"], found["nodes_falsenodeids"]))
    keys = tree * span + number
    order = np.argsort(keys, kind="stable")
    if (np.diff(keys[order]) == 0).any():
        raise UnsupportedError("Two nodes of a tree have one number.")

    def places(of_tree: Array, wanted: Array) -> Array:
        at = np.minimum(np.searchsorted(keys[order], of_tree * span + wanted), len(keys) - 1)
        place = order[at]
        if (keys[place] != of_tree * span + wanted).any():
            raise UnsupportedError("A node of the trees leads to one that does not exist.")
        return np.asarray(place)

    is_leaf = modes == _LEAF
    sides = []
    for side in ("true", "false"):
        wanted = np.where(is_leaf, number, _integers(found[f"nodes_{side}nodeids"]))
        sides.append(np.where(is_leaf, -1, places(tree, wanted)))
    is_child = np.zeros(len(keys), dtype=bool)
    is_child[np.concatenate(sides)[np.concatenate([~is_leaf, ~is_leaf])]] = True
    return _Raw(
        roots=np.flatnonzero(~is_child),
        modes=modes,
        features=np.where(is_leaf, 0, _integers(found["nodes_featureids"])),
        values=np.where(is_leaf, 0.0, values),
        true=sides[0],
        false=sides[1],
        tracks=_tracks(found, len(keys)) & ~is_leaf,
        sets={},
        leaf_nodes=places(_integers(found[f"{entries}_treeids"]), _integers(found[f"{entries}_nodeids"])),
        leaf_targets=_integers(found[f"{entries}_ids"]),
        leaf_weights=weights,
        dtype=DType.FP64 if is_double else DType.FP32,
    )


def _integers(values: Any) -> Array:
    return np.asarray(values, dtype=np.int64)


def _numbers(found: dict[str, Any], name: str) -> tuple[Array, bool]:
    """Return numbers as doubles, and whether they are held in double."""
    if f"{name}_as_tensor" not in found:
        return np.asarray(found[name], dtype=np.float32).astype(np.float64), False
    values = numpy_helper.to_array(found[f"{name}_as_tensor"])
    return values.astype(np.float64), values.dtype == np.float64


def _tracks(found: dict[str, Any], count: int) -> Array:
    given = found.get("nodes_missing_value_tracks_true")
    return np.asarray(given, dtype=np.int64) != 0 if given else np.zeros(count, dtype=bool)


def _ensemble(raw: _Raw, found: dict[str, Any], *, is_averaged: bool) -> TreeEnsemble:
    count = len(raw.modes)
    is_leaf = raw.modes == _LEAF
    is_turned = np.isin(raw.modes, (_GTE, _NEQ))
    left, right = np.where(is_turned, raw.false, raw.true), np.where(is_turned, raw.true, raw.false)
    missing_left = np.where(raw.modes == _GTE, ~raw.tracks, raw.tracks & (raw.modes != _NEQ)) & ~is_leaf
    tree = _tree_of(raw, left, right, is_leaf)
    outputs = _output_count(raw, found)
    values, groups = _leaf_values(raw, tree, outputs, count)
    offsets, members, unknown = _categories(raw.sets, count)
    base = _numbers(found, "base_values")[0] if "base_values" in found or "base_values_as_tensor" in found else np.zeros(outputs)
    if base.shape != (outputs,):
        raise UnsupportedError(f"The trees have {len(base)} base values for {outputs} outputs.")
    return TreeEnsemble(
        feature_count=int(raw.features.max(initial=-1)) + 1,
        output_count=outputs,
        roots=raw.roots.astype(np.int32),
        groups=groups.astype(np.int32),
        splits=np.array([_SPLITS[mode] for mode in raw.modes.tolist()], dtype=np.uint8),
        features=raw.features.astype(np.int32),
        thresholds=np.where(raw.modes == _MEMBER, 0.0, raw.values),
        left=np.where(is_leaf, 0, left).astype(np.int32),
        right=np.where(is_leaf, 0, right).astype(np.int32),
        missing=np.full(count, Missing.NAN, dtype=np.uint8),
        missing_left=missing_left,
        leaf_values=values,
        base=base,
        category_offsets=offsets,
        category_values=members,
        unknown_category_left=unknown,
        compare_dtype=raw.dtype,
        sum_dtype=raw.dtype,
        is_averaged=is_averaged,
    )


def _tree_of(raw: _Raw, left: Array, right: Array, is_leaf: Array) -> Array:
    """Return the number of each node's tree, -1 where no root leads; raises UnsupportedError where trees share nodes."""
    tree = np.full(len(raw.modes), -1)
    tree[raw.roots] = np.arange(len(raw.roots))
    level, seen = raw.roots, len(raw.roots)
    while level.size:
        inner = level[~is_leaf[level]]
        below = np.concatenate([left[inner], right[inner]])
        if (below < 0).any() or (below >= len(tree)).any():
            raise UnsupportedError("A node of the trees leads to one that does not exist.")
        seen += below.size
        if seen > len(tree):
            raise UnsupportedError("Trees of the graph share nodes.")
        tree[below] = np.concatenate([tree[inner], tree[inner]])
        level = below
    return tree


def _output_count(raw: _Raw, found: dict[str, Any]) -> int:
    largest = int(raw.leaf_targets.max(initial=0)) + 1
    if "n_targets" in found:
        return max(int(found["n_targets"]), 1)
    labels = found.get("classlabels_int64s") or found.get("classlabels_strings") or ()
    # With two labels and one class in the leaves, the operator computes the other one itself.
    return largest if len(labels) == 2 and largest == 1 else max(len(labels), largest)


def _leaf_values(raw: _Raw, tree: Array, outputs: int, count: int) -> tuple[Array, Array]:
    """Return (nodes, width) and each tree's output: width 1 where every tree adds to one output only."""
    if raw.leaf_targets.size and (int(raw.leaf_targets.max()) >= outputs or int(raw.leaf_targets.min()) < 0):
        raise UnsupportedError("A leaf adds to an output that does not exist.")
    owner = tree[raw.leaf_nodes]
    trees = len(raw.roots)
    lowest, highest = np.full(trees, outputs), np.full(trees, -1)
    np.minimum.at(lowest, owner, raw.leaf_targets)
    np.maximum.at(highest, owner, raw.leaf_targets)
    if (lowest == highest).all() and len(np.unique(raw.leaf_nodes)) == len(raw.leaf_nodes):
        values = np.zeros((count, 1))
        values[raw.leaf_nodes, 0] = raw.leaf_weights
        return values, lowest
    if outputs == 1:
        raise UnsupportedError("A leaf of the trees adds twice to one output.")
    values = np.zeros((count, outputs))
    flat = raw.leaf_nodes * outputs + raw.leaf_targets
    if len(np.unique(flat)) != len(flat):
        raise UnsupportedError("A leaf of the trees adds twice to one output.")
    values.reshape(-1)[flat] = raw.leaf_weights
    return values, np.zeros(trees, dtype=np.int64)


def _categories(sets: dict[int, list[float]], count: int) -> tuple[Array, Array, Array]:
    unknown = np.zeros(count, dtype=bool)
    sizes = np.zeros(count, dtype=np.int64)
    members: list[int] = []
    for node, given in sets.items():
        whole = [int(value) for value in given if np.isfinite(value) and value == int(value) and _NOTHING <= value < 2**31]
        if len(whole) != len(given):
            raise UnsupportedError("A node of the trees asks for a set of numbers that are not whole.")
        unknown[node] = _NO_CATEGORY in whole
        own = [value for value in whole if value >= 0]
        sizes[node] = len(own)
        members += own
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32), np.array(members, dtype=np.int32), unknown
