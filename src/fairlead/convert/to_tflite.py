"""The form that LiteRT runs: the user's own .tflite file, or one that TensorFlow writes of a SavedModel or of a Keras file, in the sandbox.

Takes a BuildJob, gives a RuntimeModel. Raises UnsupportedError for a model of another framework, and where TensorFlow Lite cannot hold the
model or answers otherwise than the original; MissingExtraError where TensorFlow is absent. Only files that ingest let pass are opened.
"""

from __future__ import annotations

import shutil
from importlib.util import find_spec

import msgspec

from fairlead.core.artifact import ArtifactForm
from fairlead.core.conversion import MAIN_FILE, BuildJob, RuntimeForm, RuntimeModel
from fairlead.core.interface import shorten
from fairlead.core.lineage import Step
from fairlead.core.ports import SandboxJob
from fairlead.engines.tensorflow_worker import TENSORFLOW_LIMITS
from fairlead.errors import CorruptError, MissingExtraError, UnsupportedError
from fairlead.security.digests import digest_file

_ENTRY = "fairlead.convert.tensorflow_to_tflite:build_in_sandbox"
_FILE = MAIN_FILE[RuntimeForm.TFLITE]
_SOURCES = (ArtifactForm.SAVED_MODEL, ArtifactForm.LAYER_GRAPH, ArtifactForm.KERAS_FILE)
_FROM_SOURCE = "made of the source itself, beside the ONNX file"


def build_tflite(job: BuildJob) -> RuntimeModel:
    """Return model.tflite in a folder of the workspace."""
    if find_spec("ai_edge_litert") is None:
        raise MissingExtraError("litert", needed_for="The form 'tflite'")
    folder = job.workspace / "tflite"
    folder.mkdir(parents=True)
    if job.artifact.form is ArtifactForm.TFLITE_FILE:
        shutil.copyfile(job.artifact.snapshot, folder / _FILE)
        return _model(job, "tflite_kept", {}, ("the user's own file",))
    if job.artifact.form not in _SOURCES:
        raise UnsupportedError("LiteRT needs a model from Keras or TensorFlow.", hint="Other engines run this one.")
    if find_spec("tensorflow") is None:
        raise MissingExtraError("tensorflow", needed_for="Writing a .tflite file")
    scratch = job.workspace / "scratch"
    arguments = {
        "path": str(job.artifact.snapshot),
        "is_keras": job.artifact.form is not ArtifactForm.SAVED_MODEL,
        "signature": str(job.artifact.facts.get("signature", "")),
        "interface": msgspec.to_builtins(job.artifact.interface),
    }
    answer = job.sandbox.run(SandboxJob(_ENTRY, scratch, arguments, (job.artifact.snapshot,), TENSORFLOW_LIMITS))
    written = scratch / _FILE
    if written.is_symlink() or not written.is_file():
        raise CorruptError("The conversion to TensorFlow Lite left no file.", hint="Please report this model.")
    shutil.move(written, folder / _FILE)
    versions = {str(name): shorten(str(version), 40) for name, version in answer.get("versions", {}).items()}
    notes = tuple(shorten(str(note), 300) for note in answer.get("notes", ()))
    return _model(job, "to_tflite", versions, (_FROM_SOURCE, *notes))


def _model(job: BuildJob, tool: str, versions: dict[str, str], notes: tuple[str, ...]) -> RuntimeModel:
    path = job.workspace / "tflite" / _FILE
    step = Step("convert", tool, digest_file(job.model), digest_file(path), versions, {}, notes)
    return RuntimeModel(RuntimeForm.TFLITE, path, {_FILE: path}, (step,))
