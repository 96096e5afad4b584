"""The paths of a tree ensemble, from roots to leaves, and which features of a row keep it off each of them.

Takes core.tree_ensemble.TreeEnsemble and rows; gives `Paths`, and per path and row a number whose bits are the features by which the row
leaves the path (0: it ends there). A feature that a path asks about several times is one bit. Comparisons follow the ensemble's own types
and rules for missing values, as engines/tree_ensemble_engine.py does, which tests compare them with. Raises UnsupportedError for a path
with more features than a number has bits. Pure numpy: all nodes of a level at once, never a loop over nodes, rows or leaves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Array
from fairlead.core.tree_ensemble import Missing, Split, TreeEnsemble
from fairlead.errors import UnsupportedError

_ZERO = float(np.float32(1e-35))  # kZeroThreshold of LightGBM's meta.h, a single-precision number
_MOST_BITS = 62


@dataclass(frozen=True)
class _Level:
    """Nodes of one depth: those inside, their places on the level and their features' bits; the leaves' places, and those among paths."""

    inner: Array
    inner_places: Array
    bits: Array
    leaf_places: Array
    paths: Array


@dataclass(frozen=True)
class Paths:
    """The paths of some trees. `features` (paths, most) are those that a path asks about, in the order of their bits, -1 beyond the
    `counts` (paths,) of them. `values` (paths, outputs) is what a path's leaf adds to each output, averages included.
    """

    trees: TreeEnsemble
    roots: Array
    levels: tuple[_Level, ...]
    features: Array
    counts: Array
    values: Array

    @property
    def count(self) -> int:
        """How many paths there are."""
        return int(self.counts.shape[0])

    def misses(self, columns: Array) -> Array:
        """Return, for rows as columns (features, rows) in the type that is compared in, (paths, rows) bits of what keeps each row off."""
        kind = np.dtype(f"u{next(size for size in (1, 2, 4, 8) if self.counts.max(initial=0) <= 8 * size)}")
        found = np.empty((self.count, columns.shape[1]), dtype=kind)
        codes = np.zeros((len(self.roots), columns.shape[1]), dtype=kind)
        has_nan = bool(np.isnan(columns).any())
        for level in self.levels:
            found[level.paths] = codes[level.leaf_places]
            if not level.inner.size:
                break
            above = codes[level.inner_places]
            goes_left = left_of(self.trees, level.inner, columns, has_nan=has_nan)
            bits = level.bits.astype(kind)[:, np.newaxis]
            missed = goes_left * bits
            codes = np.concatenate([above | (bits ^ missed), above | missed])
        return found


def paths_of(trees: TreeEnsemble, first: int, last: int) -> Paths:
    """Return the paths of trees `first` to `last` (not included)."""
    roots = trees.roots[first:last].astype(np.int64)
    at, tree = roots, np.arange(first, last)
    asked = np.full((len(at), 0), -1, dtype=np.int32)
    counts = np.zeros(len(at), dtype=np.int64)
    levels: list[_Level] = []
    leaves: list[tuple[Array, Array, Array, Array]] = []
    path_count = 0
    while at.size:
        is_leaf = trees.splits[at] == Split.LEAF
        inner, ends = np.flatnonzero(~is_leaf), np.flatnonzero(is_leaf)
        asked = np.concatenate([asked, np.full((len(at), 1), -1, dtype=np.int32)], axis=1)
        leaves.append((at[ends], tree[ends], asked[ends], counts[ends]))
        feature = trees.features[at[inner]]
        is_same = asked[inner] == feature[:, np.newaxis]
        is_known = is_same.any(axis=1)
        slots = np.where(is_known, is_same.argmax(axis=1), counts[inner])
        if slots.max(initial=0) >= _MOST_BITS:
            raise UnsupportedError(
                f"A path in its trees asks about more than {_MOST_BITS} features.", hint="Explain it by sampling: --method sampled."
            )
        path_places = np.arange(path_count, path_count + len(ends))
        path_count += len(ends)
        levels.append(_Level(at[inner], inner, np.int64(1) << slots, ends, path_places))
        below = asked[inner]
        below[np.arange(len(inner)), slots] = feature
        counts = np.tile(counts[inner] + ~is_known, 2)
        asked, tree = np.concatenate([below, below]), np.tile(tree[inner], 2)
        at = np.concatenate([trees.left[at[inner]], trees.right[at[inner]]]).astype(np.int64)
    width = max((block[2].shape[1] for block in leaves), default=0)
    features = [np.pad(block[2], ((0, 0), (0, width - block[2].shape[1])), constant_values=-1) for block in leaves]
    nodes, owner = (np.concatenate([block[place] for block in leaves]) if leaves else np.zeros(0, np.int64) for place in (0, 1))
    return Paths(
        trees,
        roots,
        tuple(levels),
        np.concatenate(features) if features else np.zeros((0, 0), np.int32),
        np.concatenate([block[3] for block in leaves]) if leaves else np.zeros(0, np.int64),
        _values(trees, nodes, owner),
    )


def pieces(trees: TreeEnsemble, leaf_limit: int) -> Iterator[tuple[int, int]]:
    """Yield runs of trees with about `leaf_limit` leaves each, at least one tree."""
    sizes = np.diff(np.append(_first_nodes(trees), trees.node_count)) // 2 + 1
    first = count = 0
    for number, size in enumerate(sizes):
        if count and count + size > leaf_limit:
            yield first, number
            first, count = number, 0
        count += int(size)
    if first < trees.tree_count:
        yield first, trees.tree_count


def as_columns(trees: TreeEnsemble, rows: Array) -> Array:
    """Return rows (rows, features) as columns in the type that features are compared in."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(rows.T.astype(trees.compare_dtype.numpy))


