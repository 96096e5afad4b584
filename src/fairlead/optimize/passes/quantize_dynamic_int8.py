"""Stores the weights of matrix products in 8 bits and quantizes what they are multiplied with at run time. Lossy; needs no rows.

Settings. `operators`: matmul (MatMul and Gemm), embedding (and tables of Gather), all (and LSTM and Conv; convolutions so quantized are
slower than in float32). `per_channel`: one scale per output channel. `weight_bits`: 7, or 8 without a sign. Refuses a model without such
operators over stored weights, such as trees.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import onnxruntime
from onnxruntime.quantization import quantize_dynamic

from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.quantizing import chosen, finish, precision_of, prepared, silent

_NAME = "quantize_dynamic_int8"
_OPERATORS = {
    "matmul": ("MatMul", "Gemm"),
    "embedding": ("MatMul", "Gemm", "Gather"),
    "all": ("MatMul", "Gemm", "Gather", "LSTM", "Conv"),
}
_MADE = frozenset({"MatMulInteger", "ConvInteger", "DynamicQuantizeLSTM", "DequantizeLinear"})


def quantize_dynamic_int8(job: PassJob) -> PassResult:
    """Write the quantized model of `job.source` to `job.destination`."""
    precision = precision_of(_NAME, job.settings)
    operators = _OPERATORS[str(chosen(_NAME, job.settings, "operators", tuple(_OPERATORS)))]
    model = prepared(job.source, _NAME)
    with silent(), tempfile.TemporaryDirectory(prefix="fairlead-quantize-") as folder:
        written = Path(folder) / "quantized.onnx"
        quantize_dynamic(
            model,
            written,
            op_types_to_quantize=list(operators),
            per_channel=precision.is_per_channel,
            reduce_range=precision.weight_bits == 7,
            weight_type=precision.weight_type,
        )
        count = finish(onnx.load_model(written), job.source, job.destination, _MADE)
    sizes = job.source.stat().st_size, job.destination.stat().st_size
    note = f"{count} operators in 8 bits: {sizes[0]} bytes became {sizes[1]}"
    return PassResult({"onnxruntime": onnxruntime.__version__}, notes=(note,))
