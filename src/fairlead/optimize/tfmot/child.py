"""The sandboxed child in which TensorFlow Model Optimization trains: pruning schedules, clustering, quantization-aware training.

Takes a layer graph's folder, rows with right answers (a file of tensors) and plain settings; writes the trained weights, by their keys in
the layer graph, into its scratch folder. Raises UnsupportedError for a network that cannot be built or answers otherwise, DataError where
training diverges. The structure stays; what changes are the weights.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fairlead.core.interface import Array
from fairlead.engines.layer_graph_file import read_layer_graph
from fairlead.engines.tensor_file import read_tensors, write_tensors
from fairlead.errors import DataError, UnsupportedError

WEIGHTS = "weights.npz"
TARGET = "target"
_SAME = 1e-3  # the network that is trained has to answer as the converted model does
_BATCH = 128


@dataclass(frozen=True)
class Training:
    """What to do: `steps` of prune, cluster and quantize, in this order; `output` is the place of the output that decides.

    `task` is "classes" (the right answer is a class number), "binary" (0 or 1) or "number".
    """

    steps: tuple[str, ...]
    output: int
    task: str
    sparsity: float
    cluster_count: int
    epochs: int
    learning_rate: float
    seed: int
    thread_count: int
    time_s: float


def train(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Train and write the weights; the entry of the sandbox. Returns versions and what was reached."""
    scratch, job = arguments["scratch"], arguments["job"]
    os.environ.update({"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": "1", "HOME": scratch})
    # TensorFlow takes seconds to start: nobody but this child may import it.
    from fairlead.optimize.tfmot.network import build_network  # noqa: PLC0415
    from fairlead.optimize.tfmot.steps import apply_steps, start  # noqa: PLC0415

    asked = Training(**{**job, "steps": tuple(job["steps"])})
    start(asked.seed, asked.thread_count)
    layers, weights = read_layer_graph(Path(arguments["graph"]))
    tensors = read_tensors(Path(arguments["rows"]))
    target, expected = tensors.pop(TARGET), tensors.pop("expected")
    model = build_network(layers, weights)
    inputs = list(tensors.values())
    scores = _answers(model, inputs, asked.output)
    _check_same(scores, expected)
    trained, said = apply_steps(model, layers, inputs, target, _loss(asked, scores), asked)
    if any(not np.isfinite(value).all() for value in trained.values() if value.dtype.kind == "f"):
        raise DataError("Training diverged: a weight is no number any more.", hint="Take a smaller learning_rate.")
    write_tensors(Path(scratch) / WEIGHTS, trained)
    return said


def _answers(model: Any, inputs: list[Array], output: int) -> Array:
    answers = model.predict(inputs, batch_size=_BATCH, verbose=0)
    return np.asarray(answers[output] if isinstance(answers, list) else answers)


def _check_same(scores: Array, expected: Array) -> None:
    first = scores[: len(expected)]
    if first.shape != expected.shape or not np.allclose(first, expected, atol=_SAME, rtol=_SAME):
        raise UnsupportedError(
            "tf_keras answers otherwise than the converted model.", hint="Compress it with the passes that train on PyTorch."
        )


def _loss(job: Training, scores: Array) -> tuple[str, bool]:
    """Return the loss's name and whether scores are logits: probabilities lie between 0 and 1, and those of classes have the sum 1."""
    if job.task == "number":
        return "mse", False
    are_shares = bool(scores.min() >= 0 and scores.max() <= 1)
    if job.task == "binary":
        return "binary_crossentropy", not are_shares
    return "sparse_categorical_crossentropy", not (are_shares and np.allclose(scores.sum(axis=-1), 1, atol=1e-3))
