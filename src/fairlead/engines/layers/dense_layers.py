"""Dense, EinsumDense and Embedding (https://keras.io/api/layers/core_layers/)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fairlead.core.interface import Array
from fairlead.engines.layers.activation_functions import activation
from fairlead.engines.layers.layer_spec import LayerSpec
from fairlead.engines.layers.value import Evaluate, on_first
from fairlead.errors import RequestError


def _dense(spec: LayerSpec) -> Evaluate:
    spec.integer("units")
    kernel, bias = spec.weight("kernel"), spec.weight_if(spec.flag("use_bias", True), "bias")
    act = activation(spec)
    return on_first(lambda x: act(plus(x @ kernel, bias)))


def _einsum_dense(spec: LayerSpec) -> Evaluate:
    equation = str(spec.option("equation"))
    spec.option("output_shape")
    kernel, bias = spec.weight("kernel"), spec.weight_if(bool(spec.option("bias_axes", None)), "bias")
    act = activation(spec)
    return on_first(lambda x: act(plus(np.einsum(equation, x, kernel, optimize=True), bias)))


def _embedding(spec: LayerSpec) -> Evaluate:
    spec.integer("input_dim")
    spec.integer("output_dim")
    table = spec.weight("embeddings")

    def look_up(x: Array) -> Array:
        indices = x.astype(np.int64)  # Keras cuts off fractions too
        if np.any((indices < 0) | (indices >= len(table))):
            raise RequestError(f"Layer '{spec.name}' looks up a number outside of 0 to {len(table) - 1}.")
        return table[indices]

    return on_first(look_up)


def plus(x: Array, bias: Array | None) -> Array:
    """Return x + bias, or x where there is no bias."""
    return x if bias is None else x + bias


LAYERS: dict[str, Callable[[LayerSpec], Evaluate]] = {"Dense": _dense, "EinsumDense": _einsum_dense, "Embedding": _embedding}
