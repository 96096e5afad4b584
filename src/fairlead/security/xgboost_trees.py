"""XGBoost's trees as core.tree_ensemble: splits, categories, DART's weights, base scores and objectives, with XGBoost's own meaning.

Takes what `xgboost_model` parsed; gives a TreeEnsemble that keeps its law. Raises SourceError for cycles and numbers that are none,
UnsupportedError for objectives that are not known. XGBoost rounds features to single precision, sends `x < condition` left, and adds base
and trees in single precision in the order of the file (measured: docs/formats/trees.md).
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable

import numpy as np

from fairlead.core.interface import shorten
from fairlead.core.tree_ensemble import Missing, Split, Transform, TreeEnsemble
from fairlead.errors import CorruptError, SourceError, UnsupportedError
from fairlead.security.xgboost_model import XgboostModel, XgboostTree, damaged

_LOG_BASE = frozenset({"count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft"})
_LOGISTIC = frozenset({"binary:logistic", "reg:logistic"})
_TRANSFORMS = {
    **dict.fromkeys(_LOGISTIC, Transform.SIGMOID),
    **dict.fromkeys(_LOG_BASE, Transform.EXP),
    "binary:logitraw": Transform.IDENTITY,
    "binary:hinge": Transform.HINGE,
    "multi:softprob": Transform.SOFTMAX,
    "multi:softmax": Transform.SOFTMAX,
    **dict.fromkeys(
        ("reg:squarederror", "reg:squaredlogerror", "reg:pseudohubererror", "reg:absoluteerror", "reg:quantileerror"), Transform.IDENTITY
    ),
    **dict.fromkeys(("rank:pairwise", "rank:ndcg", "rank:map"), Transform.IDENTITY),
}
OBJECTIVES = tuple(sorted(_TRANSFORMS))  # not in the order of sets, which differs from process to process
_OF_SEVERAL_TARGETS = ("reg:", "count:", "binary:logistic")  # others with several outputs say something that nobody has defined


def ensemble_of(model: XgboostModel, *, round_count: int | None = None) -> TreeEnsemble:
    """Return the trees; of the first `round_count` rounds where that is given. Raises UnsupportedError for a booster without trees."""
    if model.linear is not None:
        raise UnsupportedError(
            "XGBoost's booster 'gblinear' is made of weights, not of trees.",
            hint="Save it with save_model('model.json') and deploy that file.",
        )
    return answering(model, round_count=round_count)


def answering(model: XgboostModel, *, round_count: int | None = None) -> TreeEnsemble:
    """Return trees, base and transform of `model`; of a linear booster only the last two, and no tree."""
    if model.objective not in _TRANSFORMS:
        raise UnsupportedError(f"XGBoost's objective '{shorten(model.objective)}' is not known.", hint=f"Known: {', '.join(OBJECTIVES)}.")
    is_several = model.output_count > 1
    if is_several != model.objective.startswith("multi:") and not model.objective.startswith(_OF_SEVERAL_TARGETS):
        raise UnsupportedError(
            f"XGBoost's '{model.objective}' with {model.output_count} outputs is not read.",
            hint="Train one model per label, each with an objective of its own.",
        )
    rounds = len(model.rounds) - 1 if round_count is None else min(round_count, len(model.rounds) - 1)
    count = model.rounds[rounds]
    kinds = {tree.leaf_weights is not None for tree in model.trees[:count]}
    if len(kinds) > 1:
        raise damaged("some of its trees have vector leaves and some do not")
    width = model.output_count if kinds == {True} else 1
    nodes = _Nodes(width)
    roots = [nodes.add(tree, number, model.weights[number]) for number, tree in enumerate(model.trees[:count])]
    sets = nodes.sets
    ensemble = TreeEnsemble(
        feature_count=model.feature_count,
        output_count=model.output_count,
        roots=np.asarray(roots, np.int32),
        groups=np.zeros(count, np.int32) if width > 1 else model.groups[:count].astype(np.int32),
        splits=np.asarray(nodes.splits, np.uint8),
        features=np.asarray(nodes.features, np.int32),
        thresholds=np.asarray(nodes.thresholds, np.float64),
        left=np.asarray(nodes.left, np.int32),
        right=np.asarray(nodes.right, np.int32),
        missing=np.full(len(nodes.splits), Missing.NAN, np.uint8),
        missing_left=np.asarray(nodes.missing_left, bool),
        leaf_values=np.asarray(nodes.leaves, np.float64).reshape(len(nodes.splits), width),
        base=np.asarray([_margin(model.objective, score) for score in model.base_scores], np.float64),
        category_offsets=np.cumsum([0, *map(len, sets)], dtype=np.int32),
        category_values=np.concatenate([np.empty(0, np.int64), *sets]).astype(np.int32),
        unknown_category_left=np.zeros(len(nodes.splits), bool),
        transform=_TRANSFORMS[model.objective],
        is_decided_by_sum=model.objective == "multi:softmax",
        feature_names=model.feature_names,
    )
    try:
        ensemble.check()
    except CorruptError as error:
        raise SourceError(error.message, hint=error.hint) from None
    return ensemble


class _Nodes:
    """The nodes of all trees while they are filled in. Nodes that no root leads to (XGBoost leaves pruned ones in place) stay out."""

    def __init__(self, width: int) -> None:
        self._width = width
        self.splits: list[int] = []
        self.features: list[int] = []
        self.thresholds: list[float] = []
        self.left: list[int] = []
        self.right: list[int] = []
        self.missing_left: list[bool] = []
        self.leaves: list[list[float]] = []
        self.sets: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []

    def add(self, tree: XgboostTree, number: int, weight: np.float32) -> int:
        """Add what the tree's root leads to, and return the root's place."""
        places: dict[int, int] = {}
        order: list[int] = []
        waiting = [0]
        while waiting:
            node = waiting.pop()
            if node in places:
                raise damaged(f"tree {number} leads to node {node} twice")
            places[node] = len(self.splits) + len(order)
            order.append(node)
            if tree.left[node] != -1:
                waiting += [int(tree.right[node]), int(tree.left[node])]
        root = len(self.splits)
        for node in order:
            if tree.left[node] == -1:
                self._leaf(tree, node, number, weight)
            else:
                self._inner(tree, node, places)
        return root

    def _leaf(self, tree: XgboostTree, node: int, number: int, weight: np.float32) -> None:
        if tree.leaf_weights is None:
            values = np.repeat(tree.conditions[node], self._width)
        else:
            leaf = int(tree.right[node])  # of a vector leaf, the right child is its number
            if not 0 <= leaf < len(tree.leaf_weights):
                raise damaged(f"tree {number} has a leaf without values")
            values = tree.leaf_weights[leaf]
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite then is refused
            values = values * weight
        self._append(Split.LEAF, 0, 0.0, 0, 0, missing_left=False, leaf=values.astype(np.float64).tolist())

    def _inner(self, tree: XgboostTree, node: int, places: dict[int, int]) -> None:
        left, right = places[int(tree.left[node])], places[int(tree.right[node])]
        feature, missing_left = int(tree.features[node]), bool(tree.default_left[node])
        nothing = [0.0] * self._width
        if not tree.is_category[node]:
            condition = float(tree.conditions[node])
            self._append(Split.LESS, feature, condition, left, right, missing_left=missing_left, leaf=nothing)
            return
        # XGBoost lists the categories that go right; here a node's categories go left.
        chosen = tree.category_sets.get(node, np.empty(0, np.int64))
        self._append(Split.CATEGORY, feature, 0.0, right, left, missing_left=not missing_left, leaf=nothing, chosen=chosen)

    def _append(
        self,
        split: Split,
        feature: int,
        threshold: float,
        left: int,
        right: int,
        *,
        missing_left: bool,
        leaf: list[float],
        chosen: np.ndarray[tuple[int], np.dtype[np.int64]] | None = None,
    ) -> None:
        self.splits.append(int(split))
        self.features.append(feature)
        self.thresholds.append(threshold)
        self.left.append(left)
        self.right.append(right)
        self.missing_left.append(missing_left)
        self.leaves.append(leaf)
        self.sets.append(np.empty(0, np.int64) if chosen is None else chosen)


def _margin(objective: str, score: float) -> float:
    """The base score before the transform, in single precision as XGBoost computes it."""
    value = np.float32(score)
    if objective in _LOGISTIC:
        if not 0 < value < 1:
            raise damaged("its base score is not a probability")
        return -_logf(float(np.float32(1) / value - np.float32(1)))
    if objective in _LOG_BASE:
        if value <= 0:
            raise damaged("its base score is not positive")
        return _logf(float(value))
    return float(value)


def _logf(value: float) -> float:
    """The C library's logarithm in single precision, as XGBoost calls it; numpy's and a rounded double differ by a unit at times."""
    function: Callable[[float], float] | None = getattr(ctypes.CDLL(None), "logf", None)
    if function is None:
        return float(np.float32(math.log(value)))
    function.restype, function.argtypes = ctypes.c_float, [ctypes.c_float]  # type: ignore[attr-defined] # a ctypes function has both
    return float(function(value))
