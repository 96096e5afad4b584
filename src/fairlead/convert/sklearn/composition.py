"""Estimators made of estimators in a row or side by side: pipelines, column transformers, unions, searches, thresholds, targets."""

from __future__ import annotations

import importlib
import importlib.util

import numpy as np
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, RandomizedSearchCV, TunedThresholdClassifierCV
from sklearn.pipeline import FeatureUnion, Pipeline

from fairlead.convert.sklearn.elementwise import expm1
from fairlead.convert.sklearn.encoders import merged
from fairlead.convert.sklearn.graph import Answer, Block, Builder, Estimator, Predict, Table, Transform, unsupported

# scikit-learn 1.6 and newer
_Frozen: type | None = (
    importlib.import_module("sklearn.frozen").FrozenEstimator if importlib.util.find_spec("sklearn.frozen") is not None else None
)


def _pipeline_transform(builder: Builder, estimator: Estimator, table: Table) -> Table:
    for _, step in estimator.steps:
        table = builder.transform(step, table)
    return table


def _pipeline_predict(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    for _, step in estimator.steps[:-1]:
        table = builder.transform(step, table)
    return builder.predict(estimator.steps[-1][1], table)


def selections(estimator: Estimator) -> list[tuple[str, Estimator, list[int], bool]]:
    """Return (name, fitted transformer, column numbers, whether one column was chosen as a vector) of a fitted ColumnTransformer."""
    chosen = []
    for name, transformer, columns in estimator.transformers_:
        indices = [int(index) for index in estimator._transformer_to_input_indices[name]]  # noqa: SLF001 - no public name
        if indices and not (isinstance(transformer, str) and transformer == "drop"):
            chosen.append((name, transformer, indices, np.isscalar(columns)))
    return chosen


def _columns(builder: Builder, estimator: Estimator, table: Table) -> Table:
    blocks: list[Block] = []
    weights = estimator.transformer_weights or {}
    for name, transformer, indices, _ in selections(estimator):
        blocks.extend(_weighted(builder, builder.transform(transformer, builder.columns(table, indices)), weights.get(name)))
    return merged(builder, blocks)


def _union(builder: Builder, estimator: Estimator, table: Table) -> Table:
    blocks: list[Block] = []
    weights = estimator.transformer_weights or {}
    for name, transformer in estimator.transformer_list:
        if not (isinstance(transformer, str) and transformer == "drop"):
            blocks.extend(_weighted(builder, builder.transform(transformer, table), weights.get(name)))
    return merged(builder, blocks)


def _weighted(builder: Builder, table: Table, weight: float | None) -> Table:
    if weight is None:
        return table
    return tuple(Block(builder.add("Mul", block.name, builder.constant(float(weight))), block.width) for block in table)


def _search(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    return builder.predict(estimator.best_estimator_, table)


def _frozen_transform(builder: Builder, estimator: Estimator, table: Table) -> Table:
    return builder.transform(estimator.estimator, table)


def _frozen_predict(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    return builder.predict(estimator.estimator, table)


def _thresholded(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    """A binary decision at a chosen threshold: the positive class where its score reaches it."""
    inner = estimator.estimator_
    answer = builder.predict(inner, table)
    scorer = getattr(estimator, "_curve_scorer", None)
    label = estimator.pos_label if scorer is None else scorer._get_pos_label()  # noqa: SLF001 - what its own predict asks
    place = 1 if label is None else int(np.flatnonzero(estimator.classes_ == label)[0])
    is_sure = estimator.response_method != "decision_function" and hasattr(inner, "predict_proba")
    name = answer.probabilities if is_sure else answer.scores
    if not name:
        raise unsupported(estimator, f"its member {type(inner).__name__} has no exact score")
    score = builder.add("Gather", name, builder.integers(place), axis=1) if is_sure else name if place else builder.add("Neg", name)
    threshold = getattr(estimator, "best_threshold_", None)
    if threshold is None:
        threshold = (0.5 if is_sure else 0.0) if isinstance(estimator.threshold, str) else estimator.threshold
    is_reached = builder.add("GreaterOrEqual", builder.flat(score), builder.constant(float(threshold)))
    places = [builder.constant(number, np.int64) for number in (place, 1 - place)]
    return Answer(builder.add("Where", is_reached, *places), answer.probabilities, answer.scores)


def _transformed_target(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    value = builder.predict(estimator.regressor_, table).value
    inverse = estimator.transformer_
    function = getattr(inverse, "inverse_func", None)
    if function is np.exp:
        return Answer(value=builder.add("Exp", value))
    if function is np.expm1:
        return Answer(value=expm1(builder, value))
    if hasattr(inverse, "mean_") and hasattr(inverse, "with_std"):
        name = builder.add("Mul", value, builder.constant(inverse.scale_)) if inverse.with_std else value
        return Answer(value=builder.add("Add", name, builder.constant(inverse.mean_)) if inverse.with_mean else name)
    if type(inverse).__name__ == "FunctionTransformer" and function is None:
        return Answer(value=value)
    raise unsupported(estimator, "the inverse of its target transformation is unknown; known are exp, expm1 and StandardScaler")


def _dummy_classifier(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    if estimator.strategy not in ("prior", "most_frequent", "constant"):
        raise unsupported(estimator, f"strategy='{estimator.strategy}' answers at random")
    sample = np.zeros((1, 1))
    row = estimator.predict_proba(sample)
    index = int(np.flatnonzero(estimator.classes_ == estimator.predict(sample)[0])[0])
    rows = builder.add("Shape", builder.joined(table[:1]).name, start=0, end=1)
    shape = builder.add("Concat", rows, builder.integers(len(estimator.classes_)), axis=0)
    answer = builder.add("Expand", builder.integers(index), rows)
    return Answer(answer, builder.add("Expand", builder.constant(row), shape))


def _dummy_regressor(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    if estimator.n_outputs_ > 1:
        raise unsupported(estimator, "several outputs at once")
    rows = builder.add("Shape", builder.joined(table[:1]).name, start=0, end=1)
    shape = builder.add("Concat", rows, builder.integers(1), axis=0)
    return Answer(value=builder.add("Expand", builder.constant(np.reshape(estimator.constant_, (1, 1))), shape))


TRANSFORMERS: dict[type, Transform] = {
    Pipeline: _pipeline_transform,
    ColumnTransformer: _columns,
    FeatureUnion: _union,
    **({_Frozen: _frozen_transform} if _Frozen else {}),
}
PREDICTORS: dict[type, Predict] = {
    Pipeline: _pipeline_predict,
    GridSearchCV: _search,
    RandomizedSearchCV: _search,
    TransformedTargetRegressor: _transformed_target,
    DummyClassifier: _dummy_classifier,
    DummyRegressor: _dummy_regressor,
    FixedThresholdClassifier: _thresholded,
    TunedThresholdClassifierCV: _thresholded,
    **({_Frozen: _frozen_predict} if _Frozen else {}),
}
