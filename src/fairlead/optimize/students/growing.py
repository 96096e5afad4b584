"""A student of trees: gradient boosting with histograms, one tree for all outputs in each round.

Takes a table and an Objective; gives core.tree_ensemble.TreeEnsemble whose leaves hold one value per output, so that a row walks a tree
once however many classes there are. Second-order boosting (Friedman 2001; Chen and Guestrin 2016), splits chosen by the gain summed over
outputs. Thresholds are values of the table, `x <= value`; what is missing goes right. The rounds that were best on the judging rows stay.
The same arguments give the same trees. Pure but for the clock that `deadline` is read by.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Array
from fairlead.core.tree_ensemble import Missing, Split, TreeEnsemble
from fairlead.optimize.trees.objective import Objective

_BIN_LIMIT = 64
_LEAST_CURVATURE = 1e-3
_PATIENCE = 20  # rounds without a better judging loss


@dataclass(frozen=True)
class Growth:
    """`tree_count` rounds at most, of `depth` levels; each moves the sums by `rate` of what it could; `ridge` holds leaves small."""

    tree_count: int
    depth: int
    rate: float = 0.2
    ridge: float = 1.0
    least_rows: int = 5
    deadline: float = float("inf")


@dataclass
class _Nodes:
    """Nodes of all trees so far."""

    splits: list[int] = field(default_factory=list)
    features: list[int] = field(default_factory=list)
    thresholds: list[float] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    right: list[int] = field(default_factory=list)
    values: list[Array] = field(default_factory=list)
    roots: list[int] = field(default_factory=list)

    def leaf(self, value: Array) -> int:
        """Add a leaf, which `split` may make an inner node."""
        self.splits.append(Split.LEAF)
        self.features.append(0)
        self.thresholds.append(0.0)
        self.left.append(0)
        self.right.append(0)
        self.values.append(value)
        return len(self.splits) - 1

    def split(self, node: int, feature: int, threshold: float, sides: tuple[int, int]) -> None:
        """Make the leaf an inner node."""
        self.splits[node], self.features[node], self.thresholds[node] = Split.LESS_OR_EQUAL, feature, threshold
        self.left[node], self.right[node] = sides


class Bins:
    """The values of a table as numbers of bins, and the thresholds between them."""

    def __init__(self, table: Array) -> None:
        borders = [_borders(table[:, feature]) for feature in range(table.shape[1])]
        self.count = max((len(own) for own in borders), default=0) + 2
        self.thresholds = np.full((len(borders), self.count), np.nan, dtype=np.float32)
        for feature, own in enumerate(borders):
            self.thresholds[feature, : len(own)] = own
        self.codes = np.stack([self._coded(table[:, feature], own) for feature, own in enumerate(borders)]).astype(np.int64)

    def _coded(self, column: Array, borders: Array) -> Array:
        """A row's code is at most c if and only if its value is at most threshold c; NaN has the last code."""
        codes = np.searchsorted(borders, column, side="left")
        return np.where(np.isnan(column), self.count - 1, codes)


def _borders(column: Array) -> Array:
    values = np.unique(column[~np.isnan(column)])
    if len(values) > _BIN_LIMIT:
        known = np.sort(column[~np.isnan(column)])
        values = np.unique(known[np.linspace(0, len(known) - 1, _BIN_LIMIT + 1).astype(np.int64)])
    return np.asarray(values[:-1], dtype=np.float32)


def grow(table: Array, objective: Objective, is_judging: Array, growth: Growth) -> TreeEnsemble:
    """Return the trees; `table` is of single precision."""
    bins = Bins(table)
    fitted = ~is_judging
    judged = objective.only(is_judging)
    base = _base(objective.only(fitted))
    sums = np.repeat(base[np.newaxis], len(table), axis=0)
    nodes = _Nodes()
    best_loss, best_count = judged.loss(sums[is_judging]), 0
    for number in range(1, growth.tree_count + 1):
        first, second = objective.derivatives(sums)
        sums += _add_tree(nodes, bins, (first, second.sum(axis=1) / second.shape[1]), fitted, growth)
        loss = judged.loss(sums[is_judging])
        if loss < best_loss:
            best_loss, best_count = loss, number
        if number - best_count >= _PATIENCE or time.monotonic() > growth.deadline:
            break
    return _ensemble(nodes, base, max(best_count, 1), table.shape[1])


def _base(objective: Objective) -> Array:
    """The sums from which the mean answer comes, found by Newton steps."""
    sums = np.zeros((1, objective.wanted.shape[1]))
    for _ in range(50):
        first, second = objective.derivatives(np.repeat(sums, len(objective.wanted), axis=0))
        sums -= np.clip(first.mean(axis=0) / second.mean(axis=0), -1e3, 1e3) * (0.5 if sums.shape[1] > 1 else 1.0)
        if np.abs(first.mean(axis=0)).max() < 1e-9:
            break
    return np.asarray(sums[0])


