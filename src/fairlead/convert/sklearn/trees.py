"""Decision trees and sums of trees, right to the last bit.

scikit-learn's trees round a row to single precision and compare `x32 <= threshold` with a double threshold. For a single x32 that is the
same as comparing with the largest single at or below the threshold: so thresholds are rounded down, never to the nearest. Histogram
gradient boosting compares in double, and so does the kernel that is used for it.

The tree operator only finds leaves: its output is the number of the leaf that each tree reaches (exact in single precision below 2^24).
What a leaf gives is a double looked up in a table, and trees are added up from first to last as scikit-learn does. So no sum depends on
the number of threads or rows, and ties break the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, numpy_helper
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor

from fairlead.convert.sklearn.graph import Answer, Builder, Estimator, Predict, Table, unsupported
from fairlead.convert.sklearn.linear import decided
from fairlead.core.interface import Array

_LARGEST_LEAF = 2**24
_LEAF = -1


@dataclass(frozen=True)
class Nodes:
    """One tree: per node its feature, threshold, children (left where x <= threshold; -1 in leaves) and where NaN goes."""

    feature: Array
    threshold: Array
    left: Array
    right: Array
    missing_left: Array

    @property
    def leaves(self) -> Array:
        """Node numbers of the leaves, in order: leaf k is the k-th of them."""
        return np.flatnonzero(self.left == _LEAF)


def nodes_of(tree: Estimator, features: Sequence[int] | None = None) -> Nodes:
    """Return the nodes of a `sklearn.tree` Tree; `features` maps its columns to the table's where it saw only some."""
    feature = np.asarray(tree.feature)
    if features is not None:
        feature = np.where(feature >= 0, np.asarray(features)[np.maximum(feature, 0)], feature)
    missing = getattr(tree, "missing_go_to_left", None)
    missing = np.zeros(tree.node_count, dtype=np.int64) if missing is None else np.asarray(missing, dtype=np.int64)
    return Nodes(feature, np.asarray(tree.threshold), np.asarray(tree.children_left), np.asarray(tree.children_right), missing)


def round_down(thresholds: Array) -> Array:
    """Return the largest single-precision number at or below each double."""
    singles = thresholds.astype(np.float32)
    return np.where(singles.astype(np.float64) > thresholds, np.nextafter(singles, np.float32(-np.inf)), singles)


def leaf_values(builder: Builder, name: str, trees: Sequence[Nodes], tables: Sequence[Array], *, is_double: bool = False) -> str:
    """Double [batch, trees, width]: row k of `tables[t]` where tree t reaches its leaf number k. `name` is the double table of rows."""
    if max(len(tree.leaves) for tree in trees) >= _LARGEST_LEAF:
        raise unsupported(trees[0], "a tree has more than 16 million leaves")
    rows = name if is_double else builder.add("Cast", name, to=TensorProto.FLOAT)
    reached = builder.add("TreeEnsembleRegressor", rows, domain="ai.onnx.ml", **_attributes(trees, is_double=is_double))
    starts = np.cumsum([0, *(len(table) for table in tables)])[:-1]
    index = builder.add("Add", builder.add("Cast", reached, to=TensorProto.INT64), builder.integers(*(int(start) for start in starts)))
    return builder.add("Gather", builder.constant(np.concatenate(tables)), index, axis=0)


