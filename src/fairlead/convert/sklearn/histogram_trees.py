"""Histogram gradient boosting: comparisons in double, missing values, categories.

A split on categories becomes a column of its own (below zero where the row goes left, above where it goes right, NaN where it counts as
missing), looked up by the category's code, so that the tree operator needs no sets.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from fairlead.convert.sklearn.graph import Answer, Block, Builder, Estimator, Predict, Table
from fairlead.convert.sklearn.trees import Nodes, boosted, leaf_values, raw_decision, with_start
from fairlead.core.interface import Array

_CODE_COUNT = 256  # codes are bytes; one more row stands for "missing or unknown"


def histogram_trees(estimator: Estimator) -> list[Estimator]:
    """Return every tree predictor, iteration by iteration, output by output."""
    return [predictor for iteration in estimator._predictors for predictor in iteration]  # noqa: SLF001 - no public name


def histogram_nodes(predictor: Estimator) -> Nodes:
    """Return one tree's nodes; splits on categories have no threshold that means anything."""
    nodes = predictor.nodes
    is_leaf = nodes["is_leaf"].astype(bool)
    left, right = (np.where(is_leaf, -1, nodes[side].astype(np.int64)) for side in ("left", "right"))
    missing = nodes["missing_go_to_left"].astype(np.int64)
    return Nodes(nodes["feature_idx"].astype(np.int64), nodes["num_threshold"].astype(np.float64), left, right, missing)


def _raw(builder: Builder, estimator: Estimator, table: Table) -> str:
    block = builder.numbers(_ordered(builder, estimator, table), estimator)
    predictors = histogram_trees(estimator)
    nodes = [histogram_nodes(predictor) for predictor in predictors]
    name = _with_category_splits(builder, block, estimator, nodes)
    outputs = estimator.n_trees_per_iteration_
    start = np.ravel(estimator._baseline_prediction)  # noqa: SLF001 - no public name
    tables = [predictor.nodes["value"][tree.leaves][:, np.newaxis] for predictor, tree in zip(predictors, nodes, strict=True)]
    values = leaf_values(builder, name, nodes, with_start(tables, start), is_double=True)
    return boosted(builder, values, len(predictors) // outputs, outputs)


def _ordered(builder: Builder, estimator: Estimator, table: Table) -> Table:
    """What the estimator's own preprocessor does: the encoded categories first, then the numbers."""
    preprocessor = getattr(estimator, "_preprocessor", None)
    if preprocessor is None:
        return table
    is_category = np.asarray(estimator.is_categorical_, dtype=bool)
    encoded = builder.transform(preprocessor.named_transformers_["encoder"], builder.columns(table, np.flatnonzero(is_category).tolist()))
    return (*encoded, *builder.columns(table, np.flatnonzero(~is_category).tolist()))


def _with_category_splits(builder: Builder, block: Block, estimator: Estimator, nodes: list[Nodes]) -> str:
    """Append one column per category split to the rows, and let `nodes` point at them."""
    known_sets, place = estimator._bin_mapper.make_known_categories_bitsets()  # noqa: SLF001 - no public name
    parts = [block.name]
    width = block.width
    by_column: dict[int, list[tuple[int, int, Array]]] = {}
    for number, predictor in enumerate(histogram_trees(estimator)):
        for node in map(int, np.flatnonzero(predictor.nodes["is_categorical"] & (1 - predictor.nodes["is_leaf"]))):
            column = int(predictor.nodes["feature_idx"][node])
            goes_left = _members(predictor.raw_left_cat_bitsets[predictor.nodes["bitset_idx"][node]])
            side = np.where(goes_left, -1.0, np.where(_members(known_sets[place[column]]), 1.0, np.nan))
            by_column.setdefault(column, []).append((number, node, np.append(side, np.nan)))
    for column, splits in by_column.items():
        code = builder.flat(builder.columns((block,), [column])[0].name)
        safe = builder.add("Where", builder.add("IsNaN", code), builder.constant(float(_CODE_COUNT)), code)
        index = builder.add("Cast", safe, to=TensorProto.INT64)
        parts.append(builder.add("Gather", builder.constant(np.stack([side for _, _, side in splits], axis=1)), index, axis=0))
        for number, node, _ in splits:
            nodes[number].feature[node], nodes[number].threshold[node] = width, 0.0
            width += 1
    return builder.add("Concat", *parts, axis=1) if len(parts) > 1 else block.name


def _members(words: Sequence[int]) -> Array:
    """Unpack a set of bytes: words of 32 bits, lowest bit first."""
    return np.array([bool((int(words[code // 32]) >> (code % 32)) & 1) for code in range(_CODE_COUNT)])


def _classifier(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    return raw_decision(builder, _raw(builder, estimator, table), len(estimator.classes_), "log_loss", or_zero=False)


def _regressor(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    raw = _raw(builder, estimator, table)
    return Answer(value=builder.add("Exp", raw) if estimator.loss in ("poisson", "gamma") else raw)


PREDICTORS: dict[type, Predict] = {HistGradientBoostingClassifier: _classifier, HistGradientBoostingRegressor: _regressor}
