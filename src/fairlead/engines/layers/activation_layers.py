"""Layers that apply an activation function, and those that do nothing once training is over."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fairlead.core.interface import Array
from fairlead.engines.layers.activation_functions import activation, elu, linear, relu, softmax
from fairlead.engines.layers.layer_spec import LayerSpec
from fairlead.engines.layers.value import Evaluate, Inputs, Value, on_each

# Stands for a masked score, as in Keras: exp of it is 0 beside any real score, and a row of nothing else is uniform.
MASKED_SCORE = -1e9


def _activation(spec: LayerSpec) -> Evaluate:
    return on_each(activation(spec))


def _relu(spec: LayerSpec) -> Evaluate:
    slope, threshold = spec.number("negative_slope", 0.0), spec.number("threshold", 0.0)
    highest = spec.option("max_value", None)
    return on_each(lambda x: relu(x, slope, highest, threshold))


def _leaky_relu(spec: LayerSpec) -> Evaluate:
    slope = spec.number("negative_slope", 0.3)
    return on_each(lambda x: np.where(x >= 0, x, slope * x))


def _elu(spec: LayerSpec) -> Evaluate:
    alpha = spec.number("alpha", 1.0)
    return on_each(lambda x: elu(x, alpha))


def _prelu(spec: LayerSpec) -> Evaluate:
    spec.option("shared_axes", None)  # it shows in the shape of alpha, which broadcasts
    alpha = spec.weight("alpha")
    return on_each(lambda x: np.where(x > 0, x, alpha * x))


def _softmax(spec: LayerSpec) -> Evaluate:
    axis = spec.option("axis", -1)
    axes = tuple(axis) if isinstance(axis, list) else axis

    def evaluate(inputs: Inputs) -> tuple[Value, ...]:
        scores, mask = inputs.first.data, inputs.first.mask
        if mask is None:
            return (Value(softmax(scores, axes)),)
        return (Value(_masked(scores, mask, axes), mask),)

    return evaluate


def _masked(scores: Array, mask: Array, axes: int | tuple[int, ...]) -> Array:
    """The mask broadcasts against the last axes, and a row that is masked as a whole is 0."""
    return np.where(mask, softmax(np.where(mask, scores, MASKED_SCORE), axes), 0.0)


def _identity(spec: LayerSpec) -> Evaluate:
    del spec
    return on_each(linear)


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
