"""Estimators that ask other estimators: voting, stacking, bagging, boosting by weights, calibration, one against the rest.

Sums run in the members' order, as scikit-learn's do, so that ties break the same way.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier

from fairlead.convert.sklearn.elementwise import clipped, interpolated
from fairlead.convert.sklearn.encoders import merged
from fairlead.convert.sklearn.graph import Answer, Block, Builder, Estimator, Predict, Table, unsupported
from fairlead.convert.sklearn.kernels import one_against_rest, pair_votes
from fairlead.convert.sklearn.projections import product
from fairlead.core.interface import Array


def summed(builder: Builder, parts: list[str]) -> str:
    """Add tensors of one shape from first to last."""
    total = parts[0]
    for part in parts[1:]:
        total = builder.add("Add", total, part)
    return total


def _answered(builder: Builder, owner: Estimator, member: Estimator, table: Table, method: str) -> str:
    """What `member.method(table)` gives: [batch, n]."""
    answer = builder.predict(member, table)
    if method == "predict":
        return answer.value or builder.column_of(_labels(builder, owner, member, answer))
    name = answer.probabilities if method == "predict_proba" else answer.scores
    if not name:
        raise unsupported(owner, f"its member {type(member).__name__} has no exact {method}")
    return name


def _labels(builder: Builder, owner: Estimator, member: Estimator, answer: Answer) -> str:
    """The member's numeric labels as doubles [batch]."""
    classes = np.asarray(member.classes_)
    if classes.dtype.kind not in "iufb":
        raise unsupported(owner, f"its member {type(member).__name__} answers with text")
    return builder.add("Gather", builder.constant(classes.astype(np.float64)), answer.index, axis=0)


def _weights(estimator: Estimator) -> Array | None:
    weights = estimator._weights_not_none  # noqa: SLF001 - without the weights of dropped members
    return None if weights is None else np.asarray(weights, dtype=np.float64)


def _averaged(builder: Builder, parts: list[str], weights: Array | None) -> str:
    if weights is None:
        return builder.add("Div", summed(builder, parts), builder.constant(float(len(parts))))
    scaled = [builder.add("Mul", part, builder.constant(float(weight))) for part, weight in zip(parts, weights, strict=True)]
    return builder.add("Div", summed(builder, scaled), builder.constant(float(np.sum(weights))))


