"""Step 5: original against candidate on the same rows and this machine -> Verdict.

Takes engines, rows and requirements; gives a core Verdict, green or red. Raises RequirementError where a requirement cannot be measured,
and what the engines raise. It never changes a model, registers nothing, and reads no settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from fairlead.core.dataset import Dataset
from fairlead.core.interface import DecisionKind, Interface, Tensors
from fairlead.core.ports import Engine
from fairlead.core.requirement import Requirement
from fairlead.core.target import Machine
from fairlead.core.verdict import Calibration, ExplanationParity, Quality, Speed, Verdict
from fairlead.engines.memory_probe import measure_memory
from fairlead.engines.stopwatch import TimingLimits
from fairlead.verify.attribution import compare_attributions
from fairlead.verify.checks import Measurements, build_checks
from fairlead.verify.parity import Comparison, compare
from fairlead.verify.quality import CustomMetric, QualityJob, measure_calibration, measure_quality, task_of, wanted_metrics
from fairlead.verify.run_rows import repeat_rows
from fairlead.verify.speed import measure_speed, timed_batches

_ENOUGH_CALLS = 100  # for a 99th percentile that is not simply the slowest call


@dataclass(frozen=True)
class VerifyJob:
    """What to prove: `candidate` runs `model_path` with `engine_name` of engines.catalog on `thread_count` threads, with the settings of
    its `session`; `reference` runs the original.

    `dataset` fits the candidate's interface; `probes` are rows at the original's own thresholds. `tolerance` is absolute below 1 and
    relative above; `exact_tolerance` is that of the conversion alone (0: the same). `is_lossy` says that the candidate was made to answer
    otherwise (see `checks`). `metrics` are the user's own functions by the name that requirements use. `limits` bound the timed calls of
    each batch size. `command` is how to measure again. `size_bytes` is that of all files of the candidate (None: `model_path` is the only
    one).
    """

    reference: Engine
    candidate: Engine
    candidate_name: str
    model_path: Path
    model_digest: str
    original_size_bytes: int
    dataset: Dataset
    machine: Machine
    engine_name: str = "onnxruntime"
    thread_count: int = 1
    session: tuple[str, ...] = ()
    probes: Tensors | None = field(default=None, repr=False)
    tolerance: float = 1e-5
    exact_tolerance: float = 0.0
    is_lossy: bool = False
    requirements: tuple[Requirement, ...] = ()
    metrics: Mapping[str, CustomMetric] = field(default_factory=dict)
    limits: TimingLimits = field(default_factory=TimingLimits)
    seed: int = 0
    notes: tuple[str, ...] = ()
    command: str = ""
    size_bytes: int | None = None


def verify(job: VerifyJob) -> Verdict:
    """Measure everything and hold it against the requirements and the built-in checks."""
    interface, inputs = job.candidate.interface, job.dataset.inputs
    # 1. What cannot be measured is refused before anything is.
    wanted = wanted_metrics(interface, job.requirements, has_target=job.dataset.target is not None)
    # 2. The same rows through both; meanwhile other processes find out what the model takes in memory: nothing is timed here.
    batches = timed_batches(job.requirements)
    with ThreadPoolExecutor(1) as pool:
        largest = repeat_rows(inputs, max(batches))
        memory = pool.submit(
            measure_memory,
            job.model_path,
            interface,
            largest,
            engine=job.engine_name,
            thread_count=job.thread_count,
            running=job.candidate,
            session=job.session,
        )
        comparison = compare(job.reference, job.candidate, inputs, job.probes, job.tolerance)
        memory_peak_bytes = memory.result().model_bytes
    # 3. Quality where the right answers are known.
    quality, calibration = _measure_quality(job, interface, comparison, wanted)
    explanation = _measure_explanation(job, interface)
    # 4. Speed and size on this machine.
    speed = measure_speed(job.candidate, inputs, batches, job.limits, thread_count=job.thread_count)
    found = Measurements(
        comparison=comparison,
        quality=quality,
        speed=speed,
        size_bytes=job.model_path.stat().st_size if job.size_bytes is None else job.size_bytes,
        memory_peak_bytes=memory_peak_bytes,
        calibration=calibration,
        explanation=explanation,
        thread_count=job.thread_count,
        is_synthetic=job.dataset.is_synthetic,
        is_lossy=job.is_lossy,
    )
    # 5. The verdict.
    return _conclude(job, found, _notes(job, interface, found))


def _measure_quality(
    job: VerifyJob, interface: Interface, comparison: Comparison, wanted: tuple[str, ...]
) -> tuple[tuple[Quality, ...], Calibration | None]:
    if job.dataset.target is None or not wanted:
        return (), None
    asked = QualityJob(interface, job.dataset.target, comparison.original, comparison.candidate, wanted, job.metrics, job.seed)
    return measure_quality(asked), measure_calibration(asked)


def _measure_explanation(job: VerifyJob, interface: Interface) -> ExplanationParity | None:
    """Measured where it is required, and of every candidate that was made to answer otherwise and gives scores."""
    is_required = any(item.metric == "explanation_agreement" for item in job.requirements)
    rule = interface.decision
    has_scores = rule is not None and (rule.kind is not DecisionKind.LABEL or bool(rule.scores))
    if not is_required and not (job.is_lossy and has_scores):
        return None
    return compare_attributions(job.reference, job.candidate, job.dataset.inputs, job.seed)


def _conclude(job: VerifyJob, found: Measurements, notes: tuple[str, ...]) -> Verdict:
    return Verdict(
        candidate=job.candidate_name,
        engine=job.candidate.description,
        reference=job.reference.description,
        checks=build_checks(found, job.requirements),
        parity=replace(found.comparison.parity, exact_tolerance=job.exact_tolerance),
        quality=found.quality,
        speed=found.speed,
        size_bytes=found.size_bytes,
        memory_peak_bytes=found.memory_peak_bytes,
        original_size_bytes=job.original_size_bytes,
        model_digest=job.model_digest,
        data_digest=job.dataset.digest,
        data_description=job.dataset.description,
        row_count=job.dataset.rows,
        seed=job.seed,
        machine=job.machine,
        notes=notes,
        command=job.command,
        calibration=found.calibration,
        explanation=found.explanation,
    )


def _notes(job: VerifyJob, interface: Interface, found: Measurements) -> tuple[str, ...]:
    """Return the caller's notes and what a reader of the figures has to know."""
    notes = list(job.notes)
    task = task_of(interface)
    if task is not None:
        source = "as its interface says" if interface.task is not None else "inferred from how its outputs decide"
        measured = ", ".join(one.metric for one in found.quality)
        notes.append(f"task: {task.value} ({source})" + (f"; quality measured as {measured}" if measured else ""))
    if job.dataset.is_synthetic:
        notes.append("rows were drawn, not given: they show equal computation and speed, and say nothing about quality")
    if found.comparison.nan_count:
        notes.append(f"original and candidate both answer NaN for {found.comparison.nan_count} of {found.comparison.parity.row_count} rows")
    notes += [_few_calls(speed) for speed in found.speed if speed.call_count < _ENOUGH_CALLS]
    return tuple(notes)


def _few_calls(speed: Speed) -> str:
    return f"the 99th percentile at batch {speed.batch} rests on {speed.call_count} calls only: it is the slowest of them"
