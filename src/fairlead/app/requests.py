"""What the user asked for, from flags and fairlead.yaml together: flags win, paths in the file are relative to the file.

Takes the flags as given (None: not given), gives a DeployRequest; raises SpecError and RequirementError.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from fairlead.app.deploy import DeployRequest, name_from
from fairlead.app.mlflow_source import is_mlflow_uri
from fairlead.app.source_options import parse_options
from fairlead.app.spec import Spec, read_spec
from fairlead.app.strategy_wish import StrategyWish
from fairlead.core.artifact import SourceOptions
from fairlead.core.interface import Task
from fairlead.core.requirement import METRICS, MetricKind, Requirement, parse_requirements
from fairlead.core.search import Objective
from fairlead.core.strategy import Need, Scenario
from fairlead.core.target import Target
from fairlead.core.version import PRODUCTION
from fairlead.errors import SpecError
from fairlead.register.names import parse_renames

DEFAULT_FILE = Path("fairlead.yaml")


@dataclass(frozen=True)
class Flags:
    """The flags of `deploy`; None or empty where not given."""

    model: Path | None = None
    spec: Path | None = None
    name: str | None = None
    data: Path | None = None
    target: str | None = None
    require: tuple[str, ...] = ()
    task: str | None = None
    cores: int | None = None
    alias: str | None = None
    is_registered_only: bool = False
    report: Path | None = None
    command: str = ""
    model_class: str | None = None
    model_arg: tuple[str, ...] = ()
    input: tuple[str, ...] = ()
    import_path: tuple[Path, ...] = ()
    signature: str | None = None
    rename: tuple[str, ...] = ()
    engine: str | None = None
    tracking_uri: str | None = None
    train: Path | None = None
    budget: float | None = None
    objective: str | None = None
    scenario: str | None = None
    need: tuple[str, ...] = ()
    rate: float | None = None


def find_spec(given: Path | None, *, is_needed: bool) -> tuple[Spec, Path]:
    """Return the spec and its folder: the file given, else ./fairlead.yaml where it exists and is needed, else an empty one."""
    if given is not None:
        return read_spec(given), given.parent
    if is_needed and DEFAULT_FILE.is_file():
        return read_spec(DEFAULT_FILE), Path()
    return Spec(), Path()


def build_request(flags: Flags, *, command: str = "deploy") -> DeployRequest:
    """Return the deployment that flags and fairlead.yaml describe together. `command` is what the user typed."""
    spec, folder = find_spec(flags.spec, is_needed=flags.model is None)
    if flags.is_registered_only and flags.alias:
        raise SpecError("--no-release moves no alias, and --alias says which one to move.", hint="Leave one of them out.")
    model = flags.model or _model_of(spec, folder)
    if model is None:
        raise SpecError("Which model?", hint=f"Name its file: fairlead {command} model.h5, or write `model: model.h5` into fairlead.yaml.")
    data = flags.data or (folder / path if (path := spec.data_path()) else None)
    requirements = parse_requirements(flags.require) if flags.require else spec.requirements()
    cores = _core_bound(requirements) or flags.cores or spec.target.cores
    return DeployRequest(
        model=model,
        name=flags.name or spec.name or name_from(model),
        data=data,
        target_column=flags.target or spec.data_target(),
        requirements=requirements,
        task=Task(flags.task) if flags.task else spec.task,
        target=Target(spec.target.hardware, cores),
        alias="" if flags.is_registered_only else flags.alias or PRODUCTION,
        report=flags.report,
        command=flags.command,
        options=_options(flags, spec, folder),
        engine=flags.engine or spec.engine or "",
        tracking_uri=flags.tracking_uri or spec.source.tracking_uri or "",
        train=flags.train or (folder / spec.train if spec.train else None),
        budget_s=flags.budget,
        objective=Objective(flags.objective) if flags.objective else None,
        wish=_wish(flags, spec),
        names=parse_renames(flags.rename) if flags.rename else dict(spec.source.rename),
    )


def _wish(flags: Flags, spec: Spec) -> StrategyWish:
    rate_rps = flags.rate or (spec.load.rate_rps if spec.load is not None else 0.0)
    return StrategyWish(
        Scenario(flags.scenario) if flags.scenario else spec.scenario,
        tuple(map(Need, flags.need)) or tuple(spec.needs),
        rate_rps,
        spec.strategy.overrides(),
    )


def _model_of(spec: Spec, folder: Path) -> Path | None:
    if not spec.model:
        return None
    return Path(spec.model) if is_mlflow_uri(spec.model) else folder / spec.model


def _options(flags: Flags, spec: Spec, folder: Path) -> SourceOptions:
    """Return what flags and file say about the model's source; each flag replaces its key of the file."""
    said = spec.source
    return parse_options(
        flags.model_class or said.model_class,
        flags.model_arg or [f"{name}={json.dumps(value)}" for name, value in said.arguments.items()],
        flags.input or said.inputs,
        flags.import_path or [folder / path for path in said.import_paths],
        flags.signature or said.signature,
    )


def _core_bound(requirements: tuple[Requirement, ...]) -> int:
    """Return the cores that `cores<=n` leaves, or 0."""
    bounds = [item.bound for item in requirements if not item.is_custom and METRICS[item.metric].kind is MetricKind.HARDWARE]
    return int(min(bounds)) if bounds else 0
