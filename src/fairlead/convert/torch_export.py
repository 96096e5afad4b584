"""The child's side of a PyTorch conversion: exports the open model, names its tensors, slims it, and proves each file before it comes out.

Takes the job's arguments; writes ONNX into scratch. Raises UnsupportedError with the exporter's reason, and where the file answers
otherwise than PyTorch at any of three batch sizes and two lengths. For the sandboxed worker only.
"""

from __future__ import annotations

import importlib
import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime

from fairlead.convert.export_surface import check_free, rename_tensors
from fairlead.core.interface import Array, Interface, Tensors, TensorSpec, shorten
from fairlead.engines.export_proof import prove_export
from fairlead.engines.torch_engine import named_answer
from fairlead.engines.torch_rows import Rows, draw_rows, name_outputs
from fairlead.errors import UnsupportedError
from fairlead.security.torch_file import OpenModel, open_model

EXPORT_FILE = "model.onnx"
DYNAMO, TRACER = "dynamo", "torchscript"
_HINT = "Convert the model to ONNX where it was trained, and give the .onnx file."


def export_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Export the model at `path` by `route` with a free batch and free lengths, and say how far it is from the original."""
    interface, scratch = msgspec.convert(arguments["interface"], Interface), Path(arguments["scratch"])
    model = open_model(Path(arguments["path"]), str(arguments["format"]), arguments["options"], scratch)
    rows = draw_rows(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # What the tracer says where Python decides by data: the trace would keep this one decision, or this number of turns, for ever.
        warnings.simplefilter("error", importlib.import_module("torch").jit.TracerWarning)
        logging.disable(logging.WARNING)
        try:
            exported = _export(str(arguments["route"]), model, interface, rows)
        except Exception as error:  # the exporter raises whatever an operator without a converter raises
            raise UnsupportedError(f"{first_line(error)}.", hint=_HINT) from error
    asked = [_renamed(model, interface, drawn) for drawn in rows.drawn]
    expected = [list(named_answer(model, interface, item).values()) for item in asked]
    data = _named(exported, interface)
    _prove(data, interface, asked, expected)
    slim, problem = _slimmed(exported, interface, asked, expected)
    chosen = slim or data
    (scratch / EXPORT_FILE).write_bytes(chosen)
    tools = ("torch", "onnx", *(("onnxscript",) if arguments["route"] == DYNAMO else ()), *(("onnxslim",) if slim else ()))
    return {
        "difference": _difference(chosen, asked, expected),
        "is_slimmed": slim is not None,
        "notes": [f"not slimmed: {problem}"] if problem else [],
        "versions": {name: str(getattr(importlib.import_module(name), "__version__", "")) for name in tools},
    }


def _renamed(model: OpenModel, interface: Interface, drawn: Tensors) -> dict[str, Array]:
    return {spec.name: drawn[mine.name] for mine, spec in zip(model.inputs, interface.inputs, strict=True)}


def _export(route: str, model: OpenModel, interface: Interface, rows: Rows) -> Any:
    torch = importlib.import_module("torch")
    if route == DYNAMO:
        program = model.inner if model.kind == "program" else to_program(model, rows)
        exported = torch.onnx.export(program, dynamo=True, external_data=False, optimize=True, verbose=False)
        return exported.model_proto
    examples = tuple(torch.from_numpy(rows.example[spec.name]) for spec in model.inputs)
    free = {spec.name: {axis: _size_name(spec, axis) for axis, size in enumerate(spec.shape) if size is None} for spec in interface.inputs}
    free |= {spec.name: {0: "batch"} for spec in interface.outputs}
    target = io.BytesIO()
    torch.onnx.export(
        model.inner if model.kind == "script" else flat_module(model),
        examples,
        target,
        dynamo=False,
        dynamic_axes=free,
        input_names=[spec.name for spec in interface.inputs],
        output_names=[spec.name for spec in interface.outputs],
    )
    return onnx.load_from_string(target.getvalue())


def flat_module(model: OpenModel) -> Any:
    """Return a module that takes the model's tensors one by one and gives a tuple of tensors."""
    torch = importlib.import_module("torch")

    class Flat(torch.nn.Module):  # type: ignore[misc, name-defined] # torch is not imported by this process otherwise
        """Calls the model and names nothing."""

        def __init__(self) -> None:
            super().__init__()
            if isinstance(model.inner, torch.nn.Module):
                self.inner = model.inner  # so that its weights are weights of the export, not constants

        def forward(self, *tensors: Any) -> Any:
            """Return the outputs in order."""
            return tuple(tensor for _, tensor in name_outputs(model.call(tensors)))

    return Flat().eval()


