"""Activation functions by name, on float64 arrays, as Keras 3 defines them with their default parameters.

https://keras.io/api/layers/activations/ . Raises UnsupportedError for a name that is not here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from fairlead.core.interface import Array
from fairlead.engines.layers.layer_spec import LayerSpec

Function: TypeAlias = Callable[[Array], Array]

# Klambauer et al. 2017, https://arxiv.org/abs/1706.02515
_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


def activation(spec: LayerSpec, key: str = "activation", default: str = "linear") -> Function:
    """Return the function that the layer's option names."""
    return FUNCTIONS[spec.choice(key, tuple(FUNCTIONS), default)]


def linear(x: Array) -> Array:
    """The input itself."""
    return x


def relu(x: Array, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Array:
    """Return x above `threshold`, at most `max_value`; `negative_slope` * (x - threshold) below."""
    above = np.where(x > threshold, x, 0.0) if threshold else np.maximum(x, 0.0)
    above = above if max_value is None else np.clip(above, 0.0, max_value)
    return above - negative_slope * np.maximum(threshold - x, 0.0) if negative_slope else above


def elu(x: Array, alpha: float = 1.0) -> Array:
    """Return x where positive, else alpha * (exp(x) - 1)."""
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0)))


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow."""
    decayed = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, decayed) / (1.0 + decayed)


def softplus(x: Array) -> Array:
    """log(1 + exp(x)), without overflow."""
    return np.logaddexp(x, 0.0)


def softmax(x: Array, axis: int | tuple[int, ...] = -1) -> Array:
    """exp(x) over its sum along `axis`."""
    raised: Array = np.exp(x - np.max(x, axis=axis, keepdims=True))
    total: Array = np.sum(raised, axis=axis, keepdims=True)
    return raised / total


def log_softmax(x: Array) -> Array:
    """Logarithm of softmax over the last axis."""
    shifted: Array = x - np.max(x, axis=-1, keepdims=True)
    total: Array = np.sum(np.exp(shifted), axis=-1, keepdims=True)
    return shifted - np.log(total)


def erf(x: Array) -> Array:
    """The error function, by the C library, one number after the other: numpy has none."""
    return np.fromiter(map(math.erf, x.ravel().tolist()), np.float64, count=x.size).reshape(x.shape)


def gelu(x: Array) -> Array:
    """Return x * P(X <= x) for a standard normal X (https://arxiv.org/abs/1606.08415)."""
    return x * 0.5 * (1.0 + erf(x / math.sqrt(2.0)))


def _hard_sigmoid(x: Array) -> Array:
    return np.clip(x / 6.0 + 0.5, 0.0, 1.0)


def _soft_shrink(x: Array) -> Array:
    return np.sign(x) * np.maximum(np.abs(x) - 0.5, 0.0)


FUNCTIONS: dict[str, Function] = {
    "linear": linear,
    "relu": relu,
    "relu6": lambda x: np.clip(x, 0.0, 6.0),
    "leaky_relu": lambda x: np.where(x >= 0, x, 0.2 * x),
    "elu": elu,
    "selu": lambda x: _SELU_SCALE * elu(x, _SELU_ALPHA),
    "celu": elu,
    "gelu": gelu,
    "sigmoid": sigmoid,
    "hard_sigmoid": _hard_sigmoid,
    "tanh": np.tanh,
    "softmax": softmax,
    "log_softmax": log_softmax,
    "softplus": softplus,
    "softsign": lambda x: x / (1.0 + np.abs(x)),
    "silu": lambda x: x * sigmoid(x),
    "hard_silu": lambda x: x * _hard_sigmoid(x),
    "exponential": np.exp,
    "mish": lambda x: x * np.tanh(softplus(x)),
    "log_sigmoid": lambda x: -softplus(-x),
    "hard_tanh": lambda x: np.clip(x, -1.0, 1.0),
    "tanh_shrink": lambda x: x - np.tanh(x),
    "soft_shrink": _soft_shrink,
    "hard_shrink": lambda x: np.where(np.abs(x) > 0.5, x, 0.0),
    "squareplus": lambda x: 0.5 * (x + np.sqrt(x * x + 4.0)),
}
