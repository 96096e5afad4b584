"""Attention layers, with free lengths of queries and keys, causal masks and a mask given as a tensor.

Projections are plain matrix products (no Einsum), because quantizers and engines know those.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fairlead.convert.graph_builder import GraphBuilder, Value
from fairlead.convert.layer_use import LayerUse
from fairlead.convert.layers.dense import project
from fairlead.core.dtype import DType

# A score so low that its share vanishes, as Keras's masked softmax sets it; finite, so that a row without any key stays a number.
_MASKED_SCORE = float(np.float32(-0.7) * np.finfo(np.float32).max)
# What Keras's Attention takes off a masked score.
_MASKED_DROP = 1e9


def convert_multi_head_attention(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """MultiHeadAttention over the second axis: softmax(q k / sqrt(key_dim)) v for each head, then the output projection."""
    del inputs  # read by argument name
    query, value, key = _query_value_key(use)
    if use.config.get("attention_axes") not in (None, [1], (1,)):
        raise use.refusal(f"has attention_axes={use.config.get('attention_axes')!r}, which is not supported")
    heads, key_dim = int(use.config.get("num_heads")), int(use.config.get("key_dim"))
    value_dim = int(use.config.get("value_dim") or key_dim)
    builder = use.builder
    queries = _heads(use, query, "query", heads, key_dim, (0, 2, 1, 3), scale=1 / math.sqrt(key_dim))
    keys = _heads(use, key, "key", heads, key_dim, (0, 2, 3, 1))
    values = _heads(use, value, "value", heads, value_dim, (0, 2, 1, 3))
    scores = builder.add("MatMul", [queries, keys])
    allowed = _allowed(use, scores)
    if allowed:
        scores = builder.add("Where", [allowed, scores, builder.floats(_MASKED_SCORE)])
    shares = builder.add("Softmax", [scores], axis=-1)
    joined = builder.add("Transpose", [builder.add("MatMul", [shares, values])], perm=[0, 2, 1, 3])
    flat = Value(builder.add("Reshape", [joined, builder.integers([0, 0, heads * value_dim])]), (None, query.shape[1], heads * value_dim))
    result = _project_output(use, flat, query)
    if use.constants.get("return_attention_scores", False):
        return [result, Value(shares, (None, heads, query.shape[1], key.shape[1]))]
    return [result]


def _heads(use: LayerUse, value: Value, role: str, heads: int, size: int, order: tuple[int, ...], *, scale: float = 1.0) -> str:
    """Return the projection of `value` as (batch, steps, heads, size) in memory order `order`; `scale` goes into the weights."""
    kernel = use.weight(f"{role}/kernel") * scale
    if kernel.shape[1:] != (heads, size):
        raise use.refusal(f"has a {role} kernel of shape {list(kernel.shape)}")
    bias = (use.weight(f"{role}/bias") * scale).ravel() if use.config.get("use_bias", True) else None
    projected = use.builder.arranged(project(use, value, kernel.reshape(kernel.shape[0], heads * size), bias))
    split = use.builder.add("Reshape", [projected.name, use.builder.integers([0, 0, heads, size])])
    return use.builder.add("Transpose", [split], perm=order)


def _project_output(use: LayerUse, flat: Value, query: Value) -> Value:
    kernel = use.weight("attention_output/kernel")
    asked = use.config.get("output_shape")
    features = [query.shape[-1]] if not asked else [asked] if isinstance(asked, int) else list(asked)
    if len(features) != 1 or kernel.shape[2:] != (features[0],):
        raise use.refusal(f"has output_shape={asked!r} and an output kernel of shape {list(kernel.shape)}")
    bias = use.weight("attention_output/bias") if use.config.get("use_bias", True) else None
    return project(use, flat, kernel.reshape(-1, kernel.shape[-1]), bias)


def _allowed(use: LayerUse, scores: str) -> str:
    """Return a bool tensor that broadcasts against (batch, heads, queries, keys), True where attention may look; "" for everywhere."""
    builder = use.builder
    given = use.arguments.get("attention_mask", ())
    allowed = ""
    if given:
        mask = builder.arranged(builder.cast(given[0], DType.BOOL))
        if mask.rank not in (2, 3, 4):
            raise use.refusal(f"has an attention mask of shape {list(mask.shape)}")
        # Keras puts the missing axes where the heads are; two axes are (queries, keys).
        allowed = mask.name if mask.rank != 3 else builder.add("Unsqueeze", [mask.name, builder.integers([1], "axes")])
    if use.constants.get("use_causal_mask", False):
        causal = _causal(builder, scores)
        allowed = builder.add("And", [allowed, causal]) if allowed else causal
    return allowed


def _causal(builder: GraphBuilder, scores: str) -> str:
    """Return (queries, keys) bool: query i may look at keys 0 to i."""
    zero, one = builder.integers(0, "zero"), builder.integers(1, "one")
    ranges = []
    for axis in (-2, -1):
        length = builder.add("Gather", [builder.add("Shape", [scores]), builder.integers(axis, "axis")], axis=0)
        ranges.append(builder.add("Range", [zero, length, one]))
    rows = builder.add("Unsqueeze", [ranges[0], builder.integers([1], "axes")])
    return builder.add("GreaterOrEqual", [rows, ranges[1]])


def convert_attention(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """Attention (Luong): scores are dot products, or a weighted sum of tanh(scale * (query + key))."""
    del inputs  # read by argument name
    builder = use.builder
    query, value, key = (builder.arranged(tensor) for tensor in _query_value_key(use))
    scale = use.weight("scale") if use.config.get("use_scale", False) else None
    mode = use.config.get("score_mode", "dot")
    if mode == "dot":
        scores = builder.add("MatMul", [query.name, builder.add("Transpose", [key.name], perm=[0, 2, 1])])
        if scale is not None:
            scores = builder.add("Mul", [scores, builder.floats(scale, "scale")])
    elif mode == "concat":
        summed = _sum_of_pairs(builder, query, key)
        summed = summed if scale is None else builder.add("Mul", [summed, builder.floats(scale, "scale")])
        total = builder.add("ReduceSum", [builder.add("Tanh", [summed]), builder.integers([-1], "axes")], keepdims=0)
        scores = builder.add("Mul", [total, builder.floats(use.weight("concat_score_weight"), "concat_score_weight")])
    else:
        raise use.refusal(f"has score_mode='{mode}', which is not supported")
    return _apply(use, scores, query, value, key)


def convert_additive_attention(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """AdditiveAttention (Bahdanau): scores are sums of scale * tanh(query + key)."""
    del inputs  # read by argument name
    builder = use.builder
    query, value, key = (builder.arranged(tensor) for tensor in _query_value_key(use))
    bent = builder.add("Tanh", [_sum_of_pairs(builder, query, key)])
    if use.config.get("use_scale", True):
        bent = builder.add("Mul", [bent, builder.floats(use.weight("scale"), "scale")])
    scores = builder.add("ReduceSum", [bent, builder.integers([-1], "axes")], keepdims=0)
    return _apply(use, scores, query, value, key)


def _apply(use: LayerUse, scores: str, query: Value, value: Value, key: Value) -> list[Value]:
    builder = use.builder
    if use.constants.get("use_causal_mask", False):
        lowered = builder.add("Sub", [scores, builder.floats(_MASKED_DROP)])
        scores = builder.add("Where", [_causal(builder, scores), scores, lowered])
    shares = builder.add("Softmax", [scores], axis=-1)
    result = Value(builder.add("MatMul", [shares, value.name]), (None, query.shape[1], value.shape[2]))
    if use.constants.get("return_attention_scores", False):
        return [result, Value(shares, (None, query.shape[1], key.shape[1]))]
    return [result]


def _sum_of_pairs(builder: GraphBuilder, query: Value, key: Value) -> str:
    """Return (batch, queries, keys, features)."""
    rows = builder.add("Unsqueeze", [query.name, builder.integers([2], "axes")])
    return builder.add("Add", [rows, builder.add("Unsqueeze", [key.name, builder.integers([1], "axes")])])


def _query_value_key(use: LayerUse) -> tuple[Value, Value, Value]:
    """Return query, value and key (the value where no key is given) as float32."""
    arguments = use.arguments
    if "query" not in arguments or "value" not in arguments:
        raise use.refusal("takes a query and a value")
    query, value = arguments["query"][0], arguments["value"][0]
    key = arguments["key"][0] if arguments.get("key") else value
    if any(tensor.rank != 3 for tensor in (query, value, key)):
        raise use.refusal(f"takes tensors with three axes, its query has shape {list(query.shape)}")
    query, value, key = (use.builder.as_float(tensor) for tensor in (query, value, key))
    return query, value, key
