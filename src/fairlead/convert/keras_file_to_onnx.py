"""A Keras file with layers that only Keras knows -> ONNX, exported by Keras itself in the sandbox: on JAX or on PyTorch.

Takes an artifact that has passed ingest's gate, gives a Conversion. Raises MissingExtraError where no route is installed, UnsupportedError
where every route fails, freezes a length that has to stay free, or answers otherwise than Keras. That an export ran proves nothing: each is
compared with Keras at two lengths here, and by verify on the user's rows.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fairlead.core.artifact import Artifact
from fairlead.core.conversion import Conversion
from fairlead.core.dtype import DType
from fairlead.core.interface import Array, shorten
from fairlead.core.lineage import Step
from fairlead.core.ports import Sandbox, SandboxJob, SandboxLimits
from fairlead.engines.keras_worker import open_model
from fairlead.errors import CorruptError, MissingExtraError, SandboxError, UnsupportedError

MODEL_FILE = "model.onnx"
_ENTRY = "fairlead.convert.keras_file_to_onnx:export_in_sandbox"
# Backend -> what its export needs. JAX first: it keeps free lengths where PyTorch unrolls and freezes them.
_ROUTES = {"jax": ("jax", "jax2onnx"), "torch": ("torch", "onnxscript", "onnxslim")}
_LIMITS = SandboxLimits(memory_bytes=32 * 2**30, cpu_s=600, wall_s=600.0)  # address space: frameworks reserve more than they use
_EXAMPLE_BATCH, _EXAMPLE_LENGTH = 3, 6  # a batch of 1 would be taken for a constant
_TOLERANCE = 1e-4  # of drawn rows, absolute below 1 and relative above; verify holds the user's rows to the conversion's own
_HINT = "Convert the model to ONNX where it was trained, and give the .onnx file."


def convert_keras_file(artifact: Artifact, workspace: Path, *, sandbox: Sandbox) -> Conversion:
    """Write `model.onnx` into `workspace`/export-<backend> by the first route that gives Keras's own answers, and return it."""
    routes = [name for name, needed in _ROUTES.items() if all(importlib.util.find_spec(module) for module in ("keras", *needed))]
    if not routes:
        error = MissingExtraError("keras", needed_for="Converting a layer that only Keras knows")
        reason = next((note for note in artifact.notes if note.startswith("left to Keras: ")), "")
        raise UnsupportedError(reason.removeprefix("left to Keras: "), hint=error.hint) if reason else error
    failures: list[str] = []
    for backend in routes:
        try:
            step = _by_route(backend, artifact, workspace, sandbox)
        except (UnsupportedError, SandboxError) as error:
            failures.append(f"on {backend}: {error.message}")
            continue
        notes = tuple(f"another route failed {failure}" for failure in failures)
        return Conversion(workspace / f"export-{backend}" / MODEL_FILE, artifact.interface, (replace(step, notes=notes),))
    raise UnsupportedError(f"Keras cannot export the model to ONNX {'; '.join(failures)}", hint=_HINT)


def _by_route(backend: str, artifact: Artifact, workspace: Path, sandbox: Sandbox) -> Step:
    scratch = workspace / f"export-{backend}"
    arguments = {
        "backend": backend,
        "path": str(artifact.snapshot),
        "inputs": [{"name": spec.name, "dtype": spec.dtype.value, "shape": list(spec.shape)} for spec in artifact.interface.inputs],
        "outputs": [spec.name for spec in artifact.interface.outputs],
    }
    answer = sandbox.run(SandboxJob(_ENTRY, scratch, arguments, (artifact.snapshot.parent,), _LIMITS))
    path = scratch / MODEL_FILE
    if path.is_symlink() or not path.is_file():
        raise CorruptError("The import worker did not write the model that it promised.", hint=_HINT)
    versions = {str(name): shorten(str(version)) for name, version in answer.get("versions", {}).items()}
    return Step("convert", "keras_file_to_onnx", "", "", versions, {"backend": backend})


