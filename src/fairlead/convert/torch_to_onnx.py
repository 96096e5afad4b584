"""A PyTorch file -> ONNX, exported by PyTorch itself in the sandbox, by one exporter or the other.

Takes an artifact of form torch-file, gives a Conversion. Raises MissingExtraError where no exporter is installed, UnsupportedError where
every route fails, freezes a size that has to stay free, or answers otherwise than PyTorch. Each route compares its file with the original
at three batch sizes and two lengths before it returns (`convert.torch_export`). Never imports torch in this process.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from fairlead.convert.routes import Route, first_right
from fairlead.convert.torch_export import DYNAMO, EXPORT_FILE, TRACER
from fairlead.core.artifact import Artifact, SourceFormat
from fairlead.core.conversion import Conversion
from fairlead.core.interface import shorten
from fairlead.core.lineage import Step
from fairlead.core.ports import Sandbox, SandboxJob
from fairlead.engines.torch_engine import TORCH_LIMITS, model_arguments
from fairlead.errors import CorruptError

_NEEDS = {DYNAMO: ("torch", "onnxscript"), TRACER: ("torch",)}
_HINT = "It is served by PyTorch itself instead, in a process of its own."
_FLOOR, _CEILING, _MARGIN = 1e-5, 1e-4, 8.0


class _Answer(msgspec.Struct):
    """What the child says."""

    difference: float
    is_slimmed: bool
    notes: list[str]
    versions: dict[str, str]


def convert_torch_file(artifact: Artifact, workspace: Path, *, sandbox: Sandbox) -> Conversion:
    """Write the ONNX file by the first route that gives PyTorch's own answers, and return it."""
    names = (TRACER, DYNAMO) if artifact.format is SourceFormat.TORCH_SCRIPT else (DYNAMO, TRACER)
    routes = [Route(f"by {name}", _NEEDS[name], partial(_by_route, name, artifact, workspace, sandbox)) for name in names]
    return first_right(routes, extra="torch", needed_for="Converting a PyTorch model", hint=_HINT)


def _by_route(name: str, artifact: Artifact, workspace: Path, sandbox: Sandbox) -> Conversion:
    scratch = workspace / f"export-{name}"
    arguments = {**model_arguments(artifact), "route": name}
    entry = "fairlead.convert.torch_export:export_in_sandbox"
    job = SandboxJob(entry, scratch, arguments, (artifact.snapshot.parent,), TORCH_LIMITS, artifact.options.import_paths)
    answer = parse_answer(sandbox.run(job), _Answer)
    step = Step(
        "convert",
        f"torch_to_onnx ({name})",
        "",
        "",
        {shorten(tool): shorten(version) for tool, version in answer.versions.items()},
        {"route": name, "is_slimmed": answer.is_slimmed, "difference": answer.difference},
        (*lineage_notes(artifact), *(shorten(note, 500) for note in answer.notes[:16])),
    )
    tolerance = min(max(_FLOOR, _MARGIN * answer.difference), _CEILING)
    return Conversion(taken_file(scratch / EXPORT_FILE), artifact.interface, (step,), tolerance)


def lineage_notes(artifact: Artifact) -> tuple[str, ...]:
    """Return what reading did to the model, for the lineage."""
    return tuple(note for note in artifact.notes if note.startswith("weights were on "))


def parse_answer(answer: dict[str, Any], kind: type[Any]) -> Any:
    """Return what the child said, checked; raises CorruptError."""
    try:
        return msgspec.convert(answer, kind)
    except msgspec.ValidationError as error:
        raise CorruptError(f"The conversion's answer is not sound: {shorten(str(error), 200)}.", hint="Save the model again.") from error


def taken_file(path: Path) -> Path:
    """Return the file that the child promised; raises CorruptError where it is absent or a link."""
    if path.is_symlink() or not path.is_file():
        raise CorruptError("The conversion left no file, or a link in its place.", hint="Save the model again.")
    return path
