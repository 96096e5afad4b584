"""What every converter's result must be: one ONNX file that fits the interface. Raises UnsupportedError that says what does not fit.

Never runs the model, never follows external data.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped] # no stubs are published with it

from fairlead.convert.graph_builder import ONNX_TYPES
from fairlead.core.conversion import Conversion
from fairlead.core.interface import TensorSpec, shorten
from fairlead.errors import UnsupportedError


def check_canonical(conversion: Conversion, workspace: Path) -> None:
    """Raise unless `conversion.path` is a sound single-file model in `workspace` with the names and element types of its interface."""
    if not conversion.steps:
        raise _broken("the converter did not say what it did")
    if conversion.path.is_symlink() or not conversion.path.resolve().is_relative_to(workspace.resolve()) or not conversion.path.is_file():
        raise _broken("its file does not lie in the workspace")
    try:
        model = onnx.load(conversion.path, load_external_data=False)
    except DecodeError as error:
        raise _broken("its file is not an ONNX model") from error
    _check_single_file(model)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise _broken(f"the ONNX checker refuses it: {shorten(str(error), 300)}") from error
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [info for info in model.graph.input if info.name not in constants]
    _check_tensors("input", inputs, conversion.interface.inputs)
    _check_tensors("output", model.graph.output, conversion.interface.outputs)


def _check_single_file(model: onnx.ModelProto) -> None:
    for tensor in onnx.external_data_helper._get_all_tensors(model):  # noqa: SLF001 - the only walk over all tensors that onnx has
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise _broken(f"the tensor '{shorten(tensor.name)}' lies outside of the file")


def _check_tensors(what: str, infos: Sequence[onnx.ValueInfoProto], specs: Sequence[TensorSpec]) -> None:
    names, wanted = [info.name for info in infos], [spec.name for spec in specs]
    if sorted(names) != sorted(wanted):
        raise _broken(f"its {what}s are {', '.join(map(shorten, names))} instead of {', '.join(wanted)}")
    by_name = {info.name: info for info in infos}
    for spec in specs:
        kind = by_name[spec.name].type.tensor_type
        if kind.elem_type != ONNX_TYPES[spec.dtype]:
            got = onnx.TensorProto.DataType.Name(kind.elem_type)
            raise _broken(f"its {what} '{spec.name}' is {got} instead of {spec.dtype.value}")
        if kind.HasField("shape"):
            _check_shape(what, spec, [dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim])


def _check_shape(what: str, spec: TensorSpec, shape: list[int | None]) -> None:
    if shape and shape[0] is not None:
        raise _broken(f"its {what} '{spec.name}' has a fixed batch of {shape[0]}")
    fits = len(shape) == len(spec.shape) and all(got in (None, want) or want is None for got, want in zip(shape, spec.shape, strict=True))
    if not fits:
        raise _broken(f"its {what} '{spec.name}' has shape {shape} instead of {list(spec.shape)}")


def _broken(problem: str) -> UnsupportedError:
    return UnsupportedError(f"The converted model cannot be used: {problem}.", hint="Please report it together with the model's layers.")
