"""Keeps the weights of large matrix products in 4 or 8 bits while the model runs, in ONNX Runtime's MatMulNBits. Lossy; needs no rows.

A product of few rows with a large matrix waits for memory, and reads an eighth or a quarter of it so. Weights are cut into blocks of
consecutive inputs with one scale each. A Gemm becomes the product and an Add. The result runs in ONNX Runtime alone.

What comes in is quantized too, and multiplied in 8 bits: the kernel that does not is slower than float32. Settings. `bits`: 8 or 4.
`block`: 128, 64, 32 or 16 inputs that share a scale. `least_elements`: smaller weights stay as they are, since the kernel costs more than
it saves. Refuses a model without such products.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from fairlead.core.interface import Array
from fairlead.errors import IdlePassError, SpecError
from fairlead.optimize.graph_edit import (
    STANDARD_DOMAINS,
    constants_to_initializers,
    drop_unused_weights,
    free_name,
    refuse_other_floats,
    taken_names,
    weights_of,
)
from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.offline_session import keep_surface, write
from fairlead.optimize.quantizing import chosen

_NAME = "quantize_weights_nbits"
_DOMAIN = "com.microsoft"
_INT8 = 4  # the operator's accuracy_level


def quantize_weights_nbits(job: PassJob) -> PassResult:
    """Write the model of `job.source` with its large products quantized to `job.destination`."""
    bits = int(chosen(_NAME, job.settings, "bits", (8, 4)))
    block = int(chosen(_NAME, job.settings, "block", (128, 64, 32, 16)))
    least = int(job.settings.get("least_elements", 2**18))
    if least < block:
        raise SpecError(f"least_elements of {_NAME} cannot be {least}.", hint=f"Use {block} or more.")
    model = onnx.load_model(job.source)
    original = onnx.load_model(job.source)
    graph = model.graph
    refuse_other_floats(graph, _NAME)
    constants_to_initializers(graph)
    maker = _Maker(graph, bits, block, {tensor.name: tensor for tensor in weights_of(graph, least_elements=least, least_axes=2)})
    nodes = [made for node in graph.node for made in maker.replaced(node)]
    if not maker.count:
        raise IdlePassError(
            f"The model has no products with stored weights of {least} elements or more.", hint="Leave the pass out for this model."
        )
    del graph.node[:]
    graph.node.extend(nodes)
    drop_unused_weights(graph)
    if not any(item.domain == _DOMAIN for item in model.opset_import):
        model.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    keep_surface(model, original)
    write(model, job.destination)
    sizes = job.source.stat().st_size, job.destination.stat().st_size
    note = f"{maker.count} products keep their weights in {bits} bits: {sizes[0]} bytes became {sizes[1]}"
    return PassResult({"onnxruntime": onnxruntime.__version__}, {"product_count": maker.count}, (note,))


class _Maker:
    """Replaces products by MatMulNBits and adds what they store to the graph."""

    def __init__(self, graph: Any, bits: int, block: int, weights: dict[str, Any]) -> None:
        self._graph, self._bits, self._block, self._weights = graph, bits, block, weights
        self._taken = taken_names(graph)
        self._stored: dict[tuple[str, bool], tuple[str, str]] = {}
        self.count = 0

    def replaced(self, node: Any) -> list[Any]:
        """Return the nodes that take the place of `node`: itself where it is no such product."""
        if node.domain not in STANDARD_DOMAINS or len(node.input) < 2 or node.input[1] not in self._weights:
            return [node]
        tensor = self._weights[node.input[1]]
        attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        is_gemm = node.op_type == "Gemm" and not attributes.get("transA") and attributes.get("alpha", 1.0) == 1.0
        if len(tensor.dims) != 2 or not (node.op_type == "MatMul" or is_gemm):
            return [node]
        is_transposed = bool(attributes.get("transB", 0))
        has_bias = len(node.input) > 2 and bool(node.input[2])
        if has_bias and attributes.get("beta", 1.0) != 1.0:
            return [node]
        rows, columns = (tensor.dims[1], tensor.dims[0]) if is_transposed else tensor.dims
        if rows < self._block:
            return [node]
        self.count += 1
        packed, scales = self._pack(tensor, is_transposed=is_transposed)
        result = free_name(f"{node.output[0]}_product", self._taken) if has_bias else node.output[0]
        product = helper.make_node(
            "MatMulNBits",
            [node.input[0], packed, scales],
            [result],
            name=node.name,
            domain=_DOMAIN,
            K=rows,
            N=columns,
            bits=self._bits,
            block_size=self._block,
            accuracy_level=_INT8,
        )
        return [product, helper.make_node("Add", [result, node.input[2]], [node.output[0]])] if has_bias else [product]

    def _pack(self, tensor: Any, *, is_transposed: bool) -> tuple[str, str]:
        key = tensor.name, is_transposed
        if key not in self._stored:
            values = numpy_helper.to_array(tensor)
            packed, scales = _packed(values if is_transposed else values.T, self._bits, self._block)
            names = tuple(free_name(f"{tensor.name}{suffix}", self._taken) for suffix in (f"_{self._bits}bit", "_scales"))
            self._graph.initializer.extend(numpy_helper.from_array(one, name) for one, name in zip((packed, scales), names, strict=True))
            self._stored[key] = names[0], names[1]
        return self._stored[key]


def _packed(weight: Array, bits: int, block: int) -> tuple[Array, Array]:
    """Return the blob (outputs, blocks, bytes) and the scales (outputs * blocks) of a (outputs, inputs) weight, zero in the middle.

    The layout is that of com.microsoft.MatMulNBits: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
    """
    outputs, inputs = weight.shape
    padded = np.pad(weight, ((0, 0), (0, -inputs % block))).reshape(outputs, -1, block)
    middle = 2 ** (bits - 1)
    places = np.abs(padded).argmax(axis=2)[..., None]
    scales = np.take_along_axis(padded, places, axis=2) / np.float32(-middle)
    whole = np.clip(np.rint(padded / np.where(scales == 0, np.float32(1), scales)), -middle, middle - 1) + middle
    codes = whole.astype(np.uint8)
    blob = codes if bits == 8 else codes[..., 0::2] | (codes[..., 1::2] << 4)
    return np.ascontiguousarray(blob), scales.astype(np.float32).reshape(-1)
