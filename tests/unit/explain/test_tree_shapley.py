"""Exact values of trees: as the definition says, as the reference library says, and adding up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from explained_models import draw_rows, draw_trees, shapley_by_definition
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.core.dtype import DType
from fairlead.core.tree_ensemble import TreeEnsemble
from fairlead.engines.tree_ensemble_engine import sums_of
from fairlead.explain import tree_shapley as module
from fairlead.explain.tree_shapley import tree_shapley


def in_double(trees: TreeEnsemble) -> TreeEnsemble:
    return replace(trees, sum_dtype=DType.FP64)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), shape=st.sampled_from([(1, 1), (3, 1), (3, 3)]), is_averaged=st.booleans())
def test_values_are_those_of_the_definition(seed: int, shape: tuple[int, int], is_averaged: bool) -> None:
    random = np.random.default_rng(seed)
    trees = replace(in_double(draw_trees(random, outputs=shape[0], width=shape[1])), is_averaged=is_averaged)
    rows, background = draw_rows(random, 3, 4), draw_rows(random, 7, 4)
    found = tree_shapley(trees, rows, background)
    for place, row in enumerate(rows):
        wanted = shapley_by_definition(lambda known, row=row: sums_of(trees, np.where(known, row, background)).mean(axis=0), 4)
        assert np.abs(found.weights[place] - wanted).max() < 1e-12
    assert np.abs(found.base - sums_of(trees, background).mean(axis=0)).max() < 1e-12
    assert np.abs(found.sums - sums_of(trees, rows)).max() < 1e-12
    assert np.abs(found.base + found.weights.sum(axis=1) - found.sums).max() < 1e-12


def test_many_rows_in_small_pieces_are_explained_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    trees = in_double(draw_trees(random, trees=6, features=6))
    rows, background = draw_rows(random, 20, 6), draw_rows(random, 10, 6)
    whole = tree_shapley(trees, rows, background).weights
    alone = np.concatenate([tree_shapley(trees, rows[place : place + 1], background).weights for place in range(len(rows))])
    assert np.abs(whole - alone).max() < 1e-12
    monkeypatch.setattr(module, "_MANY", 0)
    assert np.abs(tree_shapley(trees, rows, background).weights - whole).max() < 1e-12
    for name, limit in (("_CELLS", 256), ("_PAIRS", 64), ("_ROWS", 8), ("_TABLE", 0), ("_PER_CELL", 0)):
        monkeypatch.setattr(module, name, limit)
    assert np.abs(tree_shapley(trees, rows, background).weights - whole).max() < 1e-12


@pytest.mark.parametrize("features", [3, 45, 62])
def test_codes_are_told_apart_however_many_there_could_be(features: int) -> None:
    random = np.random.default_rng(2)
    misses = random.integers(0, 8, (5, 9)).astype(np.uint64) << np.uint64(max(features - 3, 0))

    class Wide:
        count = 5
        counts = np.full(5, features)

    owners, codes, places = module._distinct(Wide(), misses)  # type: ignore[arg-type]
    assert np.array_equal(codes[places].astype(np.uint64), misses)
    assert np.array_equal(owners[places], np.repeat(np.arange(5), 9).reshape(5, 9))
    assert len(codes) == sum(len(np.unique(row)) for row in misses)


def test_an_ensemble_without_trees_explains_nothing() -> None:
    trees = draw_trees(np.random.default_rng(0), trees=1)
    empty = replace(
        trees,
        **{name: getattr(trees, name)[:0] for name in ("roots", "groups", "splits", "features", "thresholds", "left", "right", "missing")},
        **{name: getattr(trees, name)[:0] for name in ("missing_left", "leaf_values", "unknown_category_left", "category_values")},
        category_offsets=np.zeros(1, np.int32),
    )
    found = tree_shapley(empty, np.zeros((2, 4), np.float32), np.zeros((3, 4), np.float32))
    assert not found.weights.any()
    assert np.array_equal(found.sums[0], trees.base)


def test_whoever_looks_at_the_time_can_end_it() -> None:
    class OverError(Exception):
        pass

    def check() -> None:
        raise OverError

    with pytest.raises(OverError):
        tree_shapley(draw_trees(np.random.default_rng(0)), np.zeros((2, 4), np.float32), np.zeros((3, 4), np.float32), check=check)


@pytest.mark.slow  # the reference library takes that long to import
@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_values_are_those_of_the_reference_library(library: str) -> None:
    shap = pytest.importorskip("shap", reason="the reference library is not installed")
    pytest.importorskip(library)
    from fairlead.security import lightgbm_text, lightgbm_trees, xgboost_model, xgboost_trees

    random = np.random.default_rng(3)
    rows = random.normal(size=(300, 6)).astype(np.float32)
    rows[random.random(rows.shape) < 0.1] = np.nan
    labels = (np.nan_to_num(rows[:, 0] * rows[:, 1]) + np.nan_to_num(rows[:, 2]) > 0).astype(int)
    if library == "xgboost":
        import xgboost

        model = xgboost.XGBClassifier(n_estimators=12, max_depth=4, n_jobs=1).fit(rows, labels)
        trees = xgboost_trees.ensemble_of(xgboost_model.parse_xgboost(bytes(model.get_booster().save_raw("ubj"))))
        explained = model
    else:
        import lightgbm

        model = lightgbm.LGBMClassifier(n_estimators=12, num_leaves=12, n_jobs=1, verbose=-1).fit(rows, labels)
        trees = lightgbm_trees.ensemble_of(lightgbm_text.parse_lightgbm(model.booster_.model_to_string().encode()))
        explained = model.booster_
    reference = shap.TreeExplainer(explained, data=rows[:40], feature_perturbation="interventional", model_output="raw")
    wanted = np.asarray(reference.shap_values(rows[100:140], check_additivity=False))
    found = tree_shapley(trees, rows[100:140], rows[:40])
    assert np.abs(found.weights[:, :, 0] - wanted).max() < 1e-6
