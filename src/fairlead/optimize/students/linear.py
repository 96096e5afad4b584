"""A linear student: one weight per feature and output, fitted by least squares or by maximum likelihood.

Takes a table and an Objective; gives weights (features, outputs) and biases. Numbers in closed form; sigmoid and softmax with the fixed
bound on the curvature of the log-loss (Boehning, Multinomial logistic regression algorithm, 1992), under which every step lowers the loss,
with momentum that starts again where it does not. Features are scaled to spread 1 first, so that `ridge` means the same for each.
"""

from __future__ import annotations

import time

import numpy as np

from fairlead.core.interface import Array
from fairlead.optimize.trees.link import Function
from fairlead.optimize.trees.objective import Objective

_STEP_LIMIT = 500
_ENOUGH = 1e-8  # relative fall of the loss that a step has to bring


def fit_linear(table: Array, objective: Objective, ridge: float, deadline: float = float("inf")) -> tuple[Array, Array]:
    """Return double weights and biases of least mean loss plus `ridge` / 2 times the squared weights of scaled features."""
    values = table.astype(np.float64)
    mean, spread = values.mean(axis=0), values.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    scaled = np.column_stack([(values - mean) / spread, np.ones(len(values))])
    gram = scaled.T @ scaled / len(scaled)
    penalty = np.full(len(gram), ridge)
    penalty[-1] = 0.0
    if objective.link.function is Function.NUMBER:
        weights = np.linalg.solve(gram + np.diag(penalty + 1e-12), scaled.T @ objective.wanted / len(scaled))
    else:
        weights = _likeliest(scaled, gram, penalty, objective, deadline)
    plain = weights[:-1] / spread[:, np.newaxis]
    return plain, weights[-1] - mean @ plain


def _likeliest(scaled: Array, gram: Array, penalty: Array, objective: Objective, deadline: float) -> Array:
    bound = 0.25 if objective.link.function is Function.SIGMOID else 0.5
    solver = np.linalg.inv(bound * gram + np.diag(penalty + 1e-9))
    at = ahead = np.zeros((scaled.shape[1], objective.wanted.shape[1]))
    momentum, last = 1.0, float("inf")
    for _ in range(_STEP_LIMIT):
        sums = scaled @ ahead
        loss = objective.loss(sums) + float((penalty[:, np.newaxis] * ahead**2).sum()) / 2
        if loss > last:
            momentum, ahead, last = 1.0, at, float("inf")
            continue
        if last - loss < _ENOUGH * abs(last) or time.monotonic() > deadline:
            break
        last = loss
        first, _ = objective.derivatives(sums)
        following = ahead - solver @ (scaled.T @ first / len(scaled) + penalty[:, np.newaxis] * ahead)
        grown = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead, at, momentum = following + (momentum - 1) / grown * (following - at), following, grown
    return at
