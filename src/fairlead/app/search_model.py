"""Find the passes, form, engine and threads that keep every requirement best, within a time: `search`, for deploy and for optimize.

Takes a Trial and SearchOptions; gives Found: the proof of the best on rows that no choice has seen, and the whole search. Raises what
setting up raises, UnsupportedError for passes that were asked for and cannot be applied, and SpecError where the time is too short for one
trial. Interrupted, it leaves what was made and measured for a resumed search.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fairlead._version import __version__
from fairlead.app.lineup import Trial
from fairlead.app.prove import Proof, prove
from fairlead.app.search_finish import (
    Contender,
    front_of,
    in_order,
    measure_what_could_give,
    plain_contenders,
    settled,
    trained_to_the_end,
    trial_contenders,
    turns,
    undo,
    variants,
)
from fairlead.app.search_ledger import ledger_of
from fairlead.app.search_luck import chance_of_best
from fairlead.app.search_measure import TIMED, Meter
from fairlead.app.search_options import Rows, SearchOptions, divide_rows
from fairlead.app.search_session import tune
from fairlead.app.search_setup import NO_ONNX, Setup, set_up
from fairlead.app.search_text import Reasons, baseline_text, interrupted_text, point_text, speed_text
from fairlead.app.search_trials import TIME_UP, Limits, Made, Trials, name_of, texts
from fairlead.app.search_voice import SearchVoice
from fairlead.app.trial_cache import TrialCache, key_of
from fairlead.app.wiring import House
from fairlead.core.conversion import RuntimeForm
from fairlead.core.dataset import Dataset
from fairlead.core.ledger import Ledger
from fairlead.core.outlook import PromiseOutlook
from fairlead.core.pass_use import PassUse
from fairlead.core.plan import Plan
from fairlead.core.ports import Progress
from fairlead.core.search import PointStatus, SearchPoint, SearchResult
from fairlead.core.target import Machine
from fairlead.core.verdict import Verdict
from fairlead.engines.ceilings import measure_call_ms
from fairlead.engines.machine import describe_machine
from fairlead.errors import SpecError, UnsupportedError
from fairlead.plan.promise import Known, outlook_of
from fairlead.security.digests import digest_file

_RESERVED, _MOST_RESERVED = 0.1, 0.3  # of the budget, for other forms, undoing and the verdict
_VERDICT_S = 2.0  # of a verdict, beside its timed calls: processes that measure memory, and the rows
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
        limits = _limits(setup, options, house, machine, started)
        trials = Trials(setup, meter, cache, limits, folder / "trials", SearchVoice(progress, limits.ends_at))
        with _interruptible(trials, options):
            plain = plain_contenders(setup, trials)
            progress.done(baseline_text(setup, meter, _outlooks(setup, plain)))
            if options.is_exact:
                stopped = "the passes were given"
                chosen = _Chosen([_apply(options.passes, trials, progress), *plain])
            else:
                stopped = _run(trials, options, cache, progress)
                chosen = _finish(plain, trials, house, folder, progress)
            return _conclude(_State(setup, trials, chosen, stopped, options, machine, started), house, folder, progress)
    finally:
        setup.close()


@contextlib.contextmanager
def _interruptible(trials: Trials, options: SearchOptions) -> Iterator[None]:
    """Tell whoever interrupts a search, in whichever part, what it leaves."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt("" if options.is_exact else interrupted_text(trials, options.to_go_on)) from None


def _outlooks(setup: Setup, plain: Sequence[Contender]) -> tuple[PromiseOutlook, ...]:
    """What each requirement comes to for the model to beat, and whether any model could keep it: the search may take minutes."""
    requirements = setup.trial.plan.requirements
    values = next(one.point.values for one in plain if one.candidate.name == setup.baseline)
    is_slow = any(item.kind in TIMED and not item.is_met(values.get(item.name, math.nan)) for item in requirements)
    return outlook_of(requirements, Known(values, measure_call_ms() if is_slow else 0.0, is_compressible=bool(setup.space.values)))


@dataclass(frozen=True)
class _Chosen:
    """Who is to be proven, in that order, what was undone of the first, and how likely it keeps its bounds on other rows."""

    contenders: list[Contender]
    undone: tuple[tuple[str, str], ...] = ()
    chance: float | None = None


