"""A dry run: what would be tried for a promise, on which hardware, at what cost, and how it would be led into production.

Takes a PlanRequest, gives Planned; nothing is registered, and what is made on the way goes again. Raises what taking in a model and rows
raises, RequirementError for a promise that contradicts itself, and SpecError for a catalogue or strategy that makes no sense. What was not
measured on this machine is marked as a prediction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from fairlead.app.custom_metrics import load_metrics
from fairlead.app.doctor import absent_engines
from fairlead.app.hardware_file import own_catalogue, read_catalogue
from fairlead.app.intake import Intake, check_quality_has_data, take_in, take_training, to_onnx
from fairlead.app.lineup import Trial, usable
from fairlead.app.plan_measure import Look, Subject, look_at
from fairlead.app.search_options import divide_rows
from fairlead.app.strategy_wish import StrategyWish
from fairlead.app.wiring import House
from fairlead.app.workspace import workspace
from fairlead.core.artifact import Artifact
from fairlead.core.capacity import CapacityPlan, Demand, ServerCosts, ServerShape
from fairlead.core.conversion import Conversion, RuntimeForm
from fairlead.core.dataset import Dataset
from fairlead.core.facts import ModelFacts
from fairlead.core.hardware import Budget, HardwareCatalogue, HardwareChoice
from fairlead.core.interface import Interface
from fairlead.core.outlook import Outlook, PromiseOutlook
from fairlead.core.plan import Plan
from fairlead.core.ports import Progress
from fairlead.core.requirement import MetricKind, Requirement
from fairlead.core.strategy import Need, Scenario, Strategy, Value
from fairlead.core.target import Machine, Target
from fairlead.engines.machine import describe_machine
from fairlead.errors import RequirementError, SpecError
from fairlead.optimize.catalog import PASSES
from fairlead.plan.capacity import size, usual_costs
from fairlead.plan.facts import model_facts
from fairlead.plan.families import Means
from fairlead.plan.hardware import HardwareJob, choose
from fairlead.plan.outlooks import AsConverted, outlooks_of
from fairlead.plan.promise import Known, outlook_of
from fairlead.plan.stage import plan
from fairlead.plan.strategy import decide_strategy

_SERVER_BYTES = 200_000_000  # a server process that holds no model, about
_COPIES = 2  # a runtime holds the file and what it makes of it while it loads


@dataclass(frozen=True)
class Load:
    """The load to size for. `p99_ms` None: that of the promise. `rate_rps` 0: not known."""

    rate_rps: float = 0.0
    rows_per_request: int = 1
    p99_ms: float | None = None
    burst_ratio: float = 1.0


@dataclass(frozen=True)
class PlanRequest:
    """What to plan. `overrides` are strategy values by key; `catalogue` None takes Fairlead's own; `training` are rows that passes may
    train on. Without `is_measured` nothing is timed.
    """

    intake: Intake
    target: Target = field(default_factory=Target)
    scenario: Scenario | None = None
    needs: tuple[Need, ...] = ()
    load: Load = field(default_factory=Load)
    budget: Budget | None = None
    overrides: Mapping[str, Value] = field(default_factory=dict)
    catalogue: Path | None = None
    training: Path | None = None
    is_measured: bool = True


@dataclass(frozen=True)
class Planned:
    """The plan with everything that it rests on. `facts` are None for a model that has no ONNX form, `look` where nothing was measured,
    `capacity` and `hardware` where no load or no p99 was stated; `notes` say why.
    """

    model: str
    framework: str
    data: str
    size_bytes: int
    facts: ModelFacts | None
    machine: Machine
    look: Look | None
    plan: Plan
    outlooks: tuple[Outlook, ...]
    promise: tuple[PromiseOutlook, ...]
    strategy: Strategy
    demand: Demand | None
    capacity: CapacityPlan | None
    hardware: HardwareChoice | None
    catalogue: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Sized:
    demand: Demand | None = None
    capacity: CapacityPlan | None = None
    hardware: HardwareChoice | None = None
    notes: tuple[str, ...] = ()


def plan_model(request: PlanRequest, house: House, progress: Progress) -> Planned:
    """Plan without building anything."""
    # 1. What can be refused before any work is refused now.
    requirements = request.intake.requirements
    metrics = load_metrics(requirements)
    check_quality_has_data(request.intake)
    _check_training(request)
    catalogue = read_catalogue(request.catalogue) if request.catalogue else own_catalogue()
    strategy_job = StrategyWish(request.scenario, request.needs, request.load.rate_rps, request.overrides).job(requirements)
    first = decide_strategy(strategy_job)
    with workspace(house) as folder:
        # 2. Take in the model and the rows, and convert: facts are counted in the graph.
        artifact, rows = take_in(request.intake, house, folder, progress)
        apart = _look_at_training(request, artifact, rows, house.settings.seed)
        conversion = to_onnx(artifact, house, folder, progress)
        facts = model_facts(conversion.path, conversion.interface) if conversion.form is RuntimeForm.ONNX else None
        # 3. Measure, quickly.
        look = None
        if request.is_measured:
            progress.step("measure")
            look = look_at(Subject(conversion, rows, requirements, metrics, request.target.core_count), house)
            progress.done(f"{len(look.profile.points)} sizes of call on {look.profile.engine}")
        # 4. Decide.
        machine = describe_machine()
        is_compressible = strategy_job.is_lossy_allowed and facts is not None  # every pass takes ONNX
        size_bytes = conversion.path.stat().st_size
        values = {"size_mb": size_bytes / 1e6, **(look.values if look else {})}
        known = Known(values, look.ceilings.call_ms if look else 0.0, is_compressible)
        promise = outlook_of(requirements, known)
        kept = frozenset(item.name for item, found in zip(requirements, promise, strict=True) if found.is_kept)
        passes = frozenset(PASSES.names()) if facts is not None else frozenset()
        has_training = request.training is not None
        means = Means(passes, not rows.is_synthetic, has_training, facts, machine.instruction_sets, kept, size_bytes)
        found = plan(artifact.facts, artifact.form, requirements, request.target, means)
        found = replace(found, candidates=usable(Trial(artifact, conversion, rows, found)))
    converted = AsConverted(size_bytes, conversion.form.value, look.profile if look else None)
    costs = usual_costs(_numbers(request, conversion.interface))
    sized = _size(request, facts, look, first, size_bytes, catalogue, costs=costs)
    strategy = decide_strategy(replace(strategy_job, capacity=sized.capacity, is_lossy_allowed=is_compressible))
    return Planned(
        model=str(request.intake.model),
        framework=_described(artifact),
        data=rows.description,
        size_bytes=size_bytes,
        facts=facts,
        machine=machine,
        look=look,
        plan=found,
        outlooks=outlooks_of(found, means, converted, absent_engines()),
        promise=promise,
        strategy=strategy,
        demand=sized.demand,
        capacity=sized.capacity,
        hardware=sized.hardware,
        catalogue=f"{catalogue.name}, {catalogue.dated}",
        notes=(*apart, *_notes(request, rows, conversion), *sized.notes),
    )


def _check_training(request: PlanRequest) -> None:
    if request.training is not None and not request.training.is_file():
        raise SpecError(f"There are no rows to train on at '{request.training}'.", hint="Name the file: --train train.npz.")


def _look_at_training(request: PlanRequest, artifact: Artifact, rows: Dataset, seed: int) -> tuple[str, ...]:
    """Read the rows to train on and divide all rows as a search would: what it would refuse is refused now, with DataError."""
    training = take_training(request.training, request.intake, artifact)
    return () if training is None else (training.description, *divide_rows(rows, training, artifact.interface, seed).notes)


def _size(
    request: PlanRequest,
    facts: ModelFacts | None,
    look: Look | None,
    first: Strategy,
    size_bytes: int,
    catalogue: HardwareCatalogue,
    *,
    costs: ServerCosts,
) -> _Sized:
    """Return how many servers the load takes here, and which machines of the catalogue would carry it."""
    load, p99_ms = request.load, _promised_p99(request)
    if p99_ms is None:
        return _Sized(notes=("no capacity and no cost: say how long a request may take, load: {rate_rps: 200, p99_ms: 50}",))
    if not load.rate_rps:
        return _Sized(notes=("no capacity and no cost: say how many requests come, --rate 200 or load: {rate_rps: 200}",))
    demand = Demand(load.rate_rps, p99_ms, load.rows_per_request, load.burst_ratio)
    batching = first.batching
    shapes = tuple(
        ServerShape(count, batch_rows_limit=batching.rows_limit, batch_delay_ms=batching.delay_ms)
        for count in sorted({1, request.target.core_count})
    )
    notes: list[str] = []
    capacity = None
    if look is not None:
        try:
            capacity = size(look.profile, demand, costs, shapes)
        except RequirementError as error:
            notes.append(str(error))
    else:
        notes.append("nothing was measured (--no-measure): what this machine carries is not known")
    if facts is None:
        return _Sized(demand, capacity, None, (*notes, "no other machines: what the model computes cannot be counted in its own form"))
    job = HardwareJob(
        facts=facts,
        demand=demand,
        costs=costs,
        shapes=shapes,
        replica_bytes=_SERVER_BYTES
        + _COPIES * size_bytes
        + facts.activation_peak_bytes * (capacity.shape.batch_rows_limit if capacity else 1),
        profile=look.profile if look else None,
        ceilings=look.ceilings if look else None,
        needs=first.needs,
        budget=request.budget,
        machine_floor=first.serving.replica_floor,
    )
    return _Sized(demand, capacity, choose(catalogue.offers, job), tuple(notes))


def _numbers(request: PlanRequest, interface: Interface) -> int:
    """Return how many numbers a request holds, its free dimensions taken as 1."""
    shapes = (spec.shape[1:] for spec in interface.inputs)
    return request.load.rows_per_request * sum(math.prod(size or 1 for size in shape) for shape in shapes)


def _promised_p99(request: PlanRequest) -> float | None:
    """Return what a request may take at the client: as the load says, else the promised p99 of a call with as many rows."""
    if request.load.p99_ms is not None:
        return request.load.p99_ms
    bounds = [item.bound for item in request.intake.requirements if _is_p99(item) and item.batch == request.load.rows_per_request]
    return min(bounds, default=None)


def _is_p99(item: Requirement) -> bool:
    return item.kind is MetricKind.LATENCY and item.metric == "p99_ms"


def _described(artifact: Artifact) -> str:
    count = artifact.facts.get("parameter_count")
    takes = ", ".join(spec.describe() for spec in artifact.interface.inputs)
    return f"{artifact.framework} ({artifact.format.value}){f', {count:,} parameters' if isinstance(count, int) else ''}; takes {takes}"


def _notes(request: PlanRequest, rows: Dataset, conversion: Conversion) -> tuple[str, ...]:
    notes = []
    if rows.is_synthetic:
        notes.append("rows were drawn, not given: quality is not known, and nothing can be calibrated")
    if conversion.form is not RuntimeForm.ONNX:
        notes.append(f"the model has no ONNX form: it is kept as {conversion.form.value} and cannot be compressed")
    if request.load.p99_ms is None and request.load.rate_rps and _promised_p99(request) is not None:
        notes.append("the promised p99 of a call is taken for what a client may wait; load: {p99_ms: ...} says otherwise")
    return tuple(notes)
