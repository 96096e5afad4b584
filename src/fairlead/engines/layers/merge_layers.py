"""Layers that merge several tensors: elementwise, by concatenation, by dot product (https://keras.io/api/layers/merging_layers/)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np

from fairlead.core.interface import Array
from fairlead.engines.layers.layer_spec import LayerSpec
from fairlead.engines.layers.normalization_layers import normalize_l2
from fairlead.engines.layers.value import Evaluate, Inputs

_DOT_SMALLEST_NORM = 1e-7


def _merging(merge: Callable[[Sequence[Array]], Array]) -> Callable[[LayerSpec], Evaluate]:
    def build(spec: LayerSpec) -> Evaluate:
        del spec
        return lambda inputs: (merge(_same_rank(inputs.tensors)),)

    return build


def _same_rank(tensors: Sequence[Array]) -> list[Array]:
    """Keras gives tensors of lower rank new axes after the batch."""
    rank = max(tensor.ndim for tensor in tensors)
    return [tensor.reshape(len(tensor), *([1] * (rank - tensor.ndim)), *tensor.shape[1:]) for tensor in tensors]


def _concatenate(spec: LayerSpec) -> Evaluate:
    axis = spec.integer("axis", -1)
    return lambda inputs: (np.concatenate(inputs.tensors, axis=axis),)


def _dot(spec: LayerSpec) -> Evaluate:
    axes = spec.integers("axes", 2)
    is_normalized = spec.flag("normalize", False)

    def evaluate(inputs: Inputs) -> tuple[Array, ...]:
        left, right = inputs.tensors
        left_axis, right_axis = axes[0] % left.ndim, axes[1] % right.ndim
        if is_normalized:
            left, right = normalize_l2(left, left_axis, _DOT_SMALLEST_NORM), normalize_l2(right, right_axis, _DOT_SMALLEST_NORM)
        return (_batch_dot(left, right, left_axis, right_axis),)

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