@dataclass(frozen=True)
class _State:
    setup: Setup
    trials: Trials
    chosen: _Chosen
    stopped: str
    options: SearchOptions
    machine: Machine
    started: float


def _limits(setup: Setup, options: SearchOptions, house: House, machine: Machine, started: float) -> Limits:
    """What is left after setting up, less what the end takes: other forms, undoing, a verdict or two. The original has answered then."""
    rows, settings = setup.rows, house.settings
    timed = {item.batch for item in setup.trial.plan.requirements if item.kind in TIMED} | {1}
    verdict_s = _VERDICT_S + len(timed) * settings.verify_time_s
    most_s = options.budget_s * _MOST_RESERVED
    reserved_s = min(most_s, options.budget_s * _RESERVED + 2 * verdict_s)
    width = max(machine.core_count, 1)
    facts = {
        "calibration": identity(rows.calibration),
        "training": identity(rows.training),
        "seed": house.settings.seed,
        "versions": dict(machine.versions),
    }
    memory = int(machine.memory_bytes * _MEMORY_SHARE / width)
    over_at = math.inf if options.is_exact else started + options.budget_s
    return Limits(over_at - reserved_s, over_at - min(verdict_s, most_s), options.budget_s, width, memory, house.settings.seed, facts)


def identity(rows: Dataset | None) -> str:
    """What says which rows they are: the file's digest, and how they were chosen of it."""
    return "" if rows is None else f"{rows.digest} {rows.description} {rows.rows}"


def _run(trials: Trials, options: SearchOptions, cache: TrialCache, progress: Progress) -> str:
    setup = trials.setup
    if setup.trial.conversion.form is not RuntimeForm.ONNX:  # what else it is, trials must not open: that is for the sandbox
        progress.step("search")
        progress.done(f"{NO_ONNX}: nothing can be tried")
        return NO_ONNX
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

    reasons = Reasons()

    def on_point(point: SearchPoint) -> None:
        if not point.is_cached or point.candidate.name not in known:
            cache.note(journal, point)
        if not reasons.is_known(point):
            progress.done(point_text(point, trials))
        progress.step(f"trial {len(trials.points) - first}: ...")

    first = len(trials.points) - 1
    progress.step("trial 1: ...")
    stopped = trials.run(on_point, known.get)
    if len(trials.points) <= len(setup.plain) and stopped == TIME_UP:
        needed = max(60.0, 4 * trials.limits.budget_s)
        raise SpecError(
            f"The budget of {trials.limits.budget_s:g} s is too short for one trial.",
            hint=f"A pass that does not train takes seconds, one that trains half a minute or more: --budget {needed / 60:.0f}m",
        )
    progress.step("search")
    again = f"; {reasons.repeated_count} more failed for reasons that were said" if reasons.repeated_count else ""
    count = len(trials.points) - first - 1
    progress.done(f"{stopped}; {count} {'trial' if count == 1 else 'trials'}{again}")
    return stopped


def _apply(passes: tuple[PassUse, ...], trials: Trials, progress: Progress) -> Contender:
    """Apply exactly these passes, however long it takes."""
    progress.step(f"apply: {name_of(passes)}")
    trials.try_now(passes)
    point = trials.points[-1]
    if point.status is PointStatus.FAILED:
        raise UnsupportedError(f"{name_of(passes)}: {point.reason}", hint="Leave out the pass that it is about.")
    notes = [f"{step.tool}: {note}" for step in trials.made[point.candidate.passes][1] for note in step.notes]
    progress.done("\n".join([point_text(point, trials), *notes]))
    return Contender(point.candidate, trials.strategy.findings[-1], point, trials.made[point.candidate.passes][0])


def _finish(plain: list[Contender], trials: Trials, house: House, folder: Path, progress: Progress) -> _Chosen:
    """Bring the contenders into the order in which they are to be proven, without what does not pay."""
    setup = trials.setup
    progress.step("choose: the best, without what does not pay")
    found = in_order([*plain, *trial_contenders(trials)], setup.objective)
    contenders = in_order([*found, *variants(found, setup, trials, house, folder / "variants")], setup.objective)
    order = settled(contenders, setup.objective, trials)
    best, undone = undo(order[0], trials, order)
    best = trained_to_the_end(best, trials) or best
    if not any(one.is_whole for one in order):
        measure_what_could_give(trials)
    tuned = tune(best, trials)
    others = [one for one in (best, *order) if one.candidate.name != tuned.candidate.name]
    chance = chance_of_best(tuned.point, trials.points, trials.strategy.findings, setup.judge, setup.objective)
    chosen = _Chosen([tuned, *{one.candidate.name: one for one in others}.values()], tuple(undone), chance)
    progress.done(_chosen_text(chosen))
    return chosen


