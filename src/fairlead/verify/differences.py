"""How far two tensors are apart, element by element. Pure. A NaN is never equal to anything but a NaN."""

from __future__ import annotations

import numpy as np

from fairlead.core.interface import Array


def differences(original: Array, candidate: Array) -> tuple[Array, Array]:
    """Return element-wise |candidate - original|, and the same divided by max(|original|, 1), both float64.

    Text and booleans differ by 0 or 1. Equal infinities differ by 0. NaN beside NaN differs by 0 (and is counted elsewhere), NaN beside a
    number by infinity; so do all elements where shapes are not the same.
    """
    if original.shape != candidate.shape:
        infinite = np.full(1, np.inf)
        return infinite, infinite
    if original.dtype.kind in "OUSb" or candidate.dtype.kind in "OUSb":
        unequal = np.asarray(original != candidate, dtype=np.float64)
        return unequal, unequal
    left, right = original.astype(np.float64), candidate.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        absolute = np.abs(right - left)
        scaled = absolute / np.maximum(np.abs(left), 1.0)
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    absolute[same] = scaled[same] = 0.0
    undefined = np.isnan(absolute) | ~np.isfinite(left)
    absolute[undefined & ~same] = scaled[undefined & ~same] = np.inf
    return absolute, scaled
