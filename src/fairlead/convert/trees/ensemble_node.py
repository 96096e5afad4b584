"""The trees themselves as one TreeEnsemble node of ai.onnx.ml 5, which adds in the order of the trees on one thread.

Takes a TreeEnsemble and the column of every node; gives the node's attributes. Each tree's base comes as a first tree of one value, so that
the runtime adds in the order in which the library adds. Raises UnsupportedError for categories that single precision cannot tell apart.
Measured: ONNX Runtime on one thread gives the library's own sums bit by bit, in single and in double precision; on several threads it adds
in another order for batches above 50 (docs/formats/trees.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import numpy_helper

from fairlead.convert.trees.columns import NO_CATEGORY
from fairlead.core.dtype import DType
from fairlead.core.interface import Array
from fairlead.core.tree_ensemble import Split, TreeEnsemble
from fairlead.errors import UnsupportedError

ML_OPSET = 5
# Node modes of TreeEnsemble: https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsemble.html
_MODES = {Split.LESS_OR_EQUAL: 0, Split.LESS: 1, Split.GREATER: 3, Split.EQUAL: 4, Split.CATEGORY: 6}
_EXACT_IN_SINGLE = 2**24
_ALWAYS = 0.0


@dataclass
class _Attributes:
    """Nodes and leaves as the operator wants them, while they are filled in. Children are (number, whether it is a leaf)."""

    features: list[int] = field(default_factory=list)
    modes: list[int] = field(default_factory=list)
    splits: list[float] = field(default_factory=list)
    tracks_true: list[int] = field(default_factory=list)
    members: list[float] = field(default_factory=list)
    true: list[tuple[int, int]] = field(default_factory=list)
    false: list[tuple[int, int]] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    roots: list[int] = field(default_factory=list)

    def leaf(self, target: int, weight: float) -> tuple[int, int]:
        """Add a leaf."""
        self.targets.append(target)
        self.weights.append(weight)
        return len(self.targets) - 1, 1

    def constant_tree(self, target: int, weight: float) -> None:
        """Add a tree of one value: the operator has no tree without a split, so both ways lead to it."""
        self.roots.append(len(self.features))
        self.node(0, _MODES[Split.LESS_OR_EQUAL], _ALWAYS, tracks_true=False)
        self.true[-1], self.false[-1] = self.leaf(target, weight), self.leaf(target, weight)

    def node(self, feature: int, mode: int, split: float, *, tracks_true: bool) -> None:
        """Add a node whose children come later."""
        self.features.append(feature)
        self.modes.append(mode)
        self.splits.append(split)
        self.tracks_true.append(int(tracks_true))
        self.true.append((0, 0))
        self.false.append((0, 0))


def attributes_of(trees: TreeEnsemble, columns: Array) -> dict[str, Any]:
    """Return the attributes of the TreeEnsemble node that gives the sums (rows, outputs) of `trees`; `columns` is the column per node."""
    found = _Attributes()
    for output, value in enumerate(trees.base.tolist()):
        if value:
            found.constant_tree(output, value)
    width = trees.leaf_values.shape[1]
    for root, group in zip(trees.roots.tolist(), trees.groups.tolist(), strict=True):
        for place in range(width):
            _add_tree(found, trees, columns, root, place, place if width > 1 else group)
    if not found.roots:
        found.constant_tree(0, 0.0)
    return _plain(found, trees)


def _add_tree(found: _Attributes, trees: TreeEnsemble, columns: Array, root: int, place: int, target: int) -> None:
    """Add one tree for one output, depth first: a node's true branch right behind it."""
    if trees.splits[root] == Split.LEAF:
        found.constant_tree(target, float(trees.leaf_values[root, place]))
        return
    found.roots.append(len(found.features))
    waiting: list[tuple[int, list[tuple[int, int]] | None, int]] = [(root, None, 0)]
    while waiting:
        node, side, parent = waiting.pop()
        if trees.splits[node] == Split.LEAF:
            child = found.leaf(target, float(trees.leaf_values[node, place]))
        else:
            child = (len(found.features), 0)
            _add_node(found, trees, columns, node)
            waiting += [(int(trees.right[node]), found.false, child[0]), (int(trees.left[node]), found.true, child[0])]
        if side is not None:
            side[parent] = child


def _add_node(found: _Attributes, trees: TreeEnsemble, columns: Array, node: int) -> None:
    split = Split(int(trees.splits[node]))
    found.node(int(columns[node]), _MODES[split], float(trees.thresholds[node]), tracks_true=bool(trees.missing_left[node]))
    if split is not Split.CATEGORY:
        return
    members = trees.category_values[trees.category_offsets[node] : trees.category_offsets[node + 1]]
    if trees.compare_dtype is DType.FP32 and members.size and int(members.max()) > _EXACT_IN_SINGLE:
        raise UnsupportedError(f"A category has the number {int(members.max())}.", hint="Number categories from 0 to 16,777,216.")
    own = members.astype(np.float64).tolist()
    if trees.unknown_category_left[node]:
        own.append(NO_CATEGORY)
    # An empty set holds nothing: a number that no column has keeps the operator's list of one per node.
    found.members += [*(own or [NO_CATEGORY - 1]), float("nan")]


def node_dtype(trees: TreeEnsemble) -> DType:
    """Return the type of the node's input: double where the trees compare or add in it (numbers of single precision stay what they are)."""
    return DType.FP64 if DType.FP64 in (trees.compare_dtype, trees.sum_dtype) else DType.FP32


def _plain(found: _Attributes, trees: TreeEnsemble) -> dict[str, Any]:
    dtype = node_dtype(trees).numpy
    attributes: dict[str, Any] = {
        "n_targets": trees.output_count,
        "aggregate_function": 1,  # sum
        "post_transform": 0,  # none
        "tree_roots": found.roots,
        "nodes_featureids": found.features,
        "nodes_modes": numpy_helper.from_array(np.asarray(found.modes, np.uint8)),
        "nodes_splits": numpy_helper.from_array(np.asarray(found.splits, dtype)),
        "nodes_truenodeids": [number for number, _ in found.true],
        "nodes_trueleafs": [is_leaf for _, is_leaf in found.true],
        "nodes_falsenodeids": [number for number, _ in found.false],
        "nodes_falseleafs": [is_leaf for _, is_leaf in found.false],
        "leaf_targetids": found.targets,
        "leaf_weights": numpy_helper.from_array(np.asarray(found.weights, dtype)),
    }
    if any(found.tracks_true):
        attributes["nodes_missing_value_tracks_true"] = found.tracks_true
    if found.members:
        attributes["membership_values"] = numpy_helper.from_array(np.asarray(found.members, dtype))
    return attributes
