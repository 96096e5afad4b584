"""Find the passes, form, engine and threads that keep every requirement best, within a time: `search`, for deploy and for optimize.

Takes a Trial and SearchOptions; gives Found: the proof of the best on rows that no choice has seen, and the whole search. Raises what
setting up raises, UnsupportedError for passes that were asked for and cannot be applied, and SpecError where the time is too short for one
trial. Interrupted, it leaves what was made and measured for a resumed search.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from fairlead._version import __version__
from fairlead.app.lineup import Trial
from fairlead.app.prove import Proof, prove
from fairlead.app.search_finish import (
    Contender,
    front_of,
    in_order,
    looks,
    measure_what_could_give,
    plain_contenders,
    settled,
    trained_to_the_end,
    trial_contenders,
    undo,
    variants,
)
from fairlead.app.search_measure import Meter
from fairlead.app.search_options import Rows, SearchOptions, divide_rows
from fairlead.app.search_setup import Setup, set_up
from fairlead.app.search_trials import Limits, Made, Trials, name_of, texts
from fairlead.app.search_voice import SearchVoice
from fairlead.app.trial_cache import TrialCache, key_of
from fairlead.app.wiring import House
from fairlead.core.dataset import Dataset
from fairlead.core.ledger import Ledger, Measured, measured_from
from fairlead.core.paired import Comparison
from fairlead.core.pass_use import PassUse
from fairlead.core.plan import Plan
from fairlead.core.ports import Progress
from fairlead.core.search import PointStatus, SearchPoint, SearchResult
from fairlead.core.target import Machine
from fairlead.core.verdict import Verdict
from fairlead.engines.machine import describe_machine
from fairlead.errors import SpecError, UnsupportedError
from fairlead.plan.ledger import account
from fairlead.security.digests import digest_file

_RESERVED, _MOST_RESERVED = 0.1, 0.3  # of the budget, for other forms, undoing and the verdict
_VERDICTS = 4  # red ones after which the baseline is taken: each further look at the verdict rows would be a choice on them
_MEMORY_SHARE = 0.6
_CACHE = "trials"


@dataclass(frozen=True)
class Found:
    """The proven model and how it was found. `plan` has every candidate that was tried, `made` the models by their passes."""

    proof: Proof
    result: SearchResult
    plan: Plan
    ledger: Ledger
    made: Mapping[tuple[str, ...], Made]
    rows: Rows


def search(trial: Trial, options: SearchOptions, house: House, folder: Path, progress: Progress) -> Found:
    """Search, and prove the best."""
    started = time.monotonic()
    progress.step("rows")
    rows = divide_rows(trial.rows, options.training, trial.conversion.interface, house.settings.seed)
    progress.done("\n".join(rows.notes))
    progress.step("baseline")
    machine = describe_machine()
    setup = set_up(trial, rows, options, house, folder)
    try:
        meter = Meter(setup, house)
        cache = TrialCache(house.work.parent / _CACHE)
        cache.sweep()
        limits = _limits(rows, options, house, machine, started)
        trials = Trials(setup, meter, cache, limits, folder / "trials", SearchVoice(progress, limits.ends_at))
        plain = plain_contenders(setup, trials)
        progress.done(_baseline_text(setup, meter))
        undone: list[tuple[str, str]] = []
        if options.is_exact:
            stopped = "the passes were given"
            contenders = [_apply(options.passes, trials, progress), *plain]
        else:
            stopped = _run(trials, options, cache, progress)
            contenders, undone = _finish(plain, setup, trials, meter, house, folder)
    finally:
        setup.close()
    return _conclude(_State(setup, trials, contenders, tuple(undone), stopped, options, machine, started), house, folder, progress)


@dataclass(frozen=True)
class _State:
    setup: Setup
    trials: Trials
    contenders: list[Contender]
    undone: tuple[tuple[str, str], ...]
    stopped: str
    options: SearchOptions
    machine: Machine
    started: float


def _limits(rows: Rows, options: SearchOptions, house: House, machine: Machine, started: float) -> Limits:
    """What is left after setting up, less what the end takes: a verdict asks the original again, which setting up has just done."""
    setting_up_s = time.monotonic() - started
    reserved_s = min(options.budget_s * _MOST_RESERVED, options.budget_s * _RESERVED + _VERDICTS / 2 * setting_up_s)
    width = max(machine.core_count, 1)
    facts = {
        "calibration": identity(rows.calibration),
        "training": identity(rows.training),
        "seed": house.settings.seed,
        "versions": dict(machine.versions),
    }
    memory = int(machine.memory_bytes * _MEMORY_SHARE / width)
    ends_at = math.inf if options.is_exact else started + options.budget_s - reserved_s
    return Limits(ends_at, options.budget_s, width, memory, house.settings.seed, facts)


def identity(rows: Dataset | None) -> str:
    """What says which rows they are: the file's digest, and how they were chosen of it."""
    return "" if rows is None else f"{rows.digest} {rows.description} {rows.rows}"


