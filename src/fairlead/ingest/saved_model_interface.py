"""What a SavedModel takes, gives and decides, told from its signature and graph. Pure; TensorFlow is not needed.

Takes a parsed graph and the signature that the user named ("" for none), gives an Interface. Raises UnsupportedError where it is not clear
which signature is meant, or a tensor has no place in an interface: no shape, no batch, no plain element type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, Interface, Task, TensorSpec, shorten
from fairlead.engines.tensorflow_names import in_order, interface_names
from fairlead.errors import UnsupportedError
from fairlead.ingest.keras_interface import decide
from fairlead.security.saved_model_file import Function, Node, SavedGraph, Signature, TensorInfo

DEFAULT_SIGNATURE = "serving_default"
# TensorFlow's numbers of types: tensorflow/core/framework/types.proto
_TYPES = {
    1: DType.FP32, 2: DType.FP64, 3: DType.INT32, 4: DType.UINT8, 5: DType.INT16, 6: DType.INT8, 7: DType.BYTES, 9: DType.INT64,
    10: DType.BOOL, 17: DType.UINT16, 19: DType.FP16, 22: DType.UINT32, 23: DType.UINT64,
}  # fmt: skip
_HAND_ON = frozenset({"Identity", "IdentityN", "StopGradient", "EnsureShape"})
_ACTIVATIONS = {"Softmax": "softmax", "Sigmoid": "sigmoid"}
_STEP_LIMIT = 1000


def choose_signature(graph: SavedGraph, wanted: str) -> str:
    """Return the name of the signature that is meant: the named one, "serving_default", or the only one that gives something."""
    names = [name for name, item in graph.signatures.items() if item.outputs and not name.startswith("__")]
    usable = sorted(name for name in names if re.fullmatch(r"[\w.:/-]{1,200}", name))
    listed = ", ".join(usable) or "none"
    if wanted:
        if wanted in usable:
            return wanted
        raise UnsupportedError(f"The SavedModel has no signature '{shorten(wanted)}'.", hint=f"Its signatures are: {listed}.")
    if DEFAULT_SIGNATURE in usable:
        return DEFAULT_SIGNATURE
    if len(usable) == 1:
        return usable[0]
    if usable:
        raise UnsupportedError(f"The SavedModel has several signatures: {listed}.", hint="Say which one is meant: --signature NAME.")
    raise UnsupportedError(
        "The SavedModel has no signature that can be asked.",
        hint="Save it with one: model.export(...), or tf.saved_model.save(..., signatures=module.call.get_concrete_function(...)).",
    )


def describe(graph: SavedGraph, name: str) -> Interface:
    """Return the interface of the signature `name`; inputs and outputs stand in the order of their names, numbers by their value."""
    signature = graph.signatures[name]
    inputs, outputs = interface_names(list(signature.inputs), list(signature.outputs))
    given = tuple(_spec("input", key, inputs[key], signature.inputs[key]) for key in in_order(signature.inputs))
    results = tuple(_spec("output", key, outputs[key], signature.outputs[key]) for key in in_order(signature.outputs))
    if not given:
        raise UnsupportedError(f"The signature '{name}' takes no inputs.", hint="Choose another one: --signature NAME.")
    if len(results) != 1:
        return Interface(given, results)
    task, decision = _decision(graph, signature, results[0])
    return Interface(given, results, task, decision)


def _spec(what: str, key: str, name: str, info: TensorInfo) -> TensorSpec:
    shown = shorten(key)
    dtype = _TYPES.get(info.dtype)
    if not info.tensor or dtype is None:
        raise UnsupportedError(
            f"The {what} '{shown}' is not a plain tensor of numbers or texts.", hint="Export one that takes and gives plain tensors."
        )
    if info.shape is None:
        raise UnsupportedError(f"The {what} '{shown}' has no shape.", hint="Export it with an input_signature that gives shapes.")
    if not info.shape or (what == "output" and info.shape[0] is not None):
        raise UnsupportedError(
            f"The {what} '{shown}' has no batch: its shape is {list(info.shape)}.",
            hint="Export a signature with one row per question, and one answer for each.",
        )
    return TensorSpec(name, dtype, info.shape)


def _decision(graph: SavedGraph, signature: Signature, output: TensorSpec) -> tuple[Task | None, Decision | None]:
    """Return task and decision where the last operator is a Softmax or a Sigmoid; every other end is left open."""
    (info,) = signature.outputs.values()
    activation = _ACTIVATIONS.get(last_operator(graph, info.tensor), "")
    return decide(output, activation, "") if activation else (None, None)


def last_operator(graph: SavedGraph, tensor: str) -> str:
    """Return the operator that computes `tensor`, looked for inside the functions that hand it on; "" where it cannot be told."""
    nodes: Mapping[str, Node] = graph.nodes
    function: Function | None = None
    callers: list[tuple[Function | None, Node]] = []
    for _ in range(_STEP_LIMIT):
        name, _, place = tensor.partition(":")
        if function is not None and name in function.arguments and name not in function.nodes:
            position = function.arguments.index(name)
            function, call = callers.pop()
            nodes = graph.nodes if function is None else function.nodes
            if position >= len(call.inputs):
                return ""
            tensor = call.inputs[position]
            continue
        node = nodes.get(name)
        if node is None:
            return ""
        called = graph.functions.get(node.calls[0] if len(node.calls) == 1 else "")
        if called is not None and node.op in ("StatefulPartitionedCall", "PartitionedCall"):
            index = int(place.rpartition(":")[2] or 0) if place.rpartition(":")[2].isdecimal() or not place else -1
            if not 0 <= index < len(called.outputs):
                return ""
            callers.append((function, node))
            function, nodes = called, called.nodes
            tensor = called.returns.get(called.outputs[index], "")
        elif node.op in _HAND_ON and node.inputs:
            index = int(place.rpartition(":")[2]) if node.op == "IdentityN" and place.rpartition(":")[2].isdecimal() else 0
            tensor = node.inputs[min(index, len(node.inputs) - 1)]
        else:
            return node.op
    return ""
