"""scikit-learn to ONNX. The estimator is opened, converted and compared in the sandbox; this side sees only ONNX and data.

Takes an Artifact of form estimator-file, gives a Conversion with rows built at the model's own thresholds. Raises UnsupportedError that
names the estimator or the option that has no exact form, SandboxError, MissingExtraError. Never imports scikit-learn in this process.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec

from fairlead.core.artifact import Artifact
from fairlead.core.conversion import Conversion
from fairlead.core.interface import Interface, Tensors, shorten
from fairlead.core.lineage import Step
from fairlead.core.ports import Sandbox, SandboxJob
from fairlead.engines.tensor_file import read_tensors
from fairlead.errors import CorruptError, RequestError
from fairlead.security.digests import digest_file

_ENTRY = "fairlead.convert.sklearn.child:convert_in_sandbox"
_MODEL_FILE, _PROBES_FILE = "model.onnx", "probes.npz"
_NOTE_LIMIT = 64


class _Answer(msgspec.Struct):
    """What the child says."""

    route: str
    tolerance: float
    difference: float
    probe_count: int
    notes: list[str]
    versions: dict[str, str]


def convert_estimator(artifact: Artifact, workspace: Path, *, sandbox: Sandbox) -> Conversion:
    """Convert the estimator into `workspace`/model.onnx; it answered every probe row as scikit-learn does before it came out."""
    scratch = workspace / "sandbox"
    arguments = {"path": str(artifact.snapshot), "format": artifact.format.value, "interface": msgspec.to_builtins(artifact.interface)}
    job = SandboxJob(_ENTRY, scratch, arguments, readable=(artifact.snapshot,))
    answer = _parse(sandbox.run(job))
    probes = _probes(scratch / _PROBES_FILE, artifact.interface)
    path = workspace / _MODEL_FILE
    _take(scratch / _MODEL_FILE, path)
    step = Step(
        "convert",
        f"sklearn_to_onnx ({shorten(answer.route, 32)})",
        artifact.source.digest,
        digest_file(path),
        versions={shorten(name): shorten(version) for name, version in answer.versions.items()},
        parameters={"probe_rows": answer.probe_count, "probe_difference": answer.difference},
        notes=tuple(shorten(note, 500) for note in answer.notes[:_NOTE_LIMIT]),
    )
    return Conversion(path, artifact.interface, (step,), answer.tolerance, probes)


def _take(source: Path, target: Path) -> None:
    """Copy the child's file; the child has ended, so what is looked at is what is copied."""
    if not source.is_file() or source.is_symlink():
        raise CorruptError("The conversion left no file, or a link in its place.", hint="Save the model again.")
    shutil.copyfile(source, target)


def _parse(answer: dict[str, Any]) -> _Answer:
    try:
        return msgspec.convert(answer, _Answer)
    except msgspec.ValidationError as error:
        raise CorruptError(f"The conversion's answer is not sound: {shorten(str(error), 200)}.", hint="Save the model again.") from error


def _probes(path: Path, interface: Interface) -> Tensors:
    """Read the child's rows; they must fit the interface like any request."""
    probes = read_tensors(path)
    try:
        interface.check_inputs(probes)
    except RequestError as error:
        raise CorruptError("The conversion's probe rows do not fit the model.", hint="Save the model again.") from error
    return probes
