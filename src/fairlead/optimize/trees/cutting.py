"""Splits that decide nothing are taken out: those that ancestors have decided already, and those whose two sides are equal.

Takes and gives core.tree_ensemble.TreeEnsemble in ONNX's meaning. Exact: every row, NaN and infinities included, ends with the same bits in
every tree, so that sums keep theirs in every order of adding. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fairlead.core.tree_ensemble import Split, TreeEnsemble
from fairlead.engines.tree_attributes import depth_first
from fairlead.optimize.trees.shape import compact, is_constant
from fairlead.optimize.trees.walk import questions_of

_BY_ORDER = (Split.LESS, Split.LESS_OR_EQUAL, Split.GREATER)


@dataclass(frozen=True)
class _Range:
    """Which values of a feature can reach a node: numbers in (low, high], from the lowest on where `low` is None, and maybe NaN."""

    low: float | None = None
    high: float = float("inf")
    has_nan: bool = True

    def at_most(self, bound: float, *, has_nan: bool) -> _Range:
        """What of it is at most `bound`; a bound of NaN lets no number through."""
        if np.isnan(bound):
            return _Range(self.high, self.high, has_nan)
        return _Range(self.low, min(self.high, bound), has_nan)

    def above(self, bound: float, *, has_nan: bool) -> _Range:
        """What of it is above `bound`."""
        if np.isnan(bound):
            return _Range(self.low, self.high, has_nan)
        return _Range(bound if self.low is None else max(self.low, bound), self.high, has_nan)

    @property
    def is_empty(self) -> bool:
        """Whether nothing reaches the node."""
        return not self.has_nan and self.low is not None and self.low >= self.high


def without_idle_splits(trees: TreeEnsemble) -> TreeEnsemble:
    """Return `trees` without splits that decide nothing; the same value where there are none."""
    shorter = _without_decided(trees)
    merged = _without_equal_sides(shorter)
    # A tree of one value may stand as a split with two equal leaves: TreeEnsemble of ai.onnx.ml 5 has no other form for it.
    split_for_form = int((is_constant(trees) & (trees.splits[trees.roots] != Split.LEAF)).sum())
    return trees if merged.node_count + 2 * split_for_form == trees.node_count else merged


def _without_decided(trees: TreeEnsemble) -> TreeEnsemble:
    """Let parents lead past nodes all of whose rows go one way."""
    asked = questions_of(trees)
    thresholds, yes, no, nan_is_yes = (part.tolist() for part in (asked.thresholds, asked.yes, asked.no, asked.nan_is_yes))
    splits, features = trees.splits.tolist(), trees.features.tolist()
    left, right, roots = trees.left.copy(), trees.right.copy(), trees.roots.copy()
    everything = _Range()
    for number, root in enumerate(trees.roots.tolist()):
        waiting: list[tuple[int, int, bool, dict[int, _Range]]] = [(root, -1, False, {})]
        while waiting:
            node, parent, is_left, known = waiting.pop()
            while splits[node] in _BY_ORDER:
                own = known.get(features[node], everything)
                first = own.at_most(thresholds[node], has_nan=own.has_nan and nan_is_yes[node])
                second = own.above(thresholds[node], has_nan=own.has_nan and not nan_is_yes[node])
                if not first.is_empty and not second.is_empty:
                    waiting += [
                        (side, node, bool(left[node] == side), {**known, features[node]: part})
                        for side, part in ((yes[node], first), (no[node], second))
                    ]
                    break
                node = no[node] if first.is_empty else yes[node]
            else:
                if splits[node] != Split.LEAF:
                    waiting += [(int(left[node]), node, True, known), (int(right[node]), node, False, known)]
            if parent < 0:
                roots[number] = node
            elif is_left:
                left[parent] = node
            else:
                right[parent] = node
    return compact(replace(trees, left=left, right=right, roots=roots))


def _without_equal_sides(trees: TreeEnsemble) -> TreeEnsemble:
    """Number equal subtrees alike, from the leaves up, and let parents lead past splits both of whose sides have one number."""
    order, _ = depth_first(trees)
    kinds: dict[tuple[object, ...], int] = {}
    number = np.zeros(trees.node_count, dtype=np.int64)
    stands_for = np.arange(trees.node_count)
    left, right, splits = trees.left.tolist(), trees.right.tolist(), trees.splits.tolist()
    thresholds = trees.thresholds + 0.0  # -0.0 and 0.0 compare alike
    key: tuple[object, ...]
    for node in reversed(order.tolist()):
        if splits[node] == Split.LEAF:
            key = (trees.leaf_values[node].tobytes(),)
        else:
            sides = int(number[left[node]]), int(number[right[node]])
            if sides[0] == sides[1]:
                number[node], stands_for[node] = sides[0], stands_for[left[node]]
                continue
            members = trees.category_values[trees.category_offsets[node] : trees.category_offsets[node + 1]]
            asked = splits[node], int(trees.features[node]), float(thresholds[node]), bool(trees.missing_left[node])
            key = (*asked, bool(trees.unknown_category_left[node]), tuple(sorted(members.tolist())), *sides)
        number[node] = kinds.setdefault(key, len(kinds))
    changed = replace(
        trees,
        left=stands_for[trees.left].astype(np.int32),
        right=stands_for[trees.right].astype(np.int32),
        roots=stands_for[trees.roots].astype(np.int32),
    )
    return compact(changed)
