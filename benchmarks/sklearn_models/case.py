"""One model of the battery: how it is trained, on which rows it is asked, and as which file it is saved."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import datasets
from sklearn.model_selection import train_test_split

SEED = 7


@dataclass(frozen=True)
class Split:
    """Rows to train on and rows to ask."""

    train_x: Any
    test_x: Any
    train_y: Any
    test_y: Any


@dataclass(frozen=True)
class Case:
    """`build` gives an unfitted estimator; `split` its data; `suffix` the file's format; `is_refused`: it must be refused by name;
    `is_kept`: it has no exact ONNX form and must run as it is.
    """

    name: str
    build: Callable[[], Any]
    split: Callable[[], Split]
    suffix: str = "joblib"
    is_refused: bool = False
    is_kept: bool = False


def fit(case: Case) -> tuple[Any, Any]:
    """Return the fitted estimator and the rows to ask."""
    data = case.split()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # convergence and small classes do not matter here
        return case.build().fit(data.train_x, data.train_y), data.test_x


def save(estimator: Any, folder: Path, suffix: str) -> Path:
    """Write the estimator as a pickle, joblib (compressed) or skops file."""
    path = folder / f"model.{suffix}"
    if suffix == "skops":
        import skops.io

        skops.io.dump(estimator, path)
    elif suffix == "joblib":
        import joblib

        joblib.dump(estimator, path, compress=3)
    else:
        import pickle

        path.write_bytes(pickle.dumps(estimator))
    return path


@cache
def bundled(name: str) -> Split:
    """One of scikit-learn's own data sets: breast_cancer, wine, iris, digits, diabetes."""
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    return Split(*train_test_split(x, y, random_state=SEED))


@cache
def named_wine() -> Split:
    """Wine with text labels, one of them not ASCII."""
    plain = bundled("wine")
    labels = np.array(["Grüner", "Merlot", "Rosé"])
    return Split(plain.train_x, plain.test_x, labels[plain.train_y], labels[plain.test_y])


@cache
def with_gaps(name: str = "breast_cancer") -> Split:
    """A bundled data set with one value in ten missing."""
    plain, generator = bundled(name), np.random.default_rng(SEED)
    train, test = plain.train_x.copy(), plain.test_x.copy()
    for rows in (train, test):
        rows[generator.random(rows.shape) < 0.1] = np.nan
    return Split(train, test, plain.train_y, plain.test_y)


@cache
def customers() -> Split:
    """Drawn rows: age, income (some missing), city and plan (text, some not ASCII, one unseen in training), visits (whole numbers)."""
    generator = np.random.default_rng(SEED)
    count = 600
    age, income = generator.normal(45, 15, count), generator.lognormal(10, 0.6, count)
    city = generator.choice(["Köln", "München", "東京", "São Paulo", "", 'a "b", c'], count)
    plan, visits = generator.choice(["basic", "plus", "pro"], count), generator.integers(0, 6, count)
    chance = (plan == "pro") * 1.5 + (city == "東京") - (age - 45) / 20 + visits * 0.3 - 1
    y = np.where(chance + generator.normal(size=count) * 0.5 > 0, "stays", "leaves")
    table = np.empty((count, 5), dtype=object)
    for position, column in enumerate((age, income, city, plan, visits.astype(float))):
        table[:, position] = column.tolist()
    table[generator.random(count) < 0.1, 1] = np.nan
    table[-40:, 2] = "Zürich"
    return Split(table[:400], table[400:], y[:400], y[400:])


CUSTOMER_COLUMNS = ("age", "income", "city", "plan", "visits")


@cache
def customers_by_name() -> Split:
    """The same rows as a table with named columns, as a data frame gives it."""
    import pyarrow as pa

    plain = customers()
    table = pa.table({name: plain.train_x[:, position].tolist() for position, name in enumerate(CUSTOMER_COLUMNS)})
    return Split(table, plain.test_x, plain.train_y, plain.test_y)


@cache
def reviews() -> Split:
    """Drawn short texts in several scripts, with punctuation, digits and empty ones."""
    generator = np.random.default_rng(SEED)
    good = ["great", "excellent", "love", "Superb", "ÄUSSERST", "gut", "prima", "素晴らしい", "très-bon", "délicieux", "отлично"]
    bad = ["bad", "awful", "hate", "schlecht", "übel", "terrible", "最悪", "mauvais", "ужасно", "never"]
    rest = [
        "the",
        "a",
        "this",
        "is",
        "film",
        "movie",
        "2024",
        "v2.0",
        "und",
        "die",
        "it's",
        "e-mail",
        "x_y",
        "naïve",
        "café",
        "n°5",
        "½",
        "—",
        "!!!",
        "...",
        "😀",
        "of",
    ]
    texts, labels = [], []
    for number in range(500):
        is_good = bool(generator.random() < 0.5)
        words = [*generator.choice(good if is_good else bad, generator.integers(0, 3)), *generator.choice(rest, generator.integers(0, 12))]
        generator.shuffle(words)
        text = " ".join(map(str, words))
        texts.append(text.upper() if number % 5 == 0 else text.title() if number % 7 == 0 else text)
        labels.append(int(is_good))
    table = np.array(texts, dtype=object)
    return Split(texts[:350], table[350:, np.newaxis], np.array(labels[:350]), np.array(labels[350:]))
