"""Attention, AdditiveAttention and MultiHeadAttention (https://keras.io/api/layers/attention_layers/).

A masked score counts as -1e9: beside real scores it has no weight; where all are masked, all have the same weight.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np

from fairlead.core.interface import Array
from fairlead.engines.layers.activation_functions import softmax
from fairlead.engines.layers.activation_layers import MASKED_SCORE
from fairlead.engines.layers.dense_layers import plus
from fairlead.engines.layers.layer_spec import LayerSpec
from fairlead.engines.layers.value import Evaluate, Inputs, Value


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

    def evaluate(inputs: Inputs) -> tuple[Value, ...]:
        query, value = inputs.values[:2]
        key = inputs.values[2] if len(inputs.values) > 2 else value
        scores = score(query.data, key.data)
        masks = [] if value.mask is None else [value.mask[:, np.newaxis, :]]
        masks += [_causal(scores.shape[-2:])] if inputs.constants.get("use_causal_mask") else []
        weights = softmax(np.where(reduce(np.logical_and, masks), scores, MASKED_SCORE) if masks else scores)
        result = weights @ value.data
        if query.mask is not None:
            result = np.where(query.mask[..., np.newaxis], result, 0.0)
        output = Value(result, query.mask)
        return (output, Value(weights)) if inputs.constants.get("return_attention_scores") else (output,)

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

    def evaluate(inputs: Inputs) -> tuple[Value, ...]:
        query, value, key, mask = _head_arguments(inputs, spec)
        if query.data.ndim > 3 and (axes is not None or mask is not None):
            raise spec.refusal("attention_axes")
        heads = project("query", query.data)
        scores = heads @ np.swapaxes(project("key", key.data), -2, -1) / np.sqrt(heads.shape[-1])
        weights = softmax(scores if mask is None else np.where(mask[:, np.newaxis], scores, MASKED_SCORE))
        is_scored = bool(inputs.constants.get("return_attention_scores"))
        if is_scored and mask is not None:
            weights = np.where(mask[:, np.newaxis], weights, 0.0)
        mixed = np.swapaxes(weights @ project("value", value.data), 1, 2)
        result = plus(np.tensordot(mixed, kernels["attention_output"], 2), biases["attention_output"])
        output = Value(result.reshape(*query.data.shape[:-1], *result.shape[2:]), query.mask)
        return (output, Value(weights)) if is_scored else (output,)

    return evaluate


def _head_arguments(inputs: Inputs, spec: LayerSpec) -> tuple[Value, Value, Value, Array | None]:
    """Return query, value, key (the value where there is none) and all masks in one: (batch or 1, queries, keys)."""
    by_name = dict(zip(inputs.argument_names or ("query", "value", "key", "attention_mask"), inputs.values, strict=False))
    if unknown := set(by_name) - {"query", "value", "key", "attention_mask"}:
        raise spec.refusal(min(unknown))
    query, value = by_name["query"], by_name["value"]
    key = by_name.get("key", value)
    masks = [by_name["attention_mask"].data.astype(np.bool_)] if "attention_mask" in by_name else []
    masks += [] if query.mask is None else [query.mask[:, :, np.newaxis]]
    masks += [each.mask[:, np.newaxis, :] for each in (value, key) if each.mask is not None]
    if inputs.constants.get("use_causal_mask"):
        masks.append(_causal((query.data.shape[1], value.data.shape[1]))[np.newaxis])
    return query, value, key, reduce(np.logical_and, masks) if masks else None


LAYERS: dict[str, Callable[[LayerSpec], Evaluate]] = {
    "Attention": _attention,
    "AdditiveAttention": _additive_attention,
    "MultiHeadAttention": _multi_head_attention,
}
