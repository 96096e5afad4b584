"""Step 5: original against candidate on the same rows and this machine -> Verdict.

Takes engines, rows and requirements; gives a core Verdict, green or red. Raises RequirementError where a requirement cannot be measured,
and what the engines raise. It never changes a model, registers nothing, and reads no settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fairlead.core.conversion import Conversion
from fairlead.core.dataset import Dataset
from fairlead.core.interface import Interface
from fairlead.core.plan import Candidate
from fairlead.core.ports import Engine
from fairlead.core.requirement import Requirement
from fairlead.core.target import Machine
from fairlead.core.verdict import Quality, Speed, Verdict
from fairlead.engines.memory_probe import measure_memory
from fairlead.engines.stopwatch import TimingLimits
from fairlead.verify.checks import Measurements, build_checks
from fairlead.verify.parity import Comparison, compare
from fairlead.verify.quality import CustomMetric, QualityJob, measure_quality, task_of, wanted_metrics
from fairlead.verify.run_rows import repeat_rows
from fairlead.verify.speed import measure_speed, timed_batches

_ENOUGH_CALLS = 100  # for a 99th percentile that is not simply the slowest call


@dataclass(frozen=True)
class VerifyJob:
    """What to prove: `engine` runs `model`, made of `conversion` as `candidate` says; `reference` runs the original.

    `rows` fit the conversion's interface. `custom_metrics` are the user's own functions by the name that requirements use. `timing` bounds
    the timed calls of each batch size. `command` is how to measure again.
    """

    candidate: Candidate
    reference: Engine
    engine: Engine
    model: Path
    model_digest: str
    conversion: Conversion
    rows: Dataset
    machine: Machine
    original_size_bytes: int
    requirements: tuple[Requirement, ...] = ()
    custom_metrics: Mapping[str, CustomMetric] = field(default_factory=dict)
    timing: TimingLimits = field(default_factory=TimingLimits)
    seed: int = 0
    notes: tuple[str, ...] = ()
    command: str = ""


def verify(job: VerifyJob) -> Verdict:
    """Measure everything and hold it against the requirements and the built-in checks."""
    interface, inputs, threads = job.conversion.interface, job.rows.inputs, job.candidate.thread_count
    # 1. What cannot be measured is refused before anything is.
    wanted = wanted_metrics(interface, job.requirements, has_target=job.rows.target is not None)
    # 2. The same rows through both.
    comparison = compare(job.reference, job.engine, inputs, job.conversion.probes, job.conversion.tolerance)
    # 3. Quality where the right answers are known.
    quality = _measure_quality(job, interface, comparison, wanted)
    # 4. Speed, memory and size on this machine.
    batches = timed_batches(job.requirements)
    speed = measure_speed(job.engine, inputs, batches, job.timing, thread_count=threads)
    largest = repeat_rows(inputs, max(batches))
    memory = measure_memory(job.model, interface, largest, engine=job.candidate.engine, thread_count=threads)
    found = Measurements(
        comparison=comparison,
        quality=quality,
        speed=speed,
        size_bytes=job.model.stat().st_size,
        memory_peak_bytes=memory.model_bytes,
        thread_count=threads,
        is_synthetic=job.rows.is_synthetic,
    )
    # 5. The verdict.
    return _conclude(job, found, _notes(job, interface, found))


def _measure_quality(job: VerifyJob, interface: Interface, comparison: Comparison, wanted: tuple[str, ...]) -> tuple[Quality, ...]:
    if job.rows.target is None or not wanted:
        return ()
    return measure_quality(
        QualityJob(interface, job.rows.target, comparison.original, comparison.candidate, wanted, job.custom_metrics, job.seed)
    )


def _conclude(job: VerifyJob, found: Measurements, notes: tuple[str, ...]) -> Verdict:
    return Verdict(
        candidate=job.candidate.name,
        engine=job.engine.description,
        reference=job.reference.description,
        checks=build_checks(found, job.requirements),
        parity=found.comparison.parity,
        quality=found.quality,
        speed=found.speed,
        size_bytes=found.size_bytes,
        memory_peak_bytes=found.memory_peak_bytes,
        original_size_bytes=job.original_size_bytes,
        model_digest=job.model_digest,
        data_digest=job.rows.digest,
        data_description=job.rows.description,
        row_count=job.rows.rows,
        seed=job.seed,
        machine=job.machine,
        notes=notes,
        command=job.command,
    )


def _notes(job: VerifyJob, interface: Interface, found: Measurements) -> tuple[str, ...]:
    """Return the caller's notes and what a reader of the figures has to know."""
    notes = list(job.notes)
    task = task_of(interface)
    if task is not None:
        source = "given" if interface.task is not None else "inferred from the model's outputs"
        measured = ", ".join(one.metric for one in found.quality)
        notes.append(f"task: {task.value} ({source})" + (f"; quality measured as {measured}" if measured else ""))
    if job.rows.is_synthetic:
        notes.append("rows were drawn, not given: they show equal computation and speed, and say nothing about quality")
    if found.comparison.nan_count:
        notes.append(f"original and candidate both answer NaN for {found.comparison.nan_count} of {found.comparison.parity.row_count} rows")
    notes += [_few_calls(speed) for speed in found.speed if speed.call_count < _ENOUGH_CALLS]
    return tuple(notes)


def _few_calls(speed: Speed) -> str:
    return f"the 99th percentile at batch {speed.batch} rests on {speed.call_count} calls only: it is the slowest of them"