def _chosen_text(chosen: _Chosen) -> str:
    best, sure = chosen.contenders[0], ""
    if chosen.chance is not None:
        sure = f"; it keeps on other rows what it keeps on these with {chosen.chance:.0%}"
    first = f"{best.candidate.name}: {best.point.size_bytes / 1e6:.3g} MB, {speed_text(best.point.against_baseline)}{sure}"
    return "\n".join([first, *(f"undone: {name}: {why}" for name, why in chosen.undone)])


def _conclude(state: _State, house: House, folder: Path, progress: Progress) -> Found:
    """Prove the best; where it is red on the verdict rows, the next."""
    setup, trials = state.setup, state.trials
    contenders = state.chosen.contenders
    order = contenders[:1] if state.options.is_exact else turns(contenders, _VERDICTS)
    made = {passes: one for passes, one in trials.made.items() if passes}
    plan = replace(setup.trial.plan, candidates=tuple(one.candidate for one in order))
    proving = replace(setup.trial, rows=setup.rows.verdict, plan=plan, made=made, choice=setup.choice)
    over_at = state.started + state.options.budget_s

    def is_over() -> bool:
        return not state.options.is_exact and time.monotonic() > over_at

    proof = prove(proving, house, folder / "prove", progress, reference=setup.reference, is_over=is_over)
    result = _result(state, proof, house)
    ledger = ledger_of(result.points, proof, trials, contenders, is_over=is_over)
    every = tuple(point.candidate for point in result.points if point.status is not PointStatus.DUPLICATE)
    refused = (*setup.trial.plan.refused, *setup.space.left_out)
    full = replace(setup.trial.plan, candidates=every, refused=refused, choice=setup.choice)
    return Found(proof, result, full, ledger, made, setup.rows)


def _result(state: _State, proof: Proof, house: House) -> SearchResult:
    setup, trial = state.setup, state.setup.trial
    red = {verdict.candidate: verdict for verdict in (*proof.before, *(() if proof.verdict.is_green else (proof.verdict,)))}
    taken = proof.candidate.name if proof.verdict.is_green else ""
    points = tuple(_taken(point) if point.candidate.name == taken else _after_verdict(point, red) for point in state.trials.points)
    front = tuple(name for name in front_of(state.chosen.contenders) if name not in red)
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
        rows=(*setup.rows.notes, *_expected(state.chosen)),
        undone=(*state.chosen.undone, *(_slower_alone(points, state.chosen.undone) if setup.baseline == name_of(()) else ())),
        missing_extras=setup.space.missing,
        digests=digests,
        versions={"fairlead": __version__, **state.machine.versions},
        command=trial.command,
    )


def _expected(chosen: _Chosen) -> list[str]:
    """Say how likely it was, by the rows that chose, that the first of them keeps on other rows what it keeps on these."""
    if chosen.chance is None:
        return []
    name = chosen.contenders[0].candidate.name
    return [f"by the rows that chose it, {name} was expected to keep its bounds on others with {chosen.chance:.0%}"]


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


def _taken(point: SearchPoint) -> SearchPoint:
    """The point that was taken, whatever was thought of it before the verdict."""
    reasons = {
        PointStatus.UNDONE: f"{point.reason}; taken all the same: no faster one keeps every bound",
        PointStatus.REJECTED: f"on the rows that chose, {point.reason}; on those of the verdict it holds",
    }
    return replace(point, status=PointStatus.KEPT, reason=reasons.get(point.status, ""))


def _after_verdict(point: SearchPoint, red: Mapping[str, Verdict]) -> SearchPoint:
    verdict = red.get(point.candidate.name)
    if verdict is None or point.status is not PointStatus.KEPT:
        return point
    failed = "; ".join(check.sentence for check in verdict.failures)
    return replace(point, status=PointStatus.REJECTED, reason=f"on the rows of the verdict: {failed}")
