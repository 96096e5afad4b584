"""Shows that a network of PyTorch answers as ONNX Runtime does: what is trained must be what is deployed.

Takes a model and rows; raises UnsupportedError where the answers differ by more than rounding. Never guesses which of the two is right.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from fairlead.core.interface import Tensors, shorten
from fairlead.errors import UnsupportedError
from fairlead.optimize.training.network import Network

TOLERANCE = 1e-3  # absolute below 1, relative above: float32 sums in another order, through many layers
_ERRORS = (ort_errors.Fail, ort_errors.InvalidGraph, ort_errors.InvalidArgument, ort_errors.NotImplemented, ort_errors.RuntimeException)


def reference_answers(model: onnx.ModelProto, rows: Tensors, *, is_optimized: bool = True) -> dict[str, Any]:
    """Return the outputs of `model` for `rows` in ONNX Runtime, by name; raises UnsupportedError where it cannot run it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if not is_optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_outputs()]
        return dict(zip(names, session.run(names, dict(rows)), strict=True))
    except _ERRORS as error:
        raise UnsupportedError(f"ONNX Runtime cannot run the model: {shorten(str(error), 200)}.") from None


def prove(network: Network, model: onnx.ModelProto, rows: Tensors, *, tolerance: float = TOLERANCE) -> float:
    """Return the largest difference of `network` from `model` on `rows`, absolute below 1 and relative above."""
    wanted = reference_answers(model, rows)
    was_training, network.is_training = network.is_training, False
    with torch.no_grad():
        got = network.forward({name: torch.from_numpy(np.array(rows[name])) for name in network.inputs})
    network.is_training = was_training
    worst = 0.0
    for name in network.outputs:
        reference, answer = wanted[name], got[name].numpy()
        if answer.shape != reference.shape:
            raise _differs(name, f"has the shape {list(answer.shape)} instead of {list(reference.shape)}")
        difference = np.abs(answer.astype(np.float64) - reference) / np.maximum(1.0, np.abs(reference))
        largest = float(difference.max()) if difference.size else 0.0
        if not largest <= tolerance:
            raise _differs(name, f"differs by {largest:.3g}")
        worst = max(worst, largest)
    return worst


def _differs(name: str, how: str) -> UnsupportedError:
    return UnsupportedError(
        f"Training cannot follow this model: its output '{shorten(name)}' {how}.",
        hint="Leave the passes that train out, and please report this model.",
    )
