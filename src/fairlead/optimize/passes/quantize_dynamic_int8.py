"""Stores the weights of matrix products in 8 bits and quantizes what they are multiplied with at run time. Lossy; needs no rows.

MatMul and Gemm only: dynamic convolutions in 8 bits are slower than in float32. One scale per output channel. Refuses a model without
matrix products over stored weights, such as trees.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic

from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.quantizing import finish, prepared, silent

_OPERATORS = ["MatMul", "Gemm"]
_MADE = frozenset({"MatMulInteger"})


def quantize_dynamic_int8(job: PassJob) -> PassResult:
    """Write the quantized model of `job.source` to `job.destination`."""
    source, destination = job.source, job.destination
    model = prepared(source)
    with silent(), tempfile.TemporaryDirectory(prefix="fairlead-quantize-") as folder:
        written = Path(folder) / "quantized.onnx"
        quantize_dynamic(model, written, op_types_to_quantize=_OPERATORS, per_channel=True, reduce_range=True, weight_type=QuantType.QInt8)
        count = finish(written, source, destination, _MADE)
    sizes = source.stat().st_size, destination.stat().st_size
    note = f"{count} matrix products in 8 bits: {sizes[0]} bytes became {sizes[1]}"
    return PassResult({"onnxruntime": onnxruntime.__version__}, {"weight_bits": 7, "per_channel": True}, (note,))
