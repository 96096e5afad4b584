"""LightGBM's trees as core.tree_ensemble: splits, sets of categories and objectives, checked while they are taken over.

Takes what `lightgbm_text` parsed; gives a TreeEnsemble that keeps its law. Raises SourceError for indices out of range and cycles,
UnsupportedError for linear trees and unknown objectives. The meaning is that of LightGBM's own prediction, in double: `x <= threshold` goes
left, and a value that is as small as its zero threshold counts as 0 before any node sees it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, shorten
from fairlead.core.tree_ensemble import Missing, Split, Transform, TreeEnsemble
from fairlead.errors import CorruptError, SourceError, UnsupportedError
from fairlead.security.lightgbm_text import LightGbmText, TextTree, damaged

ZERO = float(np.float32(1e-35))  # kZeroThreshold of LightGBM's meta.h: a single-precision number
_IS_CATEGORY, _IS_LEFT = 1, 2  # bits of decision_type; the two after them say what is missing
_MISSING = np.array([Missing.NEVER, Missing.ZERO, Missing.NAN])  # by MissingType: None, Zero, NaN
_PLAIN = frozenset({"", "custom", "none", "regression", "regression_l1", "huber", "fair", "quantile", "mape", "lambdarank", "rank_xendcg"})
_TRANSFORMS = {
    "binary": Transform.SIGMOID,
    "multiclass": Transform.SOFTMAX,
    "multiclassova": Transform.ONE_VS_ALL,
    "poisson": Transform.EXP,
    "gamma": Transform.EXP,
    "tweedie": Transform.EXP,
    "cross_entropy": Transform.SIGMOID,
    "cross_entropy_lambda": Transform.LOG1P_EXP,
}


def ensemble_of(model: LightGbmText, *, tree_limit: int | None = None) -> TreeEnsemble:
    """Return the trees; the first `tree_limit` of them where that is given."""
    trees = model.trees[:tree_limit]
    sizes = [2 * tree.leaf_count - 1 for tree in trees]
    starts = np.cumsum([0, *sizes])
    if starts[-1] >= 2**31:
        raise UnsupportedError("The LightGBM model has more than 2 thousand million nodes.", hint="Train it with fewer trees.")
    columns = _Columns(int(starts[-1]))
    for number, (tree, start) in enumerate(zip(trees, starts[:-1], strict=True)):
        _fill(columns, tree, number, int(start), len(model.feature_names))
    transform, scale = _transform(model)
    sets = columns.sets
    ensemble = TreeEnsemble(
        feature_count=len(model.feature_names),
        output_count=model.outputs,
        roots=starts[:-1].astype(np.int32),
        groups=np.arange(len(trees), dtype=np.int32) % model.outputs,
        splits=columns.splits,
        features=columns.features,
        thresholds=columns.thresholds,
        left=columns.left,
        right=columns.right,
        missing=columns.missing,
        missing_left=columns.missing_left,
        leaf_values=columns.leaf_values[:, np.newaxis],
        base=np.zeros(model.outputs),
        category_offsets=np.cumsum([0, *(len(chosen) for chosen in sets)], dtype=np.int32),
        category_values=np.concatenate([np.empty(0, dtype=np.int32), *sets]),
        unknown_category_left=np.zeros(columns.count, dtype=bool),
        compare_dtype=DType.FP64,
        sum_dtype=DType.FP64,
        transform=transform,
        scale=scale,
        is_averaged=model.is_averaged,
        feature_names=model.feature_names,
    )
    try:
        ensemble.check()
    except CorruptError as error:
        raise SourceError(error.message, hint=error.hint) from None
    return ensemble


class _Columns:
    """The nodes of all trees while they are filled in: of each tree its inner nodes, then its leaves."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.splits = np.zeros(count, dtype=np.uint8)
        self.features = np.zeros(count, dtype=np.int32)
        self.thresholds = np.zeros(count)
        self.left = np.zeros(count, dtype=np.int32)
        self.right = np.zeros(count, dtype=np.int32)
        self.missing = np.zeros(count, dtype=np.uint8)
        self.missing_left = np.zeros(count, dtype=bool)
        self.leaf_values = np.zeros(count)
        self.sets: list[Array] = [_NO_SET] * count


_NO_SET = np.empty(0, dtype=np.int32)


