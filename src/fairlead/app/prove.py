"""Try a plan's candidates until one keeps every requirement: the engines in the order in which they were measured to be fast.

Takes a Trial, gives the Proof of the first green candidate, or of the last red one. Each candidate is made by `lineup` and compared with
the original by `verify`, on this machine, with the same rows. Raises UnsupportedError where no candidate could be made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from fairlead.app.lineup import Entrant, Trial, enter, line_up, usable
from fairlead.app.references import Reference, open_reference
from fairlead.app.wiring import House
from fairlead.core.conversion import RuntimeModel
from fairlead.core.engine_choice import EngineChoice
from fairlead.core.golden import Golden
from fairlead.core.lineage import Step
from fairlead.core.plan import Candidate
from fairlead.core.ports import Progress
from fairlead.core.verdict import Verdict, decision_sentence
from fairlead.engines.machine import describe_machine
from fairlead.engines.stopwatch import TimingLimits
from fairlead.errors import EnvironmentalError, InputError, UnsupportedError
from fairlead.optimize.catalog import is_lossy, traits_of
from fairlead.security.digests import digest_file
from fairlead.verify.stage import VerifyJob, verify

GOLDEN_ROWS = 4


@dataclass(frozen=True)
class Proof:
    """A candidate with its model's files, the steps that made them, the verdict, its golden requests, and how the engines compared.

    `before` are the verdicts, all red, of the candidates that were tried before it.
    """

    candidate: Candidate
    model: RuntimeModel
    steps: tuple[Step, ...]
    verdict: Verdict
    golden: Golden
    choice: EngineChoice
    before: tuple[Verdict, ...] = ()


def prove(
    trial: Trial,
    house: House,
    folder: Path,
    progress: Progress,
    *,
    reference: Reference | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> Proof:
    """Return the proof of the first candidate that is green, or of the last one. `reference` answers for the original, where somebody has
    opened it (and closes it). Once `is_over`, no more than one candidate with passes is looked at: the turn is that of those without.
    """
    candidates = usable(trial)
    racing = [candidate for candidate in candidates if not candidate.passes and candidate.thread_count == 1 and trial.choice is None]
    if len(racing) > 1:
        progress.step("engines")
    entrants, choice = line_up(racing, trial, house, folder)
    if len(racing) > 1:
        progress.done(_compared(choice))
    asked = reference or open_reference(trial.artifact, folder / "reference", house.sandbox)
    proof: Proof | None = None
    try:
        for entrant in _in_turn(candidates, entrants, choice, trial, house, folder):
            if proof is not None and entrant.candidate.passes and is_over():
                continue
            before = () if proof is None else (*proof.before, proof.verdict)
            proof = replace(_prove_one(entrant, asked, trial.choice or choice, trial, house, progress), before=before)
            if proof.verdict.is_green:
                return proof
    finally:
        if reference is None:
            asked.close()
        for entrant in entrants.values():
            entrant.engine.close()
    if proof is None:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in choice.absent)
        raise UnsupportedError(f"No engine can run this model here: {reasons or 'none was asked for'}", hint="See `fairlead doctor`.")
    return proof


def _in_turn(
    candidates: tuple[Candidate, ...], entrants: dict[str, Entrant], choice: EngineChoice, trial: Trial, house: House, folder: Path
) -> Iterator[Entrant]:
    """Yield the timed entrants, fastest first, then what else the plan has, made when its turn comes."""
    for name in choice.order:
        yield entrants[name]
    tried = {*entrants, *(name for name, _ in choice.absent)}
    for candidate in candidates:
        if candidate.name in tried:
            continue
        try:
            entrant = enter(candidate, trial, house, folder)
        except (InputError, EnvironmentalError):
            continue
        try:
            yield entrant
        finally:
            entrant.engine.close()


def _prove_one(entrant: Entrant, reference: Reference, choice: EngineChoice, trial: Trial, house: House, progress: Progress) -> Proof:
    candidate = entrant.candidate
    progress.step(f"verify: {candidate.name} against the original, {trial.rows.rows} rows")
    verdict = verify(_job(entrant, reference, trial, house))
    if reference.note:
        verdict = replace(verdict, notes=(reference.note, *verdict.notes))
    rows = trial.rows.take(0, GOLDEN_ROWS).inputs
    golden = Golden(rows, entrant.engine.run(rows))
    progress.done(_summary(candidate, verdict, reference))
    return Proof(candidate, entrant.model, entrant.steps, verdict, golden, choice)


def _job(entrant: Entrant, reference: Reference, trial: Trial, house: House) -> VerifyJob:
    settings, candidate = house.settings, entrant.candidate
    return VerifyJob(
        reference=reference,
        candidate=entrant.engine,
        candidate_name=candidate.name,
        model_path=entrant.model.path,
        model_digest=digest_file(entrant.model.path),
        size_bytes=sum(path.stat().st_size for path in entrant.model.files.values()),
        original_size_bytes=trial.artifact.source.size_bytes,
        dataset=trial.rows,
        machine=describe_machine(),
        engine_name=candidate.engine,
        thread_count=candidate.thread_count,
        session=candidate.session,
        probes=trial.conversion.probes,
        tolerance=max(trial.conversion.tolerance, *(traits_of(use.name).tolerance for use in candidate.uses), 0.0),
        exact_tolerance=trial.conversion.tolerance,
        is_lossy=is_lossy(candidate.uses),
        requirements=trial.plan.requirements,
        metrics=trial.metrics,
        limits=TimingLimits(settings.verify_call_count, settings.verify_time_s),
        seed=settings.seed,
        command=trial.command,
    )


def _compared(choice: EngineChoice) -> str:
    """Say which engine is fastest and by how much, and which are not here and why."""
    lines = []
    for batch in sorted({timing.batch for timing in choice.timings}):
        timed = sorted((timing for timing in choice.timings if timing.batch == batch), key=lambda timing: timing.p50_ms)
        shown = ", ".join(f"{timing.candidate} {timing.p50_ms:.3g} ms" for timing in timed)
        lines.append(f"batch {batch}: {shown}")
    first = f"{choice.order[0]} goes first" if choice.order else "none of them runs here"
    return "\n".join([first, *lines, *(f"without {name}: {reason}" for name, reason in choice.absent)])


def _summary(candidate: Candidate, verdict: Verdict, reference: Reference) -> str:
    color = "green" if verdict.is_green else "red"
    failed = [check.sentence for check in verdict.failures]
    first = f"{candidate.name} against {verdict.reference}: {color}"
    said = [decision_sentence(verdict.parity), reference.note]
    return "\n".join([first, *failed, *filter(None, said)])
