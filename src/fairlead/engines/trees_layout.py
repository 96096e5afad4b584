"""A tree ensemble laid out for the compiled kernel: nodes of 8 to 16 bytes, breadth first, children side by side, one comparison for all.

Takes core.tree_ensemble.TreeEnsemble (its law checked), gives arrays whose meaning stands in trees_kernel.c. Pure; no loop over nodes.
A node asks `column[i] < threshold`, and a true answer leads to the second of its two children. Every comparison by order becomes that one,
exactly: x <= t is x < the next number above t; x > t is the opposite of that. A missing value makes the comparison false; where it should
lead to the other child, the node asks the opposite question, -x < the next number above -t, of a negated column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairlead.core.interface import Array
from fairlead.core.tree_ensemble import Missing, Split, TreeEnsemble

AS_IT_IS, NEGATED, FILLED, ZERO_MISSING, ZERO_MISSING_NEGATED = range(5)
KIND_COUNT = 5
_NARROW_LIMIT = 2**16
_SPECIAL = np.dtype(
    [
        ("threshold", "f8"), ("column", "i4"), ("split", "i4"), ("missing", "i4"), ("missing_left", "i4"), ("unknown_left", "i4"),
        ("first", "i4"), ("last", "i4"), ("unused", "i4"),
    ]
)  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """The arrays of `trees` in trees_kernel.c, by the same names; `column_features` lacks the last column, which is NaN."""

    nodes: Array
    starts: Array
    depths: Array
    groups: Array
    values: Array
    base: Array
    divisors: Array
    column_ends: Array
    column_features: Array
    specials: Array
    categories: Array

    @property
    def node_format(self) -> int:
        """FLOAT_NARROW, FLOAT_WIDE or DOUBLE_WIDE."""
        return {8: 0, 12: 1, 16: 2}[self.nodes.dtype.itemsize]


@dataclass(frozen=True)
class _Questions:
    """What each node asks: of which column code (kind * features + feature) and against what; which nodes are special."""

    codes: Array
    bounds: Array
    is_special: Array
    is_left_second: Array  # a true answer leads left, so that the left child comes second


def lay_out(trees: TreeEnsemble) -> Layout:
    """Return the arrays; equal ensembles give equal ones."""
    asked = _questions(trees)
    inner = trees.splits != Split.LEAF
    first = np.where(asked.is_left_second, trees.right, trees.left)
    second = np.where(asked.is_left_second, trees.left, trees.right)
    order, tree, depths = _breadth_first(trees, inner, first, second)
    places = np.empty(trees.node_count, dtype=np.int64)
    places[order] = np.arange(trees.node_count)
    starts = places[trees.roots]
    codes, column = np.unique(asked.codes[inner], return_inverse=True)
    columns = np.full(trees.node_count, len(codes), dtype=np.int64)  # leaves read the last column
    columns[inner] = column
    specials = np.flatnonzero(asked.is_special)
    read_by_specials = columns[specials]
    columns[specials] = len(codes) + 1 + np.arange(len(specials))
    child = np.where(inner, places[first], places) - starts[tree]
    sums = trees.sum_dtype.numpy
    return Layout(
        nodes=_nodes(trees, asked.bounds, columns, child)[order],
        starts=starts,
        depths=depths,
        groups=np.ascontiguousarray(trees.groups, dtype=np.int32),
        values=np.ascontiguousarray(trees.leaf_values[order], dtype=sums),
        base=np.ascontiguousarray(trees.base, dtype=sums),
        divisors=_divisors(trees),
        column_ends=np.searchsorted(codes, (np.arange(KIND_COUNT) + 1) * max(trees.feature_count, 1)).astype(np.int64),
        column_features=(codes % max(trees.feature_count, 1)).astype(np.int32),
        specials=_specials(trees, specials, read_by_specials),
        categories=_sorted_categories(trees),
    )


def _questions(trees: TreeEnsemble) -> _Questions:
    dtype = trees.compare_dtype.numpy
    above = dtype.type(np.inf)
    with np.errstate(over="ignore", invalid="ignore"):
        thresholds = trees.thresholds.astype(dtype)
        upper = np.where(trees.splits == Split.LESS, thresholds, np.nextafter(thresholds, above))
        opposite = np.nextafter(-upper, above)
    by_order = np.isin(trees.splits, (Split.LESS, Split.LESS_OR_EQUAL, Split.GREATER)) & np.isfinite(thresholds)
    is_special = (trees.splits != Split.LEAF) & ~by_order
    is_greater = trees.splits == Split.GREATER
    # A missing value's answer is "no": as it is, that leads right, and left for GREATER, whose children are exchanged.
    is_as_it_is = (trees.missing == Missing.NEVER) | (is_greater == trees.missing_left)
    kinds = np.select(
        [is_special, trees.missing == Missing.NEVER, trees.missing == Missing.ZERO],
        [AS_IT_IS, FILLED, np.where(is_as_it_is, ZERO_MISSING, ZERO_MISSING_NEGATED)],
        default=np.where(is_as_it_is, AS_IT_IS, NEGATED),
    )
    return _Questions(
        codes=kinds.astype(np.int64) * max(trees.feature_count, 1) + trees.features,
        bounds=np.where(is_as_it_is, upper, opposite),
        is_special=is_special,
        is_left_second=is_special | (is_as_it_is != is_greater),
    )


def _breadth_first(trees: TreeEnsemble, inner: Array, first: Array, second: Array) -> tuple[Array, Array, Array]:
    """Return all nodes tree by tree, breadth first; each node's tree; each tree's depth."""
    tree = np.zeros(trees.node_count, dtype=np.int64)
    depths = np.zeros(trees.tree_count, dtype=np.int32)
    tree[trees.roots] = np.arange(trees.tree_count)
    levels = [trees.roots.astype(np.int64)]
    while levels[-1].size:
        inside = levels[-1][inner[levels[-1]]]
        depths[np.unique(tree[inside])] += 1
        below = np.stack([first[inside], second[inside]], axis=1).astype(np.int64)
        tree[below] = tree[inside][:, np.newaxis]
        levels.append(below.ravel())
    found = np.concatenate(levels)
    return found[np.argsort(tree[found], kind="stable")], tree, depths


def _nodes(trees: TreeEnsemble, bounds: Array, columns: Array, child: Array) -> Array:
    real = trees.compare_dtype.numpy
    is_narrow = real.itemsize == 4 and max(columns.max(initial=0), child.max(initial=0)) < _NARROW_LIMIT
    whole = "u2" if is_narrow else "u4"
    nodes = np.zeros(trees.node_count, dtype=[("threshold", real), ("column", whole), ("child", whole)])
    nodes["threshold"], nodes["column"], nodes["child"] = bounds, columns, child
    return nodes


def _divisors(trees: TreeEnsemble) -> Array:
    is_vector = trees.leaf_values.shape[1] > 1
    counts = np.full(trees.output_count, trees.tree_count) if is_vector else np.bincount(trees.groups, minlength=trees.output_count)
    return np.maximum(counts, 1).astype(np.int64)


def _specials(trees: TreeEnsemble, nodes: Array, columns: Array) -> Array:
    found = np.zeros(len(nodes), dtype=_SPECIAL)
    with np.errstate(over="ignore"):
        found["threshold"] = trees.thresholds[nodes].astype(trees.compare_dtype.numpy)
    found["column"], found["split"] = columns, trees.splits[nodes]
    found["missing"], found["missing_left"] = trees.missing[nodes], trees.missing_left[nodes]
    found["unknown_left"] = trees.unknown_category_left[nodes]
    found["first"], found["last"] = trees.category_offsets[nodes], trees.category_offsets[nodes + 1]
    return found


def _sorted_categories(trees: TreeEnsemble) -> Array:
    node = np.repeat(np.arange(trees.node_count), np.diff(trees.category_offsets))
    return np.ascontiguousarray(trees.category_values[np.lexsort((trees.category_values, node))], dtype=np.int32)