def _attributes(trees: Sequence[Nodes], *, is_double: bool) -> dict[str, object]:
    thresholds = np.concatenate([np.where(tree.left == _LEAF, 0.0, tree.threshold) for tree in trees])
    values = thresholds if is_double else round_down(thresholds).astype(np.float32)
    ids = [np.full(len(tree.left), number) for number, tree in enumerate(trees)]
    leaf_trees = [np.full(len(tree.leaves), number) for number, tree in enumerate(trees)]
    weights = np.concatenate([np.arange(len(tree.leaves)) for tree in trees]).astype(values.dtype)
    is_leaf = np.concatenate([tree.left == _LEAF for tree in trees])
    return {
        "n_targets": len(trees),
        "nodes_treeids": _flat(ids),
        "nodes_nodeids": _flat([np.arange(len(tree.left)) for tree in trees]),
        "nodes_featureids": _flat([np.where(tree.left == _LEAF, 0, tree.feature) for tree in trees]),
        "nodes_modes": np.where(is_leaf, "LEAF", "BRANCH_LEQ").tolist(),
        "nodes_truenodeids": _flat([np.maximum(tree.left, 0) for tree in trees]),
        "nodes_falsenodeids": _flat([np.maximum(tree.right, 0) for tree in trees]),
        "nodes_missing_value_tracks_true": _flat([tree.missing_left for tree in trees]),
        "target_treeids": _flat(leaf_trees),
        "target_nodeids": _flat([tree.leaves for tree in trees]),
        "target_ids": _flat(leaf_trees),
        **_numbers(values, weights, is_double=is_double),
    }


def _numbers(values: Array, weights: Array, *, is_double: bool) -> dict[str, object]:
    if not is_double:
        return {"nodes_values": values.tolist(), "target_weights": weights.tolist()}
    return {"nodes_values_as_tensor": numpy_helper.from_array(values), "target_weights_as_tensor": numpy_helper.from_array(weights)}


def _flat(parts: Sequence[Array]) -> list[int]:
    return [int(number) for number in np.concatenate(parts)]


def _single_output(estimator: Estimator) -> None:
    if estimator.n_outputs_ > 1:
        raise unsupported(estimator, "several outputs at once")


def _leaf_table(tree: Estimator) -> Array:
    """(leaves, width): class fractions, or the mean, of each leaf."""
    return np.asarray(tree.value[tree.children_left == _LEAF, 0, :])