def _run(trials: Trials, options: SearchOptions, cache: TrialCache, progress: Progress) -> str:
    setup = trials.setup
    facts = {
        "model": digest_file(setup.trial.conversion.path),
        "data": identity(setup.rows.selection),
        "requirements": [str(item) for item in setup.trial.plan.requirements],
        "objective": setup.objective.value,
        "plain": list(setup.plain),
        "release": __version__,
        **trials.limits.facts,
    }
    journal = key_of(facts)
    known = {point.candidate.name: point for point in cache.points(journal)} if options.is_resumed else {}
    if not options.is_resumed:
        cache.forget(journal)

    def on_point(point: SearchPoint) -> None:
        if not point.is_cached or point.candidate.name not in known:
            cache.note(journal, point)
        progress.done(_point_text(point, trials))
        progress.step(f"trial {len(trials.points) - first}: ...")

    first = len(trials.points) - 1
    progress.step("trial 1: ...")
    try:
        stopped = trials.run(on_point, known.get)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_interrupted(trials)) from None
    if len(trials.points) <= len(setup.plain) and stopped == "the time was up":
        needed = max(60.0, 4 * trials.limits.budget_s)
        raise SpecError(
            f"The budget of {trials.limits.budget_s:g} s is too short for one trial.",
            hint=f"A pass that does not train takes seconds, one that trains half a minute or more: --budget {needed / 60:.0f}m",
        )
    progress.step("search")
    progress.done(f"{stopped}; {len(trials.points) - first - 1} trials")
    return stopped


def _apply(passes: tuple[PassUse, ...], trials: Trials, progress: Progress) -> Contender:
    """Apply exactly these passes, however long it takes."""
    progress.step(f"apply: {name_of(passes)}")
    trials.try_now(passes)
    point = trials.points[-1]
    if point.status is PointStatus.FAILED:
        raise UnsupportedError(f"{name_of(passes)}: {point.reason}", hint="Leave out the pass that it is about.")
    progress.done(_point_text(point, trials))
    return Contender(point.candidate, trials.strategy.findings[-1], point, trials.made[point.candidate.passes][0])


def _interrupted(trials: Trials) -> str:
    done = f"Interrupted after {len(trials.points)} trials; all of it is kept"
    best = next((one for one in trials.best if one.recipe), None)
    said = f"; the best so far: {' + '.join(map(str, best.recipe))}, {_speed_text(best.time_ratio)}" if best is not None else ""
    return f"{done}{said}. Go on with --resume."


def _finish(
    plain: list[Contender], setup: Setup, trials: Trials, meter: Meter, house: House, folder: Path
) -> tuple[list[Contender], list[tuple[str, str]]]:
    """Return the contenders in the order in which they are to be proven, and what was undone."""
    found = in_order([*plain, *trial_contenders(trials)], setup.objective)
    tried = [one for one in found if one.finding.recipe]
    contenders = in_order([*found, *variants(tried, setup, trials, house, folder / "variants")], setup.objective)
    order = settled(contenders, setup.objective, meter)
    best, undone = undo(order[0], trials, order, meter)
    best = trained_to_the_end(best, trials) or best
    if not any(one.is_whole for one in order):
        measure_what_could_give(trials, meter)
    return [best, *(one for one in order if one.candidate.name != best.candidate.name)], undone


def _conclude(state: _State, house: House, folder: Path, progress: Progress) -> Found:
    """Prove the best; where it is red on the verdict rows, the next."""
    setup, trials = state.setup, state.trials
    whole = [one for one in state.contenders if one.is_whole]
    better = list(itertools.takewhile(lambda one: one.finding.recipe, whole))  # than every model that no pass has touched
    order = [*looks(better, _VERDICTS), *(one for one in whole if not one.finding.recipe)] or state.contenders[:1]
    if state.options.is_exact:
        order = state.contenders[:1]
    made = {passes: one for passes, one in trials.made.items() if passes}
    plan = replace(setup.trial.plan, candidates=tuple(one.candidate for one in order))
    proving = replace(setup.trial, rows=setup.rows.verdict, plan=plan, made=made, choice=setup.choice)
    proof = prove(proving, house, folder / "prove", progress)
    result = _result(state, proof, house)
    every = tuple(point.candidate for point in result.points if point.status is not PointStatus.DUPLICATE)
    refused = (*setup.trial.plan.refused, *setup.space.left_out)
    full = replace(setup.trial.plan, candidates=every, refused=refused, choice=setup.choice)
    return Found(proof, result, full, _ledger(result, proof, setup), made, setup.rows)


