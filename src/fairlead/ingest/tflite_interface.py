"""What a .tflite file takes, gives and decides, told from its tensors and signature. Pure; LiteRT is not needed.

Takes a parsed file and the signature that the user named ("" for none), gives an Interface whose batch is free where the file says so or
plans for one row. Raises UnsupportedError where it is not clear what is asked, or a tensor has no place in an interface.
"""

from __future__ import annotations

from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec, shorten
from fairlead.engines.tensorflow_names import in_order, interface_names, tensor_names
from fairlead.errors import UnsupportedError
from fairlead.ingest.keras_interface import decide
from fairlead.security.tflite_check import operator_name
from fairlead.security.tflite_file import LiteGraph, LiteModel, LiteSignature, LiteTensor

DEFAULT_SIGNATURE = "serving_default"
# The schema's numbers of types.
_TYPES = {
    0: DType.FP32, 1: DType.FP16, 2: DType.INT32, 3: DType.UINT8, 4: DType.INT64, 6: DType.BOOL, 7: DType.INT16, 9: DType.INT8,
    10: DType.FP64, 12: DType.UINT64, 15: DType.UINT32, 16: DType.UINT16,
}  # fmt: skip
_HAND_ON = ("QUANTIZE", "DEQUANTIZE")
_ACTIVATIONS = {"SOFTMAX": "softmax", "LOGISTIC": "sigmoid"}


def choose_signature(model: LiteModel, wanted: str) -> LiteSignature | None:
    """Return the signature that is meant: the named one, "serving_default", the only one, or None for a file without any."""
    found = {item.key: item for item in model.signatures}
    listed = ", ".join(sorted(map(shorten, found))) or "none"
    if wanted and wanted not in found:
        raise UnsupportedError(f"The .tflite file has no signature '{shorten(wanted)}'.", hint=f"Its signatures are: {listed}.")
    if not found:
        return None
    name = wanted or (DEFAULT_SIGNATURE if DEFAULT_SIGNATURE in found else "")
    if not name and len(found) > 1:
        raise UnsupportedError(f"The .tflite file has several signatures: {listed}.", hint="Say which one is meant: --signature NAME.")
    chosen = found[name] if name else next(iter(found.values()))
    if chosen.graph != 0:
        raise UnsupportedError(
            f"The signature '{shorten(chosen.key)}' is not the file's main one.", hint="Convert it to a file of its own."
        )
    return chosen


def describe(model: LiteModel, signature: LiteSignature | None) -> Interface:
    """Return the interface of the main graph."""
    graph = model.graphs[0]
    if signature is None:
        names = tensor_names(*([graph.tensors[index].name for index in indices] for indices in (graph.inputs, graph.outputs)))
        inputs, outputs = dict(zip(names[0], graph.inputs, strict=True)), dict(zip(names[1], graph.outputs, strict=True))
    else:
        given, results = interface_names(signature.inputs, signature.outputs)
        inputs = {given[key]: signature.inputs[key] for key in in_order(signature.inputs)}
        outputs = {results[key]: signature.outputs[key] for key in in_order(signature.outputs)}
    if sorted(inputs.values()) != sorted(graph.inputs) or not inputs or not outputs:
        raise UnsupportedError("The .tflite file's signature does not name all inputs of its graph.", hint="Convert the model again.")
    specs = [_spec("input", name, graph.tensors[index]) for name, index in inputs.items()]
    answers = [_spec("output", name, graph.tensors[index]) for name, index in outputs.items()]
    if len(answers) != 1:
        return Interface(tuple(specs), tuple(answers))
    (index,) = outputs.values()
    task, decision = _decision(graph, index, answers[0])
    return Interface(tuple(specs), tuple(answers), task, decision)


def _spec(what: str, name: str, tensor: LiteTensor) -> TensorSpec:
    dtype = _TYPES.get(tensor.dtype)
    if dtype is None:
        raise UnsupportedError(
            f"The {what} '{shorten(name)}' is not a tensor of numbers.", hint="Convert the model so that it takes and gives numbers."
        )
    if not tensor.shape or tensor.free_shape[0] not in (None, 1):
        shown = ["?" if size is None else size for size in tensor.free_shape]
        raise UnsupportedError(
            f"The {what} '{shorten(name)}' has no batch of one row or of any size: its shape is {shown}.",
            hint="Convert the model with a free batch: tf.TensorSpec([None, ...]).",
        )
    return TensorSpec(name, dtype, (None, *tensor.free_shape[1:]))


def _decision(graph: LiteGraph, index: int, output: TensorSpec) -> tuple[Task | None, Decision | None]:
    """Return task and decision where the last operator is a softmax or a sigmoid; a quantized score is compared in its own units."""
    tensor = graph.tensors[index]
    makers = {made: item for item in graph.operators for made in item.outputs}
    operator = makers.get(index)
    while operator is not None and operator_name(operator) in _HAND_ON and operator.inputs:
        operator = makers.get(operator.inputs[0])
    activation = _ACTIVATIONS.get(operator_name(operator), "") if operator is not None else ""
    if not activation:
        return None, None
    task, decision = decide(output, activation, "")
    if decision is not None and decision.kind is DecisionKind.THRESHOLD and not output.dtype.is_float:
        if not tensor.scale:
            return None, None
        return task, Decision(decision.kind, output.name, threshold=tensor.zero_point + decision.threshold / tensor.scale)
    return task, decision
