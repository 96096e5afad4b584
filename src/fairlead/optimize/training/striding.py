"""A convolutional network with fewer operators: each convolution followed by a pooling becomes one convolution with the pooling's stride.

Takes a model; gives a copy and how many poolings went. The new kernel sees what both saw together, and its output has the same shape, so
that everything behind stays as it is. Its weights are those of the convolution, spread over the pooling's window: what an average would
give; training does the rest. Left as they are: dilated windows, windows that round up or pad by a rule, values that something else reads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from fairlead.core.interface import Array
from fairlead.optimize.graph_edit import drop_unused_weights, free_name, taken_names
from fairlead.optimize.training.windows import attribute, convolution_before, is_plain, numbers, set_window

_POOLS = frozenset({"MaxPool", "AveragePool"})


def strided(model: onnx.ModelProto) -> tuple[onnx.ModelProto, int]:
    """Return `model` with strided convolutions instead of convolutions and poolings, and how many poolings that took away."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    taken, count = taken_names(graph), 0
    for pool in [node for node in graph.node if node.op_type in _POOLS]:
        before = _before(graph, pool)
        if not before:
            continue
        convolution = before[0]
        _join(graph, convolution, pool, free_name(f"{convolution.input[1]}_strided", taken))
        before[-1].output[0] = pool.output[0]
        graph.node.remove(pool)
        count += 1
    drop_unused_weights(graph)
    del graph.value_info[:]
    return result, count


def _before(graph: onnx.GraphProto, pool: onnx.NodeProto) -> tuple[onnx.NodeProto, ...]:
    """Return the convolution that can take over `pool`, and the operators between them; () where none can."""
    if not is_plain(pool) or len(pool.output) > 1 or attribute(pool, "ceil_mode", 0):
        return ()
    found = convolution_before(graph, pool.input[0])
    stored = {tensor.name for tensor in graph.initializer}
    return found if found and is_plain(found[0]) and found[0].input[1] in stored else ()


def _join(graph: onnx.GraphProto, convolution: onnx.NodeProto, pool: onnx.NodeProto, name: str) -> None:
    """Let `convolution` see the whole window of `pool` and take its steps.

    A window of p values in steps of s, over a convolution with a kernel of k in steps of c, sees k + (p - 1) c values in steps of s c, and
    padding before the window counts c times.
    """
    tensor = next(item for item in graph.initializer if item.name == convolution.input[1])
    weights = numpy_helper.to_array(tensor)
    rank = weights.ndim - 2
    window, steps = list(attribute(pool, "kernel_shape", ())), numbers(pool, "strides", rank, 1)
    own = numbers(convolution, "strides", rank, 1)
    pads = [
        before + after * step
        for before, after, step in zip(
            numbers(convolution, "pads", 2 * rank, 0), numbers(pool, "pads", 2 * rank, 0), (*own, *own), strict=True
        )
    ]
    wide = _spread(weights, window, own)
    graph.initializer.append(numpy_helper.from_array(wide, name))
    convolution.input[1] = name
    set_window(convolution, wide.shape[2:], np.multiply(own, steps).tolist(), pads)


def _spread(weights: Array, window: Sequence[int], steps: Sequence[int]) -> Array:
    """Return the kernel of the average over a window of what `weights` give."""
    sizes = [size + (count - 1) * step for size, count, step in zip(weights.shape[2:], window, steps, strict=True)]
    wide = np.zeros((*weights.shape[:2], *sizes), weights.dtype)
    for place in np.ndindex(*window):
        where = tuple(slice(at * step, at * step + size) for at, step, size in zip(place, steps, weights.shape[2:], strict=True))
        wide[(slice(None), slice(None), *where)] += weights / np.prod(window)
    return wide
