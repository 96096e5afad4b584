"""Kind of layer -> how to evaluate it. Takes a `LayerSpec`, gives an `Evaluate`; raises UnsupportedError for what is not known."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from fairlead.core.interface import Array
from fairlead.engines.layers import (
    activation_layers,
    attention_layers,
    convolution_layers,
    dense_layers,
    merge_layers,
    normalization_layers,
    pooling_layers,
    recurrent_layers,
    resizing_layers,
    shape_layers,
)
from fairlead.engines.layers.layer_spec import LayerSpec
from fairlead.engines.layers.value import Evaluate, Inputs, Value
from fairlead.errors import UnsupportedError


def build(spec: LayerSpec) -> Evaluate:
    """Return the evaluation of one layer; every option and weight of it is known and used, or UnsupportedError names it."""
    builder = _BUILDERS.get(spec.kind)
    if builder is None:
        raise UnsupportedError(f"Layer '{spec.name}' is a {spec.kind}, which Fairlead cannot evaluate by itself.")
    evaluate = builder(spec)
    spec.finish()
    return evaluate


def _time_distributed(spec: LayerSpec) -> Evaluate:
    """The wrapped layer sees every step as a row of its own."""
    inner_spec = spec.inner("layer", "layer")
    inner = build(inner_spec)

    def evaluate(inputs: Inputs) -> tuple[Value, ...]:
        x, mask = inputs.first.data, inputs.first.mask
        if mask is not None and inner_spec.kind in _MASKED_KINDS:
            raise spec.refusal("layer")
        rows = Inputs((Value(_merge_steps(x)),), inputs.constants)
        (result,) = inner(rows)
        return (Value(result.data.reshape(*x.shape[:2], *result.data.shape[1:]), mask),)

    return evaluate


def _merge_steps(x: Array) -> Array:
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def _masking(spec: LayerSpec) -> Evaluate:
    # Keras compares in float32, and so do inputs that came as float32.
    masked = float(np.float32(spec.number("mask_value", 0.0)))

    def evaluate(inputs: Inputs) -> tuple[Value, ...]:
        x = inputs.first.data
        mask = np.any(x != masked, axis=-1)
        return (Value(np.where(mask[..., np.newaxis], x, 0.0), mask),)

    return evaluate


# Layers that look at a mask, which TimeDistributed would have to hand on step by step.
_MASKED_KINDS = frozenset({"Softmax", "Bidirectional", "GlobalAveragePooling1D", *recurrent_layers.LAYERS, *attention_layers.LAYERS})
_BUILDERS: Mapping[str, Callable[[LayerSpec], Evaluate]] = {
    "TimeDistributed": _time_distributed,
    "Masking": _masking,
    **activation_layers.LAYERS,
    **attention_layers.LAYERS,
    **convolution_layers.LAYERS,
    **dense_layers.LAYERS,
    **merge_layers.LAYERS,
    **normalization_layers.LAYERS,
    **pooling_layers.LAYERS,
    **recurrent_layers.LAYERS,
    **resizing_layers.LAYERS,
    **shape_layers.LAYERS,
}