def _result(state: _State, proof: Proof, house: House) -> SearchResult:
    setup, trial = state.setup, state.setup.trial
    red = {verdict.candidate: verdict for verdict in (*proof.before, *(() if proof.verdict.is_green else (proof.verdict,)))}
    points = tuple(_after_verdict(point, red) for point in state.trials.points)
    front = tuple(name for name in front_of(state.contenders) if name not in red)
    training = setup.rows.training
    digests = {
        "source": trial.artifact.source.digest,
        "converted": digest_file(trial.conversion.path),
        "data": trial.rows.digest,
        **({"training": training.digest} if training is not None else {}),
        "best": proof.verdict.model_digest,
    }
    return SearchResult(
        points=points,
        baseline=setup.baseline,
        best=proof.candidate.name,
        pareto=front,
        objective=setup.objective,
        seed=house.settings.seed,
        budget_s=state.options.budget_s,
        seconds=time.monotonic() - state.started,
        stopped=state.stopped,
        rows=setup.rows.notes,
        undone=(*state.undone, *(_slower_alone(points, state.undone) if setup.baseline == name_of(()) else ())),
        missing_extras=setup.space.missing,
        digests=digests,
        versions={"fairlead": __version__, **state.machine.versions},
        command=trial.command,
    )


def _slower_alone(points: tuple[SearchPoint, ...], undone: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    """The passes that were undone since the model is slower with them, each as it was tried first, and why.

    It means something only where the baseline runs on the engine that trials run on.
    """
    found = dict(undone)
    for point in points:
        if point.status is PointStatus.UNDONE and texts((*point.candidate.uses,)) == (point.candidate.name,):  # alone, as trials run
            name = point.candidate.passes[0].partition("(")[0]
            if not any(known.partition("(")[0] == name for known in found):
                found[point.candidate.passes[0]] = point.reason
    return [(name, why) for name, why in found.items() if name not in dict(undone)]


def _after_verdict(point: SearchPoint, red: Mapping[str, Verdict]) -> SearchPoint:
    verdict = red.get(point.candidate.name)
    if verdict is None or point.status is not PointStatus.KEPT:
        return point
    failed = "; ".join(check.sentence for check in verdict.failures)
    return replace(point, status=PointStatus.REJECTED, reason=f"on the rows of the verdict: {failed}")


def _ledger(result: SearchResult, proof: Proof, setup: Setup) -> Ledger:
    """Hold every point against the promise: what the verdict measured where there is one, else what the search did."""
    proven = {verdict.candidate: measured_from(verdict) for verdict in (*proof.before, proof.verdict)}
    measured = [
        proven.get(point.candidate.name)
        or Measured(point.candidate.name, point.values, point.reason if point.status is PointStatus.FAILED else "")
        for point in result.points
        if point.status is not PointStatus.DUPLICATE
    ]
    return account(measured, setup.trial.plan.requirements)


def _baseline_text(setup: Setup, meter: Meter) -> str:
    entrant = setup.plain[setup.baseline]
    lines = [f"{setup.baseline} ({entrant.engine.description}): {meter.baseline_ms:.3g} ms at batch {setup.batch}"]
    lines += [f"without {name}: {reason}" for name, reason in setup.choice.absent]
    lines.append(f"{len(setup.space.values)} passes can be tried: {', '.join(setup.space.values) or 'none'}")
    lines += [f"{name} would be tried with: pip install 'fairlead[{extra}]'" for name, extra in setup.space.missing]
    return "\n".join(lines)


def _point_text(point: SearchPoint, trials: Trials) -> str:
    """One trial on one line, with the best so far."""
    shown = {
        PointStatus.KEPT: f"{point.size_bytes / 1e6:.3g} MB, {_speed_text(point.against_baseline)}",
        PointStatus.DUPLICATE: point.reason,
    }.get(point.status, f"{point.status.value}: {point.reason}")
    best = next((one for one in trials.best if one.recipe), None)
    if best is None:
        return f"{point.candidate.name}: {shown}"
    if name_of(best.recipe) == point.candidate.name:
        return f"{point.candidate.name}: {shown} (the best so far)"
    return f"{point.candidate.name}: {shown} | best {best.size_bytes / 1e6:.3g} MB, {_speed_text(best.time_ratio)}"


def _speed_text(value: Comparison | float | None) -> str:
    ratio = value.ratio if isinstance(value, Comparison) else 1.0 if value is None else value
    return f"{1 / ratio:.2f}x as fast"
