"""Linear models, naive Bayes, discriminants and networks: sums of products in double, with scikit-learn's own rule for the decision."""

from __future__ import annotations

import numpy as np
from sklearn import linear_model
from sklearn.cross_decomposition import PLSRegression
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.svm import LinearSVC, LinearSVR

from fairlead.convert.sklearn.elementwise import clipped
from fairlead.convert.sklearn.graph import Answer, Builder, Estimator, Predict, Table, unsupported
from fairlead.convert.sklearn.projections import product
from fairlead.core.interface import Array


def affine(builder: Builder, name: str, coefficients: Array, intercept: Array | float) -> str:
    """[batch, n] to [batch, m]: x @ coefficients.T + intercept."""
    matrix = np.atleast_2d(np.asarray(coefficients, dtype=np.float64)).T
    return builder.add("Add", product(builder, name, matrix), builder.constant(np.atleast_1d(intercept)))


def decided(builder: Builder, scores: str, class_count: int, *, or_zero: bool = False) -> str:
    """The class index by scikit-learn's rule: a positive score in two classes, else the first largest."""
    return builder.is_positive(scores, or_zero=or_zero) if class_count == 2 else builder.argmax(scores)


def _scores(builder: Builder, estimator: Estimator, table: Table) -> str:
    if np.ndim(estimator.classes_) != 1 or isinstance(estimator.classes_, list):
        raise unsupported(estimator, "several outputs at once")
    return affine(builder, builder.numbers(table, estimator).name, estimator.coef_, estimator.intercept_)


def _margin_classifier(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    scores = _scores(builder, estimator, table)
    return Answer(index=decided(builder, scores, len(estimator.classes_)), scores=scores)


def _softmax_classifier(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    count = len(estimator.classes_)
    scores = _scores(builder, estimator, table)
    if count == 2:
        probabilities = builder.both_sides(builder.add("Sigmoid", scores))
    elif getattr(estimator, "multi_class", "auto") == "ovr" or getattr(estimator, "solver", "") == "liblinear":
        probabilities = shared(builder, builder.add("Sigmoid", scores))
    else:
        probabilities = builder.add("Softmax", scores, axis=1)
    return Answer(decided(builder, scores, count), probabilities, scores)


def shared(builder: Builder, name: str) -> str:
    """Divide each row by its sum."""
    return builder.add("Div", name, builder.add("ReduceSum", name, builder.integers(1), keepdims=1))


def _sgd(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    count = len(estimator.classes_)
    scores = _scores(builder, estimator, table)
    index = decided(builder, scores, count)
    if estimator.loss == "log_loss":
        sure = builder.add("Sigmoid", scores)
        return Answer(index, builder.both_sides(sure) if count == 2 else shared(builder, sure), scores)
    if estimator.loss == "modified_huber":
        half = builder.add("Div", builder.add("Add", clipped(builder, scores, -1.0, 1.0), builder.constant(1.0)), builder.constant(2.0))
        return Answer(index, builder.both_sides(half) if count == 2 else _shared_or_even(builder, half), scores)
    return Answer(index, scores=scores)


def _shared_or_even(builder: Builder, name: str) -> str:
    total = builder.add("ReduceSum", name, builder.integers(1), keepdims=1)
    is_zero = builder.add("Equal", total, builder.constant(0.0))
    return shared(builder, builder.add("Where", is_zero, builder.constant(1.0), name))


def _regressor(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    if np.ndim(estimator.coef_) == 2 and len(estimator.coef_) > 1:
        raise unsupported(estimator, "several outputs at once")
    return Answer(value=affine(builder, builder.numbers(table, estimator).name, estimator.coef_, estimator.intercept_))


def _log_link(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    value = _regressor(builder, estimator, table).value
    link = getattr(estimator, "link", "log")
    is_log = link == "log" or (link == "auto" and estimator.power > 0)
    return Answer(value=builder.add("Exp", value) if is_log else value)


_LINEAR_REGRESSORS = [
    "ARDRegression",
    "BayesianRidge",
    "ElasticNet",
    "ElasticNetCV",
    "HuberRegressor",
    "Lars",
    "LarsCV",
    "Lasso",
    "LassoCV",
    "LassoLars",
    "LassoLarsCV",
    "LassoLarsIC",
    "LinearRegression",
    "OrthogonalMatchingPursuit",
    "OrthogonalMatchingPursuitCV",
    "PassiveAggressiveRegressor",
    "QuantileRegressor",
    "Ridge",
    "RidgeCV",
    "SGDRegressor",
    "TheilSenRegressor",
]


def _known(names: list[str]) -> list[type]:
    """The classes that this release of scikit-learn has; older and newer ones may lack some."""
    return [getattr(linear_model, name) for name in names if hasattr(linear_model, name)]


PREDICTORS: dict[type, Predict] = {
    **dict.fromkeys(_known(_LINEAR_REGRESSORS), _regressor),
    **dict.fromkeys(_known(["PassiveAggressiveClassifier", "Perceptron", "RidgeClassifier", "RidgeClassifierCV"]), _margin_classifier),
    **dict.fromkeys(_known(["LogisticRegression", "LogisticRegressionCV"]), _softmax_classifier),
    **dict.fromkeys(_known(["GammaRegressor", "PoissonRegressor", "TweedieRegressor"]), _log_link),
    linear_model.SGDClassifier: _sgd,
    LinearSVC: _margin_classifier,
    LinearSVR: _regressor,
    LinearDiscriminantAnalysis: _softmax_classifier,
    PLSRegression: _regressor,
}
