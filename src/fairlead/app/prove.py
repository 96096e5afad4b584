"""Try a plan's candidates in order until one keeps every requirement.

Takes a Trial (artifact, conversion, rows, plan), gives the Proof of the first green candidate, or of the last red one. Each candidate is
made by `optimize` and compared with the original by `verify`, on this machine, with the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from fairlead.app.custom_metrics import CustomMetric
from fairlead.app.references import Reference, open_reference
from fairlead.app.wiring import House
from fairlead.core.artifact import Artifact
from fairlead.core.conversion import Conversion
from fairlead.core.dataset import Dataset
from fairlead.core.golden import Golden
from fairlead.core.lineage import Step
from fairlead.core.plan import Candidate, Plan
from fairlead.core.ports import Engine, Progress
from fairlead.core.verdict import Verdict
from fairlead.engines.catalog import ENGINES
from fairlead.engines.machine import describe_machine
from fairlead.engines.stopwatch import TimingLimits
from fairlead.optimize.stage import optimize
from fairlead.security.digests import digest_file
from fairlead.verify.stage import VerifyJob, verify

GOLDEN_ROWS = 4


@dataclass(frozen=True)
class Trial:
    """What is tried: `plan.candidates` of `conversion`, against `artifact`, on `rows`."""

    artifact: Artifact
    conversion: Conversion
    rows: Dataset
    plan: Plan
    metrics: Mapping[str, CustomMetric]
    command: str = ""


@dataclass(frozen=True)
class Proof:
    """A candidate's file, how it was made, the verdict on it, and rows with its answers that a server must reproduce."""

    candidate: Candidate
    model: Path
    steps: tuple[Step, ...]
    verdict: Verdict
    golden: Golden


def prove(trial: Trial, house: House, folder: Path, progress: Progress) -> Proof:
    """Return the proof of the first candidate that keeps every requirement, else of the last one tried."""
    reference = open_reference(trial.artifact, folder / "reference", house.sandbox)
    try:
        for candidate in trial.plan.candidates:
            proof = _try(candidate, reference, trial, house, folder, progress)
            if proof.verdict.is_green:
                break
    finally:
        reference.close()
    return proof


def _try(candidate: Candidate, reference: Reference, trial: Trial, house: House, folder: Path, progress: Progress) -> Proof:
    progress.step(f"verify: {candidate.name} against the original, {trial.rows.rows} rows")
    model, steps = optimize(candidate, trial.conversion.path, folder / "optimize" / candidate.name)
    engine: Engine = ENGINES.load(candidate.engine)(model, trial.conversion.interface, thread_count=candidate.thread_count)
    try:
        verdict = verify(_job(candidate, reference, engine, model, trial, house))
        if reference.note:
            verdict = replace(verdict, notes=(reference.note, *verdict.notes))
        rows = trial.rows.take(0, GOLDEN_ROWS).inputs
        golden = Golden(rows, engine.run(rows))
    finally:
        engine.close()
    progress.done(_summary(candidate, verdict, reference))
    return Proof(candidate, model, steps, verdict, golden)


def _job(candidate: Candidate, reference: Reference, engine: Engine, model: Path, trial: Trial, house: House) -> VerifyJob:
    settings = house.settings
    return VerifyJob(
        reference=reference,
        candidate=engine,
        candidate_name=candidate.name,
        model_path=model,
        model_digest=digest_file(model),
        original_size_bytes=trial.artifact.source.size_bytes,
        dataset=trial.rows,
        machine=describe_machine(),
        engine_name=candidate.engine,
        thread_count=candidate.thread_count,
        probes=trial.conversion.probes,
        tolerance=trial.conversion.tolerance,
        requirements=trial.plan.requirements,
        metrics=trial.metrics,
        limits=TimingLimits(settings.verify_call_count, settings.verify_time_s),
        seed=settings.seed,
        command=trial.command,
    )


def _summary(candidate: Candidate, verdict: Verdict, reference: Reference) -> str:
    color = "green" if verdict.is_green else "red"
    failed = [f"{check.name} is {check.measured:.6g}, needed {check.bound}" for check in verdict.failures]
    first = f"{candidate.name} against {verdict.reference}: {color}"
    return "\n".join([first, *failed, *([reference.note] if reference.note else [])])
