"""Rows that decide at an ensemble's own thresholds: on each of them, and one unit in the last place to both sides.

Takes a TreeEnsemble; gives rows that really reach the node whose threshold they sit on: every condition on the way from the root is kept.
Nodes are drawn evenly from all where there are more than are wanted. Also rows with missing values and with categories that no node knows.
Pure; the same arguments give the same rows.
"""

from __future__ import annotations

import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Array
from fairlead.core.tree_ensemble import Split, TreeEnsemble

NODE_LIMIT = 700
_LARGEST = {DType.FP32: float(np.finfo(np.float32).max), DType.FP64: float(np.finfo(np.float64).max)}
_UNKNOWN_CATEGORIES = (-1.0, 0.5, 7.5, 65_535.0)


def probe_rows(trees: TreeEnsemble, dtype: DType, *, allow_missing: bool, seed: int = 0) -> Array:
    """Return rows (count, features) in `dtype`, the type of the input."""
    random = np.random.default_rng(seed)
    inner = np.flatnonzero(trees.splits != Split.LEAF)
    if not inner.size:
        return np.zeros((1, trees.feature_count), dtype.numpy)
    parents = _parents(trees)
    typical = _typical(trees, inner)
    chosen = random.choice(inner, NODE_LIMIT, replace=False) if inner.size > NODE_LIMIT else inner
    with np.errstate(over="ignore"):  # one step beyond the largest number of a type is infinite, and that is a value like any other
        rows = [row for node in chosen.tolist() for row in _rows_at(trees, parents, typical, node, dtype)]
        # A library may refuse infinities (XGBoost does): beyond the last number there is nothing to stand on.
    table = np.asarray(np.clip(rows, -_LARGEST[dtype], _LARGEST[dtype]), dtype.numpy)
    extra = table[random.integers(0, len(table), min(len(table), 64))].copy()
    columns = random.integers(0, trees.feature_count, len(extra))
    if allow_missing:
        extra[np.arange(len(extra)), columns] = np.nan
        return np.concatenate([table, extra, np.full((1, trees.feature_count), np.nan, dtype.numpy)])
    return table


def _parents(trees: TreeEnsemble) -> Array:
    """Return each node's parent, -1 for roots."""
    parents = np.full(trees.node_count, -1, dtype=np.int64)
    inner = np.flatnonzero(trees.splits != Split.LEAF)
    parents[trees.left[inner]] = inner
    parents[trees.right[inner]] = inner
    return parents


def _typical(trees: TreeEnsemble, inner: Array) -> Array:
    """Return a row with the median threshold of every feature."""
    row = np.zeros(trees.feature_count)
    for feature in np.unique(trees.features[inner]):
        used = trees.thresholds[inner[(trees.features[inner] == feature) & (trees.splits[inner] != Split.CATEGORY)]]
        finite = used[np.isfinite(used)]
        row[feature] = np.median(finite) if finite.size else 0.0
    return row


def _rows_at(trees: TreeEnsemble, parents: Array, typical: Array, node: int, dtype: DType) -> list[Array]:
    """Rows that reach `node` and stand on its threshold, one step below and one above; for a category, one in the set and others."""
    row = typical.copy()
    child, parent = node, int(parents[node])
    while parent >= 0:
        _lead(trees, row, parent, goes_left=bool(trees.left[parent] == child))
        child, parent = parent, int(parents[parent])
    feature, threshold = int(trees.features[node]), float(trees.thresholds[node])
    if trees.splits[node] == Split.CATEGORY:
        members = trees.category_values[trees.category_offsets[node] : trees.category_offsets[node + 1]]
        values = [*members[:1].tolist(), *((members[-1:] + 1).tolist()), *_UNKNOWN_CATEGORIES]
    else:
        values = _neighbours(threshold, dtype)
        if dtype is not trees.compare_dtype:  # also one step of the coarser type, which is what is compared, and where rounding to it turns
            coarse = _neighbours(threshold, trees.compare_dtype)
            middles = [(value + threshold) / 2 for value in coarse[1:]]
            values += coarse[1:] + [near for middle in middles if np.isfinite(middle) for near in _neighbours(middle, dtype)]
    return [_with(row, feature, float(value)) for value in values]


def _neighbours(value: float, dtype: DType) -> list[float]:
    """`value` in `dtype`, and the numbers one unit in the last place below and above."""
    kind = dtype.numpy.type
    with np.errstate(over="ignore", under="ignore"):
        at = kind(value)
        return [float(at), float(np.nextafter(at, kind(-np.inf))), float(np.nextafter(at, kind(np.inf)))]


def _with(row: Array, feature: int, value: float) -> Array:
    changed = row.copy()
    changed[feature] = value
    return changed


def _lead(trees: TreeEnsemble, row: Array, node: int, *, goes_left: bool) -> None:
    """Change the row's feature so that it takes the wanted way at `node`, where it does not already."""
    feature, threshold, split = int(trees.features[node]), float(trees.thresholds[node]), Split(int(trees.splits[node]))
    value = row[feature]
    if split is Split.CATEGORY:
        members = trees.category_values[trees.category_offsets[node] : trees.category_offsets[node + 1]].tolist()
        if (value in members) != goes_left:
            row[feature] = (
                float(members[0]) if goes_left and members else float(next(c for c in range(len(members) + 1) if c not in members))
            )
        return
    way = {
        Split.LESS: value < threshold,
        Split.LESS_OR_EQUAL: value <= threshold,
        Split.GREATER: value > threshold,
        Split.EQUAL: value == threshold,
    }
    if way[split] == goes_left:
        return
    margin = max(abs(threshold) * 1e-3, 1e-6)
    is_downward = goes_left != (split is Split.GREATER)
    row[feature] = threshold if split is Split.EQUAL and goes_left else threshold - margin if is_downward else threshold + margin