def _add_tree(nodes: _Nodes, bins: Bins, derivatives: tuple[Array, Array], fitted: Array, growth: Growth) -> Array:
    """Add one tree, level by level, and return what it adds to every row's sums."""
    first, second = derivatives
    count = len(second)
    at = np.zeros(count, dtype=np.int64)  # each row's open leaf on this level; -1 where its leaf is closed
    own = np.flatnonzero(fitted)
    total = np.concatenate([first[own].sum(axis=0), [second[own].sum()]])
    root = nodes.leaf(_leaf_value(total, growth))
    nodes.roots.append(root)
    final = np.full(count, root)
    level = [root]
    for _ in range(growth.depth):
        chosen = _best_splits(bins, (first, second), (at, own), len(level), growth)
        if not chosen:
            break
        following: list[int] = []
        places = np.full((len(level), 2), -1)
        features, codes = np.zeros(len(level), dtype=np.int64), np.zeros(len(level), dtype=np.int64)
        for place, (feature, code, left, right) in chosen.items():
            sides = nodes.leaf(_leaf_value(left, growth)), nodes.leaf(_leaf_value(right, growth))
            nodes.split(level[place], feature, float(bins.thresholds[feature, code]), sides)
            places[place] = len(following), len(following) + 1
            features[place], codes[place] = feature, code
            following += sides
        open_rows = np.flatnonzero(at >= 0)
        before = at[open_rows]
        side = (bins.codes[features[before], open_rows] > codes[before]).astype(np.int64)
        at[open_rows] = places[before, side]
        still = at >= 0
        final[still] = np.asarray(following)[at[still]]
        own = own[at[own] >= 0]
        level = following
    return np.asarray(nodes.values)[final] if len(nodes.values) < count else np.stack([nodes.values[leaf] for leaf in final])


def _leaf_value(total: Array, growth: Growth) -> Array:
    return np.asarray(-growth.rate * total[:-1] / (total[-1] + growth.ridge), dtype=np.float32).astype(np.float64)


def _best_splits(
    bins: Bins, derivatives: tuple[Array, Array], rows: tuple[Array, Array], leaves: int, growth: Growth
) -> dict[int, tuple[int, int, Array, Array]]:
    """Return, for each open leaf that is worth splitting: feature, code, and what the rows of both sides add up to."""
    (first, second), (at, own) = derivatives, rows
    features, outputs = len(bins.codes), first.shape[1]
    cells = leaves * features * bins.count
    flat = ((at[own] * features)[np.newaxis] + np.arange(features)[:, np.newaxis]) * bins.count + bins.codes[:, own]
    flat = flat.ravel()
    shape = (leaves, features, bins.count)
    counts = np.bincount(flat, minlength=cells).reshape(shape).cumsum(axis=2)
    sums = np.empty((outputs + 1, *shape))
    for output in range(outputs):
        sums[output] = np.bincount(flat, np.tile(first[own, output], features), cells).reshape(shape).cumsum(axis=2)
    sums[outputs] = np.bincount(flat, np.tile(second[own], features), cells).reshape(shape).cumsum(axis=2)
    whole = sums[..., -1:]
    gains = _worth(sums, growth.ridge) + _worth(whole - sums, growth.ridge) - _worth(whole, growth.ridge)
    is_split = ~np.isnan(bins.thresholds)[np.newaxis]
    enough = (counts >= growth.least_rows) & (counts[..., -1:] - counts >= growth.least_rows)
    gains = np.where(is_split & enough, gains, -np.inf).reshape(leaves, -1)
    best = gains.argmax(axis=1)
    found = {}
    for leaf in np.flatnonzero(gains[np.arange(leaves), best] > 1e-9).tolist():
        feature, code = divmod(int(best[leaf]), bins.count)
        left = sums[:, leaf, feature, code]
        found[leaf] = (feature, code, left, whole[:, leaf, feature, 0] - left)
    return found


def _worth(sums: Array, ridge: float) -> Array:
    return np.asarray((sums[:-1] ** 2).sum(axis=0) / (np.maximum(sums[-1], _LEAST_CURVATURE) + ridge))


def _ensemble(nodes: _Nodes, base: Array, tree_count: int, features: int) -> TreeEnsemble:
    """Return the first trees; the base goes into the leaves of the first one."""
    count = nodes.roots[tree_count] if tree_count < len(nodes.roots) else len(nodes.splits)
    values = np.stack(nodes.values[:count])
    splits = np.asarray(nodes.splits[:count], dtype=np.uint8)
    is_first = np.arange(count) < (nodes.roots[1] if len(nodes.roots) > 1 else count)
    values = np.where(is_first[:, np.newaxis], values + base, values)
    values = np.where((splits == Split.LEAF)[:, np.newaxis], values, 0.0).astype(np.float32).astype(np.float64)
    outputs = values.shape[1]
    return TreeEnsemble(
        feature_count=features,
        output_count=outputs,
        roots=np.asarray(nodes.roots[:tree_count], dtype=np.int32),
        groups=np.zeros(tree_count, dtype=np.int32),
        splits=splits,
        features=np.asarray(nodes.features[:count], dtype=np.int32),
        thresholds=np.asarray(nodes.thresholds[:count], dtype=np.float64),
        left=np.asarray(nodes.left[:count], dtype=np.int32),
        right=np.asarray(nodes.right[:count], dtype=np.int32),
        missing=np.full(count, Missing.NAN, dtype=np.uint8),
        missing_left=np.zeros(count, dtype=bool),
        leaf_values=values,
        base=np.zeros(outputs),
        category_offsets=np.zeros(count + 1, dtype=np.int32),
        category_values=np.zeros(0, dtype=np.int32),
        unknown_category_left=np.zeros(count, dtype=bool),
        compare_dtype=DType.FP32,
        sum_dtype=DType.FP32,
    )