def _tree_classifier(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    _single_output(estimator)
    return _averaged(builder, estimator, [estimator], table)


def _forest_classifier(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    _single_output(estimator)
    return _averaged(builder, estimator, estimator.estimators_, table)


def _averaged(builder: Builder, estimator: Estimator, members: Sequence[Estimator], table: Table) -> Answer:
    trees = [member.tree_ for member in members]
    rows = builder.numbers(table, estimator).name
    total = builder.sum_in_order(leaf_values(builder, rows, [nodes_of(tree) for tree in trees], [_leaf_table(tree) for tree in trees]))
    mean = builder.add("Div", total, builder.constant(float(len(trees)))) if len(trees) > 1 else total
    return Answer(builder.argmax(mean), mean)


def _tree_regressor(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    _single_output(estimator)
    return Answer(value=_averaged(builder, estimator, [estimator], table).probabilities)


def _forest_regressor(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    _single_output(estimator)
    return Answer(value=_averaged(builder, estimator, estimator.estimators_, table).probabilities)


def boosted(builder: Builder, values: str, stages: int, outputs: int) -> str:
    """Sum of [batch, stages * outputs, 1] leaf values over stages: raw scores [batch, outputs]."""
    shaped = builder.add("Reshape", values, builder.integers(-1, stages, outputs))
    return builder.sum_in_order(shaped)


def with_start(tables: list[Array], start: Array) -> list[Array]:
    """Add the initial raw scores to the first tree of each output, as the sum that starts with them does."""
    return [table + start[position] if position < len(start) else table for position, table in enumerate(tables)]


def _gradient_raw(builder: Builder, estimator: Estimator, table: Table) -> str:
    if estimator.init is not None and not (isinstance(estimator.init, str) and estimator.init == "zero"):
        raise unsupported(estimator, "init is another estimator")
    stages, outputs = estimator.estimators_.shape
    trees = [member.tree_ for member in estimator.estimators_.reshape(-1)]
    zeros = np.zeros((1, estimator.n_features_in_), dtype=np.float32)
    start = estimator._raw_predict_init(zeros)[0]  # noqa: SLF001 - a constant where init is the default; no public name
    tables = with_start([estimator.learning_rate * _leaf_table(tree) for tree in trees], start)
    rows = builder.numbers(table, estimator).name
    return boosted(builder, leaf_values(builder, rows, [nodes_of(tree) for tree in trees], tables), stages, outputs)


def raw_decision(builder: Builder, raw: str, class_count: int, loss: str, *, or_zero: bool) -> Answer:
    """A boosted classifier's answer from its raw scores: sigmoid or softmax, and the sign or the largest decides."""
    index = decided(builder, raw, class_count, or_zero=or_zero)
    if class_count != 2:
        return Answer(index, builder.add("Softmax", raw, axis=1), raw)
    scaled = builder.add("Mul", raw, builder.constant(2.0)) if loss == "exponential" else raw
    return Answer(index, builder.both_sides(builder.add("Sigmoid", scaled)), raw)


def _gradient_classifier(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    raw = _gradient_raw(builder, estimator, table)
    return raw_decision(builder, raw, len(estimator.classes_), estimator.loss, or_zero=True)


def _gradient_regressor(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    return Answer(value=_gradient_raw(builder, estimator, table))


def _isolation(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    trees = [member.tree_ for member in estimator.estimators_]
    nodes = [nodes_of(tree, features) for tree, features in zip(trees, estimator.estimators_features_, strict=True)]
    depths = []
    for number, tree in enumerate(nodes):
        path = estimator._decision_path_lengths[number]  # noqa: SLF001 - no public name
        average = estimator._average_path_length_per_tree[number]  # noqa: SLF001 - no public name
        depths.append((path[tree.leaves] + average[tree.leaves] - 1.0)[:, np.newaxis])
    rows = builder.numbers(table, estimator).name
    depth = builder.sum_in_order(leaf_values(builder, rows, nodes, depths))
    denominator = len(trees) * _average_path_length(int(estimator._max_samples))  # noqa: SLF001 - no public name
    exponent = builder.add("Neg", builder.add("Div", depth, builder.constant(denominator)))
    score = builder.add("Sub", builder.add("Neg", builder.add("Pow", builder.constant(2.0), exponent)), builder.constant(estimator.offset_))
    shallowest = _shallowest_inlier(denominator, float(estimator.offset_))
    inlier = builder.add("GreaterOrEqual", builder.flat(depth), builder.constant(shallowest))
    return Answer(builder.add("Cast", inlier, to=TensorProto.INT64), scores=score)


def _average_path_length(samples: int) -> float:
    """Mean depth of an unsuccessful search in a binary tree of `samples` (Liu, Ting, Zhou 2008, equation 1)."""
    if samples <= 1:
        return 0.0
    return 1.0 if samples == 2 else float(2.0 * (np.log(samples - 1.0) + np.euler_gamma) - 2.0 * (samples - 1.0) / samples)


def _shallowest_inlier(denominator: float, offset: float) -> float:
    """The smallest depth whose score is not below the offset, found by bisection with numpy's own power: no rounding decides."""

    def is_inlier(depth: float) -> bool:
        return bool(-(2 ** (-np.divide(np.array([depth]), denominator)))[0] - offset >= 0)

    low, high = 0.0, 64.0 * denominator
    if is_inlier(low):
        return low
    while np.nextafter(low, high) < high:
        middle = low + (high - low) / 2
        low, high = (low, middle) if is_inlier(middle) else (middle, high)
    return high


PREDICTORS: dict[type, Predict] = {
    DecisionTreeClassifier: _tree_classifier,
    ExtraTreeClassifier: _tree_classifier,
    DecisionTreeRegressor: _tree_regressor,
    ExtraTreeRegressor: _tree_regressor,
    RandomForestClassifier: _forest_classifier,
    ExtraTreesClassifier: _forest_classifier,
    RandomForestRegressor: _forest_regressor,
    ExtraTreesRegressor: _forest_regressor,
    GradientBoostingClassifier: _gradient_classifier,
    GradientBoostingRegressor: _gradient_regressor,
    IsolationForest: _isolation,
}
