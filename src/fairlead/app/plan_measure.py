"""What a plan measures: how long calls of the model as converted take, what the machine can do at most, what the promise comes to so far.

Takes the converted model and rows; gives a Look. Quick on purpose: a few seconds, one engine. Raises what the engine raises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field

from fairlead.app.custom_metrics import CustomMetric
from fairlead.app.wiring import House
from fairlead.core.conversion import ENGINE_OF_FORM, Conversion
from fairlead.core.dataset import Dataset
from fairlead.core.facts import Ceilings
from fairlead.core.latency_profile import LatencyProfile
from fairlead.core.ports import Engine
from fairlead.core.requirement import MetricKind, Requirement
from fairlead.engines.ceilings import measure_ceilings
from fairlead.engines.latency_profile import ProfileJob, measure_profile
from fairlead.engines.opening import open_engine
from fairlead.verify.quality import QualityJob, measure_quality, wanted_metrics
from fairlead.verify.run_rows import run_in_pieces

_ROWS = 64
_PROFILE_S = 2.0
_CEILINGS_S = 1.0


@dataclass(frozen=True)
class Look:
    """`profile` and `ceilings` as measured here; `values` of the model as converted by Requirement.name."""

    profile: LatencyProfile
    ceilings: Ceilings
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """What is looked at: the converted model, the rows, the promise, and how many threads one call may use."""

    conversion: Conversion
    rows: Dataset
    requirements: tuple[Requirement, ...]
    metrics: Mapping[str, CustomMetric]
    thread_count: int = 1


def look_at(subject: Subject, house: House) -> Look:
    """Measure."""
    conversion = subject.conversion
    engine_name = ENGINE_OF_FORM[conversion.form]

    def opened(threads: int) -> Engine:
        return open_engine(engine_name, conversion.path, conversion.interface, thread_count=threads, sandbox=house.sandbox)

    values = _quality(subject, opened, house.settings.seed)
    batches = sorted({1, 2, 4, 8, 16, 32, 64, *(item.batch for item in subject.requirements)})
    job = ProfileJob(opened, subject.rows.take(0, _ROWS).inputs, batches, sorted({1, subject.thread_count}), _PROFILE_S, engine_name)
    profile = measure_profile(job)
    return Look(profile, measure_ceilings(_CEILINGS_S), values | _speed(profile, subject.requirements))


def _quality(subject: Subject, opened: Callable[[int], Engine], seed: int) -> dict[str, float]:
    """Return what floors and ceilings of quality come to. What the conversion loses is proven elsewhere: it is taken for the original."""
    asked = tuple(item for item in subject.requirements if item.kind is MetricKind.QUALITY)
    if subject.rows.target is None or not asked:
        return {}
    wanted = wanted_metrics(subject.conversion.interface, asked, has_target=True)
    with closing(opened(1)) as engine:
        outputs = run_in_pieces(engine, subject.rows.inputs)
    job = QualityJob(subject.conversion.interface, subject.rows.target, outputs, outputs, wanted, subject.metrics, seed)
    found = {quality.metric: quality.candidate for quality in measure_quality(job)}
    return {item.name: found[item.metric] for item in asked if not item.is_relative}


def _speed(profile: LatencyProfile, requirements: tuple[Requirement, ...]) -> dict[str, float]:
    """Return latencies and rows per second of one thread at the batch sizes that the promise names."""
    points = {point.batch: point for point in profile.at(1)}
    found: dict[str, float] = {}
    for item in requirements:
        point = points.get(item.batch)
        if point is None:
            continue
        if item.kind is MetricKind.LATENCY:
            found[item.name] = float(getattr(point, item.metric))
        elif item.kind is MetricKind.THROUGHPUT:
            found[item.name] = 1000.0 * point.batch / point.mean_ms
    return found
