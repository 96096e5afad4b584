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
from fairlead.stores.document import dump
from fairlead.stores.durable_files import typed_errors


@dataclass(frozen=True)
class Recipe:
    """How a form is made: passes over the canonical ONNX file, then its runtime form. One that is `is_lossy` promises no equal answers."""

    form: RuntimeForm
    sentence: str
    passes: tuple[str, ...] = ()
    is_lossy: bool = False


RECIPES: Mapping[str, Recipe] = {
    "onnx": Recipe(RuntimeForm.ONNX, "canonical ONNX, float as trained"),
    "onnx-optimized": Recipe(RuntimeForm.ONNX, "ONNX with its graph fused by ONNX Runtime", ("optimize_graph",)),
    "onnx-fp16": Recipe(RuntimeForm.ONNX, "half the size; on CPUs not faster", ("cast_fp16",), is_lossy=True),
    "onnx-int8": Recipe(RuntimeForm.ONNX, "weights of dense layers in 8 bits", ("quantize_dynamic_int8",), is_lossy=True),
    "ort": Recipe(RuntimeForm.ORT, "ONNX Runtime's own format, for small builds of it"),
    "openvino": Recipe(RuntimeForm.OPENVINO, "OpenVINO IR: model.xml and model.bin"),
    "tflite": Recipe(RuntimeForm.TFLITE, "LiteRT, for Keras and TensorFlow models"),
    "trees": Recipe(RuntimeForm.TREES, "tree ensembles as data for Fairlead's own kernel"),
}


@dataclass(frozen=True)
class ConvertRequest:
    """What to convert: `intake` says from what, `to` is a name of RECIPES, `out` the folder to write into."""

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
    recipe = RECIPES.get(request.to)
    if recipe is None:
        raise SpecError(f"There is no form '{request.to}'.", hint=f"Known: {', '.join(RECIPES)}.")
    if request.out.exists() and (not request.out.is_dir() or any(request.out.iterdir())):
        raise SpecError(f"'{request.out}' is there already and not an empty folder.", hint="Name a new folder: --out DIR.")
    engine = ENGINE_OF_FORM[recipe.form]
    candidate = Candidate(request.to, recipe.passes, engine, 1, recipe.sentence, recipe.form.value)
    with workspace(house) as folder:
        artifact, rows = take_in(request.intake, house, folder, progress)
        conversion = to_onnx(artifact, house, folder, progress)
        strategy = Plan(request.intake.requirements, Target(), (candidate,))
        proof = prove(Trial(artifact, conversion, rows, strategy, command=request.command), house, folder, progress)
        if not proof.verdict.is_green and not recipe.is_lossy:
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
