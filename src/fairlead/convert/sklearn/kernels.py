"""Support vector machines, Gaussian process regression and kernel ridge: a kernel against the stored rows, then sums of products."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process import kernels as gp
from sklearn.kernel_ridge import KernelRidge
from sklearn.svm import SVC, SVR, NuSVC, NuSVR, OneClassSVM

from fairlead.convert.sklearn.graph import Answer, Builder, Estimator, Predict, Table, unsupported
from fairlead.convert.sklearn.projections import product
from fairlead.core.interface import Array


def squared_distances(builder: Builder, name: str, rows: Array) -> str:
    """Squared Euclidean distances [batch, len(rows)] as |x|^2 - 2xy + |y|^2, not below zero."""
    own = builder.add("ReduceSumSquare", name, builder.integers(1), keepdims=1)
    cross = builder.add("Mul", builder.constant(2.0), product(builder, name, rows.T))
    squares = builder.constant((rows**2).sum(axis=1))
    return builder.add("Max", builder.add("Add", builder.add("Sub", own, cross), squares), builder.constant(0.0))


def _kernel(builder: Builder, estimator: Estimator, name: str, rows: Array, gamma: float) -> str:
    if callable(estimator.kernel) or estimator.kernel == "precomputed":
        raise unsupported(estimator, f"kernel={estimator.kernel!r}")
    if estimator.kernel == "rbf":
        return builder.add("Exp", builder.add("Mul", builder.constant(-gamma), squared_distances(builder, name, rows)))
    linear = product(builder, name, rows.T)
    if estimator.kernel == "linear":
        return linear
    inner = builder.add("Add", builder.add("Mul", builder.constant(gamma), linear), builder.constant(float(estimator.coef0)))
    if estimator.kernel in ("poly", "polynomial"):
        return builder.add("Pow", inner, builder.constant(float(estimator.degree)))
    if estimator.kernel == "sigmoid":
        return builder.add("Tanh", inner)
    raise unsupported(estimator, f"kernel={estimator.kernel!r}")


def _dense(matrix: Array) -> Array:
    return np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix, dtype=np.float64)


def _machine(builder: Builder, estimator: Estimator, table: Table, coefficients: Array, intercepts: Array) -> str:
    name = builder.numbers(table, estimator).name
    gamma = float(estimator._gamma)  # noqa: SLF001 - what 'scale' became; no public name
    kernel = _kernel(builder, estimator, name, _dense(estimator.support_vectors_), gamma)
    return builder.add("Add", product(builder, kernel, coefficients), builder.constant(intercepts))


def _classifier(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    if estimator.probability not in (False, "deprecated"):
        raise unsupported(
            estimator, "probability=True couples classes iteratively; wrap it in CalibratedClassifierCV instead, as scikit-learn advises"
        )
    count = len(estimator.classes_)
    dual = _dense(estimator._dual_coef_)
    pairs = list(combinations(range(count), 2))
    bounds = np.cumsum([0, *estimator.n_support_])
    matrix = np.zeros((dual.shape[1], len(pairs)))
    for column, (first, second) in enumerate(pairs):
        for own, other in ((first, second - 1), (second, first)):
            matrix[bounds[own] : bounds[own + 1], column] = dual[other, bounds[own] : bounds[own + 1]]
    scores = _machine(builder, estimator, table, matrix, estimator._intercept_)
    if count == 2:
        flipped = builder.add("Neg", scores)
        return Answer(builder.is_positive(flipped, or_zero=True), scores=flipped)
    is_first = builder.add("Greater", scores, builder.constant(0.0))
    votes = _votes(builder, is_first, pairs, count)
    if estimator.decision_function_shape == "ovo":
        return Answer(builder.argmax(votes), scores=scores)
    shape = one_against_rest(builder, votes, builder.add("Neg", scores), pairs, count)
    return Answer(builder.argmax(shape if estimator.break_ties else votes), scores=shape)


def _votes(builder: Builder, is_first: str, pairs: list[tuple[int, int]], count: int) -> str:
    wins, losses = np.zeros((len(pairs), count)), np.zeros((len(pairs), count))
    for row, (first, second) in enumerate(pairs):
        wins[row, first], losses[row, second] = 1.0, 1.0
    lost = builder.doubles(builder.add("Not", is_first))
    return builder.add("Add", product(builder, builder.doubles(is_first), wins), product(builder, lost, losses))


def one_against_rest(builder: Builder, votes: str, confidences: str, pairs: list[tuple[int, int]], count: int) -> str:
    """Votes plus a third of the bounded sum of confidences, as scikit-learn's _ovr_decision_function."""
    signs = np.zeros((len(pairs), count))
    for row, (first, second) in enumerate(pairs):
        signs[row, first], signs[row, second] = -1.0, 1.0
    total = product(builder, confidences, signs)
    bound = builder.add("Mul", builder.constant(3.0), builder.add("Add", builder.add("Abs", total), builder.constant(1.0)))
    return builder.add("Add", votes, builder.add("Div", total, bound))


