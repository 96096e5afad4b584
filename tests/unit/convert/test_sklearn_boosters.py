"""Boosters inside of scikit-learn estimators: not one label flips, also behind scalers that single precision gets wrong."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnxruntime
import pytest

pytest.importorskip("sklearn", reason="the extra 'sklearn' is not installed")
pytest.importorskip("xgboost", reason="the extra 'xgboost' is not installed")
pytest.importorskip("lightgbm", reason="the extra 'lightgbm' is not installed")
pytest.importorskip("catboost", reason="the extra 'catboost' is not installed")

import catboost
import lightgbm
import xgboost
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from fairlead.convert.sklearn import child
from fairlead.convert.sklearn.assembly import assemble
from fairlead.engines.estimator_rows import answers_of, rows_of, select_by_position
from fairlead.errors import UnsupportedError
from fairlead.ingest.sklearn_reader import describe

COUNT = 400
GENERATOR = np.random.default_rng(0)
WHOLE = GENERATOR.integers(0, 30, size=(COUNT, 5)).astype(float)  # whole numbers: many rows lie exactly on a cut
ROWS = GENERATOR.normal(size=(COUNT, 5))
GAPS = np.where(GENERATOR.random((COUNT, 5)) < 0.2, np.nan, ROWS)
CODES = np.stack([ROWS[:, 0], GENERATOR.integers(0, 25, COUNT)], axis=1)
BINARY = (ROWS[:, 0] + ROWS[:, 1] > 0).astype(int)
SEVERAL = np.digitize(ROWS[:, 0], [-0.5, 0.5])
NAMED = np.array(["low", "mid", "hïgh"])[SEVERAL]
WHOLE_LABELS = ((WHOLE[:, 0] * 7 + WHOLE[:, 1] * 3 + WHOLE[:, 2]) % 11 > 5).astype(int)


def xgb(**options: Any) -> Any:
    return xgboost.XGBClassifier(n_estimators=15, n_jobs=1, **options)


def lgbm(**options: Any) -> Any:
    return lightgbm.LGBMClassifier(n_estimators=15, num_leaves=12, min_child_samples=5, n_jobs=1, verbose=-1, **options)


def cat(**options: Any) -> Any:
    return catboost.CatBoostClassifier(iterations=15, depth=4, thread_count=1, verbose=0, allow_writing_files=False, **options)


def cat_number() -> Any:
    return catboost.CatBoostRegressor(iterations=15, thread_count=1, verbose=0, allow_writing_files=False)


MODELS = {
    "scaler, XGBoost": lambda: make_pipeline(StandardScaler(), xgb()).fit(WHOLE, WHOLE_LABELS),
    "scaler, LightGBM": lambda: make_pipeline(StandardScaler(), lgbm()).fit(WHOLE, WHOLE_LABELS),
    "scaler, CatBoost": lambda: make_pipeline(StandardScaler(), cat()).fit(WHOLE, WHOLE_LABELS),
    "XGBoost, 3 classes": lambda: make_pipeline(MinMaxScaler(), xgb()).fit(ROWS, SEVERAL),
    "LightGBM, 3 text labels": lambda: make_pipeline(RobustScaler(), lgbm()).fit(ROWS, NAMED),
    "CatBoost, 3 text labels": lambda: cat().fit(ROWS, NAMED),
    "XGBoost, gaps": lambda: xgb().fit(GAPS, BINARY),
    "LightGBM, zero as missing": lambda: lgbm(zero_as_missing=True).fit(np.where(np.abs(ROWS) < 0.3, 0, ROWS), BINARY),
    "CatBoost, gaps": lambda: cat().fit(GAPS, BINARY),
    "LightGBM, categories": lambda: lgbm().fit(CODES, CODES[:, 1] % 3 == 0, categorical_feature=[1]),
    "LightGBM, forest": lambda: lgbm(boosting_type="rf", subsample=0.6, subsample_freq=1).fit(ROWS, BINARY),
    "XGBoost, another missing value": lambda: xgb(missing=-999.0).fit(np.nan_to_num(GAPS, nan=-999.0), BINARY),
    "XGBoost, forest": lambda: xgboost.XGBRFClassifier(n_estimators=15, n_jobs=1).fit(ROWS, BINARY),
    "XGBoost, dart": lambda: xgb(booster="dart", rate_drop=0.2).fit(ROWS, BINARY),
    "XGBoost, stopped early": lambda: xgb(early_stopping_rounds=2).fit(
        ROWS[:200], BINARY[:200], eval_set=[(ROWS[200:], 1 - BINARY[200:])], verbose=False
    ),
    "LightGBM, stopped early": lambda: lgbm().fit(
        ROWS[:200], BINARY[:200], eval_set=[(ROWS[200:], 1 - BINARY[200:])], callbacks=[lightgbm.early_stopping(2, verbose=False)]
    ),
    "column transformer, XGBoost": lambda: make_pipeline(
        ColumnTransformer([("s", RobustScaler(), [0, 1]), ("i", SimpleImputer(), [2, 3])]), xgb()
    ).fit(GAPS, BINARY),
    "calibrated LightGBM": lambda: CalibratedClassifierCV(lgbm(), cv=2).fit(ROWS, BINARY),
    "voting": lambda: VotingClassifier([("x", xgb()), ("l", lgbm()), ("c", cat())], voting="soft").fit(ROWS, BINARY),
    "stacking": lambda: StackingClassifier([("x", xgb()), ("c", cat())], LogisticRegression(), cv=2).fit(ROWS, BINARY),
    "XGBoost, numbers": lambda: make_pipeline(StandardScaler(), xgboost.XGBRegressor(n_estimators=15, n_jobs=1)).fit(WHOLE, WHOLE[:, 0]),
    "LightGBM, Poisson": lambda: lightgbm.LGBMRegressor(objective="poisson", n_estimators=15, verbose=-1).fit(ROWS, np.abs(ROWS[:, 0])),
    "CatBoost, numbers": lambda: make_pipeline(StandardScaler(), cat_number()).fit(ROWS, ROWS[:, 0]),
    "XGBoost, ranking": lambda: xgboost.XGBRanker(n_estimators=15, n_jobs=1).fit(ROWS, BINARY, qid=np.repeat(np.arange(20), 20)),
}


@pytest.mark.parametrize("name", MODELS)
def test_no_label_and_no_number_differs(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # early stopping without names of columns, and the like
        estimator = MODELS[name]()
        interface = describe(estimator)
        select_by_position(estimator)
        probes, expected = child.accepted_probes(estimator, interface)
        model, _ = assemble(estimator, interface)
    assert len(probes["x"]) >= 64
    difference = child.compare(model, interface, probes, expected)
    assert difference.flip_count == 0
    assert difference.largest <= 2e-7  # one unit in the last place of single precision


def test_the_same_pipeline_in_single_precision_flips_labels_and_ours_does_not() -> None:
    """The control: what converters do that scale in single precision in front of trees."""
    estimator = MODELS["scaler, XGBoost"]()
    interface = describe(estimator)
    wanted = answers_of(estimator, interface, rows_of(interface, {"x": WHOLE}))["label"]
    scaler, trees = estimator[0], estimator[-1]
    single = (WHOLE.astype(np.float32) - scaler.mean_.astype(np.float32)) / scaler.scale_.astype(np.float32)
    flipped = int((trees.predict(single) != wanted).sum())
    assert flipped > COUNT // 50, "the trap is not there: the test proves nothing"
    model, _ = assemble(estimator, interface)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (got,) = session.run(["label"], {"x": WHOLE})
    assert (got == wanted).all()


def test_what_has_no_trees_is_refused_by_name() -> None:
    linear = xgb(booster="gblinear").fit(ROWS, BINARY)
    with pytest.raises(UnsupportedError, match="gblinear"):
        assemble(linear, describe(linear))


def test_categories_of_a_data_frame_are_refused_by_name() -> None:
    pandas = pytest.importorskip("pandas", reason="comes with catboost")
    frame = pandas.DataFrame({"a": ROWS[:, 0], "b": pandas.Categorical.from_codes(SEVERAL, ["x", "y", "z"])})
    model = lgbm().fit(frame, BINARY)
    with pytest.raises(UnsupportedError, match="data frame"):
        assemble(model, describe(model))
