"""`reproduce.sh`: makes the model that a search took again, by the same passes over the same rows, and fails where the bytes differ.

Takes what was asked for and what was found; gives the script's text. Pure. It says so where the bytes will differ, or nothing can be made.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

from fairlead.app.intake import Intake
from fairlead.app.prove import Proof
from fairlead.app.search_trials import is_shortened
from fairlead.core.artifact import SourceOptions
from fairlead.core.conversion import MAIN_FILE, Conversion, RuntimeForm
from fairlead.core.interface import TensorSpec
from fairlead.core.search import SearchResult

_ONNX = MAIN_FILE[RuntimeForm.ONNX]


@dataclass(frozen=True)
class Reproduction:
    """What was asked for (`intake`, `training`), the `result` and `proof` that came of it, and the `conversion` that both began with."""

    intake: Intake
    training: Path | None
    result: SearchResult
    proof: Proof
    conversion: Conversion

    def text(self) -> str:
        """Return the script."""
        result = self.result
        versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
        lines = [
            "#!/bin/sh",
            "# Makes the same ONNX file again, and fails where its digest differs. Run it where the command of the search was run.",
            f"# Searched with: {' '.join(result.command.splitlines())}",  # a file's name may hold a line's end
            f"# source {result.digests['source']}",
            *(f"# {name} {result.digests[name]}" for name in ("data", "training") if result.digests.get(name)),
            f"# versions: {versions}",
        ]
        if self.conversion.form is not RuntimeForm.ONNX:
            return "\n".join([*lines, "# The model has no ONNX form: it was taken as it is, and nothing was made.", "exit 0"]) + "\n"
        if any(is_shortened(step) for step in self.proof.steps):
            lines.append("# Training was shortened by the time limit: the bytes will differ. A longer --budget lets it end.")
        written = f"best/{_ONNX}" if self._passes else _ONNX
        lines += [
            "set -eu",
            'out="${1:-reproduced}"',
            f"export FAIRLEAD_SEED={result.seed}",
            f'{shlex.join(self._command())} --out "$out"',
            f'echo "{self._digest()}  $out/{written}" | sha256sum -c -',
        ]
        return "\n".join(lines) + "\n"

    @property
    def _passes(self) -> str:
        return ",".join(self.proof.candidate.passes)

    def _digest(self) -> str:
        made = (step.output_digest for step in reversed(self.proof.steps) if step.room == "optimize")
        return next(made, self.result.digests["converted"])

    def _command(self) -> list[str]:
        intake = self.intake
        said = ["fairlead", "optimize" if self._passes else "convert", str(intake.model), *_source_words(intake.options)]
        said += ["--tracking-uri", intake.tracking_uri] if intake.tracking_uri else []
        said += ["--task", intake.task.value] if intake.task else []
        if not self._passes:
            return [*said, "--to", "onnx"]
        said += ["--data", str(intake.data)] if isinstance(intake.data, Path) else []
        said += ["--target", intake.target_column] if intake.target_column else []
        said += ["--train", str(self.training)] if self.training is not None else []
        said += [word for item in intake.requirements for word in ("--require", str(item))]
        return [*said, "--apply", self._passes]


def _source_words(options: SourceOptions) -> list[str]:
    """What was said beside the model's file, as one types it."""
    said = ["--model-class", options.model_class] if options.model_class else []
    said += [word for name, value in options.model_arguments.items() for word in ("--model-arg", f"{name}={json.dumps(value)}")]
    said += [word for path in options.import_paths for word in ("--import-path", str(path))]
    said += [word for spec in options.inputs for word in ("--input", _typed(spec))]
    return [*said, *(["--signature", options.signature] if options.signature else [])]


def _typed(spec: TensorSpec) -> str:
    sizes = ",".join("?" if size is None else str(size) for size in spec.shape)
    return f"{spec.name}={spec.dtype.value}[{sizes}]"
