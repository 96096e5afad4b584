"""LightGBM models whose leaves hold linear models (linear_tree), checked before LightGBM opens them.

Takes what `lightgbm_text` parsed; gives nothing. Raises SourceError where the trees or a leaf's linear model are not sound: LightGBM reads
features and coefficients by these numbers without a check. Answers nothing: LightGBM itself does.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fairlead.security.lightgbm_text import LightGbmText, TextTree, damaged
from fairlead.security.lightgbm_trees import ensemble_of


def has_linear_leaves(model: LightGbmText) -> bool:
    """Whether a leaf of some tree is a linear model."""
    return any(tree.is_linear for tree in model.trees)


def check_linear(model: LightGbmText) -> None:
    """Raise unless every tree is sound, and every leaf's linear model uses features that exist with numbers that are finite."""
    ensemble_of(replace(model, trees=tuple(replace(tree, is_linear=False) for tree in model.trees)))
    for number, tree in enumerate(model.trees):
        if tree.is_linear:
            _check_leaves(tree, number, len(model.feature_names))


def _check_leaves(tree: TextTree, number: int, feature_count: int) -> None:
    constants, counts, features, values = (tree.array(name) for name in ("leaf_const", "num_features", "leaf_features", "leaf_coeff"))
    if len(constants) != tree.leaf_count or len(counts) != tree.leaf_count or (counts < 0).any():
        raise damaged(f"tree {number} lacks the linear model of a leaf")
    if len(features) != counts.sum() or len(values) != counts.sum():
        raise damaged(f"tree {number} has linear models of another length than it says")
    if ((features < 0) | (features >= feature_count)).any():
        raise damaged(f"a linear model of tree {number} uses a feature that does not exist")
    if not (np.isfinite(constants).all() and np.isfinite(values).all()):
        raise damaged(f"a linear model of tree {number} has a number that is not finite")