def _first_nodes(trees: TreeEnsemble) -> Array:
    """Return about where each tree's nodes begin: exactly, where trees lie one after the other; evenly, where they do not."""
    roots = trees.roots.astype(np.int64)
    if (np.diff(roots) > 0).all():
        return roots
    return np.linspace(0, trees.node_count, trees.tree_count, endpoint=False).astype(np.int64)


def _values(trees: TreeEnsemble, nodes: Array, owner: Array) -> Array:
    """Return what each leaf adds to each output: (leaves, outputs)."""
    is_vector = trees.leaf_values.shape[1] > 1
    values = np.zeros((len(nodes), trees.output_count))
    if is_vector:
        values[:] = trees.leaf_values[nodes]
    else:
        values[np.arange(len(nodes)), trees.groups[owner]] = trees.leaf_values[nodes, 0]
    return values / divisors(trees)


def divisors(trees: TreeEnsemble) -> Array:
    """Return what each output's sum is divided by: (outputs,)."""
    if not trees.is_averaged:
        return np.ones(trees.output_count)
    is_vector = trees.leaf_values.shape[1] > 1
    counts = np.full(trees.output_count, trees.tree_count) if is_vector else np.bincount(trees.groups, minlength=trees.output_count)
    return np.maximum(counts, 1).astype(np.float64)


def left_of(trees: TreeEnsemble, nodes: Array, columns: Array, *, has_nan: bool = True) -> Array:
    """Return which rows, as columns (features, rows), go left at inner `nodes`: bool (nodes, rows)."""
    kinds = trees.splits[nodes].astype(np.int64) * 4 + trees.missing[nodes]
    present = np.unique(kinds)
    if len(present) == 1:
        return _left_of_kind(trees, nodes, columns[trees.features[nodes]], has_nan=has_nan)
    found = np.empty((len(nodes), columns.shape[1]), dtype=np.bool_)
    for kind in present:
        chosen = np.flatnonzero(kinds == kind)
        found[chosen] = _left_of_kind(trees, nodes[chosen], columns[trees.features[nodes[chosen]]], has_nan=has_nan)
    return found


def _left_of_kind(trees: TreeEnsemble, nodes: Array, values: Array, *, has_nan: bool) -> Array:
    """Likewise for nodes that split and miss in the same way; `values` (nodes, rows) are the rows' own, and may be written to."""
    split, missing = Split(trees.splits[nodes[0]]), Missing(trees.missing[nodes[0]])
    is_missing: Array | None = None
    if missing is Missing.ZERO:
        is_missing = np.isnan(values) | (np.abs(values) <= _ZERO)
    elif has_nan and missing is Missing.NAN:
        is_missing = np.isnan(values)
    if has_nan:
        values[np.isnan(values)] = 0
    goes_left = _compared(trees, nodes, values, split)
    if is_missing is not None:
        goes_left = np.where(is_missing, trees.missing_left[nodes][:, np.newaxis], goes_left)
    return goes_left


def _compared(trees: TreeEnsemble, nodes: Array, values: Array, split: Split) -> Array:
    if split is Split.CATEGORY:
        return np.stack([_is_member(trees, int(node), row) for node, row in zip(nodes, values, strict=True)])
    with np.errstate(over="ignore"):
        thresholds = trees.thresholds[nodes].astype(values.dtype)[:, np.newaxis]
    if split is Split.LESS:
        return np.asarray(values < thresholds)
    if split is Split.LESS_OR_EQUAL:
        return np.asarray(values <= thresholds)
    return np.asarray(values == thresholds if split is Split.EQUAL else values > thresholds)


def _is_member(trees: TreeEnsemble, node: int, values: Array) -> Array:
    """Whether each value's category is one of the node's, or is no category at all where those go left."""
    is_category = (values >= 0) if trees.compare_dtype is DType.FP32 else (values > -1)
    is_category &= values < 2.0**31
    categories = np.where(is_category, values, 0).astype(np.int64)
    members = trees.category_values[trees.category_offsets[node] : trees.category_offsets[node + 1]]
    return np.where(is_category, np.isin(categories, members), trees.unknown_category_left[node])
