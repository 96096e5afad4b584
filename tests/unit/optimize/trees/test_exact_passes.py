"""merge_splits and merge_trees: what they take out, and that no answer changes (not one bit; not more than adding in another order)."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parent))
from tree_models import BY_ORDER, NAN_ONLY, DType, answers, bits, draw_rows, drawn, job, surface

from fairlead.convert.trees.probes import probe_rows
from fairlead.core.tree_ensemble import Split, TreeEnsemble
from fairlead.engines.tree_ensemble_engine import sums_of
from fairlead.errors import UnsupportedError
from fairlead.optimize.passes.merge_splits import merge_splits
from fairlead.optimize.passes.merge_trees import merge_trees
from fairlead.optimize.trees.cutting import without_idle_splits
from fairlead.optimize.trees.merging import merged_trees
from fairlead.optimize.trees.model import open_model
from fairlead.optimize.trees.shape import leaf_count

SLOW = settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])


@SLOW
@given(st.integers(0, 10**6), st.sampled_from([DType.FP32, DType.FP64]), st.integers(1, 3), st.booleans())
def test_no_row_changes_a_bit_by_cutting_idle_splits(tmp_path: Path, seed: int, dtype: DType, outputs: int, is_vector: bool) -> None:
    path, trees, _ = drawn(
        tmp_path, seed, outputs=outputs, has_vector_leaves=is_vector and outputs > 1, compare=dtype, sums=dtype, features=2, trees=5
    )
    rows = np.concatenate([draw_rows(seed + 1, trees, 60), probe_rows(trees, dtype, allow_missing=True)[-200:]])
    task = job(path, "merge_splits")
    merge_splits(task)
    assert bits(answers(path, rows)) == bits(answers(task.destination, rows))
    assert surface(path) == surface(task.destination)
    assert leaf_count(open_model(task.destination).trees[0]) < leaf_count(open_model(path).trees[0])


@SLOW
@given(st.integers(0, 10**6))
def test_cutting_twice_finds_nothing_more(tmp_path: Path, seed: int) -> None:
    path, _, _ = drawn(tmp_path, seed, features=2)
    first = job(path, "merge_splits")
    merge_splits(first)
    with pytest.raises(UnsupportedError, match="decides something"):
        merge_splits(job(first.destination, "merge_splits"))


def test_thresholds_that_ancestors_have_decided_are_cut_and_missing_values_keep_their_way(tmp_path: Path) -> None:
    _, trees, _ = drawn(tmp_path, 5, features=1, depth=6, splits=BY_ORDER, missing=NAN_ONLY, numbers=(0.0, 1.0, 2.0))
    shorter = without_idle_splits(trees)
    assert leaf_count(shorter) < leaf_count(trees) / 2
    rows = np.array([[-np.inf], [-1], [0], [-0.0], [1e-45], [1], [1.5], [2], [3], [np.inf], [np.nan]], dtype=np.float32)
    assert sums_of(shorter, rows).tobytes() == sums_of(trees, rows).tobytes()


def test_a_model_with_nothing_idle_or_without_trees_is_refused(tmp_path: Path) -> None:
    path, _, _ = drawn(tmp_path, 1, depth=1, trees=1)
    with pytest.raises(UnsupportedError, match="decides something"):
        merge_splits(job(path, "merge_splits"))
    first = job(path, "merge_trees")
    merge_trees(first)  # the base goes into the only other tree
    with pytest.raises(UnsupportedError, match="can be one"):
        merge_trees(job(first.destination, "merge_trees"))


def near(wanted: np.ndarray, given: np.ndarray) -> bool:
    room = 1e-5 if wanted.dtype == np.float32 else 1e-12
    return bool(np.allclose(wanted, given, rtol=room, atol=room))


@SLOW
@given(st.integers(0, 10**6), st.integers(1, 2), st.sampled_from([DType.FP32, DType.FP64]))
def test_trees_of_one_feature_become_one_and_add_up_alike(tmp_path: Path, seed: int, depth: int, dtype: DType) -> None:
    _, trees, _ = drawn(
        tmp_path, seed, features=2, depth=depth, trees=30, splits=BY_ORDER, missing=NAN_ONLY, compare=dtype, sums=dtype, is_classifier=False
    )
    fewer = merged_trees(trees)
    fewer.check()
    assert fewer.tree_count < trees.tree_count
    rows = draw_rows(seed + 1, trees, 80)
    assert near(sums_of(trees, rows), sums_of(fewer, rows))


def test_stumps_become_one_tree_per_feature(tmp_path: Path) -> None:
    path, trees, _ = drawn(tmp_path, 3, features=3, depth=1, trees=100, splits=BY_ORDER, missing=NAN_ONLY, is_classifier=False)
    task = job(path, "merge_trees")
    result = merge_trees(task)
    merged: TreeEnsemble = open_model(task.destination).trees[0]
    assert merged.tree_count == 3
    assert "became 3" in result.notes[0]
    rows = draw_rows(4, trees, 300)
    assert near(answers(path, rows)["prediction"], answers(task.destination, rows)["prediction"])


def test_equal_questions_are_asked_once_also_of_sets(tmp_path: Path) -> None:
    _, trees, _ = drawn(tmp_path, 6, trees=3, features=2, depth=3, splits=(Split.CATEGORY, Split.LESS), missing=NAN_ONLY)
    from dataclasses import replace

    count = trees.node_count
    twice = replace(
        trees,
        roots=np.concatenate([trees.roots, trees.roots + count]),
        groups=np.tile(trees.groups, 2),
        left=np.concatenate([trees.left, np.where(trees.splits == Split.LEAF, 0, trees.left + count)]),
        right=np.concatenate([trees.right, np.where(trees.splits == Split.LEAF, 0, trees.right + count)]),
        category_offsets=np.concatenate([trees.category_offsets, trees.category_offsets[1:] + trees.category_offsets[-1]]),
        category_values=np.tile(trees.category_values, 2),
        leaf_values=np.tile(trees.leaf_values, (2, 1)),
        **{
            name: np.tile(getattr(trees, name), 2)
            for name in ("splits", "features", "thresholds", "missing", "missing_left", "unknown_category_left")
        },
    )
    twice.check()
    fewer = merged_trees(twice)
    assert fewer.tree_count <= trees.tree_count
    rows = draw_rows(7, trees, 100)
    assert near(sums_of(twice, rows), sums_of(fewer, rows))
