"""What both quantizing passes share: a model made ready for ONNX Runtime's quantizer, and its result checked and written.

Weights take 7 of the 8 bits. Processors without VNNI add pairs of products in 16 bits and saturate where weights take 8, so that the same
model would answer otherwise there: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html. Never logs.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

from fairlead.core.interface import shorten
from fairlead.errors import UnsupportedError
from fairlead.optimize.offline_session import keep_surface, optimized, write

_OLDEST_OPSET = 13  # per-channel QuantizeLinear
_READY = ("onnx.quant.pre_process", "onnxruntime.quant")  # tells the quantizer that it need not ask for what `prepared` did


def prepared(source: Path) -> Any:
    """Return the model of `source` with normalizations folded into weights, and an operator set that knows quantization."""
    model = optimized(source, "basic")
    opset = max((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), default=_OLDEST_OPSET)
    if opset < _OLDEST_OPSET:
        try:
            model = onnx.version_converter.convert_version(model, _OLDEST_OPSET)
        except (RuntimeError, ValueError, onnx.version_converter.ConvertError) as error:
            raise UnsupportedError(f"Operator set {opset} cannot be upgraded: {shorten(str(error), 200)}.") from None
    model.metadata_props.add(key=_READY[0], value=_READY[1])
    return model


def finish(written: Path, source: Path, destination: Path, operators: frozenset[str]) -> int:
    """Write the quantizer's file with the surface of `source` and return how many `operators` it has; raises UnsupportedError where there
    are none, or where the file did not shrink.
    """
    model = onnx.load_model(written)
    count = sum(node.op_type in operators for node in model.graph.node)
    if not count:
        raise UnsupportedError(
            "The model has no convolutions or matrix products with stored weights to quantize.", hint="Leave the pass out for this model."
        )
    keep_surface(model, onnx.load_model(source))
    write(model, destination)
    if destination.stat().st_size >= source.stat().st_size:
        raise UnsupportedError("The model does not get smaller in 8 bits: its weights are too small.", hint="Leave the pass out.")
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
