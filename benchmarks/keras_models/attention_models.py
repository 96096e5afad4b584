"""Models with attention and with the normalization and preprocessing layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_models.case import KERAS_3, Keras, cases


def multi_head_attention(keras: Keras) -> Any:
    """Self-attention, cross-attention with a key of its own, value size, output shape, without bias."""
    layers = keras.layers
    x, y = keras.Input((None, 8)), keras.Input((6, 5))
    outputs = [
        layers.MultiHeadAttention(2, 4)(x, x),
        layers.MultiHeadAttention(3, 4, value_dim=5, use_bias=False, dropout=0.1)(x, y),
        layers.MultiHeadAttention(2, 3, output_shape=7)(x, y, y),
    ]
    return keras.Model([x, y], outputs)


def causal_attention(keras: Keras) -> Any:
    """Self-attention that sees only what came before; the scores returned as well."""
    layers = keras.layers
    x = keras.Input((None, 8))
    seen, scores = layers.MultiHeadAttention(2, 4)(x, x, return_attention_scores=True)
    return keras.Model(x, [layers.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True), seen, scores])


def transformer_encoder(keras: Keras) -> Any:
    """Token embedding, attention, layer normalization, GELU, residual connections."""
    layers = keras.layers
    words = keras.Input((None,), dtype="int32")
    x = layers.Embedding(20, 8)(words)
    for _ in range(2):
        attended = layers.MultiHeadAttention(2, 4, dropout=0.1)(x, x)
        x = layers.LayerNormalization(epsilon=1e-6)(layers.Add()([x, layers.Dropout(0.1)(attended)]))
        hidden = layers.Dense(8)(layers.Dense(16, activation="gelu")(x))
        x = layers.LayerNormalization(epsilon=1e-6)(layers.Add()([x, hidden]))
    return keras.Model(words, layers.Dense(3, "softmax")(layers.GlobalAveragePooling1D()(x)))


def transformer_with_mask(keras: Keras) -> Any:
    """Attention over padded text, masked by the embedding."""
    layers = keras.layers
    words = keras.Input((None,), dtype="int32")
    x = layers.Embedding(20, 8, mask_zero=True)(words)
    attended = layers.MultiHeadAttention(2, 4)(x, x)
    x = layers.LayerNormalization()(layers.Add()([x, attended]))
    return keras.Model(words, layers.Dense(3, "softmax")(layers.GlobalAveragePooling1D()(x)))


def vision_transformer(keras: Keras) -> Any:
    """Patches by convolution, reshape, attention."""
    layers = keras.layers
    inputs = keras.Input((16, 16, 3))
    x = layers.Reshape((16, 8))(layers.Conv2D(8, 4, strides=4)(inputs))
    y = layers.LayerNormalization()(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4)(y, y)])
    return keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x)))


def attention(keras: Keras) -> Any:
    """Attention with a scale and scores of both kinds, additive attention."""
    layers = keras.layers
    query, value = keras.Input((None, 6)), keras.Input((5, 6))
    outputs = [
        layers.Attention()([query, value]),
        layers.Attention(use_scale=True)([query, value, value]),
        layers.Attention(score_mode="concat")([query, value]),
        layers.Attention(use_scale=True, score_mode="concat")([query, value]),
        layers.AdditiveAttention()([query, value]),
        layers.AdditiveAttention(use_scale=False)([query, value]),
    ]
    return keras.Model([query, value], outputs)


def causal_dot_attention(keras: Keras) -> Any:
    """Attention that sees only what came before."""
    x = keras.Input((None, 6))
    return keras.Model(x, keras.layers.Attention()([x, x], use_causal_mask=True))


def batch_normalization(keras: Keras) -> Any:
    """Batch normalization over several axes, without scale, without centre."""
    layers = keras.layers
    x, image = keras.Input((7, 5)), keras.Input((6, 6, 3))
    outputs = [
        layers.BatchNormalization()(x),
        layers.BatchNormalization(axis=1, epsilon=1e-2)(x),
        layers.BatchNormalization(scale=False)(image),
        layers.BatchNormalization(center=False)(image),
        layers.BatchNormalization(center=False, scale=False)(image),
    ]
    return keras.Model([x, image], outputs)


def layer_normalization(keras: Keras) -> Any:
    """Layer normalization over one and several axes, without scale, without centre."""
    layers = keras.layers
    x = keras.Input((4, 5, 6))
    outputs = [
        layers.LayerNormalization()(x),
        layers.LayerNormalization(axis=[2, 3], epsilon=1e-5)(x),
        layers.LayerNormalization(axis=1)(x),
        layers.LayerNormalization(scale=False)(x),
        layers.LayerNormalization(center=False)(x),
    ]
    return keras.Model(x, outputs)


def group_and_unit_normalization(keras: Keras) -> Any:
    """Group, instance and unit normalization."""
    layers = keras.layers
    x = keras.Input((4, 5, 6))
    outputs = [
        layers.GroupNormalization(3)(x),
        layers.GroupNormalization(-1, scale=False)(x),
        layers.GroupNormalization(2, axis=1)(x),
        layers.UnitNormalization()(x),
        layers.UnitNormalization(axis=[1, 2])(x),
    ]
    return keras.Model(x, outputs)


def rms_normalization(keras: Keras) -> Any:
    """Normalization by the root of the mean square."""
    x = keras.Input((5, 6))
    return keras.Model(x, keras.layers.RMSNormalization()(x))


def preprocessing(keras: Keras) -> Any:
    """Normalization that was adapted, given numbers, over another axis, inverted; Rescaling."""
    layers = keras.layers
    numbers, pixels = keras.Input((5,)), keras.Input((6, 6, 3))
    adapted, rows = layers.Normalization(), layers.Normalization(axis=(1, 3))
    draw = np.random.default_rng(3)
    adapted.adapt(draw.normal(2.0, 3.0, (50, 5)).astype(np.float32))
    rows.adapt(draw.normal(1.0, 2.0, (9, 6, 6, 3)).astype(np.float32))
    outputs = [
        layers.Dense(3)(adapted(numbers)),
        layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 1.0, 0.25])(pixels),
        layers.Normalization(axis=None, mean=3.0, variance=2.0)(numbers),
        rows(pixels),
        layers.Conv2D(3, 3)(layers.Rescaling(1.0 / 127.5, offset=-1.0)(pixels)),
        layers.Rescaling([0.5, 1.0, 2.0], offset=[0.1, 0.2, 0.3])(pixels),
    ]
    return keras.Model([numbers, pixels], outputs)


def inverted_normalization(keras: Keras) -> Any:
    """Normalization turned around, as after a regression."""
    layers = keras.layers
    x = keras.Input((4,))
    return keras.Model(x, layers.Normalization(mean=[1.0, 2.0], variance=[4.0, 9.0], invert=True)(layers.Dense(2)(x)))


CASES = cases(
    {
        multi_head_attention: {},
        causal_attention: {},
        transformer_encoder: {},
        transformer_with_mask: {"padded": 0.5},
        vision_transformer: {},
        attention: {},
        causal_dot_attention: {},
        batch_normalization: {},
        layer_normalization: {},
        group_and_unit_normalization: {},
        rms_normalization: {"frameworks": KERAS_3},
        preprocessing: {},
        inverted_normalization: {},
    }
)
