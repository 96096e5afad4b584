"""Batch, layer, group, RMS and unit normalization, and the preprocessing layers Normalization and Rescaling.

https://keras.io/api/layers/normalization_layers/ . Batch normalization uses its moving statistics, as in inference.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fairlead.core.interface import Array
from fairlead.engines.layers.layer_spec import LayerSpec
from fairlead.engines.layers.value import Evaluate, on_first

_SMALLEST_DEVIATION = 1e-7
_SMALLEST_NORM = 1e-12


def _axes(spec: LayerSpec) -> tuple[int, ...]:
    """Return the option `axis` as a tuple; empty for None."""
    return () if spec.option("axis", -1) is None else spec.integers("axis")


def _along(weight: Array | None, axes: tuple[int, ...], x: Array, absent: float) -> Array:
    """Return `weight`, which has one axis for each of `axes`, so shaped that it lies along them in `x`; `absent` where it is None."""
    if weight is None:
        return np.asarray(absent)
    shape = [1] * x.ndim
    for axis in axes:
        shape[axis] = x.shape[axis]
    return weight.reshape(shape)


def _batch_normalization(spec: LayerSpec) -> Evaluate:
    axes, epsilon = _axes(spec), spec.number("epsilon", 1e-3)
    if len(axes) != 1:
        raise spec.refusal("axis")
    mean, variance = spec.weight("moving_mean"), spec.weight("moving_variance")
    gamma = spec.weight_if(spec.flag("scale", True), "gamma")
    beta = spec.weight_if(spec.flag("center", True), "beta")
    factor = (1.0 if gamma is None else gamma) / np.sqrt(variance + epsilon)
    offset = (0.0 if beta is None else beta) - mean * factor
    return on_first(lambda x: x * _along(factor, axes, x, 1.0) + _along(offset, axes, x, 0.0))


def _layer_normalization(spec: LayerSpec) -> Evaluate:
    axes, epsilon = _axes(spec), spec.number("epsilon", 1e-3)
    gamma = spec.weight_if(spec.flag("scale", True), "gamma")
    beta = spec.weight_if(spec.flag("center", True), "beta")

    def normalize(x: Array) -> Array:
        return _standardized(x, axes, epsilon) * _along(gamma, axes, x, 1.0) + _along(beta, axes, x, 0.0)

    return on_first(normalize)


def _standardized(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    """Return x less its mean, over its deviation, along `axes`."""
    mean: Array = np.mean(x, axis=axes, keepdims=True)
    variance: Array = np.var(x, axis=axes, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon)


def _group_normalization(spec: LayerSpec) -> Evaluate:
    (axis,), groups, epsilon = spec.integers("axis", 1), spec.integer("groups", 32), spec.number("epsilon", 1e-3)
    gamma = spec.weight_if(spec.flag("scale", True), "gamma")
    beta = spec.weight_if(spec.flag("center", True), "beta")

    def normalize(x: Array) -> Array:
        last = np.moveaxis(x, axis, -1)
        split = last.reshape(*last.shape[:-1], groups if groups > 0 else last.shape[-1], -1)
        others = (*range(1, split.ndim - 2), split.ndim - 1)
        normal = _standardized(split, others, epsilon).reshape(last.shape)
        return np.moveaxis(normal * _along(gamma, (-1,), last, 1.0) + _along(beta, (-1,), last, 0.0), -1, axis)

    return on_first(normalize)


def _rms_normalization(spec: LayerSpec) -> Evaluate:
    axes, epsilon, scale = _axes(spec), spec.number("epsilon", 1e-6), spec.weight("scale")

    def normalize(x: Array) -> Array:
        if sorted(axis % x.ndim for axis in axes) != list(range(x.ndim - len(axes), x.ndim)):
            raise spec.refusal("axis")  # Keras multiplies by `scale` along the last axes, whatever `axis` says
        mean_square: Array = np.mean(np.square(x), axis=axes, keepdims=True)
        return x / np.sqrt(mean_square + epsilon) * scale

    return on_first(normalize)


def _unit_normalization(spec: LayerSpec) -> Evaluate:
    axes = _axes(spec)
    return on_first(lambda x: normalize_l2(x, axes, _SMALLEST_NORM))


def normalize_l2(x: Array, axes: int | tuple[int, ...], smallest: float) -> Array:
    """Return x over its Euclidean norm along `axes`; a norm below `smallest` counts as `smallest`."""
    norm: Array = np.sqrt(np.sum(np.square(x), axis=axes, keepdims=True))
    return x / np.maximum(norm, smallest)


def _normalization(spec: LayerSpec) -> Evaluate:
    axes = _axes(spec)
    mean, deviation = spec.weight("mean"), np.maximum(np.sqrt(spec.weight("variance")), _SMALLEST_DEVIATION)
    is_inverse = spec.flag("invert", False)

    def normalize(x: Array) -> Array:
        is_compact = mean.ndim == len(axes)
        middle, spread = (_along(each, axes, x, 0.0) if is_compact else each for each in (mean, deviation))
        return x * spread + middle if is_inverse else (x - middle) / spread

    return on_first(normalize)


def _rescaling(spec: LayerSpec) -> Evaluate:
    scale, offset = (np.asarray(spec.option(key), np.float64) for key in ("scale", "offset"))
    return on_first(lambda x: x * scale + offset)


LAYERS: dict[str, Callable[[LayerSpec], Evaluate]] = {
    "BatchNormalization": _batch_normalization,
    "LayerNormalization": _layer_normalization,
    "GroupNormalization": _group_normalization,
    "RMSNormalization": _rms_normalization,
    "UnitNormalization": _unit_normalization,
    "Normalization": _normalization,
    "Rescaling": _rescaling,
}
