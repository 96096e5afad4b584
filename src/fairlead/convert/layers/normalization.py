"""Normalization layers and the preprocessing layers that scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fairlead.convert.graph_builder import GraphBuilder, Value
from fairlead.convert.layer_use import LayerUse
from fairlead.core.interface import Array

# keras.backend.epsilon(): the floor of Normalization's standard deviation.
_DEVIATION_FLOOR = 1e-7
# The floor of UnitNormalization's norm.
_NORM_FLOOR = 1e-12


def convert_batch_normalization(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """BatchNormalization with its moving statistics: one scale and one shift per channel, folded in float64."""
    builder, value = use.builder, use.builder.as_float(inputs[0])
    axis = _single_axis(use) % value.rank
    mean, variance = use.weight("moving_mean"), use.weight("moving_variance")
    scale = 1 / np.sqrt(variance + use.config.get("epsilon"))
    if use.config.get("scale", True):
        scale = scale * use.weight("gamma")
    shift = -mean * scale
    if use.config.get("center", True):
        shift = shift + use.weight("beta")
    if value.columns is not None:
        scale, shift = scale[value.columns], shift[value.columns]
    if value.axis(axis) == 1 and value.rank > 2:
        # ONNX's operator, because engines fold it into the convolution before it.
        ones, zeros = np.ones_like(scale), np.zeros_like(scale)
        operands = [
            builder.floats(array, label) for array, label in ((scale, "scale"), (shift, "shift"), (zeros, "mean"), (ones, "variance"))
        ]
        return [replace(value, name=builder.add("BatchNormalization", [value.name, *operands], epsilon=0.0))]
    return [_affine(builder, value, scale, shift, [axis])]


def convert_layer_normalization(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """LayerNormalization over one or several axes."""
    builder, value = use.builder, use.builder.as_float(inputs[0])
    axes = _axes(use, value)
    epsilon = float(use.config.get("epsilon"))
    gamma = use.weight("gamma") if use.config.get("scale", True) else None
    beta = use.weight("beta") if use.config.get("center", True) else None
    if axes == list(range(axes[0], value.rank)):
        value = _with_last_axes(builder, value, axes)
        shape = [value.shape[axis] or 1 for axis in axes]
        gamma = np.ones(shape) if gamma is None else gamma
        operands = [value.name, builder.floats(gamma.reshape(shape), "gamma")]
        if beta is not None:
            operands.append(builder.floats(beta.reshape(shape), "beta"))
        return [replace(value, name=builder.add("LayerNormalization", operands, axis=axes[0], epsilon=epsilon))]
    value = builder.arranged(value)
    reduced = builder.integers(axes, "axes")
    centred = builder.add("Sub", [value.name, builder.add("ReduceMean", [value.name, reduced], keepdims=1)])
    variance = builder.add("ReduceMean", [builder.add("Mul", [centred, centred]), reduced], keepdims=1)
    value = replace(
        value, name=builder.add("Div", [centred, builder.add("Sqrt", [builder.add("Add", [variance, builder.floats(epsilon)])])])
    )
    return [_affine(builder, value, gamma, beta, axes)]


def convert_rms_normalization(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """RMSNormalization: x / sqrt(mean(x^2) + epsilon) * scale."""
    builder, value = use.builder, use.builder.as_float(inputs[0])
    axes = _axes(use, value)
    value = builder.arranged(value)
    mean = builder.add("ReduceMean", [builder.add("Mul", [value.name, value.name]), builder.integers(axes, "axes")], keepdims=1)
    root = builder.add("Sqrt", [builder.add("Add", [mean, builder.floats(use.config.get("epsilon"))])])
    return [_affine(builder, replace(value, name=builder.add("Div", [value.name, root])), use.weight("scale"), None, axes)]


def convert_unit_normalization(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """UnitNormalization: x over its Euclidean norm."""
    builder, value = use.builder, use.builder.as_float(inputs[0])
    axes = [value.axis(axis) for axis in _axes(use, value)]
    norm = builder.add("ReduceL2", [value.name, builder.integers(axes, "axes")], keepdims=1)
    floored = builder.add("Max", [norm, builder.floats(_NORM_FLOOR)])
    return [replace(value, name=builder.add("Div", [value.name, floored]))]


def convert_group_normalization(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """GroupNormalization: each group of channels of each row has mean 0 and variance 1, then scale and shift per channel."""
    builder, value = use.builder, use.builder.as_float(inputs[0])
    axis = _single_axis(use) % value.rank
    channels, groups = value.shape[axis], int(use.config.get("groups"))
    if channels is None:
        raise use.refusal("normalizes an axis of free size")
    groups = channels if groups == -1 else groups
    if groups < 1 or channels % groups:
        raise use.refusal(f"has {groups} groups for {channels} channels")
    value = builder.arranged(value, (0, axis, *(other for other in range(1, value.rank) if other != axis)))
    shape = builder.add("Shape", [value.name])
    grouped = builder.add("Reshape", [value.name, builder.integers([0, groups, -1])])
    operands = [grouped, builder.floats(np.ones(groups), "ones"), builder.floats(np.zeros(groups), "zeros")]
    normal = builder.add("InstanceNormalization", operands, epsilon=float(use.config.get("epsilon")))
    value = replace(value, name=builder.add("Reshape", [normal, shape]))
    gamma = use.weight("gamma") if use.config.get("scale", True) else None
    beta = use.weight("beta") if use.config.get("center", True) else None
    return [_affine(builder, value, gamma, beta, [axis])]


def convert_normalization(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """Normalization: (x - mean) / deviation, or the inverse. The subtraction comes first: it is exact where values are large."""
    builder, value = use.builder, use.builder.as_float(inputs[0])
    mean, variance = use.weight("mean"), use.weight("variance")
    use.config.get("axis")  # already in the shape of mean and variance
    deviation = np.maximum(np.sqrt(variance), _DEVIATION_FLOOR)
    mean_name, deviation_name = (
        _broadcastable(builder, use, value, array, label) for array, label in ((mean, "mean"), (deviation, "deviation"))
    )
    if use.config.get("invert", False):
        tensor = builder.add("Add", [builder.add("Mul", [value.name, deviation_name]), mean_name])
    else:
        tensor = builder.add("Div", [builder.add("Sub", [value.name, mean_name]), deviation_name])
    return [replace(value, name=tensor)]


def convert_rescaling(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """Rescaling: x * scale + offset."""
    builder, value = use.builder, use.builder.as_float(inputs[0])
    scale, offset = (np.asarray(use.config.get(key), dtype=np.float64) for key in ("scale", "offset"))
    tensor = builder.add("Mul", [value.name, _broadcastable(builder, use, value, scale, "scale")])
    if np.any(offset != 0):
        tensor = builder.add("Add", [tensor, _broadcastable(builder, use, value, offset, "offset")])
    return [replace(value, name=tensor)]


def _single_axis(use: LayerUse) -> int:
    axis: Any = use.config.get("axis", -1)
    axis = axis[0] if isinstance(axis, list | tuple) and len(axis) == 1 else axis
    if not isinstance(axis, int):
        raise use.refusal(f"has axis={axis!r}, which is not supported")
    return axis


def _axes(use: LayerUse, value: Value) -> list[int]:
    """Return the axes in ascending order; weights have their sizes in that order."""
    axes = use.config.get("axis", -1)
    listed = sorted(axis % value.rank for axis in ([axes] if isinstance(axes, int) else axes))
    if not listed or 0 in listed or any(value.shape[axis] is None for axis in listed):
        raise use.refusal(f"has axis={axes!r} for an input of shape {list(value.shape)}")
    return listed


def _with_last_axes(builder: GraphBuilder, value: Value, axes: list[int]) -> Value:
    """Return `value` with `axes`, which are Keras's last ones, last in memory; the others stay as they lie."""
    if value.columns is None and (not value.order or value.order[axes[0] :] == tuple(axes)):
        return value
    return builder.arranged(value)


