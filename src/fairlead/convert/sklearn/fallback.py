"""The second route: skl2onnx, for estimators that have no converter of ours. Its result is believed only after the proof on probe rows.

Takes a fitted estimator and its interface, gives a model with the interface's names and types. Raises UnsupportedError with
skl2onnx's reason.
"""

from __future__ import annotations

from typing import Any

import onnx
from onnx import TensorProto, helper

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, shorten
from fairlead.engines.estimator_rows import LABEL, PREDICTION, PROBABILITIES, classes_of
from fairlead.errors import UnsupportedError

# What its converters raise where they do not know an estimator, or have a defect.
_FAILURES = (AssertionError, AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)
_OPSETS = {"": 18, "ai.onnx.ml": 3}
_TYPES = {DType.FP64: TensorProto.DOUBLE, DType.BYTES: TensorProto.STRING, DType.INT64: TensorProto.INT64, DType.BOOL: TensorProto.BOOL}


def convert_with_skl2onnx(estimator: Any, interface: Interface) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Return skl2onnx's model in double precision, with outputs named and typed as the interface says, and a note."""
    try:
        import skl2onnx  # noqa: PLC0415 - heavy, and needed for few models
        from skl2onnx.common.data_types import DoubleTensorType, StringTensorType  # noqa: PLC0415 - as above
    except ModuleNotFoundError as error:
        raise UnsupportedError("skl2onnx is not installed") from error
    types = [
        (spec.name, (StringTensorType if spec.dtype is DType.BYTES else DoubleTensorType)([None, spec.shape[1]]))
        for spec in interface.inputs
    ]
    try:
        options = {id(estimator): {"zipmap": False}} if interface.labels and hasattr(estimator, "predict_proba") else None
        model = skl2onnx.convert_sklearn(estimator, initial_types=types, options=options, target_opset=_OPSETS)
    except _FAILURES as error:
        raise UnsupportedError(f"{type(error).__name__}: {shorten(str(error).splitlines()[0] if str(error) else '', 200)}") from error
    _rename(model, estimator, interface)
    onnx.checker.check_model(model)
    return model, ("converted by skl2onnx, partly in single precision",)


def _rename(model: onnx.ModelProto, estimator: Any, interface: Interface) -> None:
    """Give the outputs the interface's names, types and shapes."""
    found = [output.name for output in model.graph.output]
    if len(found) < len(interface.outputs):
        raise UnsupportedError(f"it gives {len(found)} outputs instead of {len(interface.outputs)}")
    inner = dict(zip((PREDICTION,) if not interface.labels else (LABEL, PROBABILITIES), found, strict=False))
    if any(spec.name not in inner for spec in interface.outputs):
        raise UnsupportedError("it has no decision function among its outputs")
    taken = {name: f"inner_{name}" for name in found}
    for node in model.graph.node:
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                names[position] = taken.get(name, name)
    del model.graph.output[:]
    for spec in interface.outputs:
        shape = "flat" if len(spec.shape) == 1 else "column" if spec.shape[1] == 1 else "rows"
        size = {"flat": [-1], "column": [-1, 1], "rows": [-1, len(classes_of(estimator)) if interface.labels else 1]}[shape]
        target = helper.make_tensor(f"shape_{spec.name}", TensorProto.INT64, [len(size)], size)
        model.graph.initializer.append(target)
        source = taken[inner[spec.name]]
        model.graph.node.append(helper.make_node("Reshape", [source, target.name], [f"shaped_{spec.name}"]))
        cast = spec.dtype is not DType.BYTES
        last = helper.make_node("Cast", [f"shaped_{spec.name}"], [spec.name], to=_TYPES[spec.dtype]) if cast else None
        model.graph.node.append(last or helper.make_node("Identity", [f"shaped_{spec.name}"], [spec.name]))
        dims = [
            "batch" if size is None and axis == 0 else f"{spec.name}_{axis}" if size is None else size
            for axis, size in enumerate(spec.shape)
        ]
        model.graph.output.append(helper.make_tensor_value_info(spec.name, _TYPES[spec.dtype], dims))
