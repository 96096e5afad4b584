"""Attention, AdditiveAttention and MultiHeadAttention (https://keras.io/api/layers/attention_layers/).

A masked score counts as -1e9: beside real scores it has no weight; where all are masked, all have the same weight.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np

from fairlead.core.interface import Array
from fairlead.engines.layers.activation_functions import softmax
from fairlead.engines.layers.dense_layers import plus
from fairlead.engines.layers.layer_spec import LayerSpec
from fairlead.engines.layers.value import Evaluate, Inputs

_MASKED_SCORE = -1e9


def _attention(spec: LayerSpec) -> Evaluate:
    scale = spec.weight_if(spec.flag("use_scale", False), "scale")
    factor = np.asarray(1.0) if scale is None else scale
    if spec.choice("score_mode", ("dot", "concat"), "dot") == "dot":
        return _attending(lambda query, key: query @ np.swapaxes(key, -2, -1) * factor)
    weight = spec.weight("concat_score_weight")
    return _attending(lambda query, key: weight * np.sum(np.tanh(factor * _pairs(query, key)), axis=-1))


def _additive_attention(spec: LayerSpec) -> Evaluate:
    scale = spec.weight_if(spec.flag("use_scale", True), "scale")
    factor = np.asarray(1.0) if scale is None else scale
    return _attending(lambda query, key: np.sum(factor * np.tanh(_pairs(query, key)), axis=-1))


def _pairs(query: Array, key: Array) -> Array:
    """Return every query plus every key: (batch, queries, keys, features)."""
    return query[..., :, np.newaxis, :] + key[..., np.newaxis, :, :]


def _attending(score: Callable[[Array, Array], Array]) -> Evaluate:
    """Return the evaluation that weighs values by `score`(query, key); the inputs are query, value and, where it differs, key."""

    def evaluate(inputs: Inputs) -> tuple[Array, ...]:
        query, value = inputs.tensors[:2]
        scores = score(query, inputs.tensors[2] if len(inputs.tensors) > 2 else value)
        if inputs.is_set("use_causal_mask"):
            scores = np.where(_causal(scores.shape[-2:]), scores, _MASKED_SCORE)
        weights = softmax(scores)
        return (weights @ value, weights) if inputs.is_set("return_attention_scores") else (weights @ value,)

    return evaluate


def _causal(shape: tuple[int, ...]) -> Array:
    """A query sees the keys up to its own place."""
    return np.tri(shape[0], shape[1], dtype=np.bool_)


def _multi_head_attention(spec: LayerSpec) -> Evaluate:
    for key in ("num_heads", "key_dim", "value_dim", "output_shape"):
        spec.option(key, None)  # they show in the shapes of the kernels
    has_bias, axes = spec.flag("use_bias", True), spec.option("attention_axes", None)
    kernels = {role: spec.weight(f"{role}/kernel") for role in ("query", "key", "value", "attention_output")}
    biases = {role: spec.weight_if(has_bias, f"{role}/bias") for role in kernels}

    def project(role: str, x: Array) -> Array:
        """(batch, places, features) becomes (batch, heads, places, size)."""
        projected = plus(np.tensordot(x.reshape(len(x), -1, x.shape[-1]), kernels[role], 1), biases[role])
        return np.swapaxes(projected, 1, 2)

    def evaluate(inputs: Inputs) -> tuple[Array, ...]:
        (query,), (value,) = inputs.arguments["query"], inputs.arguments["value"]
        (key,) = inputs.arguments.get("key", (value,))
        mask = _head_mask(inputs, query, value)
        if query.ndim > 3 and (axes is not None or mask is not None):
            raise spec.refusal("attention_axes")
        heads = project("query", query)
        scores = heads @ np.swapaxes(project("key", key), -2, -1) / np.sqrt(heads.shape[-1])
        weights = softmax(scores if mask is None else np.where(mask, scores, _MASKED_SCORE))
        mixed = np.swapaxes(weights @ project("value", value), 1, 2)
        result = plus(np.tensordot(mixed, kernels["attention_output"], 2), biases["attention_output"])
        output = result.reshape(*query.shape[:-1], *result.shape[2:])
        return (output, weights) if inputs.is_set("return_attention_scores") else (output,)

    return evaluate


def _head_mask(inputs: Inputs, query: Array, value: Array) -> Array | None:
    """Return which scores count, (batch or 1, 1, queries, keys); None where all do."""
    masks = [mask.astype(np.bool_) for mask in inputs.arguments.get("attention_mask", ())]
    if inputs.is_set("use_causal_mask"):
        masks.append(_causal((query.shape[1], value.shape[1]))[np.newaxis])
    return reduce(np.logical_and, masks)[:, np.newaxis] if masks else None


LAYERS: dict[str, Callable[[LayerSpec], Evaluate]] = {
    "Attention": _attention,
    "AdditiveAttention": _additive_attention,
    "MultiHeadAttention": _multi_head_attention,
}