def _affine(builder: GraphBuilder, value: Value, scale: Array | None, shift: Array | None, axes: Sequence[int]) -> Value:
    """Return value * scale + shift, with both given along Keras's `axes`."""
    tensor = value.name
    for operator, array in (("Mul", scale), ("Add", shift)):
        if array is not None:
            shape = [1] * value.rank
            for axis in axes:
                shape[value.axis(axis)] = value.shape[axis] or 1
            moved = array.reshape([value.shape[axis] or 1 for axis in axes])
            moved = moved.transpose(np.argsort(np.argsort([value.axis(axis) for axis in axes])).argsort())
            tensor = builder.add(operator, [tensor, builder.floats(moved.reshape(shape), operator.lower())])
    return replace(value, name=tensor)


def _broadcastable(builder: GraphBuilder, use: LayerUse, value: Value, array: Array, label: str) -> str:
    """Return a constant that broadcasts against `value`'s memory as `array` does against Keras's view."""
    if array.ndim > value.rank:
        if array.shape[: array.ndim - value.rank] != (1,) * (array.ndim - value.rank):
            raise use.refusal(f"has a {label} of shape {list(array.shape)} for an input of {value.rank} axes")
        array = array.reshape(array.shape[array.ndim - value.rank :])
    if array.size == 1:
        return builder.floats(array.reshape(()), label)
    full = array.reshape((1,) * (value.rank - array.ndim) + array.shape)
    if value.columns is not None:
        full = full[:, value.columns] if full.shape[1] > 1 else full
    return builder.floats(full.transpose(value.order) if value.order else full, label)
