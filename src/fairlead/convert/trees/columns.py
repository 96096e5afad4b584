"""What the nodes of an ensemble compare: columns of the rows, some prepared so that ONNX's comparisons say what the library's do.

ONNX knows one kind of missing value (NaN) and compares numbers; libraries take NaN for 0, 0 for missing, or the whole part of a number for
a category. A prepared column does that once per row; every node then reads the column that its feature and kind of missing value ask for.
Takes a TreeEnsemble and a graph under construction; gives column numbers per node. Pure but for the graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairlead.convert.trees.nodes import Nodes
from fairlead.core.dtype import DType
from fairlead.core.interface import Array
from fairlead.core.tree_ensemble import Missing, Split, TreeEnsemble

ZERO = float(np.float32(1e-35))  # kZeroThreshold of LightGBM's meta.h, a single-precision number
NO_CATEGORY = -1.0
_CATEGORY_LIMIT = 2.0**31


@dataclass(frozen=True)
class Columns:
    """`numbers` is the column of every node (0 at leaves); `features`, `missing` and `is_category` say how column i is made."""

    numbers: Array
    features: Array
    missing: Array
    is_category: Array

    @property
    def are_plain(self) -> bool:
        """Whether the columns are the rows' own, in their order, with nothing to prepare."""
        in_order = np.array_equal(self.features, np.arange(len(self.features)))
        return bool(in_order and (self.missing == Missing.NAN).all() and not self.is_category.any())


def columns_of(trees: TreeEnsemble) -> Columns:
    """Return the columns that `trees` reads. Where nothing has to be prepared, they are the features themselves."""
    inner = trees.splits != Split.LEAF
    is_category = inner & (trees.splits == Split.CATEGORY)
    if not is_category.any() and (trees.missing[inner] == Missing.NAN).all():
        count = trees.feature_count
        plain = np.zeros(count, dtype=np.uint8)
        return Columns(np.where(inner, trees.features, 0), np.arange(count), plain, plain.astype(bool))
    keys = np.stack([trees.features, trees.missing, is_category], axis=1).astype(np.int64)
    found, numbers = np.unique(keys[inner], axis=0, return_inverse=True)
    per_node = np.zeros(trees.node_count, dtype=np.int64)
    per_node[inner] = numbers.reshape(-1)
    return Columns(per_node, found[:, 0], found[:, 1], found[:, 2].astype(bool))


def prepare(nodes: Nodes, rows: str, columns: Columns, dtype: DType) -> str:
    """Add what makes the columns of `rows` (in `dtype`, the type that is compared in); return the name of the prepared table."""
    if columns.are_plain:
        return rows
    table = nodes.add("Gather", [rows, nodes.constant(columns.features.astype(np.int64))], axis=1)
    zeros = nodes.constant(np.zeros(1, dtype.numpy))
    never, zero = columns.missing == Missing.NEVER, columns.missing == Missing.ZERO
    if never.any():
        table = nodes.where(_both(nodes, nodes.add("IsNaN", [table]), never), zeros, table)
    if zero.any():
        is_small = nodes.add("LessOrEqual", [nodes.add("Abs", [table]), nodes.constant(np.asarray([ZERO], dtype.numpy))])
        table = nodes.where(_both(nodes, is_small, zero), nodes.constant(np.asarray([np.nan], dtype.numpy)), table)
    if columns.is_category.any():
        table = nodes.where(nodes.constant(columns.is_category), _categories(nodes, table, dtype), table)
    return table


def _both(nodes: Nodes, condition: str, chosen: Array) -> str:
    return nodes.add("And", [condition, nodes.constant(chosen)])


def _categories(nodes: Nodes, table: str, dtype: DType) -> str:
    """The whole part of each number, NaN for NaN, and NO_CATEGORY for what is none: x < 0 in single, x <= -1 in double, 2^31 and more."""

    def bound(value: float) -> str:
        return nodes.constant(np.asarray([value], dtype.numpy))

    is_below = nodes.add("Less", [table, bound(0.0)]) if dtype is DType.FP32 else nodes.add("LessOrEqual", [table, bound(-1.0)])
    is_none = nodes.add("Or", [is_below, nodes.add("GreaterOrEqual", [table, bound(_CATEGORY_LIMIT)])])
    sign = nodes.add("Sign", [table])
    whole = nodes.add("Mul", [sign, nodes.add("Floor", [nodes.add("Abs", [table])])])
    return nodes.where(is_none, bound(NO_CATEGORY), whole)
