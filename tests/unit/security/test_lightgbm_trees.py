"""The trees of every kind of LightGBM model answer bit for bit as LightGBM does, on thresholds and beside them."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead.core.tree_ensemble import Split
from fairlead.engines.tree_ensemble_engine import sums_of
from fairlead.engines.tree_ensemble_outputs import transformed
from fairlead.security.lightgbm_text import parse_lightgbm
from fairlead.security.lightgbm_trees import ZERO, ensemble_of

lightgbm = pytest.importorskip("lightgbm", reason="the extra 'lightgbm' is not installed")

COUNT = 400
GENERATOR = np.random.default_rng(0)
ROWS = GENERATOR.normal(size=(COUNT, 5))
ROWS[:, 3] = GENERATOR.integers(0, 40, COUNT)
ROWS[:, 4] = np.where(GENERATOR.random(COUNT) < 0.6, 0, ROWS[:, 4])
ROWS[GENERATOR.random(COUNT) < 0.2, 2] = np.nan
BINARY = (np.nan_to_num(ROWS[:, 2]) + ROWS[:, 0] + (ROWS[:, 3] % 3 == 0) > 0.3).astype(int)
NUMBER = 2 * ROWS[:, 0] + ROWS[:, 4] + ROWS[:, 3] % 5
POSITIVE = np.abs(NUMBER) + 0.1
SEVERAL = (ROWS[:, 3] % 3).astype(int)
FOREST = {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}

MODELS = {
    "binary": ({"objective": "binary"}, BINARY),
    "another sigmoid": ({"objective": "binary", "sigmoid": 2.5}, BINARY),
    "without missing values": ({"objective": "binary", "use_missing": False}, BINARY),
    "zero as missing": ({"objective": "binary", "zero_as_missing": True}, BINARY),
    "one category against the rest": ({"objective": "binary", "max_cat_to_onehot": 100}, BINARY),
    "dart": ({"objective": "binary", "boosting": "dart"}, BINARY),
    "forest": ({"objective": "binary", **FOREST}, BINARY),
    "forest of numbers": ({"objective": "regression", **FOREST}, NUMBER),
    "several classes": ({"objective": "multiclass", "num_class": 3}, SEVERAL),
    "one against all": ({"objective": "multiclassova", "num_class": 3}, SEVERAL),
    "cross entropy": ({"objective": "cross_entropy"}, BINARY),
    "cross entropy with weights": ({"objective": "cross_entropy_lambda"}, BINARY),
    "square root": ({"objective": "regression", "reg_sqrt": True}, NUMBER),
    "ranking": ({"objective": "lambdarank"}, BINARY),
    "one leaf": ({"objective": "regression", "min_data_in_leaf": 1000}, NUMBER),
    **{name: ({"objective": name}, POSITIVE) for name in ("regression", "regression_l1", "huber", "fair", "quantile", "mape")},
    **{name: ({"objective": name}, POSITIVE) for name in ("poisson", "gamma", "tweedie")},
}


def trained(parameters: dict[str, object], target: np.ndarray) -> lightgbm.Booster:
    group = [50] * (COUNT // 50) if parameters["objective"] == "lambdarank" else None
    data = lightgbm.Dataset(ROWS, target, categorical_feature=[3], group=group)
    common = {"verbosity": -1, "num_threads": 1, "num_leaves": 12, "min_data_in_leaf": 5}
    return lightgbm.train({**common, **parameters}, data, num_boost_round=12)


def rows_at_thresholds(ensemble) -> np.ndarray:
    parts = [ROWS]
    for node in np.flatnonzero(ensemble.splits != Split.LEAF):
        threshold = ensemble.thresholds[node]
        marks = [threshold, np.nextafter(threshold, np.inf), np.nextafter(threshold, -np.inf), float(np.float32(threshold))]
        if ensemble.splits[node] == Split.CATEGORY:
            marks = [-1, -0.5, 0.5, 40, 1e9, 3e9, np.nan]
        block = np.repeat(ROWS[node % COUNT][np.newaxis], len(marks), axis=0)
        block[:, ensemble.features[node]] = marks
        parts.append(block)
    for column in range(ROWS.shape[1]):
        marks = [ZERO, -ZERO, np.nextafter(ZERO, 1), np.nextafter(-ZERO, -1), 1e-36, -0.0, np.inf, -np.inf, np.nan]
        block = np.repeat(ROWS[:9], len(marks), axis=0)
        block[:, column] = np.tile(marks, 9)
        parts.append(block)
    return np.vstack(parts)


@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_model_answers_bit_for_bit(name: str) -> None:
    booster = trained(*MODELS[name])
    ensemble = ensemble_of(parse_lightgbm(booster.model_to_string().encode()))
    rows = rows_at_thresholds(ensemble)
    values = transformed(ensemble, sums_of(ensemble, rows))
    expected = booster.predict(rows).reshape(values.shape)
    np.testing.assert_allclose(values, expected, rtol=1e-15, atol=1e-15)
    if not ensemble.is_averaged:  # LightGBM's raw scores of forests are not averaged
        np.testing.assert_array_equal(sums_of(ensemble, rows), booster.predict(rows, raw_score=True).reshape(values.shape))


def test_comparing_tiny_values_as_they_are_would_flip_rows() -> None:
    """The control: without folding LightGBM's zero into the thresholds, its answer to -1e-35 differs."""
    rows = np.repeat(np.array([[-1.0], [0.0], [1.0]]), 30, axis=0)
    booster = lightgbm.train(
        {"objective": "regression", "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 5}, lightgbm.Dataset(rows, rows[:, 0]), 5
    )
    model = parse_lightgbm(booster.model_to_string().encode())
    assert any((np.abs(tree.array("threshold")) == ZERO).any() for tree in model.trees)
    asked = np.array([[-ZERO], [np.nextafter(-ZERO, -1.0)]])
    np.testing.assert_array_equal(sums_of(ensemble_of(model), asked)[:, 0], booster.predict(asked))
    assert booster.predict(asked)[0] != booster.predict(asked)[1], "tiny values have to matter, or the test proves nothing"
