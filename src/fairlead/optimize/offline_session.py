"""ONNX Runtime's own graph optimizations, applied once and written to a file.

Takes a path of a model, gives the optimized model. Raises UnsupportedError where the runtime cannot load it. Only levels that do not depend
on the processor: layouts for its vector width are chosen when a model is loaded to run.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from fairlead.core.interface import shorten
from fairlead.errors import UnsupportedError

LEVELS = {
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
}
_ERRORS = (ort_errors.Fail, ort_errors.InvalidGraph, ort_errors.InvalidArgument, ort_errors.NotImplemented, ort_errors.RuntimeException)


def optimized(source: Path, level: str) -> Any:
    """Return the model at `source` as ONNX Runtime rewrites it at `level`, with its own inputs and outputs."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = LEVELS[level]
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory(prefix="fairlead-optimize-") as folder:
        target = Path(folder) / "optimized.onnx"
        options.optimized_model_filepath = str(target)
        try:
            onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
        except _ERRORS as error:
            raise UnsupportedError(f"ONNX Runtime cannot load the model: {shorten(str(error), 200)}.") from None
        model = onnx.load_model(target)
    keep_surface(model, onnx.load_model(source))
    return model


def keep_surface(model: Any, original: Any) -> None:
    """Give `model` the inputs and outputs of `original`, as they were written there, and drop what tools note about themselves."""
    stored = {tensor.name for tensor in original.graph.initializer}
    for values, wanted in ((model.graph.input, original.graph.input), (model.graph.output, original.graph.output)):
        kept = [value for value in wanted if value.name not in stored]
        del values[:]
        values.extend(kept)
    for part in (model, model.graph):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    model.producer_name, model.producer_version = original.producer_name, original.producer_version


def write(model: Any, destination: Path) -> None:
    """Write `model`, the same bytes for the same content."""
    destination.write_bytes(model.SerializeToString(deterministic=True))
