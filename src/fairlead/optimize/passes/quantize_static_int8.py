"""Computes convolutions and matrix products in 8 bits, with ranges measured on rows beforehand. Lossy; the rows decide how lossy.

Quantize-dequantize pairs around operators, which ONNX Runtime and OpenVINO turn into 8-bit kernels: activations unsigned over the smallest
and largest value seen, weights signed with one scale per output channel. What turns scores into answers (Softmax, Sigmoid) stays in
float32. Refuses a model without convolutions and matrix products, such as trees.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from fairlead.core.interface import Tensors
from fairlead.errors import UnsupportedError
from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.quantizing import finish, prepared, silent

ROW_LIMIT = 512  # more rows widen ranges and take longer
_BATCH = 32
_OPERATORS = [
    "Conv", "Gemm", "MatMul", "Add", "Mul", "Relu", "LeakyRelu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat",
    "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Resize", "Split",
]  # fmt: skip
_MADE = frozenset({"QuantizeLinear"})
_WORTHWHILE = frozenset({"Conv", "Gemm", "MatMul"})


class _Rows(CalibrationDataReader):  # type: ignore[misc] # the library has no types
    """Gives the rows batch by batch, then None."""

    def __init__(self, tensors: Tensors) -> None:
        self._batches = _in_batches(tensors)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._batches, None)


def quantize_static_int8(job: PassJob) -> PassResult:
    """Write the quantized model of `job.source` to `job.destination`."""
    source, destination, calibration = job.source, job.destination, job.rows or {}
    rows = min((len(tensor) for tensor in calibration.values()), default=0)
    if rows == 0:
        raise UnsupportedError("Static quantization needs rows to measure ranges on.", hint="Give data with the model.")
    model = prepared(source)
    if not any(node.op_type in _WORTHWHILE for node in model.graph.node):
        raise UnsupportedError("The model has no convolutions or matrix products to quantize.", hint="Leave the pass out for this model.")
    used = min(rows, ROW_LIMIT)
    with silent(), tempfile.TemporaryDirectory(prefix="fairlead-quantize-") as folder:
        written = Path(folder) / "quantized.onnx"
        quantize_static(
            model,
            written,
            _Rows({name: tensor[:used] for name, tensor in calibration.items()}),
            QuantFormat.QDQ,
            op_types_to_quantize=_OPERATORS,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            calibration_providers=["CPUExecutionProvider"],
        )
        count = finish(written, source, destination, _MADE)
    sizes = source.stat().st_size, destination.stat().st_size
    note = f"{count} values in 8 bits, ranges from {used} rows: {sizes[0]} bytes became {sizes[1]}"
    parameters = {"weight_bits": 7, "per_channel": True, "row_count": used}
    return PassResult({"onnxruntime": onnxruntime.__version__}, parameters, (note,))


def _in_batches(tensors: Tensors) -> Iterator[dict[str, Any]]:
    count = min(len(tensor) for tensor in tensors.values())
    for start in range(0, count, _BATCH):
        yield {name: tensor[start : start + _BATCH] for name, tensor in tensors.items()}
