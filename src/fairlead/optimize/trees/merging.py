"""Trees that can be one: equal but for their leaves, or asking of one feature only.

Takes an ensemble, gives one whose sums are the same but for the order of adding: leaf values are added here, in double, and rounded once.
Trees of one feature are a step function of it, and so is their sum: one balanced tree, whose depth is the logarithm of the number of steps.
Stumps become one tree per feature in this way. Pure.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fairlead.core.interface import Array
from fairlead.core.tree_ensemble import Missing, Split, TreeEnsemble
from fairlead.engines.tree_attributes import depth_first
from fairlead.optimize.trees.shape import chosen_trees, with_values, without_constant_trees
from fairlead.optimize.trees.walk import questions_of, reached

_BY_ORDER = (Split.LESS, Split.LESS_OR_EQUAL, Split.GREATER)


def merged_trees(trees: TreeEnsemble) -> TreeEnsemble:
    """Return `trees` with those merged that can be; the same value where there are none."""
    fewer = _without_twins(without_constant_trees(trees))
    fewer = _with_step_functions(fewer)
    return trees if fewer.tree_count == trees.tree_count else fewer


def _spans(trees: TreeEnsemble) -> list[Array]:
    order, tree = depth_first(trees)
    bounds = np.searchsorted(tree, np.arange(trees.tree_count + 1))
    return [order[start:end] for start, end in itertools.pairwise(bounds)]


def _without_twins(trees: TreeEnsemble) -> TreeEnsemble:
    """Add the leaves of trees to those of the first one that asks the same questions."""
    spans = _spans(trees)
    first: dict[tuple[object, ...], int] = {}
    values = trees.leaf_values.copy()
    stays = []
    for number, nodes in enumerate(spans):
        owner = first.setdefault(_structure(trees, nodes, int(trees.groups[number])), number)
        if owner == number:
            stays.append(number)
        else:
            values[spans[owner]] += values[nodes]
    return _kept(trees, values, stays)


def _structure(trees: TreeEnsemble, nodes: Array, group: int) -> tuple[object, ...]:
    parts = (trees.splits, trees.features, trees.thresholds + 0.0, trees.missing_left, trees.unknown_category_left)
    members = [trees.category_values[trees.category_offsets[node] : trees.category_offsets[node + 1]].tobytes() for node in nodes.tolist()]
    return group, *(part[nodes].tobytes() for part in parts), *(members if any(members) else ())


def _kept(trees: TreeEnsemble, values: Array, stays: Sequence[int]) -> TreeEnsemble:
    if len(stays) == trees.tree_count:
        return trees
    weights = np.full(len(stays), len(stays) / trees.tree_count) if trees.is_averaged else None
    return chosen_trees(with_values(trees, values), np.asarray(stays), weights)


def _with_step_functions(trees: TreeEnsemble) -> TreeEnsemble:
    """Replace several trees of one feature and output by one."""
    families: dict[tuple[int, int], list[int]] = {}
    for number, nodes in enumerate(_spans(trees)):
        inner = nodes[trees.splits[nodes] != Split.LEAF]
        if inner.size and np.isin(trees.splits[inner], _BY_ORDER).all() and (trees.features[inner] == trees.features[inner[0]]).all():
            families.setdefault((int(trees.groups[number]), int(trees.features[inner[0]])), []).append(number)
    families = {key: own for key, own in families.items() if len(own) > 1}
    if not families:
        return trees
    gone = {number for own in families.values() for number in own[1:]}
    added = _Nodes(trees)
    roots = trees.roots.copy()
    for own in families.values():
        roots[own[0]] = added.add_steps(*_steps_of(trees, own))
    grown = added.joined(roots)
    return _kept(grown, grown.leaf_values, [number for number in range(trees.tree_count) if number not in gone])


def _steps_of(trees: TreeEnsemble, own: list[int]) -> tuple[int, Array, Array, Array]:
    """Return the feature, the bounds of the steps in order, the value of each step (one more), and that of NaN."""
    family = chosen_trees(trees, np.asarray(own))
    inner = family.splits != Split.LEAF
    feature = int(family.features[inner][0])
    bounds = questions_of(family).thresholds[inner]
    bounds = np.unique(bounds[~np.isnan(bounds)] + 0.0)
    points = np.concatenate([bounds, [np.inf, np.nan]]).astype(family.compare_dtype.numpy)
    table = np.zeros((len(points), trees.feature_count), points.dtype)
    table[:, feature] = points
    values = family.leaf_values[reached(family, table)].sum(axis=1)
    return feature, bounds, values[:-1], values[-1]


@dataclass
class _Nodes:
    """Nodes behind those of an ensemble, while they are added."""

    trees: TreeEnsemble
    splits: list[int] = field(default_factory=list)
    features: list[int] = field(default_factory=list)
    thresholds: list[float] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    right: list[int] = field(default_factory=list)
    values: list[Array] = field(default_factory=list)

    def _add(self, split: Split, feature: int, threshold: float, value: Array) -> int:
        self.splits.append(split)
        self.features.append(feature)
        self.thresholds.append(threshold)
        self.left.append(0)
        self.right.append(0)
        self.values.append(value)
        return self.trees.node_count + len(self.splits) - 1

    def add_steps(self, feature: int, bounds: Array, values: Array, for_nan: Array) -> int:
        """Add the balanced tree of a step function and return its root; NaN goes right at every node, and so ends at the last step."""
        nothing = np.zeros_like(for_nan)
        if np.array_equal(for_nan, values[-1]):
            return self._balanced(feature, bounds, values)
        root = self._add(Split.LESS_OR_EQUAL, feature, np.inf, nothing)
        sides = self._balanced(feature, bounds, values), self._add(Split.LEAF, 0, 0.0, for_nan)
        self.left[root - self.trees.node_count], self.right[root - self.trees.node_count] = sides
        return root

    def _balanced(self, feature: int, bounds: Array, values: Array) -> int:
        if not len(bounds):
            return self._add(Split.LEAF, 0, 0.0, values[0])
        middle = len(bounds) // 2
        node = self._add(Split.LESS_OR_EQUAL, feature, float(bounds[middle]), np.zeros_like(values[0]))
        left = self._balanced(feature, bounds[:middle], values[: middle + 1])
        right = self._balanced(feature, bounds[middle + 1 :], values[middle + 1 :])
        self.left[node - self.trees.node_count], self.right[node - self.trees.node_count] = left, right
        return node

    def joined(self, roots: Array) -> TreeEnsemble:
        """Return the ensemble with the nodes added and other roots."""
        trees, count = self.trees, len(self.splits)
        dtype = trees.sum_dtype.numpy
        return replace(
            trees,
            roots=roots,
            splits=np.concatenate([trees.splits, np.asarray(self.splits, np.uint8)]),
            features=np.concatenate([trees.features, np.asarray(self.features, np.int32)]),
            thresholds=np.concatenate([trees.thresholds, np.asarray(self.thresholds, np.float64)]),
            left=np.concatenate([trees.left, np.asarray(self.left, np.int32)]),
            right=np.concatenate([trees.right, np.asarray(self.right, np.int32)]),
            missing=np.concatenate([trees.missing, np.full(count, Missing.NAN, np.uint8)]),
            missing_left=np.concatenate([trees.missing_left, np.zeros(count, dtype=bool)]),
            leaf_values=np.concatenate([trees.leaf_values, np.stack(self.values).astype(dtype).astype(np.float64)]),
            category_offsets=np.concatenate([trees.category_offsets, np.repeat(trees.category_offsets[-1:], count)]),
            unknown_category_left=np.concatenate([trees.unknown_category_left, np.zeros(count, dtype=bool)]),
        )
