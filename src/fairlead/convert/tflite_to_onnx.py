"""A .tflite file -> ONNX, exported by tf2onnx in the sandbox with a free batch; where no export answers alike, the file itself is kept.

Takes an artifact that has passed ingest's check, gives a Conversion. Raises MissingExtraError where TensorFlow or tf2onnx is absent,
UnsupportedError where the export answers otherwise than LiteRT does, row by row where the file plans for one row. Quantized models
often do: LiteRT computes them in whole numbers, ONNX Runtime in fractions that are rounded.
"""

from __future__ import annotations

import importlib
import importlib.util
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime

from fairlead.convert.export_surface import HINT
from fairlead.convert.routes import Route, first_right
from fairlead.core.artifact import Artifact
from fairlead.core.conversion import MAIN_FILE, Conversion, RuntimeForm
from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface, shorten
from fairlead.core.lineage import Step
from fairlead.core.ports import Sandbox, SandboxJob
from fairlead.engines.tensorflow_worker import TENSORFLOW_LIMITS, start_tensorflow
from fairlead.errors import CorruptError, UnsupportedError

_ENTRY = "fairlead.convert.tflite_to_onnx:export_in_sandbox"
_QUANTIZED = (DType.INT8, DType.UINT8, DType.INT16)
_RANGE_ROWS = 512
_TOLERANCE = 1e-5  # absolute below 1 and relative above, as verify asks: a step of a quantized model's numbers may be less than 1e-4


def convert_tflite(artifact: Artifact, workspace: Path, *, sandbox: Sandbox) -> Conversion:
    """Write `model.onnx` into `workspace`/export and return it once it gave LiteRT's own answers."""
    needed = ("tensorflow", "tf2onnx", "ai_edge_litert")
    routes = [Route("by tf2onnx", needed, partial(_export, artifact, workspace, sandbox))]
    if not routes[0].is_installed and importlib.util.find_spec("ai_edge_litert") is not None:
        raise UnsupportedError("TensorFlow, which could convert it, is not installed.", hint="LiteRT runs the file as it is.")
    return first_right(routes, extra="tensorflow,litert", needed_for="Converting a .tflite file", hint=HINT)


def keep_tflite(artifact: Artifact, workspace: Path, *, sandbox: Sandbox) -> Conversion:  # noqa: ARG001 - every original is kept by this call
    """Return the file itself, in the form that LiteRT runs."""
    path = workspace / MAIN_FILE[RuntimeForm.TFLITE]
    shutil.copyfile(artifact.snapshot, path)
    return Conversion(path, artifact.interface, (Step("convert", "tflite_kept", "", ""),), form=RuntimeForm.TFLITE)


def _export(artifact: Artifact, workspace: Path, sandbox: Sandbox) -> Conversion:
    scratch = workspace / "export"
    arguments = {
        "path": str(artifact.snapshot),
        "signature": str(artifact.facts.get("signature", "")),
        "interface": msgspec.to_builtins(artifact.interface),
    }
    answer = sandbox.run(SandboxJob(_ENTRY, scratch, arguments, (artifact.snapshot,), TENSORFLOW_LIMITS))
    path = scratch / MAIN_FILE[RuntimeForm.ONNX]
    if path.is_symlink() or not path.is_file():
        raise CorruptError("The import worker did not write the model that it promised.", hint=HINT)
    versions = {str(name): shorten(str(version)) for name, version in answer.get("versions", {}).items()}
    return Conversion(path, artifact.interface, (Step("convert", "tflite_to_onnx", "", "", versions),))


def export_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Export the file at `path` with a free batch, and compare the export with LiteRT."""
    interface = msgspec.convert(arguments["interface"], Interface)
    path, scratch = Path(arguments["path"]), Path(arguments["scratch"])
    engine = importlib.import_module("fairlead.engines.litert_engine").LiteRtEngine(path, interface)
    start_tensorflow()
    export = importlib.import_module("fairlead.convert.tensorflow_export")
    inputs, outputs = tensors_of(path, str(arguments["signature"]), interface)
    exported = export.export_tflite(path)
    if engine.plans_one_row:
        exported = importlib.import_module("fairlead.engines.onnx_free_batch").free_batch(exported, 1)
    given, results = dict(zip(inputs, interface.inputs, strict=True)), dict(zip(outputs, interface.outputs, strict=True))
    data = export.surfaced(exported, given, results)

    def ask(rows: Mapping[str, Array]) -> list[Array]:
        answers = engine.run(rows)
        return [answers[spec.name] for spec in interface.outputs]

    importlib.import_module("fairlead.engines.export_proof").prove_export(data, interface.inputs, ask, tolerance=_TOLERANCE)
    _prove_whole_range(data, interface, ask)
    (scratch / MAIN_FILE[RuntimeForm.ONNX]).write_bytes(data)
    return {"versions": export.versions()}


def _prove_whole_range(data: bytes, interface: Interface, ask: Callable[[Mapping[str, Array]], list[Array]]) -> None:
    """Raise UnsupportedError unless the export agrees on rows of every number that small whole-number inputs can hold: those are quantized
    fractions, not indices, and rounding differs at single numbers only.
    """
    small = [spec for spec in interface.inputs if spec.dtype in _QUANTIZED]
    if not small:
        return
    proof = importlib.import_module("fairlead.engines.export_proof")
    random = np.random.default_rng(0)
    rows = {spec.name: proof.draw(spec, _RANGE_ROWS, proof.LENGTHS[0]) for spec in interface.inputs}
    for spec in small:
        drawn = random.integers(-(2**15), 2**15, rows[spec.name].shape)  # the low bits of these are every number of a small type
        rows[spec.name] = drawn.astype(np.int16).astype(spec.dtype.numpy)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    for name, one, other in zip((spec.name for spec in interface.outputs), ask(rows), session.run(None, rows), strict=True):
        is_close = np.allclose(one, other, _TOLERANCE, _TOLERANCE) if one.dtype.kind == "f" else np.array_equal(one, other)
        if one.shape != other.shape or not is_close:
            raise UnsupportedError(f"The export rounds otherwise than the original (output '{shorten(name)}').", hint=HINT)


def tensors_of(path: Path, signature: str, interface: Interface) -> tuple[list[str], list[str]]:
    """Return the file's own names of the tensors behind the interface's inputs and outputs."""
    model = importlib.import_module("fairlead.security.tflite_check").open_tflite(path)
    graph = model.graphs[0]
    names = importlib.import_module("fairlead.engines.tensorflow_names")
    chosen = next((item for item in model.signatures if item.key == signature), None)
    if chosen is None:
        given, results = graph.inputs, graph.outputs
    else:
        given = tuple(chosen.inputs[key] for key in names.in_order(chosen.inputs))
        results = tuple(chosen.outputs[key] for key in names.in_order(chosen.outputs))
    if len(given) != len(interface.inputs) or len(results) != len(interface.outputs):
        raise CorruptError("The .tflite file has other inputs and outputs than were read from it.", hint=HINT)
    return [graph.tensors[index].name for index in given], [graph.tensors[index].name for index in results]
