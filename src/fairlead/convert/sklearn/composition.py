"""Estimators made of estimators in a row or side by side: pipelines, column transformers, unions, searches, thresholds, targets."""

from __future__ import annotations

import numpy as np
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline

from fairlead.convert.sklearn.elementwise import expm1
from fairlead.convert.sklearn.encoders import merged
from fairlead.convert.sklearn.graph import Answer, Block, Builder, Estimator, Predict, Table, Transform, unsupported


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
}
PREDICTORS: dict[type, Predict] = {
    Pipeline: _pipeline_predict,
    GridSearchCV: _search,
    RandomizedSearchCV: _search,
    TransformedTargetRegressor: _transformed_target,
    DummyClassifier: _dummy_classifier,
    DummyRegressor: _dummy_regressor,
}
