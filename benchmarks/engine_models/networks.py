"""Three networks, saved by Keras: a small CNN, one like MobileNetV2, a small transformer. Seeded; trained on nothing: only time counts."""

from __future__ import annotations

from pathlib import Path

import keras


def small_cnn(folder: Path) -> Path:
    """The digit network of the demo: two convolutions and a dense layer, 28 x 28 x 1."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    return _save(model, folder / "small-cnn.keras")


def mobile_net(folder: Path) -> Path:
    """MobileNetV2 at 96 x 96 x 3 and half width, as Keras builds it (https://arxiv.org/abs/1801.04381)."""
    keras.utils.set_random_seed(0)
    return _save(keras.applications.MobileNetV2((96, 96, 3), alpha=0.5, weights=None, classes=100), folder / "mobile-net.keras")


def transformer(folder: Path) -> Path:
    """Four encoder blocks of width 128 with four heads over 32 positions, then the mean and two classes."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    tokens = keras.Input((32, 128))
    x = tokens
    for _ in range(4):
        x = layers.LayerNormalization()(x + layers.MultiHeadAttention(4, 32)(x, x))
        x = layers.LayerNormalization()(x + layers.Dense(128)(layers.Dense(512, activation="relu")(x)))
    scores = layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling1D()(x))
    return _save(keras.Model(tokens, scores), folder / "transformer.keras")


def _save(model: keras.Model, path: Path) -> Path:
    model.save(path)
    return path
