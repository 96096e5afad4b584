"""XGBoost, LightGBM and CatBoost as scikit-learn estimators, alone or anywhere in a pipeline.

A fitted booster gives its own native dump, our parser makes an ensemble of it, and `ensemble_nodes` writes that into the graph. What stands
in front (scalers, encoders) is computed in double in the same graph and rounded once, where the library rounds: so no label flips.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

import numpy as np
from onnx import TensorProto

from fairlead.convert.sklearn import ensemble_nodes
from fairlead.convert.sklearn.graph import Answer, Builder, Estimator, Predict, Table, unsupported
from fairlead.core.tree_ensemble import TreeEnsemble
from fairlead.security import catboost_model, catboost_trees, lightgbm_text, lightgbm_trees, xgboost_state

_CLASSES = {
    "xgboost.sklearn": ("XGBClassifier", "XGBRFClassifier", "XGBRFRegressor", "XGBRanker", "XGBRegressor"),
    "lightgbm.sklearn": ("LGBMClassifier", "LGBMRanker", "LGBMRegressor"),
    "catboost.core": ("CatBoostClassifier", "CatBoostRanker", "CatBoostRegressor"),
}


def ensemble_of(estimator: Estimator) -> TreeEnsemble:
    """Return the trees that the fitted booster predicts with. Raises UnsupportedError, SourceError."""
    return _READERS[type(estimator).__module__](estimator)


def is_booster(estimator: Estimator) -> bool:
    """Whether it is one of the estimators of this module."""
    return type(estimator).__name__ in _CLASSES.get(type(estimator).__module__, ())


def loaded_predictors() -> dict[type, Predict]:
    """Return the converters of those libraries that an estimator has already brought in: none is imported to look."""
    found: dict[type, Predict] = {}
    for module, names in _CLASSES.items():
        if module in sys.modules:
            found.update({getattr(sys.modules[module], name): _predict for name in names})
    return found


def _predict(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    ensemble = ensemble_of(estimator)
    block = builder.numbers(table, estimator)
    if block.width != ensemble.feature_count:
        raise unsupported(estimator, f"it is given {block.width} columns and has trees over {ensemble.feature_count}")
    rows = _with_missing(builder, estimator, block.name)
    raw = ensemble_nodes.sums(builder, rows, ensemble)
    total = ensemble_nodes.averaged(builder, raw, ensemble) if ensemble.is_averaged else raw
    values = ensemble_nodes.transformed(builder, total, ensemble)
    if not hasattr(estimator, "predict_proba"):
        return Answer(value=builder.doubles(values)) if ensemble.output_count == 1 else _refuse(estimator)
    return _classified(builder, estimator, ensemble, (raw, total, values))


def _refuse(estimator: Estimator) -> Answer:
    raise unsupported(estimator, "several outputs at once")


def _classified(builder: Builder, estimator: Estimator, ensemble: TreeEnsemble, names: tuple[str, str, str]) -> Answer:
    raw, total, values = names
    count = len(estimator.classes_)
    if count != max(2, ensemble.output_count):
        raise unsupported(estimator, f"its {count} classes do not fit {ensemble.output_count} outputs")
    decisive = total if ensemble.is_decided_by_sum else values
    if ensemble.output_count > 1:
        index = builder.argmax(decisive)
        probabilities = builder.doubles(values)
    else:
        border = 0.0 if ensemble.is_decided_by_sum else 0.5
        above = builder.add("Greater", builder.flat(decisive), builder.constant(border, ensemble.sum_dtype.numpy.type))
        index = builder.add("Cast", above, to=TensorProto.INT64)
        one = builder.constant(1.0, ensemble.sum_dtype.numpy.type)
        probabilities = builder.doubles(builder.add("Concat", builder.add("Sub", one, values), values, axis=1))
    return Answer(index, probabilities, builder.doubles(raw))


def _with_missing(builder: Builder, estimator: Estimator, rows: str) -> str:
    """XGBoost compares in single precision with a number that stands for missing ones, where that is not NaN."""
    marker = getattr(estimator, "missing", None) if type(estimator).__module__ == "xgboost.sklearn" else None
    if marker is None or math.isnan(marker):
        return rows
    rounded = builder.doubles(builder.add("Cast", rows, to=TensorProto.FLOAT))
    is_missing = builder.add("Equal", rounded, builder.constant(float(np.float32(marker))))
    return builder.add("Where", is_missing, builder.constant(np.nan), rounded)


def _lightgbm(estimator: Estimator) -> TreeEnsemble:
    model = lightgbm_text.parse_lightgbm(estimator.booster_.model_to_string().encode())  # up to the best iteration, as predict does
    if any(known != tuple(range(len(known))) for known in model.categories):
        raise unsupported(estimator, "it was trained on categories of a data frame; put an OrdinalEncoder in front of it")
    if hasattr(estimator, "predict_proba") and (model.objective or ("none",))[0] in ("none", "custom"):
        raise unsupported(estimator, "its objective is a function of its own")
    return lightgbm_trees.ensemble_of(model)


def _catboost(estimator: Estimator) -> TreeEnsemble:
    return catboost_trees.ensemble_of(catboost_model.parse_catboost(estimator.__getstate__()["__model"]))


def _xgboost(estimator: Estimator) -> TreeEnsemble:
    best = getattr(estimator, "best_iteration", None)  # what predict stops at, where training was stopped early
    return xgboost_state.ensemble_of_model(bytes(estimator.get_booster().save_raw("ubj")), round_count=None if best is None else best + 1)


_READERS: dict[str, Callable[[Estimator], TreeEnsemble]] = {
    "xgboost.sklearn": _xgboost,
    "lightgbm.sklearn": _lightgbm,
    "catboost.core": _catboost,
}
