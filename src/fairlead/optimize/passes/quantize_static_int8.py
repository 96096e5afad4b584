"""Computes convolutions and matrix products in 8 bits, with ranges measured on rows beforehand. Lossy; the rows decide how lossy.

Quantize-dequantize pairs around operators, which ONNX Runtime and OpenVINO turn into 8-bit kernels: activations unsigned over the range
that was measured. What turns scores into answers (Softmax, Sigmoid) stays in float32.

Settings. `method`: how ranges are measured, see `calibration`. `operators`: all, conv (with what stands around it), matmul.
`per_channel`: one scale per output channel. `weight_bits`: 7, or 8 without a sign. Refuses a model without such operators over stored
weights, such as trees.
"""

from __future__ import annotations

import onnxruntime

from fairlead.errors import IdlePassError
from fairlead.optimize.calibration import first_rows, measure_ranges
from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.quantizing import (
    OPERATORS,
    Quantization,
    chosen,
    chosen_method,
    finish,
    precision_of,
    prepared,
    quantized,
    weighted_nodes,
)  # fmt: skip

_NAME = "quantize_static_int8"
_MADE = frozenset({"QuantizeLinear"})


def quantize_static_int8(job: PassJob) -> PassResult:
    """Write the quantized model of `job.source` to `job.destination`."""
    precision, method = precision_of(_NAME, job.settings), chosen_method(_NAME, job.settings)
    operators = OPERATORS[str(chosen(_NAME, job.settings, "operators", ("all", "conv", "matmul", "layers")))]
    rows = first_rows(job.rows)
    model = prepared(job.source, _NAME)
    if not weighted_nodes(model.graph, operators):
        raise IdlePassError(
            "The model has no convolutions or matrix products with stored weights to quantize.", hint="Leave the pass out for this model."
        )
    ranges = measure_ranges(model, rows, operators, method)
    written = quantized(model, Quantization(ranges, precision, operators))
    count = finish(written, job.source, job.destination, _MADE)
    sizes = job.source.stat().st_size, job.destination.stat().st_size
    used = len(next(iter(rows.values())))
    note = f"{count} values in 8 bits, ranges from {used} rows: {sizes[0]} bytes became {sizes[1]}"
    return PassResult({"onnxruntime": onnxruntime.__version__}, {"row_count": used}, (note,))
