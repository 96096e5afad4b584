"""Layers that apply an activation function, and those that do nothing once training is over."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fairlead.engines.layers.activation_functions import activation, elu, linear, relu, softmax
from fairlead.engines.layers.layer_spec import LayerSpec
from fairlead.engines.layers.value import Evaluate, on_first


def _activation(spec: LayerSpec) -> Evaluate:
    return on_first(activation(spec))


def _relu(spec: LayerSpec) -> Evaluate:
    slope, threshold = spec.number("negative_slope", 0.0), spec.number("threshold", 0.0)
    highest = spec.option("max_value", None)
    return on_first(lambda x: relu(x, slope, highest, threshold))


def _leaky_relu(spec: LayerSpec) -> Evaluate:
    slope = spec.number("negative_slope", 0.3)
    return on_first(lambda x: np.where(x >= 0, x, slope * x))


def _elu(spec: LayerSpec) -> Evaluate:
    alpha = spec.number("alpha", 1.0)
    return on_first(lambda x: elu(x, alpha))


def _prelu(spec: LayerSpec) -> Evaluate:
    spec.option("shared_axes", None)  # it shows in the shape of alpha, which broadcasts
    alpha = spec.weight("alpha")
    return on_first(lambda x: np.where(x > 0, x, alpha * x))


def _softmax(spec: LayerSpec) -> Evaluate:
    axis = spec.option("axis", -1)
    axes = tuple(axis) if isinstance(axis, list) else axis
    return on_first(lambda x: softmax(x, axes))


def _identity(spec: LayerSpec) -> Evaluate:
    del spec
    return on_first(linear)


_IDENTITIES = (
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "Identity",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
)
LAYERS: dict[str, Callable[[LayerSpec], Evaluate]] = {
    "Activation": _activation,
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    "ELU": _elu,
    "PReLU": _prelu,
    "Softmax": _softmax,
    **dict.fromkeys(_IDENTITIES, _identity),
}