def pair_votes(builder: Builder, is_second: str, pairs: list[tuple[int, int]], count: int) -> str:
    """Votes [batch, classes] from which of each pair won: int64 [batch, pairs], 1 for the second."""
    return _votes(builder, builder.add("Equal", is_second, builder.constant(0, np.int64)), pairs, count)


def _regressor(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    return Answer(value=_machine(builder, estimator, table, _dense(estimator.dual_coef_).T, estimator.intercept_))


def _one_class(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    scores = _machine(builder, estimator, table, _dense(estimator.dual_coef_).T, estimator.intercept_)
    return Answer(builder.is_positive(scores), scores=scores)


def _kernel_ridge(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    rows = _dense(estimator.X_fit_)
    gamma = 1.0 / rows.shape[1] if estimator.gamma is None else float(estimator.gamma)
    kernel = _kernel(builder, estimator, builder.numbers(table, estimator).name, rows, gamma)
    if np.ndim(estimator.dual_coef_) > 1 and estimator.dual_coef_.shape[1] > 1:
        raise unsupported(estimator, "several outputs at once")
    return Answer(value=product(builder, kernel, np.reshape(estimator.dual_coef_, (-1, 1))))


def _process(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    if np.ndim(estimator.alpha_) > 1 and estimator.alpha_.shape[1] > 1:
        raise unsupported(estimator, "several outputs at once")
    name = builder.numbers(table, estimator).name
    kernel = _covariance(builder, estimator, estimator.kernel_, name, np.asarray(estimator.X_train_, dtype=np.float64))
    mean = product(builder, kernel, np.reshape(estimator.alpha_, (-1, 1)))
    scaled = builder.add("Mul", builder.constant(np.ravel(estimator._y_train_std)), mean)  # noqa: SLF001 - no public name
    return Answer(value=builder.add("Add", scaled, builder.constant(np.ravel(estimator._y_train_mean))))  # noqa: SLF001 - as above


def _covariance(builder: Builder, estimator: Estimator, kernel: Estimator, name: str, rows: Array) -> str:
    if type(kernel) in (gp.Sum, gp.Product):
        parts = [_covariance(builder, estimator, part, name, rows) for part in (kernel.k1, kernel.k2)]
        return builder.add("Add" if type(kernel) is gp.Sum else "Mul", *parts)
    if type(kernel) is gp.ConstantKernel:
        return builder.constant([[float(kernel.constant_value)]])
    if type(kernel) is gp.WhiteKernel:
        return builder.constant([[0.0]])
    if type(kernel) is gp.DotProduct:
        return builder.add("Add", product(builder, name, rows.T), builder.constant(float(kernel.sigma_0) ** 2))
    if type(kernel) in (gp.RBF, gp.Matern):
        scale = np.asarray(kernel.length_scale, dtype=np.float64)
        squared = squared_distances(builder, builder.add("Div", name, builder.constant(scale)), rows / scale)
        nu = float("inf") if type(kernel) is gp.RBF else float(kernel.nu)
        return _matern(builder, estimator, squared, nu)
    if type(kernel) is gp.RationalQuadratic:
        squared = squared_distances(builder, name, rows)
        ratio = builder.add("Div", squared, builder.constant(2.0 * float(kernel.alpha) * float(kernel.length_scale) ** 2))
        return builder.add("Pow", builder.add("Add", builder.constant(1.0), ratio), builder.constant(-float(kernel.alpha)))
    raise unsupported(estimator, f"the kernel {type(kernel).__name__}")


def _matern(builder: Builder, estimator: Estimator, squared: str, nu: float) -> str:
    """Rasmussen and Williams, Gaussian Processes for Machine Learning, equations 4.9 and 4.14 to 4.17."""
    if nu == float("inf"):
        return builder.add("Exp", builder.add("Mul", builder.constant(-0.5), squared))
    factors = {0.5: 1.0, 1.5: np.sqrt(3.0), 2.5: np.sqrt(5.0)}
    if nu not in factors:
        raise unsupported(estimator, f"the kernel Matern with nu={nu:g} (0.5, 1.5, 2.5 and inf have a closed form)")
    distance = builder.add("Mul", builder.add("Sqrt", squared), builder.constant(float(factors[nu])))
    decay = builder.add("Exp", builder.add("Neg", distance))
    if nu == 0.5:
        return decay
    grown = builder.add("Add", builder.constant(1.0), distance)
    if nu == 2.5:
        grown = builder.add("Add", grown, builder.add("Div", builder.add("Mul", distance, distance), builder.constant(3.0)))
    return builder.add("Mul", grown, decay)


PREDICTORS: dict[type, Predict] = {
    SVC: _classifier,
    NuSVC: _classifier,
    SVR: _regressor,
    NuSVR: _regressor,
    OneClassSVM: _one_class,
    KernelRidge: _kernel_ridge,
    GaussianProcessRegressor: _process,
}
