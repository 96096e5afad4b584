"""A trained quantization written into its model: weights as int8, values through QuantizeLinear and DequantizeLinear.

Takes a network with its quantization, gives a model that ONNX Runtime computes in 8 bits. Biases are int32 in the scale of the product that
they are added to, as its kernels want them. Pure.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from fairlead.core.interface import Array
from fairlead.optimize.graph_edit import free_name, taken_names
from fairlead.optimize.training.fake_quantization import Product, Quantization
from fairlead.optimize.training.network import Network
from fairlead.optimize.training.prepare import with_weights


def quantized_model(network: Network, quantization: Quantization) -> onnx.ModelProto:
    """Return the network's model in 8 bits."""
    model = with_weights(network.model, network.stored())
    writer = _Writer(model)
    restored = {name: writer.through(name, bounds.scale, bounds.zero) for name, bounds in quantization.ranges.items()}
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name in restored:
                node.input[place] = restored[name]
    for product in quantization.products:
        weight = network.parameters[product.weight].detach()
        scales = quantization.weight_scales(product, weight)
        levels = np.clip(np.rint((weight / scales).numpy()), -quantization.largest, quantization.largest).astype(np.int8)
        flat = scales.reshape(-1).numpy()
        node = model.graph.node[product.call.place]
        node.input[1] = writer.restored(product.weight, levels, flat, axis=product.axis)
        _put_bias(writer, network, quantization, product, node, flat)
    writer.finish()
    return model


def _put_bias(writer: _Writer, network: Network, quantization: Quantization, product: Product, node: onnx.NodeProto, flat: Array) -> None:
    """Store the bias as int32, unless it is too large for the product's scale."""
    bounds = quantization.ranges.get(product.call.inputs[0])
    if len(node.input) < 3 or not node.input[2] or bounds is None:
        return
    name = product.call.inputs[2]
    scales = (flat.astype(np.float64) * bounds.scale).astype(np.float32)
    levels = np.rint(network.parameters[name].detach().numpy().astype(np.float64) / scales)
    if np.abs(levels).max(initial=0) < 2**31:
        node.input[2] = writer.restored(name, levels.astype(np.int32), scales, axis=0)


class _Writer:
    """Adds what quantizes and what restores."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self._taken = taken_names(model.graph)
        self._first: list[onnx.NodeProto] = []
        self._behind: dict[str, list[onnx.NodeProto]] = {}

    def _store(self, name: str, values: Array) -> str:
        stored = free_name(name, self._taken)
        self._graph.initializer.append(numpy_helper.from_array(values, stored))
        return stored

    def through(self, name: str, scale: float, zero: int) -> str:
        """Quantize and restore a value; return the name of the restored one."""
        level, step = self._store(f"{name}_scale", np.array(scale, np.float32)), self._store(f"{name}_zero", np.array(zero, np.uint8))
        rounded, restored = free_name(f"{name}_quantized", self._taken), free_name(f"{name}_restored", self._taken)
        self._behind[name] = [
            helper.make_node("QuantizeLinear", [name, level, step], [rounded], name=rounded),
            helper.make_node("DequantizeLinear", [rounded, level, step], [restored], name=restored),
        ]
        return restored

    def restored(self, name: str, levels: Array, scales: Array, *, axis: int) -> str:
        """Store whole numbers in place of a tensor; return the name of what is restored from them."""
        stored, scale = self._store(f"{name}_int8", levels), self._store(f"{name}_scale", scales)
        zero = self._store(f"{name}_zero", np.zeros(len(scales), levels.dtype))
        result = free_name(f"{name}_restored", self._taken)
        self._first.append(helper.make_node("DequantizeLinear", [stored, scale, zero], [result], name=result, axis=axis))
        return result

    def finish(self) -> None:
        """Put the new nodes where their inputs are known, and take out the tensors that nobody reads any more."""
        nodes = [*self._first]
        made = {tensor.name for tensor in self._graph.initializer} | {value.name for value in self._graph.input}
        for name in [name for name in self._behind if name in made]:
            nodes += self._behind.pop(name)
        for node in self._graph.node:
            nodes.append(node)
            for name in node.output:
                nodes += self._behind.pop(name, [])
        kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del self._graph.node[:]
        self._graph.node.extend(kept)
        used = {name for node in kept for name in node.input}
        tensors = [tensor for tensor in self._graph.initializer if tensor.name in used]
        del self._graph.initializer[:]
        self._graph.initializer.extend(tensors)
