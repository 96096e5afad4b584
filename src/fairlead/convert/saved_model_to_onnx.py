"""A SavedModel -> ONNX, exported by tf2onnx in the sandbox: from its graph, or from the .tflite that TensorFlow makes of it.

Takes an artifact that has passed ingest's check, gives a Conversion. Raises MissingExtraError where TensorFlow or tf2onnx is absent,
UnsupportedError where every route fails, freezes a size that has to stay free, or answers otherwise than TensorFlow. Each route is compared
with TensorFlow at several batches and lengths here, and by verify on the user's rows.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from fairlead.convert.export_surface import HINT
from fairlead.convert.routes import Route, first_right
from fairlead.convert.tflite_to_onnx import tensors_of
from fairlead.core.artifact import Artifact
from fairlead.core.conversion import Conversion
from fairlead.core.interface import Array, Interface, shorten
from fairlead.core.lineage import Step
from fairlead.core.ports import Sandbox, SandboxJob
from fairlead.engines.export_proof import prove_export
from fairlead.engines.tensorflow_worker import TENSORFLOW_LIMITS, SavedModelFunction, first_line
from fairlead.errors import CorruptError, UnsupportedError
from fairlead.security.saved_model_check import device_kind

MODEL_FILE = "model.onnx"
_SOURCE_FILE = "saved_model.pb"
_COMPILED = "_XlaMustCompile"
_ENTRY = "fairlead.convert.saved_model_to_onnx:export_in_sandbox"
_ROUTES = {"graph": "from its graph", "tflite": "by way of TensorFlow Lite"}


def convert_saved_model(artifact: Artifact, workspace: Path, *, sandbox: Sandbox) -> Conversion:
    """Write `model.onnx` into `workspace`/export-<route> by the first route that gives TensorFlow's own answers, and return it."""
    fixed = [spec for spec in artifact.interface.inputs if spec.shape[0] is not None]
    if fixed:
        raise UnsupportedError(
            f"The signature's batch is fixed: {fixed[0].describe()}.",
            hint="Export it with None as the first size of each input: tf.TensorSpec([None, ...]).",
        )
    routes = [
        Route(title, ("tensorflow", "tf2onnx"), partial(_by_route, route, artifact, workspace, sandbox)) for route, title in _ROUTES.items()
    ]
    return first_right(routes, extra="tensorflow", needed_for="Converting a SavedModel", hint=HINT)


def _by_route(route: str, artifact: Artifact, workspace: Path, sandbox: Sandbox) -> Conversion:
    scratch = workspace / f"export-{route}"
    arguments = {
        "route": route,
        "path": str(artifact.snapshot),
        "signature": str(artifact.facts["signature"]),
        "interface": msgspec.to_builtins(artifact.interface),
    }
    answer = sandbox.run(SandboxJob(_ENTRY, scratch, arguments, (artifact.snapshot,), TENSORFLOW_LIMITS))
    path = scratch / MODEL_FILE
    if path.is_symlink() or not path.is_file():
        raise CorruptError("The import worker did not write the model that it promised.", hint=HINT)
    versions = {str(name): shorten(str(version)) for name, version in answer.get("versions", {}).items()}
    step = Step("convert", f"saved_model_to_onnx ({route})", "", "", versions, {"signature": arguments["signature"]})
    return Conversion(path, artifact.interface, (step,))


def export_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Export the signature with free sizes as the interface has them, and compare the export with the original."""
    interface = msgspec.convert(arguments["interface"], Interface)
    folder, scratch = Path(arguments["path"]), Path(arguments["scratch"])
    original = SavedModelFunction(folder, str(arguments["signature"]))
    if len(original.inputs) != len(interface.inputs) or len(original.outputs) != len(interface.outputs):
        raise UnsupportedError("TensorFlow sees other inputs and outputs than the file says.", hint=HINT)
    export = importlib.import_module("fairlead.convert.tensorflow_export")
    if arguments["route"] == "graph":
        plain = _plain(folder, str(arguments["signature"]), scratch / "plain")
        exported, inputs, outputs = export.export_function(plain)
    else:
        exported, inputs, outputs = _by_tflite(original, interface, str(arguments["signature"]), scratch, export)
    given, results = dict(zip(inputs, interface.inputs, strict=True)), dict(zip(outputs, interface.outputs, strict=True))
    data = export.surfaced(exported, given, results)

    def ask(rows: Mapping[str, Array]) -> list[Array]:
        return original.ask([rows[spec.name] for spec in interface.inputs])

    prove_export(data, interface.inputs, ask)
    (scratch / MODEL_FILE).write_bytes(data)
    return {"versions": export.versions()}


def _plain(folder: Path, signature: str, target: Path) -> SavedModelFunction:
    """Return the model without placements on devices and without functions that have to be compiled as a whole: neither changes what is
    computed, and tf2onnx looks into neither.
    """
    saved_model_pb2 = importlib.import_module("tensorflow.core.protobuf.saved_model_pb2")
    model = saved_model_pb2.SavedModel.FromString((folder / _SOURCE_FILE).read_bytes())
    changed = False
    for graph in model.meta_graphs:
        functions = graph.graph_def.library.function
        for node in (*graph.graph_def.node, *(node for function in functions for node in function.node_def)):
            changed |= device_kind(node.device) not in ("", "CPU") or _COMPILED in node.attr
            node.device = ""
            node.attr.pop(_COMPILED, None)
        for function in functions:
            changed |= _COMPILED in function.attr
            function.attr.pop(_COMPILED, None)
    if not changed:
        return SavedModelFunction(folder, signature)  # tf2onnx rearranges what it is given; the original stays as it is, to compare with
    (target / "variables").mkdir(parents=True)
    for path in (folder / "variables").iterdir():
        shutil.copyfile(path, target / "variables" / path.name)  # the sandbox makes no links
    (target / _SOURCE_FILE).write_bytes(model.SerializeToString(deterministic=True))
    return SavedModelFunction(target, signature)


def _by_tflite(
    original: SavedModelFunction, interface: Interface, signature: str, scratch: Path, export: Any
) -> tuple[Any, list[str], list[str]]:
    """Let TensorFlow write a .tflite first, whose operators are fewer and simpler."""
    tensorflow = original.tensorflow
    try:
        written = tensorflow.lite.TFLiteConverter.from_saved_model(str(original.folder), signature_keys=[signature]).convert()
    except Exception as error:  # the converter raises whatever an operator without a TensorFlow Lite form raises
        raise UnsupportedError(f"TensorFlow Lite cannot hold it: {first_line(error)}.", hint=HINT) from error
    path = scratch / "model.tflite"
    path.write_bytes(written)
    inputs, outputs = tensors_of(path, signature, interface)
    return export.export_tflite(path), inputs, outputs