def _fill(columns: _Columns, tree: TextTree, number: int, start: int, feature_count: int) -> None:
    if tree.is_linear:
        raise UnsupportedError(
            f"The LightGBM model has linear models in its leaves (linear_tree, tree {number}).",
            hint="Save it with booster.save_model(path): LightGBM itself then answers for it.",
        )
    inner = slice(start, start + tree.leaf_count - 1)
    columns.leaf_values[inner.stop : inner.stop + tree.leaf_count] = tree.array("leaf_value")
    if tree.leaf_count == 1:
        return
    features, kinds, thresholds = (tree.array(name) for name in ("split_feature", "decision_type", "threshold"))
    if ((features < 0) | (features >= feature_count)).any():
        raise damaged(f"tree {number} splits on a feature that does not exist")
    missing = kinds >> 2
    if ((kinds < 0) | (missing >= len(_MISSING))).any():
        raise damaged(f"tree {number} has a decision_type that is not known")
    is_category = (kinds & _IS_CATEGORY).astype(bool)
    columns.splits[inner] = np.where(is_category, Split.CATEGORY, Split.LESS_OR_EQUAL)
    columns.features[inner] = features
    columns.missing[inner] = np.where(is_category, Missing.NAN, _MISSING[missing])
    columns.missing_left[inner] = (kinds & _IS_LEFT).astype(bool) & ~is_category  # a missing category always goes right
    columns.thresholds[inner] = np.where(is_category, 0.0, _without_tiny(thresholds))
    for name, target in (("left_child", columns.left), ("right_child", columns.right)):
        target[inner] = _children(tree, number, name, start)
    for node in np.flatnonzero(is_category):
        columns.sets[start + int(node)] = _set(tree, number, thresholds[node])


def _children(tree: TextTree, number: int, name: str, start: int) -> Array:
    """Positions of children: those below zero are leaves, which follow the inner nodes."""
    children = tree.array(name)
    if ((children >= tree.leaf_count - 1) | (children < -tree.leaf_count)).any():
        raise damaged(f"{name} of tree {number} names a node that does not exist")
    return np.asarray(start + np.where(children >= 0, children, tree.leaf_count - 2 - children))


def _without_tiny(thresholds: Array) -> Array:
    """Thresholds that say the same where |x| <= ZERO stands for 0: only whether 0 is at or below them counts."""
    lowest = np.nextafter(-ZERO, -np.inf)
    return np.where(np.abs(thresholds) > ZERO, thresholds, np.where(thresholds >= 0, ZERO, lowest))


def _set(tree: TextTree, number: int, place: float) -> Array:
    """The categories of the set that a node names by its threshold."""
    ends, words = tree.array("cat_boundaries"), tree.array("cat_threshold")
    if not (place.is_integer() and 0 <= place < len(ends) - 1):
        raise damaged(f"tree {number} names a set of categories that does not exist")
    chosen = words[int(ends[int(place)]) : int(ends[int(place) + 1])].astype("<u4")
    return np.flatnonzero(np.unpackbits(chosen.view(np.uint8), bitorder="little")).astype(np.int32)


def _transform(model: LightGbmText) -> tuple[Transform, float]:
    name, options = (model.objective or ("",))[0], model.objective[1:]
    if name in _PLAIN:
        return (Transform.SIGN_SQUARE if "sqrt" in options else Transform.IDENTITY), 1.0
    if name not in _TRANSFORMS:
        raise UnsupportedError(f"LightGBM's objective '{shorten(name)}' is not known.", hint="Please report it.")
    is_many = name in ("multiclass", "multiclassova")
    if is_many != (model.outputs > 1) or (is_many and model.class_count != model.outputs):
        raise damaged(f"objective {name} does not fit {model.outputs} outputs")
    return _TRANSFORMS[name], _scale(options)


def _scale(options: Sequence[str]) -> float:
    """The slope of the sigmoid."""
    for option in options:
        key, _, value = option.partition(":")
        if key == "sigmoid":
            try:
                scale = float(value)
            except ValueError:
                raise damaged(f"objective has '{shorten(option, 30)}'") from None
            if not 0 < scale < np.inf:
                raise damaged(f"objective has '{shorten(option, 30)}'")
            return scale
    return 1.0
