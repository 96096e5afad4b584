"""Weights stored in fewer bits and computed as before: a few nodes in front of the graph turn them into float32 again.

Takes a PassJob and an encoder: a weight's values -> what is stored in its place, the nodes that restore it under its own name, and the
values that they restore; None where it should stay. Gives the written file's PassResult. ONNX Runtime carries such nodes out once, when it
loads the model, and forgets what they were made of: latency and memory are those of float32. (It would not so with DequantizeLinear, which
it keeps for its 8-bit kernels.) Raises UnsupportedError where no weight is worth it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from fairlead.core.interface import Array, shorten
from fairlead.errors import IdlePassError
from fairlead.optimize.graph_edit import constants_to_initializers, free_name, put_first, refuse_other_floats, taken_names, weights_of
from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.offline_session import write

_SMALLEST = 128  # elements; below, the nodes take more than the weights gave
_WORTH = 0.8  # of the bytes of a weight: what its stored form with all nodes may take
_SHOWN = 6  # weights whose error a note names


@dataclass
class Restoring:
    """The stored form of one weight called `name`: initializers, and the nodes that restore it. `constants` are those that all weights of
    the model use.
    """

    name: str
    taken: set[str]
    constants: dict[bytes, Any]
    tensors: list[Any] = field(default_factory=list)
    nodes: list[Any] = field(default_factory=list)

    def keep(self, values: Array, suffix: str) -> str:
        """Store `values`; return their name."""
        name = free_name(f"{self.name}{suffix}", self.taken)
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def constant(self, values: Array) -> str:
        """Store `values` once for all weights; return their name."""
        key = f"{values.dtype}{values.shape}".encode() + values.tobytes()
        if key not in self.constants:
            self.constants[key] = numpy_helper.from_array(values, free_name("constant", self.taken))
        return str(self.constants[key].name)

    def then(self, operator: str, *inputs: str, last: bool = False, **attributes: Any) -> str:
        """Add a node; return the name of its output: the weight's own for the last one."""
        name = self.name if last else free_name(f"{self.name}/{len(self.nodes)}", self.taken)
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name


Encoder = Callable[[Array, Restoring], Array | None]


def store_weights(job: PassJob, encode: Encoder, *, name: str, what: str, least_axes: int = 2) -> PassResult:
    """Write the model with each weight as `encode` stores it, where that is smaller; `name` is the pass's, `what` is said in notes."""
    model = onnx.load_model(job.source)
    graph = model.graph
    refuse_other_floats(graph, name)
    constants_to_initializers(graph)
    taken = taken_names(graph)
    restored: list[Restoring] = []
    constants: dict[bytes, Any] = {}
    errors: list[tuple[float, float, str]] = []
    kept = 0
    for tensor in weights_of(graph, least_elements=_SMALLEST, least_axes=least_axes):
        values = numpy_helper.to_array(tensor)
        form = Restoring(tensor.name, taken, constants)
        back = encode(values, form) if np.isfinite(values).all() and values.any() else None
        if back is None or _bytes(form) > _WORTH * tensor.ByteSize():
            kept += 1
            continue
        errors.append((*_error(values, back), tensor.name))
        restored.append(form)
        graph.initializer.remove(tensor)
    if not restored:
        raise IdlePassError(f"The model has no large float32 weights to store {what}.", hint=f"Leave the pass '{name}' out for this model.")
    nodes = [node for form in restored for node in form.nodes]
    graph.initializer.extend(tensor for form in restored for tensor in form.tensors)
    used = {name for node in nodes for name in node.input}
    graph.initializer.extend(tensor for tensor in constants.values() if tensor.name in used)
    put_first(graph, nodes)
    write(model, job.destination)
    sizes = job.source.stat().st_size, job.destination.stat().st_size
    notes = [f"{len(restored)} weights are stored {what}: {sizes[0]} bytes became {sizes[1]}"]
    notes += [f"{kept} weights stay float32: they gain nothing, or would not be held"] if kept else []
    notes += _told(errors)
    largest = max(error for error, _, _ in errors)
    return PassResult({"onnx": onnx.__version__}, {"weight_count": len(restored), "largest_error": largest}, tuple(notes))


def _bytes(form: Restoring) -> int:
    return sum(part.ByteSize() for part in (*form.tensors, *form.nodes))


def _error(values: Array, back: Array) -> tuple[float, float]:
    """The largest error of an element, and the root of the mean squared error relative to that of the weight."""
    difference = back.astype(np.float64) - values
    return float(np.abs(difference).max()), float(np.sqrt(np.square(difference).sum() / np.square(values, dtype=np.float64).sum()))


def _told(errors: list[tuple[float, float, str]]) -> list[str]:
    worst = sorted(errors, key=lambda item: -item[1])
    more = [f"{len(worst) - _SHOWN} more weights have smaller errors"] if len(worst) > _SHOWN else []
    return [
        f"'{shorten(name)}': elements off by {largest:.3g} at most, {share:.2%} by root mean square"
        for largest, share, name in worst[:_SHOWN]
    ] + more
