"""XGBoost, LightGBM and CatBoost as scikit-learn estimators: alone, behind scalers, and among other estimators."""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from sklearn_models.case import SEED, Case, Split, named_wine, with_gaps
from sklearn_models.plain import CANCER, DIABETES, IRIS, WINE


def _xgb(kind: str = "XGBClassifier", **options: Any) -> Any:
    return getattr(importlib.import_module("xgboost"), kind)(n_estimators=40, n_jobs=1, random_state=SEED, **options)


def _lgbm(kind: str = "LGBMClassifier", **options: Any) -> Any:
    chosen = {"n_estimators": 40, "n_jobs": 1, "random_state": SEED, "verbose": -1, **options}
    return getattr(importlib.import_module("lightgbm"), kind)(**chosen)


def _cat(kind: str = "CatBoostClassifier", **options: Any) -> Any:
    chosen = {"iterations": 40, "thread_count": 1, "random_seed": SEED, "verbose": 0, "allow_writing_files": False, **options}
    return getattr(importlib.import_module("catboost"), kind)(**chosen)


@cache
def whole_numbers() -> Split:
    """Whole numbers, as counts and grades are: most rows lie exactly on a cut, where a scaler in single precision flips them."""
    generator = np.random.default_rng(SEED)
    rows = generator.integers(0, 30, size=(1200, 6)).astype(float)
    labels = ((rows[:, 0] * 7 + rows[:, 1] * 3 + rows[:, 2]) % 11 > 5).astype(int)
    return Split(rows[:800], rows[800:], labels[:800], labels[800:])


XGBOOST = [
    Case("XGBoost behind a scaler, whole numbers", lambda: make_pipeline(StandardScaler(), _xgb()), whole_numbers, "pkl"),
    Case("XGBoost, missing values", _xgb, with_gaps, "joblib"),
    Case("XGBoost, 3 classes, scaled", lambda: make_pipeline(MinMaxScaler(), _xgb()), WINE, "skops"),
    Case("XGBoost, dart", lambda: _xgb(booster="dart", rate_drop=0.2), CANCER),
    Case("XGBoost forest", lambda: _xgb("XGBRFClassifier"), CANCER),
    Case("XGBoost, numbers, scaled", lambda: make_pipeline(StandardScaler(), _xgb("XGBRegressor")), DIABETES),
    Case("XGBoost, Poisson", lambda: _xgb("XGBRegressor", objective="count:poisson"), DIABETES, "pkl"),
    Case("XGBoost, calibrated", lambda: CalibratedClassifierCV(_xgb(), cv=3), CANCER),
    Case("XGBoost behind an imputer and a scaler of columns",
         lambda: make_pipeline(ColumnTransformer([("s", RobustScaler(), [0, 1, 2]), ("i", SimpleImputer(), [3, 4])]), _xgb()), with_gaps),
    Case("XGBoost, linear", lambda: _xgb(booster="gblinear"), CANCER, is_refused=True),
]  # fmt: skip
LIGHTGBM = [
    Case("LightGBM behind a scaler, whole numbers", lambda: make_pipeline(StandardScaler(), _lgbm()), whole_numbers, "pkl"),
    Case("LightGBM, missing values", _lgbm, with_gaps, "skops"),
    Case("LightGBM, text labels", lambda: make_pipeline(StandardScaler(), _lgbm()), named_wine),
    Case("LightGBM, random forest", lambda: _lgbm(boosting_type="rf", subsample=0.6, subsample_freq=1), CANCER),
    Case("LightGBM, one against all", lambda: _lgbm(objective="multiclassova"), IRIS),
    Case("LightGBM, numbers, scaled", lambda: make_pipeline(StandardScaler(), _lgbm("LGBMRegressor")), DIABETES),
    Case("LightGBM, calibrated", lambda: CalibratedClassifierCV(_lgbm(), cv=3), CANCER),
    Case("LightGBM in a stack", lambda: StackingClassifier([("l", _lgbm())], LogisticRegression(), cv=3), CANCER),
]
CATBOOST = [
    Case("CatBoost behind a scaler, whole numbers", lambda: make_pipeline(StandardScaler(), _cat()), whole_numbers, "pkl"),
    Case("CatBoost, missing values", _cat, with_gaps, "skops"),
    Case("CatBoost, text labels", _cat, named_wine),
    Case("CatBoost, numbers, scaled", lambda: make_pipeline(StandardScaler(), _cat("CatBoostRegressor")), DIABETES),
]
_MIXED = [Case("voting of three boosters", lambda: VotingClassifier([("x", _xgb()), ("l", _lgbm()), ("c", _cat())], voting="soft"), CANCER)]
_ALL = ((("xgboost",), XGBOOST), (("lightgbm",), LIGHTGBM), (("catboost",), CATBOOST), (("xgboost", "lightgbm", "catboost"), _MIXED))
# Those whose library is installed.
CASES = [case for needs, cases in _ALL if all(importlib.util.find_spec(need) is not None for need in needs) for case in cases]
