"""Layers that merge several tensors: elementwise, by concatenation, by dot product (https://keras.io/api/layers/merging_layers/)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np

from fairlead.core.interface import Array
from fairlead.engines.layers.layer_spec import LayerSpec
from fairlead.engines.layers.normalization_layers import normalize_l2
from fairlead.engines.layers.value import Evaluate, Inputs, Value

_DOT_SMALLEST_NORM = 1e-7


def _merging(merge: Callable[[Sequence[Array]], Array]) -> Callable[[LayerSpec], Evaluate]:
    def build(spec: LayerSpec) -> Evaluate:
        del spec

        def evaluate(inputs: Inputs) -> tuple[Value, ...]:
            return (Value(merge(_same_rank([value.data for value in inputs.values])), _either(inputs.values)),)

        return evaluate

    return build


def _same_rank(tensors: Sequence[Array]) -> list[Array]:
    """Keras gives tensors of lower rank new axes after the batch."""
    rank = max(tensor.ndim for tensor in tensors)
    return [tensor.reshape(len(tensor), *([1] * (rank - tensor.ndim)), *tensor.shape[1:]) for tensor in tensors]


def _either(values: Sequence[Value]) -> Array | None:
    """A step counts where it counts in any input; no mask where one input has none."""
    masks = [value.mask for value in values if value.mask is not None]
    return reduce(np.logical_or, masks) if len(masks) == len(values) else None


def _concatenate(spec: LayerSpec) -> Evaluate:
    axis = spec.integer("axis", -1)

    def evaluate(inputs: Inputs) -> tuple[Value, ...]:
        data = np.concatenate([value.data for value in inputs.values], axis=axis)
        return (Value(data, _concatenated_mask(inputs.values, axis)),)

    return evaluate


def _concatenated_mask(values: Sequence[Value], axis: int) -> Array | None:
    """Masks are spread over their tensors (an input without one counts everywhere), joined, and reduced over the last axis."""
    if all(value.mask is None for value in values):
        return None
    spread = [np.broadcast_to(True if value.mask is None else value.mask[..., np.newaxis], value.data.shape) for value in values]
    return np.any(np.concatenate(spread, axis=axis), axis=-1)


def _dot(spec: LayerSpec) -> Evaluate:
    axes = spec.integers("axes", 2)
    is_normalized = spec.flag("normalize", False)

    def evaluate(inputs: Inputs) -> tuple[Value, ...]:
        left, right = (value.data for value in inputs.values)
        left_axis, right_axis = axes[0] % left.ndim, axes[1] % right.ndim
        if is_normalized:
            left, right = normalize_l2(left, left_axis, _DOT_SMALLEST_NORM), normalize_l2(right, right_axis, _DOT_SMALLEST_NORM)
        return (Value(_batch_dot(left, right, left_axis, right_axis)),)

    return evaluate


def _batch_dot(left: Array, right: Array, left_axis: int, right_axis: int) -> Array:
    """Sum over one axis of each, row by row of the batch: (batch, rest of left..., rest of right...), at least two axes."""
    a, b = np.moveaxis(left, left_axis, -1), np.moveaxis(right, right_axis, 1)
    product = a.reshape(len(a), -1, a.shape[-1]) @ b.reshape(len(b), b.shape[1], -1)
    shape = (len(a), *a.shape[1:-1], *b.shape[2:])
    return product.reshape(shape if len(shape) > 1 else (len(a), 1))


LAYERS: dict[str, Callable[[LayerSpec], Evaluate]] = {
    "Add": _merging(lambda tensors: reduce(np.add, tensors)),
    "Subtract": _merging(lambda tensors: reduce(np.subtract, tensors)),
    "Multiply": _merging(lambda tensors: reduce(np.multiply, tensors)),
    "Average": _merging(lambda tensors: reduce(np.add, tensors) / len(tensors)),
    "Maximum": _merging(lambda tensors: reduce(np.maximum, tensors)),
    "Minimum": _merging(lambda tensors: reduce(np.minimum, tensors)),
    "Concatenate": _concatenate,
    "Dot": _dot,
}
