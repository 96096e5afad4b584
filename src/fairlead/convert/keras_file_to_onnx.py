"""A Keras file with layers that only Keras knows -> ONNX, exported by Keras on PyTorch in the sandbox and slimmed.

Takes an artifact that has passed ingest's gate, gives a Conversion. Raises MissingExtraError without Keras, PyTorch or onnxscript,
UnsupportedError where the export fails or freezes a length that has to stay free. What comes out is compared with the original by verify at
several batch sizes: that an export ran proves nothing.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fairlead.core.artifact import Artifact
from fairlead.core.conversion import Conversion
from fairlead.core.dtype import DType
from fairlead.core.interface import shorten
from fairlead.core.lineage import Step
from fairlead.core.ports import Sandbox, SandboxJob, SandboxLimits
from fairlead.engines.keras_worker import open_model
from fairlead.errors import CorruptError, MissingExtraError, UnsupportedError

MODEL_FILE = "model.onnx"
_ENTRY = "fairlead.convert.keras_file_to_onnx:export_in_sandbox"
_NEEDED = ("torch", "onnxscript", "onnxslim")
_LIMITS = SandboxLimits(memory_bytes=32 * 2**30, cpu_s=600, wall_s=600.0)  # address space: PyTorch reserves more than it uses
_EXAMPLE_BATCH, _EXAMPLE_LENGTH = 3, 6  # a batch of 1 would be taken for a constant
_HINT = "Convert the model to ONNX where it was trained, and give the .onnx file."


def convert_keras_file(artifact: Artifact, workspace: Path, *, sandbox: Sandbox) -> Conversion:
    """Write `model.onnx` into `workspace`/export and return it."""
    missing = [name for name in ("keras", *_NEEDED) if importlib.util.find_spec(name) is None]
    if missing:
        error = MissingExtraError("keras", needed_for="Converting a layer that only Keras knows")
        reason = next((note for note in artifact.notes if note.startswith("left to Keras: ")), "")
        raise UnsupportedError(reason.removeprefix("left to Keras: "), hint=error.hint) if reason else error
    interface = artifact.interface
    scratch = workspace / "export"
    arguments = {
        "path": str(artifact.snapshot),
        "inputs": [{"name": spec.name, "dtype": spec.dtype.value, "shape": list(spec.shape)} for spec in interface.inputs],
        "outputs": [spec.name for spec in interface.outputs],
    }
    answer = sandbox.run(SandboxJob(_ENTRY, scratch, arguments, (artifact.snapshot.parent,), _LIMITS))
    path = scratch / MODEL_FILE
    if path.is_symlink() or not path.is_file():
        raise CorruptError("The import worker did not write the model that it promised.", hint=_HINT)
    versions = {str(name): shorten(str(version)) for name, version in answer.get("versions", {}).items()}
    return Conversion(path, interface, (Step("convert", "keras_file_to_onnx", "", "", versions),))


def export_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Export the model at `path` with a free batch and free lengths; names of tensors are those of the interface."""
    model = open_model(Path(arguments["path"]))
    target = Path(arguments["scratch"]) / MODEL_FILE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exported = _export(model, arguments["inputs"])
            slim = importlib.import_module("onnxslim").slim(exported)
    except Exception as error:  # the exporter raises whatever an operator without a converter raises
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UnsupportedError(f"Keras cannot export the model to ONNX: {shorten(reason, 200)}.", hint=_HINT) from error
    _rename(slim, [spec["name"] for spec in arguments["inputs"]], arguments["outputs"])
    _check_free(slim, arguments["inputs"])
    target.write_bytes(slim.SerializeToString(deterministic=True))
    names = ("keras", "torch", "onnxscript", "onnxslim", "onnx")
    return {"versions": {name: str(getattr(importlib.import_module(name), "__version__", "")) for name in names}}


def _export(model: Any, inputs: Sequence[Mapping[str, Any]]) -> Any:
    torch = importlib.import_module("torch")

    class Wrapped(torch.nn.Module):  # type: ignore[misc, name-defined] # torch is not imported by this process otherwise
        """Takes tensors one by one, as the exporter wants them."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: Any) -> Any:
            """Return the outputs in the model's order."""
            keras = importlib.import_module("keras")
            structure = getattr(self.model, "input", None)
            given = tensors[0] if structure is None else keras.tree.pack_sequence_as(structure, list(tensors))
            return tuple(keras.tree.flatten(self.model(given, training=False)))

    examples = tuple(torch.from_numpy(_example(spec)) for spec in inputs)
    free = torch.export.Dim.AUTO
    shapes = tuple({axis: free for axis, size in enumerate(spec["shape"]) if size is None} for spec in inputs)
    with torch.no_grad():
        program = torch.onnx.export(
            Wrapped().eval(), examples, dynamo=True, dynamic_shapes=(shapes,), external_data=False, verbose=False, optimize=True
        )
    return program.model_proto


def _example(spec: Mapping[str, Any]) -> Any:
    sizes = [_EXAMPLE_BATCH if axis == 0 else _EXAMPLE_LENGTH + axis if size is None else size for axis, size in enumerate(spec["shape"])]
    return np.zeros(sizes, dtype=DType(spec["dtype"]).numpy)


def _rename(model: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Give the graph's tensors the interface's names; names in between that collide get out of the way."""
    graph = model.graph
    if len(graph.input) != len(inputs) or len(graph.output) != len(outputs):
        raise UnsupportedError(
            f"The export has {len(graph.input)} inputs and {len(graph.output)} outputs instead of {len(inputs)} and {len(outputs)}.",
            hint=_HINT,
        )
    given = [value.name for value in (*graph.input, *graph.output)]
    if len(set(given)) != len(given):
        raise UnsupportedError("The export hands an input on as an output.", hint=_HINT)
    wanted = dict(zip(given, (*inputs, *outputs), strict=True))
    used = {name for node in graph.node for name in (*node.input, *node.output)} | {item.name for item in graph.initializer}
    wanted |= {name: f"{name}__inner" for name in used if name in wanted.values() and name not in wanted}
    for node in graph.node:
        node.input[:] = [wanted.get(name, name) for name in node.input]
        node.output[:] = [wanted.get(name, name) for name in node.output]
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = wanted.get(value.name, value.name)
    graph.ClearField("value_info")


def _check_free(model: Any, inputs: Sequence[Mapping[str, Any]]) -> None:
    for value, spec in zip(model.graph.input, inputs, strict=True):
        for axis, (dim, size) in enumerate(zip(value.type.tensor_type.shape.dim, spec["shape"], strict=True)):
            if size is None and dim.HasField("dim_value"):
                raise UnsupportedError(
                    f"The export would freeze axis {axis} of input '{spec['name']}' to {dim.dim_value}.",
                    hint="Give the input a fixed length in Keras, or convert the model to ONNX where it was trained.",
                )
