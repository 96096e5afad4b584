"""A convolutional network with fewer convolutions: of those that follow each other, the first ones become one.

Takes a model; gives a copy and how many convolutions went. The new kernel sees what both saw together, and its output has the same shape.
Its weights are those of one after the other, without what lay between them: training does the rest. Left as they are: groups, dilated
windows, padding by a rule, values that something else reads, and what would take twice as many weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from fairlead.core.interface import Array
from fairlead.optimize.graph_edit import drop_unused_weights, free_name, taken_names
from fairlead.optimize.training.windows import attribute, convolution_before, is_plain, numbers, set_window

_EPSILON = 1e-5  # of BatchNormalization, where it names none
_GROWTH = 2  # times as many weights as before, at most: deep networks would see all of the picture at once


def joined(model: onnx.ModelProto, depth: int) -> tuple[onnx.ModelProto, int]:
    """Return `model` with at most `depth` convolutions in a row, and how many that took away."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph, count = result.graph, 0
    taken = taken_names(graph)
    while (link := next((chain[1] for chain in _chains(graph) if len(chain) > depth and _is_small(graph, chain[1])), None)) is not None:
        _join(graph, link, taken)
        count += 1
    drop_unused_weights(graph)
    del graph.value_info[:]
    return result, count


@dataclass(frozen=True)
class _Link:
    """A convolution, and what lies between it and the convolution whose values it takes: that one first."""

    convolution: onnx.NodeProto
    before: tuple[onnx.NodeProto, ...] = ()


def _chains(graph: onnx.GraphProto) -> list[list[_Link]]:
    """Return rows of convolutions that each take the values of the one before, changed one by one at most."""
    stored = {tensor.name for tensor in graph.initializer}
    chains: list[list[_Link]] = []
    for node in graph.node:
        if node.op_type == "Conv" and set(node.input[1:]) <= stored and is_plain(node) and attribute(node, "group", 1) == 1:
            before = convolution_before(graph, node.input[0])
            chain = next((chain for chain in chains if before and chain[-1].convolution.output[0] == before[0].output[0]), None)
            if chain is None:
                chains.append([_Link(node)])
            else:
                chain.append(_Link(node, before))
    return chains


def _is_small(graph: onnx.GraphProto, link: _Link) -> bool:
    """Whether one kernel for both would not be much larger than the two."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    first, second = (shapes[node.input[1]] for node in (link.before[0], link.convolution))
    steps = numbers(link.before[0], "strides", len(first) - 2, 1)
    sizes = [size + (count - 1) * step for size, count, step in zip(first[2:], second[2:], steps, strict=True)]
    return bool(second[0] * first[1] * math.prod(sizes) <= _GROWTH * (math.prod(first) + math.prod(second)))


def _join(graph: onnx.GraphProto, link: _Link, taken: set[str]) -> None:
    """Let the second convolution do what both did.

    A kernel of k values in steps of s, and one of l values in steps of t over what it gives, see k + (l - 1) s values in steps of s t, and
    padding before the second counts s times.
    """
    first, second = link.before[0], link.convolution
    weights, bias = _weights(graph, first)
    for node in link.before[1:]:
        if node.op_type == "BatchNormalization":
            weights, bias = _normalized(graph, node, weights, bias)
    own, own_bias = _weights(graph, second)
    rank = weights.ndim - 2
    steps, own_steps = numbers(first, "strides", rank, 1), numbers(second, "strides", rank, 1)
    pads = [
        one + two * step
        for one, two, step in zip(numbers(first, "pads", 2 * rank, 0), numbers(second, "pads", 2 * rank, 0), (*steps, *steps), strict=True)
    ]
    wide = _composed(weights, own, steps)
    flat = own.reshape(*own.shape[:2], -1).sum(-1) @ bias + own_bias
    names = [free_name(f"{second.input[1]}_{what}", taken) for what in ("joined", "joined_bias")]
    graph.initializer.extend(
        numpy_helper.from_array(values.astype(np.float32), name) for values, name in zip((wide, flat), names, strict=True)
    )
    source = first.input[0]
    del second.input[:]
    second.input.extend([source, *names])
    set_window(second, wide.shape[2:], np.multiply(steps, own_steps).tolist(), pads)
    for node in link.before:
        graph.node.remove(node)


def _weights(graph: onnx.GraphProto, node: onnx.NodeProto) -> tuple[Array, Array]:
    """Return a convolution's kernel and bias."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    kernel = numpy_helper.to_array(tensors[node.input[1]]).astype(np.float64)
    has_bias = len(node.input) > 2 and bool(node.input[2])
    return kernel, numpy_helper.to_array(tensors[node.input[2]]).astype(np.float64) if has_bias else np.zeros(len(kernel))


def _normalized(graph: onnx.GraphProto, node: onnx.NodeProto, weights: Array, bias: Array) -> tuple[Array, Array]:
    """Return the kernel and bias of a convolution and the normalization behind it."""
    tensors = {tensor.name: numpy_helper.to_array(tensor).astype(np.float64) for tensor in graph.initializer}
    if not set(node.input[1:]) <= set(tensors):
        return weights, bias
    scale, shift, mean, variance = (tensors[name] for name in node.input[1:5])
    factor = scale / np.sqrt(variance + attribute(node, "epsilon", _EPSILON))
    return weights * factor.reshape(-1, *[1] * (weights.ndim - 1)), (bias - mean) * factor + shift


def _composed(weights: Array, own: Array, steps: list[int]) -> Array:
    """Return the kernel of one convolution after the other."""
    sizes = [size + (count - 1) * step for size, count, step in zip(weights.shape[2:], own.shape[2:], steps, strict=True)]
    wide = np.zeros((len(own), weights.shape[1], *sizes))
    for place in np.ndindex(*own.shape[2:]):
        where = tuple(slice(at * step, at * step + size) for at, step, size in zip(place, steps, weights.shape[2:], strict=True))
        wide[(slice(None), slice(None), *where)] += np.tensordot(own[(slice(None), slice(None), *place)], weights, axes=1)
    return wide
