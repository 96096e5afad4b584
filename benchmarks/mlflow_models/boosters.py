"""Folders of XGBoost, LightGBM and CatBoost: boosters and the scikit-learn classes, in every format that MLflow writes."""

from __future__ import annotations

import functools
from typing import Any

import catboost
import lightgbm
import numpy as np
import xgboost

from fairlead.core.interface import Array
from mlflow_models.folder import Folder, answers, classified, regressed, table

_LIGHT = {"verbosity": -1, "num_threads": 1}


def _xgboost(objective: str, kind: str) -> Any:
    data = xgboost.DMatrix(table(), answers(kind))
    return xgboost.train({"objective": objective, "nthread": 1}, data, num_boost_round=20)


def _ask_xgboost(booster: Any, rows: Array) -> dict[str, Array]:
    values = booster.predict(xgboost.DMatrix(rows)).reshape(len(rows), -1)
    return {"prediction": values} if "squarederror" in booster.save_config() else _two_classes(values)


def _two_classes(values: Array) -> dict[str, Array]:
    return {"label": (values[:, 0] > 0.5).astype(int), "probabilities": np.hstack([1 - values, values])}


def _lightgbm() -> Any:
    return lightgbm.train({"objective": "binary", **_LIGHT}, lightgbm.Dataset(table(), answers("two")), num_boost_round=20)


def _light_classifier() -> Any:
    return lightgbm.LGBMClassifier(n_estimators=20, n_jobs=1, verbosity=-1).fit(table(), answers("three"))


def _light_regressor() -> Any:
    return lightgbm.LGBMRegressor(n_estimators=20, n_jobs=1, verbosity=-1).fit(table(), answers("number"))


def _catboost(kind: type, answer: str) -> Any:
    return kind(iterations=20, depth=4, verbose=False, thread_count=1, allow_writing_files=False).fit(table(), answers(answer))


def _ask_onnx_of_catboost(estimator: Any, rows: Array) -> dict[str, Array]:
    return {"": estimator.predict(rows).reshape(len(rows), -1)}


def _folder(flavor: str, name: str, train: Any, ask: Any = classified, **options: Any) -> Folder:
    # XGBoost refuses infinities.
    return Folder(flavor, "trees", name, train, ask, options, takes_missing=True, takes_infinity=flavor != "xgboost")


_xgb, _lgb, _cat = (functools.partial(_folder, flavor) for flavor in ("xgboost", "lightgbm", "catboost"))
FOLDERS = [
    _xgb("booster, .ubj", functools.partial(_xgboost, "binary:logistic", "two"), _ask_xgboost),
    _xgb("booster, .json", functools.partial(_xgboost, "reg:squarederror", "number"), _ask_xgboost, model_format="json"),
    _xgb("XGBClassifier", lambda: xgboost.XGBClassifier(n_estimators=20, n_jobs=1).fit(table(), answers("two")), classified),
    _lgb("booster, text", _lightgbm, lambda booster, rows: _two_classes(booster.predict(rows, num_threads=1).reshape(-1, 1))),
    _lgb("LGBMClassifier, skops", _light_classifier),
    _lgb("LGBMClassifier, pickle", _light_classifier, serialization_format="pickle"),
    _lgb("LGBMRegressor, cloudpickle", _light_regressor, regressed, serialization_format="cloudpickle"),
    _cat("CatBoostClassifier, .cb", lambda: _catboost(catboost.CatBoostClassifier, "three")),
    _cat("CatBoostRegressor, .cb", lambda: _catboost(catboost.CatBoostRegressor, "number"), regressed),
    _cat("CatBoostRegressor, ONNX", lambda: _catboost(catboost.CatBoostRegressor, "number"), _ask_onnx_of_catboost, format="onnx"),
]
