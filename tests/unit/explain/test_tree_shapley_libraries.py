"""Exact values of trees beside those that the boosting libraries compute themselves.

CatBoost has the same definition, against reference rows. XGBoost and LightGBM average over training rows down each path, which is the same
number where features are independent among these rows: so they learn from every combination of values once, and the background is that,
too.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from fairlead.core.interface import Array
from fairlead.explain.tree_shapley import tree_shapley

LEVELS, FEATURES = 4, 4


def every_combination() -> tuple[Array, Array]:
    rows = np.array(list(itertools.product(range(LEVELS), repeat=FEATURES)), dtype=np.float32)
    noise = np.random.default_rng(0).normal(size=len(rows))
    return rows, 0.1 * (rows[:, 0] * rows[:, 1] - rows[:, 2] ** 2 + (rows[:, 3] > rows[:, 0]) + noise)


def test_values_are_those_of_xgboost() -> None:
    xgboost = pytest.importorskip("xgboost")
    from fairlead.security import xgboost_model, xgboost_trees

    rows, target = every_combination()
    booster = xgboost.train({"max_depth": 5, "min_child_weight": 0, "nthread": 1}, xgboost.DMatrix(rows, target), 10)
    trees = xgboost_trees.ensemble_of(xgboost_model.parse_xgboost(bytes(booster.save_raw("ubj"))))
    wanted = booster.predict(xgboost.DMatrix(rows), pred_contribs=True)
    found = tree_shapley(trees, rows, rows)
    assert np.abs(wanted[:, :-1]).max() > 0.1
    assert np.abs(found.weights[:, :, 0] - wanted[:, :-1]).max() < 1e-6
    assert np.abs(found.base[0] - wanted[:, -1]).max() < 1e-6


def test_values_are_those_of_lightgbm() -> None:
    lightgbm = pytest.importorskip("lightgbm")
    from fairlead.security import lightgbm_text, lightgbm_trees

    rows, target = every_combination()
    options = {"num_leaves": 20, "min_data_in_leaf": 1, "min_data_in_bin": 1, "num_threads": 1, "verbose": -1}
    booster = lightgbm.train(options, lightgbm.Dataset(rows, target, params=options), 10)
    trees = lightgbm_trees.ensemble_of(lightgbm_text.parse_lightgbm(booster.model_to_string().encode()))
    wanted = booster.predict(rows, pred_contrib=True)
    found = tree_shapley(trees, rows, rows)
    assert np.abs(wanted[:, :-1]).max() > 0.1
    assert np.abs(found.weights[:, :, 0] - wanted[:, :-1]).max() < 1e-6
    assert np.abs(found.base[0] - wanted[:, -1]).max() < 1e-6


def test_values_are_those_of_catboost(tmp_path: Path) -> None:
    catboost = pytest.importorskip("catboost")
    from fairlead.security import catboost_model, catboost_trees

    random = np.random.default_rng(1)
    rows = random.normal(size=(300, 6)).astype(np.float32)
    target = rows[:, 0] * rows[:, 1] + rows[:, 2]
    model = catboost.CatBoostRegressor(
        iterations=15, depth=4, thread_count=1, verbose=False, allow_writing_files=False, train_dir=str(tmp_path)
    ).fit(rows, target)
    model.save_model(str(tmp_path / "model.cbm"))
    trees = catboost_trees.ensemble_of(catboost_model.parse_catboost((tmp_path / "model.cbm").read_bytes()))
    some, reference = catboost.Pool(rows[100:140], target[100:140]), catboost.Pool(rows[:40], target[:40])
    wanted = model.get_feature_importance(some, type="ShapValues", reference_data=reference, thread_count=1)
    found = tree_shapley(trees, rows[100:140], rows[:40])
    assert np.abs(wanted[:, :-1]).max() > 0.1
    assert np.abs(found.weights[:, :, 0] - wanted[:, :-1]).max() < 1e-6
