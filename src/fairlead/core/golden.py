"""A version's golden requests: rows with the answers that were proven, which a server must reproduce before it serves. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fairlead.core.interface import Array, Tensors


@dataclass(frozen=True)
class Golden:
    """`inputs` name -> (rows, ...) and the `outputs` that the verified model gave for them.

    `tolerance` is the largest difference allowed per number, absolute below 1 and relative above; texts and whole numbers must be equal.
    """

    inputs: Tensors = field(repr=False)
    outputs: Tensors = field(repr=False)
    tolerance: float = 1e-4

    def mismatch(self, answers: Tensors) -> str:
        """Return what differs most, in words for a person, or "" where `answers` agree with the golden ones."""
        for name, expected in self.outputs.items():
            if name not in answers:
                return f"output '{name}' is missing"
            got = answers[name]
            if got.shape != expected.shape:
                return f"output '{name}' has shape {list(got.shape)} instead of {list(expected.shape)}"
            difference = _difference(got, expected)
            if difference > self.tolerance:
                return f"output '{name}' differs by {difference:.3g}, allowed is {self.tolerance:.3g}"
        return ""


def _difference(got: Array, expected: Array) -> float:
    """Largest |got - expected| / max(|expected|, 1); infinite for unequal texts, whole numbers, and NaN against a number."""
    if expected.dtype.kind != "f" or got.dtype.kind != "f":
        return 0.0 if np.array_equal(got, expected) else float("inf")
    wide, right = got.astype(np.float64), expected.astype(np.float64)
    is_same = (wide == right) | (np.isnan(wide) & np.isnan(right))  # equal infinities and NaN would give NaN below
    if is_same.all():
        return 0.0
    with np.errstate(invalid="ignore"):
        differences = np.abs(wide - right)[~is_same] / np.maximum(np.abs(right[~is_same]), 1.0)
    return float("inf") if np.isnan(differences).any() else float(differences.max())
