"""A tree ensemble as plain arrays: what XGBoost, LightGBM and CatBoost files become, whatever wrote them. Pure values.

Every tree is a run of nodes; a row starts at the tree's root and goes left or right until a leaf, whose values are added to the outputs of
the tree's group. Law: `check` passes for every value that leaves a reader: all indices in range, no cycle, every node reached once, no
threshold that is NaN, no leaf that is not a finite number, and every number exact in the type that it is compared or added in.
Raises CorruptError from `check` with the tree and the node.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Array
from fairlead.errors import CorruptError


class Split(enum.IntEnum):
    """How a node decides whether a row goes left."""

    LEAF = 0
    LESS = 1  # x < threshold
    LESS_OR_EQUAL = 2  # x <= threshold
    CATEGORY = 3  # int(x) is one of the node's categories
    EQUAL = 4  # x == threshold (one category by itself)
    GREATER = 5  # x > threshold


class Missing(enum.IntEnum):
    """What counts as missing at a node, and so takes its default direction."""

    NAN = 0  # NaN only
    NEVER = 1  # NaN is taken for 0.0
    ZERO = 2  # NaN, and |x| <= 1e-35 in single precision (LightGBM's kZeroThreshold)


class Transform(enum.StrEnum):
    """From sums to what the library's own predict gives."""

    IDENTITY = "identity"
    SIGMOID = "sigmoid"  # 1 / (1 + exp(-scale * x))
    SOFTMAX = "softmax"
    EXP = "exp"
    SIGN_SQUARE = "sign-square"  # sign(x) * x^2 (LightGBM's reg_sqrt)
    HINGE = "hinge"  # x > 0
    LOG1P_EXP = "log1p-exp"  # log(1 + exp(x))
    ONE_VS_ALL = "one-vs-all"  # a sigmoid per class, not normalized
    ONE_VS_ALL_NORMALIZED = "one-vs-all-normalized"  # ... divided by their sum


@dataclass(frozen=True)
class TreeEnsemble:
    """Nodes of all trees, flat (n nodes, t trees, k outputs). Child indices are positions in the same arrays.

    `sum_dtype` is the type in which the library adds, in the order of `roots`, starting with `base`; `compare_dtype` the type to which a
    feature is rounded before it is compared; `thresholds` are exact in it. `is_averaged` divides a group's sum by its number of trees
    (random forests). A class is decided by the transformed values (above 0.5; the first largest), or, with `is_decided_by_sum`, by the sums
    before the transform (above 0; the first largest).

    `categories` of node i are category_values[category_offsets[i]:category_offsets[i + 1]]; others go right. What is no category (x < 0
    where features are compared in single precision, as XGBoost does; x <= -1 in double, as LightGBM does; 2^31 and more) goes right too,
    unless `unknown_category_left[i]`.
    """

    feature_count: int
    output_count: int
    roots: Array = field(repr=False)  # int32 (t,): node index of each tree's root
    groups: Array = field(repr=False)  # int32 (t,): which output a tree adds to; 0 for vector leaves, which add to all
    splits: Array = field(repr=False)  # uint8 (n,): Split
    features: Array = field(repr=False)  # int32 (n,); 0 at leaves
    thresholds: Array = field(repr=False)  # float64 (n,); 0 at leaves
    left: Array = field(repr=False)  # int32 (n,); 0 at leaves
    right: Array = field(repr=False)  # int32 (n,); 0 at leaves
    missing: Array = field(repr=False)  # uint8 (n,): Missing
    missing_left: Array = field(repr=False)  # bool (n,)
    leaf_values: Array = field(repr=False)  # float64 (n, width): width 1, or output_count for vector leaves; 0 inside
    base: Array = field(repr=False)  # float64 (output_count,), before the transform
    category_offsets: Array = field(repr=False)  # int32 (n + 1,)
    category_values: Array = field(repr=False)  # int32
    unknown_category_left: Array = field(repr=False)  # bool (n,)
    compare_dtype: DType = DType.FP32
    sum_dtype: DType = DType.FP32
    transform: Transform = Transform.IDENTITY
    scale: float = 1.0
    is_averaged: bool = False
    is_decided_by_sum: bool = False
    feature_names: tuple[str, ...] = ()

    @property
    def tree_count(self) -> int:
        """How many trees there are."""
        return int(self.roots.shape[0])

    @property
    def node_count(self) -> int:
        """How many nodes, leaves included."""
        return int(self.splits.shape[0])

    def check(self) -> None:
        """Raise CorruptError unless the ensemble keeps the law."""
        _check_shapes(self)
        n = self.node_count
        _check_lengths(self, n)
        inner = self.splits != Split.LEAF
        for name, children in (("left", self.left), ("right", self.right)):
            outside = inner & ((children < 0) | (children >= n))
            if outside.any():
                raise _broken(f"node {int(np.argmax(outside))} has a {name} child that does not exist")
        outside = inner & ((self.features < 0) | (self.features >= self.feature_count))
        if outside.any():
            raise _broken(f"node {int(np.argmax(outside))} splits on a feature that does not exist")
        _check_numbers(self, inner)
        # Every node is a root or the child of exactly one node: no node is shared, none is lost, and so no walk can meet one twice.
        reached = np.zeros(n, dtype=np.int64)
        np.add.at(reached, self.roots, 1)
        np.add.at(reached, self.left[inner], 1)
        np.add.at(reached, self.right[inner], 1)
        if (reached != 1).any():
            node = int(np.argmax(reached != 1))
            raise _broken(f"node {node} is reached {int(reached[node])} times instead of once")
        _check_reachable(self, inner)


