"""What the quantizing passes share: a model made ready for ONNX Runtime's quantizer, quantized, and its result checked and written.

By default weights take 7 of the 8 bits. Processors without VNNI add pairs of products in 16 bits and saturate where signed weights take 8,
so that the same model would answer otherwise there:
https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html. With `weight_bits` 8 the weights are unsigned: their kernels
add in 32 bits everywhere, and are slower on processors without VNNI. Never logs.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from fairlead.core.interface import shorten
from fairlead.core.pass_use import Setting
from fairlead.errors import IdlePassError, SpecError, UnsupportedError
from fairlead.optimize.calibration import METHODS, Range
from fairlead.optimize.graph_edit import drop_unused_weights, free_name, opset_of, refuse_other_floats, taken_names
from fairlead.optimize.offline_session import keep_surface, optimized, write

HEAVY = frozenset({"Conv", "Gemm", "MatMul"})  # operators with weights that 8 bits are worth
_PASSING = ("Relu", "LeakyRelu", "Clip", "MaxPool", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Split")  # they only hand values on
_AROUND = ("Add", "Mul", *_PASSING, "AveragePool", "GlobalAveragePool", "Concat", "Resize")
OPERATORS: Mapping[str, tuple[str, ...]] = {
    "all": ("Conv", "Gemm", "MatMul", *_AROUND),
    "conv": ("Conv", *_AROUND),
    "matmul": ("Gemm", "MatMul"),
    "layers": (*sorted(HEAVY), *_PASSING),
}
_OLDEST_OPSET = 13  # per-channel QuantizeLinear
_READY = ("onnx.quant.pre_process", "onnxruntime.quant")  # tells the quantizer that it need not ask for what `prepared` did


@dataclass(frozen=True)
class Precision:
    """How weights are quantized: in 7 bits with a sign, or in 8 without; one scale per output channel, or one for all."""

    weight_bits: int = 7
    is_per_channel: bool = True

    @property
    def weight_type(self) -> Any:
        """The quantizer's name for it."""
        return QuantType.QInt8 if self.weight_bits == 7 else QuantType.QUInt8


def precision_of(name: str, settings: Mapping[str, Setting]) -> Precision:
    """Return what the settings `weight_bits` and `per_channel` of the pass called `name` ask for; raises SpecError."""
    return Precision(int(chosen(name, settings, "weight_bits", (7, 8))), bool(settings.get("per_channel", True)))


def chosen(name: str, settings: Mapping[str, Setting], key: str, known: Sequence[Setting]) -> Setting:
    """Return the setting `key`, by default the first of `known`; raises SpecError for one that is not among them."""
    value = settings.get(key, known[0])
    if value not in known:
        raise SpecError(f"'{key}' of the pass '{name}' cannot be {value!r}.", hint=f"Use one of: {', '.join(map(str, known))}.")
    return value


def chosen_method(name: str, settings: Mapping[str, Setting]) -> str:
    """Return how ranges are measured."""
    return str(chosen(name, settings, "method", METHODS))


def prepared(source: Path, name: str) -> Any:
    """Return the model of `source` with normalizations folded into weights, an operator set that knows quantization, and a name for every
    node; `name` is the pass's.
    """
    refuse_other_floats(onnx.load_model(source).graph, name)
    model = optimized(source, "basic")
    opset = opset_of(model, default=_OLDEST_OPSET)
    if opset < _OLDEST_OPSET:
        try:
            model = onnx.version_converter.convert_version(model, _OLDEST_OPSET)
        except (RuntimeError, ValueError, onnx.version_converter.ConvertError) as error:
            raise UnsupportedError(f"Operator set {opset} cannot be upgraded: {shorten(str(error), 200)}.") from None
    model.metadata_props.add(key=_READY[0], value=_READY[1])
    _name_nodes(model.graph)
    _flatten_biases(model.graph)
    del model.graph.value_info[:]  # exporters write shapes of weights there, which the quantizer turns around
    return onnx.shape_inference.infer_shapes(model)


def _name_nodes(graph: Any) -> None:
    """Give every node a name of its own: the quantizer tells nodes apart by it."""
    taken: set[str] = set()
    for node in graph.node:
        node.name = free_name(node.name or node.op_type, taken)


def _flatten_biases(graph: Any) -> None:
    """Give each Gemm whose stored bias is (1, n), as scikit-learn's perceptrons have it, one of (n): the quantizer counts on that."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    taken = taken_names(graph)
    for node in graph.node:
        bias = stored.get(node.input[2]) if node.op_type == "Gemm" and len(node.input) > 2 else None
        if bias is not None and len(bias.dims) == 2 and bias.dims[0] == 1:
            flat = numpy_helper.from_array(numpy_helper.to_array(bias).reshape(-1), free_name(f"{bias.name}_flat", taken))
            graph.initializer.append(flat)
            node.input[2] = flat.name
    drop_unused_weights(graph)


def weighted_nodes(graph: Any, operators: Sequence[str]) -> list[Any]:
    """Return the nodes of HEAVY `operators` with a stored float32 weight."""
    stored = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    return [node for node in graph.node if node.op_type in HEAVY and node.op_type in operators and stored.intersection(node.input[1:2])]


@dataclass(frozen=True)
class Quantization:
    """What to quantize, and how: the ranges of activations, the weights' precision, and the operators around which pairs are put."""

    ranges: Mapping[str, Range]
    precision: Precision
    operators: Sequence[str]


def quantized(model: Any, how: Quantization, *, only: Sequence[str] = (), without: Sequence[str] = ()) -> Any:
    """Return a copy of `model` with quantize-dequantize pairs, around the nodes named in `only` where there are such, and not around those
    named in `without`.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    known = {name: tuple(np.float32(value) for value in found) for name, found in how.ranges.items()}
    with silent():
        quantizer = QDQQuantizer(
            copy,
            how.precision.is_per_channel,
            how.precision.weight_bits == 7,
            how.precision.weight_type,
            QuantType.QUInt8,
            TensorsData(CalibrationMethod.MinMax, known),
            list(only),
            list(without),
            list(how.operators),
            {},
        )
        quantizer.quantize_model()
    return quantizer.model.model


def finish(model: Any, source: Path, destination: Path, operators: frozenset[str]) -> int:
    """Write the quantized `model` with the surface of `source` and return how many `operators` it has; raises UnsupportedError where there
    are none, or where the file did not shrink.
    """
    count = sum(node.op_type in operators for node in model.graph.node)
    if not count:
        raise IdlePassError(
            "The model has no convolutions or matrix products with stored weights to quantize.", hint="Leave the pass out for this model."
        )
    keep_surface(model, onnx.load_model(source))
    write(model, destination)
    if destination.stat().st_size >= source.stat().st_size:
        raise IdlePassError(
            "The model does not get smaller in 8 bits: its weights are too small, or also used in other ways.", hint="Leave the pass out."
        )
    return count


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Keep the quantizer, which logs to the root and would set it up, from writing to the user's terminal."""
    root, sink = logging.getLogger(), logging.NullHandler()
    root.addHandler(sink)
    try:
        yield
    finally:
        root.removeHandler(sink)