def export_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Export the model at `path` with a free batch and free lengths; names of tensors are those of the interface."""
    backend, inputs = str(arguments["backend"]), arguments["inputs"]
    model = open_model(Path(arguments["path"]), backend)
    scratch = Path(arguments["scratch"])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exported = _export_with_jax(model, inputs, scratch) if backend == "jax" else _export_with_torch(model, inputs)
    except Exception as error:  # the exporter raises whatever an operator without a converter raises
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UnsupportedError(f"{shorten(reason.rstrip('.'), 200)}.", hint=_HINT) from error
    _rename(exported, [spec["name"] for spec in inputs], arguments["outputs"])
    _check_free(exported, inputs)
    data = exported.SerializeToString(deterministic=True)
    _check_answers(model, data, inputs)
    (scratch / MODEL_FILE).write_bytes(data)
    names = ("keras", *_ROUTES[backend], "onnx")
    return {"versions": {name: str(getattr(importlib.import_module(name), "__version__", "")) for name in names}}


def _check_answers(model: Any, exported: bytes, inputs: Sequence[Mapping[str, Any]]) -> None:
    """Raise UnsupportedError unless the export answers drawn rows as Keras does, at two lengths where lengths are free."""
    keras, runtime = importlib.import_module("keras"), importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    for length in (_EXAMPLE_LENGTH, 2 * _EXAMPLE_LENGTH + 1):
        rows = [_example(spec, length, np.random.default_rng(length)) for spec in inputs]
        given = keras.tree.pack_sequence_as(model.input, rows)
        expected = [np.asarray(keras.ops.convert_to_numpy(part)) for part in keras.tree.flatten(model(given, training=False))]
        got = session.run(None, {spec["name"]: row for spec, row in zip(inputs, rows, strict=True)})
        for place, (one, other) in enumerate(zip(expected, got, strict=True)):
            if one.shape != other.shape or not np.allclose(one, other, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True):
                raise UnsupportedError(f"The export answers otherwise than Keras (output {place}).", hint=_HINT)


def _export_with_jax(model: Any, inputs: Sequence[Mapping[str, Any]], scratch: Path) -> Any:
    onnx = importlib.import_module("onnx")
    keras = importlib.import_module("keras")
    rows = [_example(spec, _EXAMPLE_LENGTH, np.random.default_rng(0)) for spec in inputs]
    model(keras.tree.pack_sequence_as(model.input, rows), training=False)  # Keras exports only what was called once
    path = scratch / "exported.onnx"
    model.export(path, format="onnx", verbose=False)
    return onnx.load(path)


def _export_with_torch(model: Any, inputs: Sequence[Mapping[str, Any]]) -> Any:
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

    examples = tuple(torch.from_numpy(_example(spec, _EXAMPLE_LENGTH, np.random.default_rng(0))) for spec in inputs)
    free = torch.export.Dim.AUTO
    shapes = tuple({axis: free for axis, size in enumerate(spec["shape"]) if size is None} for spec in inputs)
    with torch.no_grad():
        program = torch.onnx.export(
            Wrapped().eval(), examples, dynamo=True, dynamic_shapes=(shapes,), external_data=False, verbose=False, optimize=True
        )
    return importlib.import_module("onnxslim").slim(program.model_proto)


def _example(spec: Mapping[str, Any], length: int, random: np.random.Generator) -> Array:
    """Return drawn rows for an input: free sizes get `length` and more, whole numbers are 0 or 1 so that they index anything."""
    sizes = [_EXAMPLE_BATCH if axis == 0 else length + axis if size is None else size for axis, size in enumerate(spec["shape"])]
    dtype = DType(spec["dtype"])
    drawn = random.normal(size=sizes) if dtype.is_float else random.integers(0, 2, size=sizes)
    return np.asarray(drawn, dtype=dtype.numpy)


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