_PER_NODE = ("features", "thresholds", "left", "right", "missing", "missing_left", "leaf_values", "unknown_category_left")
_FLAT = ("roots", "groups", "splits", *(name for name in _PER_NODE if name != "leaf_values"), "base", "category_offsets", "category_values")


def _check_shapes(trees: TreeEnsemble) -> None:
    """Before anything is compared: numpy would stretch an array of another rank to fit."""
    if trees.leaf_values.ndim != 2 or any(getattr(trees, name).ndim != 1 for name in _FLAT):
        raise _broken("an array has another number of dimensions")
    if trees.output_count < 1 or trees.feature_count < 0 or len(trees.feature_names) not in (0, trees.feature_count):
        raise _broken("the number of outputs, features or names makes no sense")


def _check_lengths(trees: TreeEnsemble, n: int) -> None:
    for name in _PER_NODE:
        if getattr(trees, name).shape[0] != n:
            raise _broken(f"{name} has {getattr(trees, name).shape[0]} entries for {n} nodes")
    if trees.leaf_values.shape[1] not in (1, trees.output_count):
        raise _broken("leaves have another number of values than there are outputs")
    if trees.base.shape != (trees.output_count,) or trees.groups.shape != trees.roots.shape:
        raise _broken("base values or groups do not fit the outputs")
    if trees.tree_count and ((trees.groups < 0) | (trees.groups >= trees.output_count)).any():
        raise _broken("a tree adds to an output that does not exist")
    if trees.tree_count and ((trees.roots < 0) | (trees.roots >= n)).any():
        raise _broken("a tree has a root that does not exist")
    offsets = trees.category_offsets
    sound = offsets.shape == (n + 1,) and offsets[0] == 0 and int(offsets[-1]) == trees.category_values.shape[0]
    if not sound or (np.diff(offsets) < 0).any():
        raise _broken("the categories do not fit the nodes")


def _check_numbers(trees: TreeEnsemble, inner: Array) -> None:
    """Only numbers that mean something: known kinds of splits, thresholds that can be compared with, leaves that can be added."""
    for name, values, known in (("split", trees.splits, Split), ("missing", trees.missing, Missing)):
        if not np.isin(values, [int(kind) for kind in known]).all():
            raise _broken(f"a node has a kind of {name} that is not known")
    not_comparable = inner & np.isnan(trees.thresholds)
    if not_comparable.any():
        raise _broken(f"node {int(np.argmax(not_comparable))} has a threshold that is not a number")
    if not (np.isfinite(trees.leaf_values).all() and np.isfinite(trees.base).all() and np.isfinite(trees.scale)):
        raise _broken("a leaf or a base value is not a finite number")
    compared = np.where(inner & (trees.splits != Split.CATEGORY), trees.thresholds, 0.0)
    if not _is_exact(compared, trees.compare_dtype):
        raise _broken("a threshold is not exact in the type that is compared in")
    if not (_is_exact(trees.leaf_values, trees.sum_dtype) and _is_exact(trees.base, trees.sum_dtype)):
        raise _broken("a leaf or a base value is not exact in the type that is added in")


def _is_exact(values: Array, dtype: DType) -> bool:
    with np.errstate(over="ignore", under="ignore"):
        return np.array_equal(values.astype(dtype.numpy), values)


def _check_reachable(trees: TreeEnsemble, inner: Array) -> None:
    """Each node has one parent or is a root; what no root leads to is therefore a cycle."""
    level = trees.roots.astype(np.int64)
    seen = 0
    while level.size:
        seen += level.size
        if seen > trees.node_count:
            raise _broken("its trees share nodes")
        inside = level[inner[level]]
        level = np.concatenate([trees.left[inside], trees.right[inside]]).astype(np.int64)
    if seen != trees.node_count:
        raise _broken(f"{trees.node_count - seen} nodes lie on a cycle")


def _broken(problem: str) -> CorruptError:
    return CorruptError(f"The tree ensemble is not sound: {problem}.", hint="The file is damaged; save the model again.")
