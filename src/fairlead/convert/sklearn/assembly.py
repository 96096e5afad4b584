"""A fitted estimator and its interface -> one ONNX model with exactly the interface's names and types."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import TensorProto, helper

from fairlead.convert.sklearn.boosters import loaded_predictors
from fairlead.convert.sklearn.catalog import PREDICTORS, TRANSFORMERS
from fairlead.convert.sklearn.graph import Answer, Block, Builder, unsupported
from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.engines.estimator_rows import LABEL, PREDICTION, PROBABILITIES, SCORES, classes_of

_TYPES = {DType.FP64: TensorProto.DOUBLE, DType.BYTES: TensorProto.STRING, DType.INT64: TensorProto.INT64, DType.BOOL: TensorProto.BOOL}


def assemble(estimator: Any, interface: Interface) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Return the model and notes on where it cannot do what scikit-learn does. Raises UnsupportedError that names the estimator."""
    builder = Builder(TRANSFORMERS, {**PREDICTORS, **loaded_predictors()})
    table = tuple(Block(f"in{position}", spec.shape[1] or 1, spec.dtype is DType.BYTES) for position, spec in enumerate(interface.inputs))
    answer = builder.predict(estimator, table)
    outputs = [(_inner(builder, estimator, answer, spec), _info(spec)) for spec in interface.outputs]
    model = builder.model([_info(spec) for spec in interface.inputs], outputs)
    for position, spec in enumerate(interface.inputs):
        model.graph.node.insert(position, helper.make_node("Identity", [spec.name], [f"in{position}"]))
    onnx.checker.check_model(model)
    return model, tuple(dict.fromkeys(builder.notes))


def _inner(builder: Builder, estimator: Any, answer: Answer, spec: TensorSpec) -> str:
    names = {PREDICTION: answer.value, PROBABILITIES: answer.probabilities, SCORES: answer.scores, LABEL: answer.index}
    name = names[spec.name]
    if not name:
        raise unsupported(estimator, f"its {spec.name} have no exact ONNX form")
    if spec.name != LABEL:
        return name
    classes = classes_of(estimator)
    texts = spec.dtype is DType.BYTES
    labels = builder.constant(list(classes) if texts else classes, None if texts else spec.dtype.numpy.type)
    return builder.add("Gather", labels, name, axis=0)


def _info(spec: TensorSpec) -> onnx.ValueInfoProto:
    shape = [f"{spec.name}_{axis}" if size is None and axis else "batch" if size is None else size for axis, size in enumerate(spec.shape)]
    return helper.make_tensor_value_info(spec.name, _TYPES[spec.dtype], shape)
