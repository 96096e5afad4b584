"""Bring a model into the form that another engine runs, compare it with the original, and write its files: `fairlead convert`.

Takes a ConvertRequest, gives Converted; nothing is registered. Raises RejectedError where a form that promises the original's answers does
not give them, SpecError for an unknown form or a folder that holds other files, and what ingest and convert raise.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fairlead.app.deploy import rejection
from fairlead.app.intake import Intake, take_in, to_onnx
from fairlead.app.lineup import Trial
from fairlead.app.prove import prove
from fairlead.app.wiring import House
from fairlead.app.workspace import workspace
from fairlead.core.conversion import ENGINE_OF_FORM, RuntimeForm
from fairlead.core.plan import Candidate, Plan
from fairlead.core.ports import Progress
from fairlead.core.target import Target
from fairlead.core.verdict import Verdict
from fairlead.errors import SpecError
from fairlead.optimize.catalog import PRESETS, is_lossy
from fairlead.stores.document import dump
from fairlead.stores.durable_files import typed_errors


@dataclass(frozen=True)
class ConvertRequest:
    """What to convert: `intake` says from what, `to` is a name of optimize.catalog.PRESETS, `out` the folder to write into."""

    intake: Intake
    to: str
    out: Path
    command: str = ""


@dataclass(frozen=True)
class Converted:
    """What was written (name -> path), and how it compares with the original on this machine."""

    to: str
    files: Mapping[str, Path] = field(repr=False)
    verdict: Verdict


def convert_model(request: ConvertRequest, house: House, progress: Progress) -> Converted:
    """Convert `request.intake.model` and write the files of its new form into `request.out`."""
    preset = PRESETS.get(request.to)
    if preset is None:
        raise SpecError(f"There is no form '{request.to}'.", hint=f"Known: {', '.join(PRESETS)}.")
    if request.out.exists() and (not request.out.is_dir() or any(request.out.iterdir())):
        raise SpecError(f"'{request.out}' is there already and not an empty folder.", hint="Name a new folder: --out DIR.")
    candidate = Candidate(request.to, preset.passes, ENGINE_OF_FORM[RuntimeForm(preset.form)], 1, "asked for", preset.form)
    loses = is_lossy(candidate.uses)
    with workspace(house) as folder:
        artifact, rows = take_in(request.intake, house, folder, progress)
        conversion = to_onnx(artifact, house, folder, progress)
        strategy = Plan(request.intake.requirements, Target(), (candidate,))
        proof = prove(Trial(artifact, conversion, rows, strategy, command=request.command), house, folder, progress)
        if not proof.verdict.is_green and not loses:
            raise rejection(proof.verdict)
        with typed_errors("the converted model", request.out.parent):
            files = _write(dict(proof.model.files), request.out)
            (request.out / "interface.json").write_bytes(dump(conversion.interface))
            (request.out / "verdict.json").write_bytes(dump(proof.verdict))
    return Converted(request.to, files, proof.verdict)


def _write(sources: Mapping[str, Path], out: Path) -> dict[str, Path]:
    """Copy each file beside its place first, so that nobody finds half of one."""
    out.mkdir(parents=True, exist_ok=True)
    for name, path in sources.items():
        unfinished = out / f".{name}.part"
        shutil.copyfile(path, unfinished)
        unfinished.rename(out / name)
    return {name: out / name for name in sources}
