"""Compress a model within requirements and write what was found: `fairlead optimize`.

Takes an OptimizeRequest, gives Optimized; nothing is registered. Writes the best model in the form that its engine runs, the models that no
other beats, the report, the whole search and a script that makes the same model again. Raises RejectedError where no model keeps the
requirements (the report and the search are written then, too), SpecError for a folder that holds something, and what `search` raises.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fairlead.app.custom_metrics import load_metrics
from fairlead.app.deploy import name_from, rejection
from fairlead.app.evidence import Evidence
from fairlead.app.intake import Intake, check_quality_has_data, take_in, take_training, to_onnx
from fairlead.app.lineup import Trial
from fairlead.app.search_model import Found, search
from fairlead.app.search_options import SearchOptions, check_passes
from fairlead.app.search_script import Reproduction
from fairlead.app.search_text import unfinished_text
from fairlead.app.wiring import House
from fairlead.app.workspace import workspace
from fairlead.core.conversion import MAIN_FILE, RuntimeForm
from fairlead.core.dataset import Dataset
from fairlead.core.interface import Interface
from fairlead.core.pass_use import PassUse
from fairlead.core.ports import Progress
from fairlead.core.requirement import Requirement
from fairlead.core.search import Objective
from fairlead.core.target import Target
from fairlead.core.verdict import Verdict
from fairlead.errors import SpecError
from fairlead.plan.stage import plan
from fairlead.stores.document import dump, dump_pretty
from fairlead.stores.durable_files import typed_errors
from fairlead.verify.quality import task_of, wanted_metrics
from fairlead.verify.report import Report, write_report

_DROP, _RISE_SHARE = 0.005, 0.01
_ONNX = MAIN_FILE[RuntimeForm.ONNX]


@dataclass(frozen=True)
class OptimizeRequest:
    """`intake` says what to compress and with which requirements; `out` is a new folder; `training` a file of rows to train on.

    `passes` are those to choose from; with `is_exact`, exactly these are applied and nothing is searched.
    """

    intake: Intake
    out: Path
    training: Path | None = None
    budget_s: float = 600.0
    objective: Objective | None = None
    passes: tuple[PassUse, ...] = ()
    is_exact: bool = False
    is_resumed: bool = False
    target: Target = field(default_factory=Target)
    command: str = ""


@dataclass(frozen=True)
class Optimized:
    """What was found, and what was written (name -> path). `assumed` is the requirement that was taken where none said what may be lost."""

    found: Found
    files: Mapping[str, Path] = field(repr=False)
    assumed: Requirement | None = None

    @property
    def verdict(self) -> Verdict:
        """Of the best."""
        return self.found.proof.verdict


def optimize_model(request: OptimizeRequest, house: House, progress: Progress) -> Optimized:
    """Search, prove, write."""
    intake = request.intake
    _check_out(request.out)
    check_quality_has_data(intake)
    check_passes(request.passes)
    metrics = load_metrics(intake.requirements)
    with workspace(house) as folder:
        artifact, rows = take_in(intake, house, folder, progress)
        conversion = to_onnx(artifact, house, folder, progress)
        training = take_training(request.training, intake, artifact)
        assumed = None if request.is_exact else _assumed(rows, conversion.interface, intake.requirements)
        requirements = (*intake.requirements, *(() if assumed is None else (assumed,)))
        if assumed is not None:
            progress.step("promise")
            progress.done(f"no requirement says what may be lost: {assumed} is taken (say it yourself with --require)")
        strategy = plan(artifact.facts, artifact.form, requirements, request.target)
        options = SearchOptions(
            budget_s=request.budget_s,
            objective=request.objective,
            training=training,
            passes=request.passes,
            is_exact=request.is_exact,
            is_resumed=request.is_resumed,
            allow_lossy=bool(request.passes),
        )
        trial = Trial(artifact, conversion, rows, strategy, metrics, command=request.command)
        found = search(trial, options, house, folder, progress)
        evidence = Evidence(name_from(intake.model), artifact, conversion, rows, found.plan, found.proof)
        with typed_errors("the result", request.out.parent):
            files = _write(request, evidence, found)
    if not found.proof.verdict.is_green and not request.is_exact:
        outcome = f"The best of what was found lies in {request.out}; see {request.out / 'report.html'}."
        outcome += unfinished_text(found.result, "--resume with a longer --budget, and another --out, goes on from there.")
        raise rejection(found.proof.verdict, found.ledger, outcome=outcome)
    return Optimized(found, files, assumed)


def _check_out(out: Path) -> None:
    """Refuse before the search what could not be written after it."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SpecError(f"'{out}' is there already and not an empty folder.", hint="Name a new folder: --out DIR.")
    absent = [one for one in (out, *out.absolute().parents) if not one.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise SpecError(f"Nothing can be written to '{out}': {error.strerror}.", hint="Name another folder: --out DIR.") from error
    finally:
        for one in absent:
            with contextlib.suppress(OSError):  # it was not made, or somebody else has put something there
                one.rmdir()


def _assumed(rows: Dataset, interface: Interface, requirements: tuple[Requirement, ...]) -> Requirement | None:
    """What may be lost where nobody says: half a percent of accuracy; a hundredth of the range of error is not known yet, so no flips."""
    if rows.is_synthetic or any(one.is_loss_bound for one in requirements):
        return None
    has_target = rows.target is not None
    if has_target and task_of(interface) is not None and "accuracy" in wanted_metrics(interface, (), has_target=True):
        return Requirement("accuracy", _DROP, is_minimum=False, is_relative=True)
    if has_target and rows.target is not None and "rmse" in wanted_metrics(interface, (), has_target=True):
        bound = float(f"{_RISE_SHARE * float(rows.target.std()):.2g}")
        return Requirement("rmse", bound, is_minimum=False, is_relative=True, is_rise=True)
    if interface.decision is not None and not has_target:
        return Requirement("decision_flips", 0.0, is_minimum=False)
    return None


def _write(request: OptimizeRequest, evidence: Evidence, found: Found) -> dict[str, Path]:
    """Write everything into `request.out`; the report last, so that who finds it finds the rest."""
    out, proof = request.out, found.proof
    out.mkdir(parents=True, exist_ok=True)
    files = _copied(proof.model.files, out / "best")
    model, _ = found.made.get(proof.candidate.passes, (evidence.conversion.path, ()))
    if _ONNX not in proof.model.files and evidence.conversion.form is RuntimeForm.ONNX:
        files |= _copied({_ONNX: model}, out / "best")
    files |= _pareto(found, out / "pareto")
    documents = {"best/interface.json": evidence.conversion.interface, "best/engine.json": proof.candidate, "verdict.json": proof.verdict}
    documents |= {"search.json": found.result, "ledger.json": found.ledger, "plan.json": found.plan, "lineage.json": evidence.lineage}
    for name, value in documents.items():
        (out / name).write_bytes(dump(value))
        files[name] = out / name
    script = Reproduction(request.intake, request.training, found.result, proof, evidence.conversion)
    (out / "reproduce.sh").write_text(script.text(), encoding="utf-8")
    (out / "reproduce.sh").chmod(0o755)
    report = Report(evidence.name, proof.verdict, found.plan, evidence.lineage, found.result, found.ledger)
    write_report(report, out / "report.html")
    return files | {name: out / name for name in ("reproduce.sh", "report.html")}


def _copied(sources: Mapping[str, Path], folder: Path) -> dict[str, Path]:
    folder.mkdir(exist_ok=True)
    for name, path in sources.items():
        shutil.copyfile(path, folder / name)
    return {f"{folder.name}/{name}": folder / name for name in sources}


def _pareto(found: Found, folder: Path) -> dict[str, Path]:
    """The ONNX file of every point that no other beats, with what was measured of it."""
    files: dict[str, Path] = {}
    for number, name in enumerate(found.result.pareto, 1):
        point = found.result.point(name)
        if point is None or point.candidate.passes not in found.made:
            continue
        called = re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-")[:60]
        place = folder / f"{number:02}-{called}"
        place.mkdir(parents=True)
        shutil.copyfile(found.made[point.candidate.passes][0], place / _ONNX)
        (place / "point.json").write_text(dump_pretty(point) + "\n", encoding="utf-8")
        files[f"pareto/{place.name}"] = place / _ONNX
    return files
