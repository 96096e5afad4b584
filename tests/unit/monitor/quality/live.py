"""Answers and labels as a log gives them, made up with a known truth."""

from __future__ import annotations

import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec
from fairlead.core.outcome import LabelledRows

LABELS = ("cat", "dog", "owl")
CLASSES = Interface(
    (TensorSpec("x", DType.FP32, (None, 2), ("a", "b")),),
    (TensorSpec("scores", DType.FP32, (None, 3)),),
    Task.CLASSIFICATION,
    Decision(DecisionKind.ARGMAX, "scores", scores="scores"),
    LABELS,
)
FLAG = Interface(
    (TensorSpec("x", DType.FP32, (None, 2)),),
    (TensorSpec("p", DType.FP32, (None, 1)),),
    Task.CLASSIFICATION,
    Decision(DecisionKind.THRESHOLD, "p", scores="p"),
)
NUMBER = Interface(
    (TensorSpec("x", DType.FP32, (None, 2)),),
    (TensorSpec("y", DType.FP32, (None, 1)),),
    Task.REGRESSION,
    Decision(DecisionKind.VALUE, "y"),
)
WORDS = Interface(
    (TensorSpec("x", DType.FP32, (None, 2)),),
    (TensorSpec("label", DType.BYTES, (None,)), TensorSpec("scores", DType.FP32, (None, 2))),
    Task.CLASSIFICATION,
    Decision(DecisionKind.LABEL, "label", scores="scores"),
)


def objects(values: list) -> np.ndarray:
    found = np.empty(len(values), object)
    found[:] = values
    return found


def piece(scores: np.ndarray, labels: list, **more: np.ndarray) -> dict[str, np.ndarray]:
    """A piece of a log for CLASSES."""
    count = len(scores)
    columns = {f"output:scores[{place}]": scores[:, place] for place in range(scores.shape[1])}
    base = {
        "at": np.arange(count, dtype=float),
        "version": np.ones(count, int),
        "status": objects(["ok"] * count),
        "label": objects(labels),
    }
    return {**base, **columns, **more}


def labelled(right: np.ndarray, said: np.ndarray, **more: object) -> LabelledRows:
    """Rows of which every one is labelled."""
    count = len(right)
    known = {
        "at": np.arange(count, dtype=float),
        "version": np.ones(count, int),
        "is_labelled": np.ones(count, bool),
        "confidence": np.full(count, np.nan),
    }
    return LabelledRows(said=said.astype(float), right=right.astype(float), **{**known, **more})
