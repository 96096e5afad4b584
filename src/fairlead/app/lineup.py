"""Make what a plan's candidates stand for, and find out which engine runs this model fastest on this machine.

Takes a Trial; gives entrants (a candidate with its files and its open engine) and the EngineChoice. An engine whose library is absent, or
that cannot hold the model, is said and left out; the rest goes on. It proves nothing: that is `prove`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fairlead.app.custom_metrics import CustomMetric
from fairlead.app.rebuilding import rebuilder
from fairlead.app.wiring import House
from fairlead.convert.build import build
from fairlead.core.artifact import Artifact
from fairlead.core.conversion import BuildJob, Conversion, RuntimeForm, RuntimeModel
from fairlead.core.dataset import Dataset
from fairlead.core.engine_choice import EngineChoice, EngineTiming, rank
from fairlead.core.lineage import Step
from fairlead.core.plan import Candidate, Plan
from fairlead.core.ports import Engine
from fairlead.core.requirement import MetricKind
from fairlead.engines.opening import open_engine
from fairlead.engines.stopwatch import TimingLimits, compare_engines
from fairlead.errors import EnvironmentalError, InputError, MissingExtraError
from fairlead.optimize.job import Supplies
from fairlead.optimize.stage import optimize
from fairlead.verify.run_rows import repeat_rows, run_in_pieces

_TIMED = (MetricKind.LATENCY, MetricKind.THROUGHPUT)
_CALLS = 1000
_CALIBRATION_ROWS = 512


@dataclass(frozen=True)
class Trial:
    """What is tried: `plan.candidates` of `conversion` against `artifact` on `rows`. `engines` are those to choose from, empty for all.

    `made` are models that a search has made already, by the candidate's passes: file and steps. `choice` is what timing gave where that has
    been done: the plan's order stands then.
    """

    artifact: Artifact
    conversion: Conversion
    rows: Dataset
    plan: Plan
    metrics: Mapping[str, CustomMetric] = field(default_factory=dict)
    command: str = ""
    engines: tuple[str, ...] = ()
    made: Mapping[tuple[str, ...], tuple[Path, tuple[Step, ...]]] = field(default_factory=dict)
    choice: EngineChoice | None = None


@dataclass(frozen=True)
class Entrant:
    """A candidate that could be made: its files, the steps that led to them, and the engine that runs them."""

    candidate: Candidate
    model: RuntimeModel
    steps: tuple[Step, ...]
    engine: Engine


def usable(trial: Trial) -> tuple[Candidate, ...]:
    """Return the candidates that the conversion leaves open: those of its own form, and where that is ONNX what ONNX can become."""
    form, is_onnx = trial.conversion.form.value, trial.conversion.form is RuntimeForm.ONNX
    originals = (RuntimeForm.TORCH.value, RuntimeForm.PYTHON.value, RuntimeForm.BOOSTER.value)
    return tuple(
        candidate
        for candidate in trial.plan.candidates
        if (candidate.form not in originals if is_onnx else candidate.form == form)
        and (not trial.engines or candidate.engine in trial.engines)
    )


def enter(candidate: Candidate, trial: Trial, house: House, folder: Path) -> Entrant:
    """Apply the candidate's passes, bring the result into its form and open its engine; the caller closes it."""
    conversion = trial.conversion
    name = _folder_name(candidate)
    if candidate.passes in trial.made:
        model, steps = trial.made[candidate.passes]
    else:
        supplies = Supplies(
            rows=trial.rows.take(0, _CALIBRATION_ROWS).inputs,
            interface=conversion.interface,
            artifact=trial.artifact,
            sandbox=house.sandbox,
            rebuild=rebuilder(house.sandbox),
            seed=house.settings.seed,
        )
        model, steps = optimize(candidate, conversion.path, folder / "optimize" / name, supplies)
    job = BuildJob(trial.artifact, conversion, model, folder / "build" / name, house.sandbox)
    built = build(RuntimeForm(candidate.form), job)
    engine = open_engine(
        candidate.engine,
        built.path,
        conversion.interface,
        thread_count=candidate.thread_count,
        sandbox=house.sandbox,
        session=candidate.session,
    )
    return Entrant(candidate, built, (*steps, *built.steps), engine)


def _folder_name(candidate: Candidate) -> str:
    """A candidate may be called after its passes and their settings."""
    plain = candidate.name.isascii() and candidate.name.replace("-", "").replace("_", "").isalnum() and len(candidate.name) < 64
    return candidate.name if plain else hashlib.sha256(candidate.name.encode()).hexdigest()[:16]


def line_up(candidates: Sequence[Candidate], trial: Trial, house: House, folder: Path) -> tuple[dict[str, Entrant], EngineChoice]:
    """Return the entrants by name that could be made and run, and what timing them in turns gave. The caller closes their engines."""
    entrants: dict[str, Entrant] = {}
    absent: list[tuple[str, str]] = []
    for candidate in candidates:
        try:
            entrant = enter(candidate, trial, house, folder)
        except (InputError, EnvironmentalError) as error:
            absent.append((candidate.name, _reason(error)))
            continue
        try:
            _try(entrant.engine, trial, is_alone=len(candidates) == 1)
        except (InputError, EnvironmentalError) as error:
            entrant.engine.close()
            absent.append((candidate.name, _reason(error)))
            continue
        entrants[candidate.name] = entrant
    try:
        timings = _time(entrants, trial, house.settings.engine_choice_time_s) if len(entrants) > 1 else ()
    except BaseException:
        for entrant in entrants.values():
            entrant.engine.close()
        raise
    order = rank(timings) if timings else tuple(entrants)
    return entrants, EngineChoice(timings, tuple(absent), order)


def _try(engine: Engine, trial: Trial, *, is_alone: bool) -> None:
    """Run the rows once: an engine may open a model and refuse rows. Where there is no other, it is verify that finds out."""
    if is_alone:
        return
    run_in_pieces(engine, trial.rows.inputs)
    if trial.conversion.probes is not None:
        run_in_pieces(engine, trial.conversion.probes)


def _time(entrants: Mapping[str, Entrant], trial: Trial, time_s: float) -> tuple[EngineTiming, ...]:
    """Return every entrant's median at each batch size that a requirement names, or at batch 1."""
    batches = sorted({item.batch for item in trial.plan.requirements if item.kind in _TIMED}) or [1]
    engines = {name: entrant.engine for name, entrant in entrants.items()}
    found = []
    for batch in batches:
        rows = repeat_rows(trial.rows.inputs, batch)
        for name, timing in compare_engines(engines, rows, TimingLimits(_CALLS, time_s)).items():
            found.append(EngineTiming(name, engines[name].description, batch, timing.percentile_ms(50), len(timing.calls_ms)))
    return tuple(found)


def _reason(error: InputError | EnvironmentalError) -> str:
    return error.hint.removeprefix("Install it: ") if isinstance(error, MissingExtraError) else error.message
