"""What an ONNX model takes and gives, and how its output becomes a decision; dictionaries (ZipMap) become plain score tensors.

Takes a checked protobuf. Raises UnsupportedError for inputs and outputs that are not tensors with a batch. Never runs the model.
"""

from __future__ import annotations

from typing import Any

import onnx

from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, Label, Task, TensorSpec, shorten
from fairlead.errors import UnsupportedError

_PASSING = ("Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten")
_CLASSIFIERS = ("LinearClassifier", "SVMClassifier", "TreeEnsembleClassifier")
_REGRESSORS = ("LinearRegressor", "SVMRegressor", "TreeEnsembleRegressor")


def strip_dictionaries(model: Any) -> tuple[str, ...]:
    """Replace each ZipMap whose result is an output by its input tensor, under the output's name; return notes.

    And let a regressor's output say that it has a column, which some writers (CatBoost) leave out.
    """
    notes = []
    graph = model.graph
    outputs = {value.name: value for value in graph.output}
    for node in [node for node in graph.node if node.op_type == "ZipMap" and node.output[0] in outputs]:
        value = outputs[node.output[0]]
        classes = len(_class_labels(node))
        position = list(graph.node).index(node)
        graph.node.remove(node)
        if any(item.domain in ("", "ai.onnx") for item in model.opset_import):
            graph.node.insert(position, onnx.helper.make_node("Identity", [node.input[0]], [node.output[0]], name=node.name))
        else:
            _rename(graph, node.input[0], node.output[0])  # without the standard operators there is no Identity
        value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, onnx.TensorProto.FLOAT, ["batch", classes or None]))
        notes.append(f"output '{shorten(value.name)}' gives a table of scores instead of one dictionary per row")
    for node in [node for node in graph.node if node.op_type in _REGRESSORS and node.output[0] in outputs]:
        shape = outputs[node.output[0]].type.tensor_type.shape
        if len(shape.dim) == 1:
            shape.dim.add().dim_value = next((item.i for item in node.attribute if item.name in ("n_targets", "targets")), 1)
    return tuple(notes)


def _rename(graph: Any, old: str, new: str) -> None:
    """Call a tensor `new` where it is made and used. Raises UnsupportedError where it is an output itself."""
    if old in {value.name for value in graph.output}:
        raise UnsupportedError(
            f"The output '{shorten(new)}' is another form of the output '{shorten(old)}'.", hint="Export it without ZipMap."
        )
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]


def class_labels(model: Any) -> tuple[Label, ...]:
    """Return the labels that the model's own classifier or ZipMap names, in the order of its scores; empty where there is none."""
    for node in model.graph.node:
        if node.op_type == "ZipMap" or node.op_type in _CLASSIFIERS:
            labels = _class_labels(node)
            if labels:
                return labels
    return ()


def declared_interface(model: Any, labels: tuple[Label, ...]) -> Interface:
    """Return the interface as the file declares it. Initializers that are also inputs are not inputs."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = tuple(_spec("input", value) for value in model.graph.input if value.name not in constants)
    outputs = tuple(_spec("output", value) for value in model.graph.output)
    if not inputs or not outputs:
        raise UnsupportedError("The model has no inputs or no outputs.", hint="Export it as a function of its data.")
    task, decision = _decide(model, outputs, labels)
    return Interface(inputs, outputs, task, decision, labels if decision and decision.kind is not DecisionKind.VALUE else ())


def _spec(what: str, value: Any) -> TensorSpec:
    name = shorten(value.name)
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise UnsupportedError(f"The {what} '{name}' is a {str(kind).removesuffix('_type')}, not a tensor.", hint="Export it as tensors.")
    tensor = value.type.tensor_type
    if not value.name or not value.name.isprintable() or len(value.name) > 200:
        raise UnsupportedError(f"The {what} '{name}' has a name that no request can carry.", hint="Rename it when you export the model.")
    if not tensor.HasField("shape"):
        return TensorSpec(value.name, _dtype(what, name, tensor.elem_type), (None,))
    shape = tuple(dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in tensor.shape.dim)
    if what == "input" and not shape:
        raise UnsupportedError(f"The input '{name}' has no batch dimension.", hint="Make it a constant, or give it one value per row.")
    return TensorSpec(value.name, _dtype(what, name, tensor.elem_type), shape)


def _dtype(what: str, name: str, element: int) -> DType:
    if element == onnx.TensorProto.STRING:
        return DType.BYTES
    try:
        return DType.of(onnx.helper.tensor_dtype_to_np_dtype(element))
    except (KeyError, TypeError, ValueError):
        shown = onnx.TensorProto.DataType.Name(element) if element in onnx.TensorProto.DataType.values() else str(element)
        raise UnsupportedError(f"The {what} '{name}' has the element type {shown}.", hint="Export it as float32.") from None


def _class_labels(node: Any) -> tuple[Label, ...]:
    for attribute in node.attribute:
        if attribute.name in ("classlabels_strings", "classlabels_string") and attribute.strings:
            return tuple(item.decode("utf-8", errors="replace") for item in attribute.strings)
        if attribute.name in ("classlabels_int64s", "classlabels_ints") and attribute.ints:
            return tuple(int(item) for item in attribute.ints)
    return ()


def _decide(model: Any, outputs: tuple[TensorSpec, ...], labels: tuple[Label, ...]) -> tuple[Task | None, Decision | None]:
    makers = {output: node for node in model.graph.node for output in node.output}
    if labels:
        whole = [spec for spec in outputs if spec.dtype in (DType.INT64, DType.BYTES) and len(spec.shape) == 1]
        scores = [spec for spec in outputs if spec.dtype.is_float and len(spec.shape) == 2]
        if len(whole) == 1:
            return Task.CLASSIFICATION, Decision(DecisionKind.LABEL, whole[0].name, scores=scores[0].name if len(scores) == 1 else "")
    if len(outputs) != 1:
        return None, None
    spec = outputs[0]
    node = _maker(makers, spec.name)
    kind = node.op_type if node is not None else ""
    width = spec.shape[-1] if len(spec.shape) == 2 else None
    if kind in ("Softmax", "LogSoftmax") and spec.dtype.is_float and len(spec.shape) == 2 and width != 1:
        return Task.CLASSIFICATION, Decision(DecisionKind.ARGMAX, spec.name, scores=spec.name)
    if kind == "Sigmoid" and spec.dtype.is_float and (width == 1 or len(spec.shape) == 1):
        return Task.CLASSIFICATION, Decision(DecisionKind.THRESHOLD, spec.name, scores=spec.name)
    if kind in _REGRESSORS and spec.dtype.is_float and (width == 1 or len(spec.shape) == 1):
        return Task.REGRESSION, Decision(DecisionKind.VALUE, spec.name)
    return None, None


def _maker(makers: dict[str, Any], name: str) -> Any:
    """Return the node that computes `name`, looking through those that only pass it on."""
    node = makers.get(name)
    for _ in range(16):
        if node is None or node.op_type not in _PASSING or not node.input:
            return node
        node = makers.get(node.input[0])
    return None