def _voting_classifier(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    weights = _weights(estimator)
    if estimator.voting == "soft":
        parts = [_answered(builder, estimator, member, table, "predict_proba") for member in estimator.estimators_]
        mean = _averaged(builder, parts, weights)
        return Answer(builder.argmax(mean), mean)
    votes = []
    for position, member in enumerate(estimator.estimators_):
        table_of = np.eye(len(estimator.classes_))[np.asarray(member.classes_, dtype=int)]
        worth = table_of if weights is None else table_of * weights[position]
        votes.append(builder.add("Gather", builder.constant(worth), builder.predict(member, table).index, axis=0))
    return Answer(builder.argmax(summed(builder, votes)))


def _voting_regressor(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    parts = [builder.predict(member, table).value for member in estimator.estimators_]
    return Answer(value=_averaged(builder, parts, _weights(estimator)))


def _stacked(builder: Builder, estimator: Estimator, table: Table) -> Table:
    blocks: list[Block] = []
    classes = getattr(estimator, "classes_", ())
    for member, method in zip(estimator.estimators_, estimator.stack_method_, strict=True):
        name = _answered(builder, estimator, member, table, method)
        if method == "predict_proba" and len(classes) == 2:
            blocks.append(Block(builder.add("Gather", name, builder.integers(1), axis=1), 1))
            continue
        scored = method == "predict_proba" or (method == "decision_function" and len(classes) > 2)
        blocks.append(Block(name, len(classes) if scored else 1))
    if estimator.passthrough:
        blocks.extend(table)
    return merged(builder, blocks)


def _stacking(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    return builder.predict(estimator.final_estimator_, _stacked(builder, estimator, table))


def _bagging_classifier(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    count = len(estimator.classes_)
    has_scores = hasattr(estimator.estimators_[0], "decision_function")
    parts, scores = [], []
    for member, features in zip(estimator.estimators_, estimator.estimators_features_, strict=True):
        answer = builder.predict(member, builder.columns(table, [int(feature) for feature in features]))
        spread = np.eye(count)[np.asarray(member.classes_, dtype=int)]
        if not hasattr(member, "predict_proba"):
            parts.append(builder.add("Gather", builder.constant(spread), answer.index, axis=0))
        elif len(member.classes_) == count:
            parts.append(answer.probabilities)
        else:
            parts.append(product(builder, answer.probabilities, spread))
        scores.append(answer.scores)
    size = builder.constant(float(len(parts)))
    if not all(parts):
        raise unsupported(estimator, "its members' probabilities have no exact form")
    mean = builder.add("Div", summed(builder, parts), size)
    score = builder.add("Div", summed(builder, scores), size) if has_scores and all(scores) else ""
    return Answer(builder.argmax(mean), mean, score)


def _bagging_regressor(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    parts = [
        builder.predict(member, builder.columns(table, [int(feature) for feature in features])).value
        for member, features in zip(estimator.estimators_, estimator.estimators_features_, strict=True)
    ]
    return Answer(value=builder.add("Div", summed(builder, parts), builder.constant(float(len(parts)))))


def _adaboost_classifier(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    count = len(estimator.classes_)
    if getattr(estimator, "algorithm", "deprecated") == "SAMME.R":
        raise unsupported(estimator, "algorithm='SAMME.R' was removed from scikit-learn")
    parts = []
    for member, weight in zip(estimator.estimators_, estimator.estimator_weights_, strict=False):
        is_class = np.asarray(member.classes_)[:, np.newaxis] == np.asarray(estimator.classes_)[np.newaxis]
        worth = np.where(is_class, weight, -1 / (count - 1) * weight)
        parts.append(builder.add("Gather", builder.constant(worth), builder.predict(member, table).index, axis=0))
    score = builder.add("Div", summed(builder, parts), builder.constant(float(estimator.estimator_weights_.sum())))
    if count != 2:
        shrunk = builder.add("Div", score, builder.constant(float(count - 1)))
        return Answer(builder.argmax(score), builder.add("Softmax", shrunk, axis=1), score)
    first, second = (builder.add("Gather", score, builder.integers(column), axis=1) for column in (0, 1))
    binary = builder.add("Sub", second, first)
    both = builder.add("Div", builder.add("Concat", builder.add("Neg", binary), binary, axis=1), builder.constant(2.0))
    return Answer(builder.is_positive(binary), builder.add("Softmax", both, axis=1), binary)


def _adaboost_regressor(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    """The weighted median: the first member, in order of prediction, at which half of all weight is reached."""
    parts = [builder.predict(member, table).value for member in estimator.estimators_]
    predictions = builder.add("Concat", *parts, axis=1)
    ordered, places = builder.add_many("TopK", (predictions, builder.integers(len(parts))), 2, axis=1, largest=0, sorted=1)
    weights = np.asarray(estimator.estimator_weights_[: len(parts)], dtype=np.float64)
    reached = builder.add("CumSum", builder.add("Gather", builder.constant(weights), places, axis=0), builder.constant(1, np.int64))
    half = builder.add("Mul", builder.constant(0.5), builder.add("Gather", reached, builder.integers(-1), axis=1))
    enough = builder.add("Cast", builder.add("GreaterOrEqual", reached, half), to=7)
    first = builder.add("ArgMax", enough, axis=1, keepdims=1)
    return Answer(value=builder.add("GatherElements", ordered, first, axis=1))


def _calibrated(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    parts = [_calibrated_member(builder, estimator, member, table) for member in estimator.calibrated_classifiers_]
    mean = builder.add("Div", summed(builder, parts), builder.constant(float(len(parts))))
    return Answer(builder.argmax(mean), mean)


def _calibrated_member(builder: Builder, owner: Estimator, member: Estimator, table: Table) -> str:
    if member.method not in ("sigmoid", "isotonic"):
        raise unsupported(owner, f"method='{member.method}'")
    base, count = member.estimator, len(member.classes)
    if len(base.classes_) != count:
        raise unsupported(owner, "a fold of its training saw only some of the classes")
    has_scores = hasattr(base, "decision_function")
    raw = _answered(builder, owner, base, table, "decision_function" if has_scores else "predict_proba")
    if count == 2 and not has_scores:
        raw = builder.add("Gather", raw, builder.integers(1), axis=1)
    columns = [raw] if count == 2 else [builder.add("Gather", raw, builder.integers(column), axis=1) for column in range(count)]
    curves = [_curve(builder, owner, curve, column) for curve, column in zip(member.calibrators, columns, strict=True)]
    if count == 2:
        return builder.both_sides(curves[0])
    joined = builder.add("Concat", *curves, axis=1)
    total = builder.add("ReduceSum", joined, builder.integers(1), keepdims=1)
    is_zero = builder.add("Equal", total, builder.constant(0.0))
    shares = builder.add("Div", joined, builder.add("Where", is_zero, builder.constant(1.0), total))
    return builder.add("Where", is_zero, builder.constant(1.0 / count), shares)


def _curve(builder: Builder, owner: Estimator, curve: Estimator, column: str) -> str:
    if hasattr(curve, "X_thresholds_"):
        bounded = clipped(builder, column, float(curve.X_min_), float(curve.X_max_))
        return interpolated(builder, bounded, curve.X_thresholds_, curve.y_thresholds_)
    if not hasattr(curve, "a_"):
        raise unsupported(owner, f"the calibrator {type(curve).__name__}")
    line = builder.add("Add", builder.add("Mul", builder.constant(float(curve.a_)), column), builder.constant(float(curve.b_)))
    return builder.add("Sigmoid", builder.add("Neg", line))


def _binary_score(builder: Builder, owner: Estimator, member: Estimator, table: Table) -> tuple[str, float]:
    """[batch, 1] confidence in the second class, and the threshold above which it is chosen."""
    if type(member).__name__ == "_ConstantPredictor":
        raise unsupported(owner, "a class is always or never present in its training data")
    if hasattr(member, "decision_function"):
        return _answered(builder, owner, member, table, "decision_function"), 0.0
    name = _answered(builder, owner, member, table, "predict_proba")
    return builder.add("Gather", name, builder.integers(1), axis=1), 0.5


def _one_vs_rest(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    if estimator.multilabel_:
        raise unsupported(estimator, "several labels at once")
    members = estimator.estimators_
    pairs = [_binary_score(builder, estimator, member, table) for member in members]
    has_scores = hasattr(members[0], "decision_function")
    joined = builder.add("Concat", *(name for name, _ in pairs), axis=1) if len(pairs) > 1 else pairs[0][0]
    if len(members) == 1:
        above = builder.add("Greater", builder.flat(joined), builder.constant(pairs[0][1]))
        index = builder.add("Cast", above, to=7)
    else:
        index = builder.argmax(joined)
    probabilities = ""
    if hasattr(members[0], "predict_proba"):
        sure = [_answered(builder, estimator, member, table, "predict_proba") for member in members]
        second = [builder.add("Gather", name, builder.integers(1), axis=1) for name in sure]
        probabilities = builder.both_sides(second[0]) if len(second) == 1 else builder.add("Concat", *second, axis=1)
        total = builder.add("ReduceSum", probabilities, builder.integers(1), keepdims=1)
        is_zero = builder.add("Equal", total, builder.constant(0.0))
        probabilities = builder.add("Div", probabilities, builder.add("Where", is_zero, builder.constant(1.0), total))
    return Answer(index, probabilities, joined if has_scores else "")


def _one_vs_one(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    if estimator.pairwise_indices_ is not None:
        raise unsupported(estimator, "precomputed kernels")
    count = len(estimator.classes_)
    pairs = list(combinations(range(count), 2))
    indices, confidences = [], []
    threshold = 0.0
    for member in estimator.estimators_:
        name, threshold = _binary_score(builder, estimator, member, table)
        confidences.append(name)
        indices.append(builder.column_of(builder.predict(member, table).index))
    votes = pair_votes(builder, builder.add("Concat", *indices, axis=1), pairs, count)
    scores = one_against_rest(builder, votes, builder.add("Concat", *confidences, axis=1), pairs, count)
    if count != 2:
        return Answer(builder.argmax(scores), scores=scores)
    second = builder.add("Gather", scores, builder.integers(1), axis=1)
    above = builder.add("Greater", builder.flat(second), builder.constant(threshold))
    return Answer(builder.add("Cast", above, to=7), scores=second)


PREDICTORS: dict[type, Predict] = {
    VotingClassifier: _voting_classifier,
    VotingRegressor: _voting_regressor,
    StackingClassifier: _stacking,
    StackingRegressor: _stacking,
    BaggingClassifier: _bagging_classifier,
    BaggingRegressor: _bagging_regressor,
    AdaBoostClassifier: _adaboost_classifier,
    AdaBoostRegressor: _adaboost_regressor,
    CalibratedClassifierCV: _calibrated,
    OneVsRestClassifier: _one_vs_rest,
    OneVsOneClassifier: _one_vs_one,
}