def to_program(model: OpenModel, rows: Rows) -> Any:
    """Return a module, or TorchScript, as an exported program whose free sizes are free."""
    torch = importlib.import_module("torch")
    examples = tuple(torch.from_numpy(rows.example[spec.name]) for spec in model.inputs)
    free = tuple({axis: torch.export.Dim.AUTO for axis, size in enumerate(axes) if not isinstance(size, int)} for axes in model.axes)
    if model.kind == "script":  # the only way from TorchScript to an exported program
        return importlib.import_module("torch._export.converter").TS2EPConverter(model.inner, examples, {}).convert()
    return torch.export.export(flat_module(model), examples, dynamic_shapes=(free,))


def _named(exported: Any, interface: Interface) -> bytes:
    """Return the file with the interface's names and sizes on its inputs and outputs."""
    rename_tensors(exported, [spec.name for spec in interface.inputs], [spec.name for spec in interface.outputs])
    check_free(exported, interface.inputs)
    tensors = zip((*exported.graph.input, *exported.graph.output), (*interface.inputs, *interface.outputs), strict=True)
    for value, spec in tensors:
        _set_shape(value, spec)
    data: bytes = exported.SerializeToString(deterministic=True)
    return data


def _set_shape(value: Any, spec: TensorSpec) -> None:
    shape = value.type.tensor_type.shape
    shape.ClearField("dim")
    for axis, size in enumerate(spec.shape):
        dim = shape.dim.add()
        if size is None:
            dim.dim_param = _size_name(spec, axis)
        else:
            dim.dim_value = size


def _size_name(spec: TensorSpec, axis: int) -> str:
    return f"{spec.name}_{axis}" if axis else "batch"


def _prove(data: bytes, interface: Interface, asked: Sequence[Tensors], expected: Sequence[Sequence[Array]]) -> None:
    answers = iter(expected)
    prove_export(data, interface.inputs, lambda _: next(answers), rows=asked)


def _slimmed(
    exported: Any, interface: Interface, asked: Sequence[Tensors], expected: Sequence[Sequence[Array]]
) -> tuple[bytes | None, str]:
    """Return the file without what it does not need, or None and why: slimming has to leave every answer as it is."""
    try:
        slim = importlib.import_module("onnxslim").slim
    except ModuleNotFoundError:
        return None, "onnxslim is not installed"
    try:
        data: bytes = slim(exported).SerializeToString(deterministic=True)
    except Exception as error:  # noqa: BLE001 - a tool of many rewrites; whatever it stumbles over, the file before it is proven
        return None, first_line(error)
    try:
        _prove(data, interface, asked, expected)
    except UnsupportedError as error:
        return None, error.message
    return data, ""


def _difference(data: bytes, asked: Sequence[Tensors], expected: Sequence[Sequence[Array]]) -> float:
    """Return the largest difference from the original on the drawn rows, absolute below 1 and relative above."""
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    worst = 0.0
    for rows, wanted in zip(asked, expected, strict=True):
        for one, other in zip(wanted, session.run(None, dict(rows)), strict=True):
            if one.dtype.kind == "f" and one.size:
                with np.errstate(invalid="ignore"):
                    away = np.abs(one - other) / np.maximum(np.abs(one), 1.0)
                worst = max(worst, float(np.nanmax(away, initial=0.0)))
    return worst


def first_line(error: Exception) -> str:
    """Return the first line of an exporter's error, fit to be shown."""
    reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return shorten(reason.rstrip("."), 300)
