"""Draws rows from a model's interface where the user gave no data. Pure, seeded.

Takes an interface; gives a Dataset without a target, marked as synthetic. Such rows show that two models compute the same, and how fast;
they say nothing about quality.
"""

from __future__ import annotations

import numpy as np

from fairlead.core.dataset import Dataset
from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface, TensorSpec

_FREE_SIZE = 32  # of a dimension that the model leaves open: long enough for the pooling of common networks
_WORDS = ("a", "b", "some words", "größer", "")
_MISSING_SHARE = 0.05


def draw(interface: Interface, *, rows: int, seed: int, allow_missing: bool = False) -> Dataset:
    """Return `rows` rows: normal floats, whole numbers and booleans 0 or 1 (any embedding takes them), a few short texts.

    With `allow_missing`, one float in twenty is missing (NaN).
    """
    generator = np.random.default_rng(seed)
    inputs = {spec.name: _draw_one(spec, rows, generator) for spec in interface.inputs}
    free = any(None in spec.shape[1:] for spec in interface.inputs)
    sizes = f"; open dimensions of size {_FREE_SIZE}" if free else ""
    floats = [tensor for tensor in inputs.values() if allow_missing and tensor.dtype.kind == "f"]
    for tensor in floats:
        tensor[generator.random(tensor.shape) < _MISSING_SHARE] = np.nan
    missing = ", 1 in 20 missing" if floats else ""
    description = f"{rows} drawn rows, seed {seed}: normal numbers{missing}, whole numbers 0 or 1{sizes}"
    return Dataset(inputs, description=description, is_synthetic=True)


def _draw_one(spec: TensorSpec, rows: int, generator: np.random.Generator) -> Array:
    shape = (rows, *(_FREE_SIZE if size is None else size for size in spec.shape[1:]))
    if spec.dtype is DType.BYTES:
        return np.asarray(generator.choice(np.asarray(_WORDS, dtype=object), size=shape), dtype=object)
    if spec.dtype.is_float:
        return generator.standard_normal(shape).astype(spec.dtype.numpy)
    return generator.integers(0, 2, size=shape).astype(spec.dtype.numpy)
