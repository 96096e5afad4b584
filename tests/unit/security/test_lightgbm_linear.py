"""Linear models in LightGBM's leaves are counted before LightGBM reads features and coefficients by them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fairlead.errors import SourceError, UnsupportedError
from fairlead.security.booster_file import check_booster
from fairlead.security.lightgbm_linear import check_linear, has_linear_leaves
from fairlead.security.lightgbm_text import LightGbmText, TextTree, parse_lightgbm
from fairlead.security.lightgbm_trees import ensemble_of

DATA = Path(__file__).parents[2] / "data" / "trees"
MODEL = parse_lightgbm((DATA / "linear.txt").read_bytes())


def with_array(name: str, values: np.ndarray, number: int = 1) -> LightGbmText:
    tree = MODEL.trees[number]
    other = TextTree(tree.leaf_count, {**tree.arrays, name: values}, is_linear=True)
    return replace(MODEL, trees=(*MODEL.trees[:number], other, *MODEL.trees[number + 1 :]))


def test_a_sound_model_passes_and_is_no_tree_ensemble() -> None:
    assert has_linear_leaves(MODEL)
    check_linear(MODEL)
    assert check_booster(DATA / "linear.txt", "lightgbm") == "binary sigmoid:1"
    with pytest.raises(UnsupportedError, match="linear_tree"):
        ensemble_of(MODEL)
    assert not has_linear_leaves(parse_lightgbm((DATA / "binary.txt").read_bytes()))


@pytest.mark.parametrize("value", [-1, 4, 2**31 - 1])
def test_features_that_do_not_exist_are_refused(value: int) -> None:
    features = MODEL.trees[1].array("leaf_features").copy()
    features[-1] = value
    with pytest.raises(SourceError, match="feature that does not exist"):
        check_linear(with_array("leaf_features", features))


@pytest.mark.parametrize("name", ["leaf_const", "num_features", "leaf_features", "leaf_coeff"])
def test_lists_of_another_length_are_refused(name: str) -> None:
    with pytest.raises(SourceError, match="tree 1"):
        check_linear(with_array(name, MODEL.trees[1].array(name)[:-1]))


def test_counts_and_numbers_that_make_no_sense_are_refused() -> None:
    counts = MODEL.trees[1].array("num_features").copy()
    counts[0] = -1
    for name, values in (("num_features", counts), ("leaf_const", np.full(len(counts), np.nan))):
        with pytest.raises(SourceError):
            check_linear(with_array(name, values))


def test_a_damaged_tree_is_refused_as_without_linear_leaves() -> None:
    with pytest.raises(SourceError, match="does not exist"):
        check_linear(with_array("left_child", np.full_like(MODEL.trees[1].array("left_child"), 99)))


def test_a_library_that_is_none_of_them_is_refused() -> None:
    with pytest.raises(SourceError, match="no boosting library"):
        check_booster(DATA / "linear.txt", "xgboost")
