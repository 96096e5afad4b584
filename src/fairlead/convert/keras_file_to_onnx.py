"""A Keras file with layers that only Keras knows -> ONNX, exported by Keras itself in the sandbox: on JAX or on PyTorch.

Takes an artifact that has passed ingest's gate, gives a Conversion. Raises MissingExtraError where no route is installed, UnsupportedError
where every route fails, freezes a length that has to stay free, or answers otherwise than Keras. That an export ran proves nothing: each is
compared with Keras at two lengths here, and by verify on the user's rows.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from fairlead.convert.export_surface import HINT, check_free, rename_tensors
from fairlead.convert.routes import Route, first_right
from fairlead.core.artifact import Artifact
from fairlead.core.conversion import Conversion
from fairlead.core.interface import Array, Tensors, TensorSpec, shorten
from fairlead.core.lineage import Step
from fairlead.core.ports import Sandbox, SandboxJob, SandboxLimits
from fairlead.engines.export_proof import answer_drawn, prove_export
from fairlead.engines.keras_worker import open_model
from fairlead.errors import CorruptError, MissingExtraError, UnsupportedError

MODEL_FILE = "model.onnx"
_ENTRY = "fairlead.convert.keras_file_to_onnx:export_in_sandbox"
# Backend -> what its export needs. JAX first: it keeps free lengths where PyTorch unrolls and freezes them.
_ROUTES = {"jax": ("jax", "jax2onnx"), "torch": ("torch", "onnxscript", "onnxslim")}
_LIMITS = SandboxLimits(memory_bytes=32 * 2**30, cpu_s=600, wall_s=600.0)  # address space: frameworks reserve more than they use
_NEED = "Converting a layer that only Keras knows"


def convert_keras_file(artifact: Artifact, workspace: Path, *, sandbox: Sandbox) -> Conversion:
    """Write `model.onnx` into `workspace`/export-<backend> by the first route that gives Keras's own answers, and return it."""
    routes = [
        Route(f"on {backend}", ("keras", *needed), partial(_by_route, backend, artifact, workspace, sandbox))
        for backend, needed in _ROUTES.items()
    ]
    reason = next((note for note in artifact.notes if note.startswith("left to Keras: ")), "")
    if reason and not any(route.is_installed for route in routes):
        raise UnsupportedError(reason.removeprefix("left to Keras: "), hint=MissingExtraError("keras", needed_for=_NEED).hint)
    return first_right(routes, extra="keras", needed_for=_NEED, hint=HINT)


def _by_route(backend: str, artifact: Artifact, workspace: Path, sandbox: Sandbox) -> Conversion:
    scratch = workspace / f"export-{backend}"
    arguments = {
        "backend": backend,
        "path": str(artifact.snapshot),
        "inputs": msgspec.to_builtins(artifact.interface.inputs),
        "outputs": [spec.name for spec in artifact.interface.outputs],
    }
    answer = sandbox.run(SandboxJob(_ENTRY, scratch, arguments, (artifact.snapshot.parent,), _LIMITS))
    path = scratch / MODEL_FILE
    if path.is_symlink() or not path.is_file():
        raise CorruptError("The import worker did not write the model that it promised.", hint=HINT)
    versions = {str(name): shorten(str(version)) for name, version in answer.get("versions", {}).items()}
    return Conversion(path, artifact.interface, (Step("convert", "keras_file_to_onnx", "", "", versions, {"backend": backend}),))


def export_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Export the model at `path` with a free batch and free lengths; names of tensors are those of the interface."""
    backend, inputs = str(arguments["backend"]), msgspec.convert(arguments["inputs"], tuple[TensorSpec, ...])
    model = open_model(Path(arguments["path"]), backend)
    scratch = Path(arguments["scratch"])
    answered = answer_drawn(inputs, partial(_answers, model, inputs))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exported = _export_with_jax(model, scratch) if backend == "jax" else _export_with_torch(model, inputs, answered[0][0])
    except Exception as error:  # the exporter raises whatever an operator without a converter raises
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UnsupportedError(f"{shorten(reason.rstrip('.'), 200)}.", hint=HINT) from error
    rename_tensors(exported, [spec.name for spec in inputs], arguments["outputs"])
    check_free(exported, inputs)
    data = exported.SerializeToString(deterministic=True)
    expected = iter([answers for _, answers in answered])
    prove_export(data, inputs, lambda _: next(expected), rows=[rows for rows, _ in answered])
    (scratch / MODEL_FILE).write_bytes(data)
    names = ("keras", *_ROUTES[backend], "onnx")
    return {"versions": {name: str(getattr(importlib.import_module(name), "__version__", "")) for name in names}}


def _answers(model: Any, inputs: Sequence[TensorSpec], rows: Mapping[str, Array]) -> list[Array]:
    """Return what Keras itself answers."""
    keras = importlib.import_module("keras")
    given = _as_taken(model, [rows[spec.name] for spec in inputs])
    return [np.asarray(keras.ops.convert_to_numpy(part)) for part in keras.tree.flatten(model(given, training=False))]


def _as_taken(model: Any, tensors: Sequence[Any]) -> Any:
    """Return tensors in the structure that the model takes. A Sequential that was never called has no `input`; it takes one tensor."""
    structure = getattr(model, "input", None)
    return tensors[0] if structure is None else importlib.import_module("keras").tree.pack_sequence_as(structure, list(tensors))


def _export_with_jax(model: Any, scratch: Path) -> Any:
    """Export a model that was called once: Keras exports no other."""
    onnx = importlib.import_module("onnx")
    path = scratch / "exported.onnx"
    model.export(path, format="onnx", verbose=False)
    return onnx.load(path)


def _export_with_torch(model: Any, inputs: Sequence[TensorSpec], example: Tensors) -> Any:
    """Export by following `example`; its batch is not 1, which would be taken for a constant."""
    torch = importlib.import_module("torch")

    class Wrapped(torch.nn.Module):  # type: ignore[misc, name-defined] # torch is not imported by this process otherwise
        """Takes tensors one by one, as the exporter wants them."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: Any) -> Any:
            """Return the outputs in the model's order."""
            keras = importlib.import_module("keras")
            return tuple(keras.tree.flatten(self.model(_as_taken(self.model, tensors), training=False)))

    examples = tuple(torch.from_numpy(np.ascontiguousarray(example[spec.name])) for spec in inputs)
    free = torch.export.Dim.AUTO
    shapes = tuple({axis: free for axis, size in enumerate(spec.shape) if size is None} for spec in inputs)
    with torch.no_grad():
        program = torch.onnx.export(
            Wrapped().eval(), examples, dynamo=True, dynamic_shapes=(shapes,), external_data=False, verbose=False, optimize=True
        )
    return importlib.import_module("onnxslim").slim(program.model_proto)
