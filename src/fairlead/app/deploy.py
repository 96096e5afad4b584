"""The main sentence: lead a model file to a proven, registered version that production points at.

`deploy` takes a DeployRequest, gives Deployed; raises RejectedError with the verdict where a requirement is not met, and every other
FairleadError of the steps. Whatever happens, nothing half-made is left: the workspace goes, and a version is registered whole or not.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairlead.app.choose import Wish, choose
from fairlead.app.custom_metrics import load_metrics
from fairlead.app.evidence import Evidence, write_evidence
from fairlead.app.intake import Intake, check_quality_has_data, take_in, take_training, to_onnx
from fairlead.app.lineup import Trial
from fairlead.app.mlflow_source import is_mlflow_uri, suggested_name
from fairlead.app.planned_release import PlannedRelease, planned_release
from fairlead.app.profiling import write_profile
from fairlead.app.public_names import naming_for
from fairlead.app.release import release_new
from fairlead.app.reliability import write_reliability
from fairlead.app.search_text import unfinished_text
from fairlead.app.strategy_wish import StrategyWish
from fairlead.app.wiring import House
from fairlead.app.workspace import workspace
from fairlead.core.artifact import Artifact, SourceOptions
from fairlead.core.conversion import ENGINE_OF_FORM, RuntimeForm
from fairlead.core.dataset import Dataset
from fairlead.core.interface import Task
from fairlead.core.ledger import Ledger
from fairlead.core.plan import Plan
from fairlead.core.ports import Progress
from fairlead.core.requirement import Requirement
from fairlead.core.search import Objective, SearchResult
from fairlead.core.strategy import Strategy
from fairlead.core.target import Target
from fairlead.core.verdict import Verdict
from fairlead.core.version import PRODUCTION, Version, check_name
from fairlead.engines.catalog import ENGINES
from fairlead.errors import RejectedError, SpecError
from fairlead.plan.stage import plan
from fairlead.register.stage import Registration, register
from fairlead.stores.durable_files import typed_errors

_SUFFIXES = (
    *(".gz", ".xz", ".bz2", ".z", ".h5", ".hdf5", ".keras", ".onnx", ".skops", ".joblib", ".pkl", ".pickle", ".pt2", ".pt", ".pth"),
    *(".safetensors", ".tflite", ".json", ".ubj", ".xgb", ".txt", ".lgb", ".bst", ".cbm"),
)


@dataclass(frozen=True)
class DeployRequest:
    """What to deploy. `data` is a file, or a pair (rows, answers) that is in memory; `target_column` holds the right answers in a table.

    `report` is where a copy of the HTML report goes, also when the verdict is red. `command` is kept with the evidence. `options` say what
    the model's file does not say itself. `engine` is the only engine wanted; "" takes the one that is measured to be fastest. `train` (rows
    with answers), `budget_s` and `objective` ask for a search for a compressed model; a budget of 0 forbids it. `wish` says how it is to be
    led into production: the strategy that follows is kept with the version. No `alias` (""): it is registered, and nothing points at it.
    `names` say what its tensors are called (own name -> the one for clients), where it is not as in the live version.
    """

    model: Path
    name: str
    data: Path | tuple[Any, Any] | None = None
    target_column: str | None = None
    requirements: tuple[Requirement, ...] = ()
    task: Task | None = None
    target: Target = field(default_factory=Target)
    alias: str = PRODUCTION
    report: Path | None = None
    command: str = ""
    options: SourceOptions = field(default_factory=SourceOptions)
    engine: str = ""
    tracking_uri: str = ""
    train: Path | None = None
    budget_s: float | None = None
    objective: Objective | None = None
    wish: StrategyWish = field(default_factory=StrategyWish)
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def intake(self) -> Intake:
        """The part that says what to take in."""
        return Intake(self.model, self.data, self.target_column, self.requirements, self.task, self.options, self.tracking_uri)


@dataclass(frozen=True)
class Deployed:
    """A version in production (`alias` "": registered only): its verdict, the version number that the alias pointed at before (0: none),
    what a search tried, and how its plan wanted it released, where it has one.
    """

    version: Version
    verdict: Verdict
    alias: str
    previous: int
    search: SearchResult | None = None
    planned: PlannedRelease | None = None


def deploy(request: DeployRequest, house: House, progress: Progress) -> Deployed:
    """Lead `request.model` to production."""
    # 1. What can be refused before any work is refused now.
    check_name(request.name)
    metrics = load_metrics(request.requirements)
    check_quality_has_data(request.intake)
    engines = _engines(request, house)
    strategy = request.wish.decide(request.requirements)
    expected = house.records.aliases(request.name).get(request.alias, 0)
    with workspace(house) as folder:
        # 2. Take in the model and the rows, under the names that clients know.
        artifact, rows, training = _taken(request, house, folder, progress)
        # 3. Plan and convert.
        tried = _plan(request, artifact, strategy, progress)
        conversion = to_onnx(artifact, house, folder, progress)
        # 4. Make candidates and prove them, until one keeps every requirement.
        trial = Trial(artifact, conversion, rows, tried, metrics, command=request.command, engines=engines)
        asked = Wish(training, request.budget_s, request.objective)
        chosen = choose(trial, asked, house, folder, progress)
        proof = chosen.proof
        # 5. Register the proven one with its evidence, or say what failed.
        evidence = Evidence(
            request.name, artifact, conversion, rows, chosen.plan, proof, chosen.search, chosen.ledger, strategy, chosen.compressed
        )
        files = write_evidence(evidence, folder / "evidence", background_rows=house.settings.explain_rows)
        _copy_report(files["report.html"], request.report)
        if not proof.verdict.is_green:
            more = unfinished_text(chosen.search, "the same command with a longer --budget goes on from there.")
            raise rejection(proof.verdict, chosen.ledger, outcome=f"Nothing was registered.{more}")
        files |= write_profile(evidence, folder / "evidence", house, progress)
        files |= write_reliability(evidence, folder / "evidence", house)
        version = _register(evidence, files, house, progress)
    # 6. Point the alias at it, unless somebody else moved it meanwhile, or nothing is to be moved.
    planned = planned_release(version.label, house, alias=request.alias or PRODUCTION)
    if request.alias:
        _release(request, version, expected, house, progress)
    return Deployed(version, proof.verdict, request.alias, expected, chosen.search, planned)


def rejection(verdict: Verdict, ledger: Ledger | None = None, *, outcome: str = "Nothing was registered.") -> RejectedError:
    """Return the error that says what failed and by how much, and the smallest change that would make it possible, where that is known.
    `outcome` says what there is now.
    """
    failed = "; ".join(check.sentence for check in verdict.failures)
    way = "Relax the requirement, or look into the report (--report report.html)."
    if ledger is not None and ledger.relaxation is not None:
        way = f"The smallest change that makes it possible: --require '{ledger.relaxation.text}' ({ledger.relaxation.candidate})."
    elif ledger is not None and ledger.together:
        needed = " and ".join(f"'{one.text}'" for one in ledger.together)
        way = f"No single change makes it possible; together these do: {needed}."
    return RejectedError(f"The verdict is red: {failed}.", hint=f"{outcome} {way}")


def name_from(model: Path) -> str:
    """Return the name for a model whose user gave none: its file name in the form that names have; raises SpecError."""
    stem = suggested_name(str(model)).lower() if is_mlflow_uri(str(model)) else model.name.lower()
    for suffix in _SUFFIXES:
        stem = stem.removesuffix(suffix)
    stem = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-" for letter in stem).strip("-._")
    if not stem:
        raise SpecError(f"'{model.name}' gives no name.", hint="Name the model: --name digits.")
    return check_name(stem[:128])


def _engines(request: DeployRequest, house: House) -> tuple[str, ...]:
    """Return the engines to choose from: the one that was asked for, or those of the settings; raises SpecError for an unknown one."""
    wanted = (request.engine,) if request.engine else tuple(filter(None, (name.strip() for name in house.settings.engines.split(","))))
    known = tuple(name for name in ENGINES.names() if name != ENGINE_OF_FORM[RuntimeForm.ENSEMBLE])
    for name in wanted:
        if name not in known:
            raise SpecError(f"There is no engine '{name}'.", hint=f"Known: {', '.join(known)}.")
    return wanted


def _taken(request: DeployRequest, house: House, folder: Path, progress: Progress) -> tuple[Artifact, Dataset, Dataset | None]:
    """Return the artifact, the rows that prove it and those to train on (None: there are none)."""
    artifact, rows = take_in(request.intake, house, folder, progress)
    training = take_training(request.train, request.intake, artifact)
    naming = naming_for(artifact, request.names, request.name, request.alias, house)
    if naming.names:
        progress.step("names")
        artifact, rows = naming.of_artifact(artifact, folder / "named", house.sandbox), naming.of_rows(rows)
        training = training and naming.of_rows(training)
        progress.done("\n".join(naming.sentences))
    return artifact, rows, training


def _plan(request: DeployRequest, artifact: Artifact, strategy: Strategy | None, progress: Progress) -> Plan:
    progress.step("plan")
    found = plan(artifact.facts, artifact.form, request.requirements, request.target)
    lines = [f"{len(found.candidates)} candidates; the fastest that keeps the promise is taken"]
    lines += [f"{candidate.name}: {candidate.reason}" for candidate in found.candidates]
    if strategy is not None:
        lines += [f"strategy: {strategy.rollout.kind.value}, because of {strategy.reasons['rollout.kind'].origin}", *strategy.notes]
    progress.done("\n".join(lines))
    return found


def _copy_report(source: Path, destination: Path | None) -> None:
    if destination is not None:
        with typed_errors("the report", destination.parent):
            shutil.copyfile(source, destination)


def _register(evidence: Evidence, files: dict[str, Path], house: House, progress: Progress) -> Version:
    progress.step("register")
    registration = Registration(evidence.name, files, evidence.proof.verdict, evidence.traits(house.settings.user))
    version = register(registration, records=house.records, blobs=house.blobs, clock=house.clock)
    progress.done(f"{version.label}  sha256:{version.digest[:16]}")
    return version


def _release(request: DeployRequest, version: Version, expected: int, house: House, progress: Progress) -> None:
    progress.step("release")
    release_new(version, request.alias, house, expected=expected)
    before = f"before: {version.name}:{expected}" if expected else "the first one"
    progress.done(f"@{request.alias} -> {version.label} ({before})")
