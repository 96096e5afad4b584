"""Paths: a row misses none of the features of a path where it ends there, and of no other one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from explained_models import draw_rows, draw_trees
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.core.dtype import DType
from fairlead.core.tree_ensemble import Split, TreeEnsemble
from fairlead.engines.tree_ensemble_engine import leaves_of
from fairlead.errors import UnsupportedError
from fairlead.explain.tree_paths import as_columns, paths_of, pieces


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), is_double=st.booleans())
def test_a_row_reaches_the_leaf_that_the_engine_says(seed: int, is_double: bool) -> None:
    random = np.random.default_rng(seed)
    trees = replace(draw_trees(random, trees=3), compare_dtype=DType.FP64 if is_double else DType.FP32)
    rows = draw_rows(random, 20, trees.feature_count)
    leaves = np.sort(np.flatnonzero(trees.splits == Split.LEAF))
    for tree in range(trees.tree_count):
        paths = paths_of(trees, tree, tree + 1)
        reached = paths.misses(as_columns(trees, rows)) == 0
        assert (reached.sum(axis=0) == 1).all()
        values = paths.values[reached.argmax(axis=0), 0]
        assert np.array_equal(values, trees.leaf_values[leaves_of(trees, rows)[:, tree], 0])
    assert sum(paths_of(trees, tree, tree + 1).count for tree in range(trees.tree_count)) == len(leaves)


def test_a_feature_that_a_path_asks_about_twice_is_one_bit() -> None:
    trees = chain([0, 1, 0, 0])
    paths = paths_of(trees, 0, 1)
    assert sorted(paths.counts.tolist()) == [1, 2, 2, 2, 2]
    misses = paths.misses(as_columns(trees, np.array([[-1.0, -1.0]], dtype=np.float32)))
    assert misses.min() == 0
    assert misses.max() <= 3


def test_a_path_with_more_features_than_bits_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="more than 62 features"):
        paths_of(chain(list(range(63))), 0, 1)


def test_pieces_hold_every_tree_once() -> None:
    trees = draw_trees(np.random.default_rng(0), trees=17)
    for limit in (1, 20, 10**6):
        runs = list(pieces(trees, limit))
        assert [place for first, last in runs for place in range(first, last)] == list(range(17))
    assert len(list(pieces(trees, 10**6))) == 1


def chain(features: list[int]) -> TreeEnsemble:
    """Return one tree that goes left for as long as each feature is below 0."""
    count = len(features)
    size = 2 * count + 1
    splits = np.zeros(size, dtype=np.uint8)
    splits[0 : 2 * count : 2] = Split.LESS
    asked, left, right = (np.zeros(size, dtype=np.int32) for _ in range(3))
    for place, feature in enumerate(features):
        asked[2 * place], right[2 * place], left[2 * place] = feature, 2 * place + 1, 2 * place + 2
    values = np.where(splits == Split.LEAF, np.arange(size), 0).astype(np.float64)[:, np.newaxis]
    zeros = np.zeros(size)
    trees = TreeEnsemble(
        max(features) + 1, 1, np.zeros(1, np.int32), np.zeros(1, np.int32), splits, asked, zeros, left, right, zeros.astype(np.uint8),
        zeros.astype(bool), values, np.zeros(1), np.zeros(size + 1, np.int32), np.zeros(0, np.int32), zeros.astype(bool),
    )  # fmt: skip
    trees.check()
    return trees
