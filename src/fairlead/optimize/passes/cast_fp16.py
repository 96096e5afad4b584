"""Stores weights in half precision and computes in single precision: half the size at the same speed. Lossy, by the rounding of weights.

Each large float32 weight becomes float16 with a Cast behind it, which runtimes carry out once when they load the model. Computing in half
precision would be slower on a CPU, and would overflow where sums pass 65504. A weight that half precision cannot hold well stays as it is.
Refuses a model without large weights, such as trees.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fairlead.core.interface import Array
from fairlead.errors import UnsupportedError
from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.offline_session import write

_SMALLEST = 256  # elements; below, nothing is won
_RELATIVE = 2.0**-10  # of the weight's largest element; half precision rounds by half of that at most


def cast_fp16(job: PassJob) -> PassResult:
    """Write the model of `job.source` with its large weights as float16 to `job.destination`."""
    source, destination = job.source, job.destination
    model = onnx.load_model(source)
    taken = _names(model.graph)
    names, kept = [], 0
    for tensor in list(model.graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or int(np.prod(tensor.dims, dtype=np.int64)) < _SMALLEST:
            continue
        values = numpy_helper.to_array(tensor)
        half = _halved(values)
        if half is None:
            kept += 1
            continue
        stored = _free_name(f"{tensor.name}_fp16", taken)
        names.append((stored, tensor.name))
        model.graph.initializer.remove(tensor)
        model.graph.initializer.append(numpy_helper.from_array(half, stored))
    if not names:
        raise UnsupportedError(
            "The model has no large float32 weights to store in half precision.", hint="Leave the pass 'cast_fp16' out for this model."
        )
    casts = [helper.make_node("Cast", [stored], [name], name=stored, to=TensorProto.FLOAT) for stored, name in names]
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    write(model, destination)
    sizes = source.stat().st_size, destination.stat().st_size
    notes: tuple[str, ...] = (f"{len(names)} weights are stored as float16: {sizes[0]} bytes became {sizes[1]}",)
    if kept:
        notes += (f"{kept} weights stay float32: half precision does not hold them",)
    return PassResult({"onnx": onnx.__version__}, {"smallest_elements": _SMALLEST}, notes)


def _halved(values: Array) -> Array | None:
    """Return the values as float16; None where that changes one by more than rounding does."""
    with np.errstate(over="ignore", under="ignore"):
        half = values.astype(np.float16)
    error = np.abs(half.astype(np.float32) - values)
    return half if bool((error <= _RELATIVE * np.abs(values).max()).all()) else None


def _names(graph: Any) -> set[str]:
    values = [*graph.input, *graph.output, *graph.value_info, *graph.initializer]
    return {value.name for value in values} | {name for node in graph.node for name in (*node.input, *node.output, node.name)}


def _free_name(wanted: str, taken: set[str]) -> str:
    name, number = wanted, 2
    while name in taken:
        name, number = f"{wanted}_{number}", number + 1
    taken.add(name)
    return name
