"""What is watched of an input that is no table: a few numbers worked out of each image, wide row, series or text. Pure.

Takes tensors with rows first; gives name -> (rows,) float64, NaN where a row has nothing to work on. The same numbers are worked out of a
release's data and of what is observed later, so a name here is never given another meaning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from fairlead.core.interface import Array

# Of numbers: mean, standard deviation (population's formula), smallest and largest of a row's values, the share that is missing, and the
# mean distance of neighbours along the first axis, or the first two of an image (how sharp it is). Of rows of free length also that length.
NUMBER_SUMMARIES = ("mean", "std", "min", "max", "missing", "sharpness")
# Of texts: characters, words between spaces, and the shares of characters that are letters, digits, and neither letter, digit nor space.
TEXT_SUMMARIES = ("length", "words", "letters", "digits", "marks")


def summaries(tensor: Array) -> Mapping[str, Array]:
    """Return the summaries of a tensor: numbers (rows, ...), texts (rows,), or an object array of rows' arrays of free length."""
    if tensor.dtype.kind in "fiub":
        return _of_numbers(tensor.reshape(len(tensor), 1) if tensor.ndim < 2 else tensor)
    if len(tensor) and isinstance(tensor.reshape(-1)[0], np.ndarray | list | tuple):
        return _of_free_lengths(tensor)
    return _of_texts(tensor)


def _of_numbers(tensor: Array) -> dict[str, Array]:
    wide = np.asarray(tensor, dtype=np.float64)
    wide = np.where(np.isfinite(wide), wide, np.nan)
    flat = _flat(wide)
    present = (~np.isnan(flat)).sum(axis=1)
    size = max(flat.shape[1], 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        filled = np.where(np.isnan(flat), 0.0, flat)
        mean = filled.sum(axis=1) / present
        centred = np.where(np.isnan(flat), 0.0, flat - mean[:, None])
        std = np.sqrt((centred**2).sum(axis=1) / present)
    return {
        "mean": mean,
        "std": std,
        "min": _extreme(flat, present, np.inf, np.min),
        "max": _extreme(flat, present, -np.inf, np.max),
        "missing": 1.0 - present / size,
        "sharpness": _sharpness(wide),
    }


def _flat(tensor: Array) -> Array:
    return tensor.reshape(len(tensor), math.prod(tensor.shape[1:]))


def _extreme(flat: Array, present: Array, filler: float, choose: Callable[..., Array]) -> Array:
    if not flat.shape[1]:
        return np.full(len(flat), np.nan)
    found: Array = choose(np.where(np.isnan(flat), filler, flat), axis=1)
    return np.asarray(np.where(present > 0, found, np.nan))


def _sharpness(tensor: Array) -> Array:
    """Return the mean distance of neighbours; where an axis holds one value, nothing."""
    total, count = np.zeros(len(tensor)), np.zeros(len(tensor))
    for axis in range(1, min(tensor.ndim, 3)):
        steps = _flat(np.abs(np.diff(tensor, axis=axis)))
        is_there = ~np.isnan(steps)
        total += np.where(is_there, steps, 0.0).sum(axis=1)
        count += is_there.sum(axis=1)
    return np.asarray(np.divide(total, count, out=np.full(len(tensor), np.nan), where=count > 0))


def _of_free_lengths(rows: Array) -> dict[str, Array]:
    arrays = [np.asarray(row, dtype=np.float64).reshape(1, -1) for row in rows]
    parts = [_of_numbers(array) for array in arrays]
    found = {name: np.concatenate([part[name] for part in parts]) for name in NUMBER_SUMMARIES}
    return found | {"length": np.array([array.size for array in arrays], dtype=np.float64)}


def _of_texts(texts: Array) -> dict[str, Array]:
    flat = texts.reshape(len(texts), -1)[:, 0] if len(texts) else texts
    counted = np.array([_counts(text) for text in flat], dtype=np.float64).reshape(len(texts), len(TEXT_SUMMARIES))
    return {name: counted[:, place] for place, name in enumerate(TEXT_SUMMARIES)}


def _counts(text: object) -> tuple[float, ...]:
    if text is None or (isinstance(text, float) and math.isnan(text)):  # NaN stands for a missing text, too
        return (np.nan,) * len(TEXT_SUMMARIES)
    plain = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
    size = max(len(plain), 1)
    letters, digits = sum(map(str.isalpha, plain)), sum(map(str.isdigit, plain))
    marks = len(plain) - letters - digits - sum(map(str.isspace, plain))
    return len(plain), len(plain.split()), letters / size, digits / size, marks / size
