"""How well a model answers in production: quality over time and by slice, against the evidence of its release; estimates where labels are
missing; what compression costs; every promise; and what of that is worth telling.

Takes a QualityRequest and a House; gives a QualityView. Raises NotFoundError, DataError (nothing recorded that decides, no such column),
RequirementError (a metric without meaning), StorageError. It changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from fairlead.app.observations import open_log
from fairlead.app.quality_replay import Replayed, replay
from fairlead.app.quality_rows import Times, read_inputs, read_rows, read_times, slice_column
from fairlead.app.server_facts import server_facts, server_pages, twin_flips
from fairlead.app.wiring import House
from fairlead.core.finding import Finding
from fairlead.core.interface import DecisionKind, Interface
from fairlead.core.observation_log import LogWindow, ObservationLog
from fairlead.core.outcome import (
    RELIABILITY,
    CompressionLoss,
    CostMatrix,
    Counted,
    EstimatedQuality,
    LabelledRows,
    PromiseReading,
    Reliability,
    WindowQuality,
)
from fairlead.core.plan import Plan
from fairlead.core.requirement import MetricKind, Requirement
from fairlead.core.verdict import Verdict
from fairlead.core.version import Version, parse_reference
from fairlead.errors import RequirementError
from fairlead.monitor.page import Page
from fairlead.monitor.quality.burn import budget_of, burn_rates, counted, most_urgent
from fairlead.monitor.quality.compression import bounded_loss
from fairlead.monitor.quality.judge import (
    accuracy_finding,
    burn_finding,
    compression_finding,
    estimate_finding,
    promise_findings,
    slice_findings,
)
from fairlead.monitor.quality.labels import Gathered, plain_text
from fairlead.monitor.quality.measure import check_metric
from fairlead.monitor.quality.promises import Seen, read_promises
from fairlead.monitor.quality.reliability import estimate
from fairlead.monitor.quality.report import Against, ReportJob, against, report, whole, width_for
from fairlead.register.resolve import resolve
from fairlead.stores.document import load
from fairlead.stores.version_files import read_file

T = TypeVar("T")
WEEK_S = 7 * 86_400.0


@dataclass(frozen=True)
class QualityRequest:
    """What to look at: the version that `reference` names, over the last `since_s` seconds, in windows of `width_s` (0: what fits), by a
    column of the log; `metrics` beside those that were promised and the task's own. `is_replayed`: its original is asked, too.
    """

    reference: str
    since_s: float = WEEK_S
    by: str = ""
    metrics: tuple[str, ...] = ()
    width_s: float = 0.0
    costs: CostMatrix | None = None
    is_replayed: bool = True


@dataclass(frozen=True)
class QualityView:
    """What was seen of one version from `since` to `until` (Unix seconds). `windows` are of all versions of the model that answered then,
    `slices` and everything else of this one. `facts` are numbers from its servers; `notes` say what could not be told, and why.
    """

    model: str
    version: int
    since: float
    until: float
    overall: WindowQuality
    windows: tuple[WindowQuality, ...] = ()
    slices: tuple[WindowQuality, ...] = ()
    against: tuple[Against, ...] = ()
    estimated: EstimatedQuality | None = None
    loss: CompressionLoss | None = None
    promises: tuple[PromiseReading, ...] = ()
    facts: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Case:
    """One version with its evidence, and the log's window."""

    version: Version
    interface: Interface
    verdict: Verdict
    requirements: tuple[Requirement, ...]
    reliability: Reliability | None
    log: ObservationLog
    window: LogWindow


def quality(request: QualityRequest, house: House) -> QualityView:
    """Return how well the version answers."""
    case = _open(request, house)
    by = slice_column(request.by, case.log, case.window) if request.by else ""
    metrics = _metrics(request, case)
    gathered = read_rows(
        case.log, case.window, case.interface, (by,) if by else (), has_scores=any(name in {"auc", "ece"} for name in metrics)
    )
    rows = gathered.rows
    for name in request.metrics:
        check_metric(name, rows)
    metrics = tuple(name for name in metrics if name in request.metrics or _has_meaning(name, rows))
    job = ReportJob(metrics, by=by, costs=request.costs, names=partial(_name, case.interface), seed=house.settings.seed)
    since, until = case.window.since, case.window.until
    overall = replace(whole(rows, since, until, job), version=case.version.number)
    slices = report(rows, since, until, job) if by else ()
    compared = tuple(
        against(quality.metric, overall.measured[quality.metric], quality)
        for quality in case.verdict.quality
        if quality.metric in overall.measured and overall.measured[quality.metric].is_known
    )
    estimated, doubt = _estimated(case, rows)
    replayed = replay(case.version, case.interface, case.log, case.window, rows, house) if request.is_replayed else Replayed()
    pages = server_pages(house)
    facts, replayed = server_facts(case.version, pages), _live(replayed, case.version, pages)
    seen, times = _seen(case, rows, replayed.loss, facts, house.settings.seed)
    promises = read_promises(case.version.name, case.version.number, case.requirements, case.verdict, seen)
    view = QualityView(
        case.version.name,
        case.version.number,
        since,
        until,
        overall,
        _windows(request, case, house, job),
        slices,
        compared,
        estimated,
        replayed.loss,
        promises,
        facts,
        notes=tuple(filter(None, (*_notes(gathered, rows), doubt, _said(replayed)))),
    )
    return _with_findings(view, case, _burns(case, rows, times, until), request.by)


def document(version: Version, name: str, kind: type[T], house: House) -> T:
    """Return what a file of the version holds; raises NotFoundError where it has no such file."""
    return load(read_file(version, name, house.blobs), kind)


def reliability_of(version: Version, house: House) -> Reliability | None:
    """Return how often its answers of which confidence were right at release; None for a version without that."""
    has_it = any(entry.name == RELIABILITY for entry in version.manifest.files)
    return document(version, RELIABILITY, Reliability, house) if has_it else None


def _open(request: QualityRequest, house: House) -> _Case:
    version = resolve(parse_reference(request.reference), records=house.records)
    now = house.clock()
    return _Case(
        version,
        document(version, "interface.json", Interface, house),
        document(version, "verdict.json", Verdict, house),
        document(version, "plan.json", Plan, house).requirements,
        reliability_of(version, house),
        open_log(house),
        LogWindow(version.name, (version.number,), now - request.since_s, now + 1.0),
    )


def _metrics(request: QualityRequest, case: _Case) -> tuple[str, ...]:
    """Return what to measure: what is asked for, what was promised, what the release measured."""
    promised = [item.metric for item in case.requirements if item.kind is MetricKind.QUALITY and not item.is_custom]
    measured = [item.metric for item in case.verdict.quality if ":" not in item.metric]
    rule = case.interface.decision
    usual = ("mae", "rmse") if rule is not None and rule.kind is DecisionKind.VALUE else ("accuracy",)
    return tuple(dict.fromkeys((*usual, *promised, *measured, *request.metrics)))


def _has_meaning(name: str, rows: LabelledRows) -> bool:
    try:
        check_metric(name, rows)
    except RequirementError:
        return False
    return True


def _name(interface: Interface, number: float) -> str:
    """Return a class's label as a text."""
    place = int(number)
    return plain_text(interface.labels[place]) if 0 <= place < len(interface.labels) else plain_text(place)


def _windows(request: QualityRequest, case: _Case, house: House, job: ReportJob) -> tuple[WindowQuality, ...]:
    """Return the quality over time of every version that answered in the window."""
    since, until = case.window.since, case.window.until
    width = request.width_s or width_for(request.since_s)
    found: list[WindowQuality] = []
    for version in house.records.versions(case.version.name):
        window = replace(case.window, versions=(version.number,))
        if not case.log.size(window).file_count:
            continue
        interface = document(version, "interface.json", Interface, house)
        if interface.decision is None:
            continue
        rows = read_rows(case.log, window, interface).rows
        usual = tuple(name for name in job.metrics if name in ("accuracy", "mae", "rmse", "f1"))
        part = replace(job, metrics=usual, by="", width_s=width, names=partial(_name, interface))
        found += report(rows, since, until, part)
    return tuple(sorted(found, key=lambda one: (one.since, one.version)))


def _estimated(case: _Case, rows: LabelledRows) -> tuple[EstimatedQuality | None, str]:
    """Return the accuracy without labels, or why there is none."""
    if not rows.count or rows.is_number:
        return None, ""
    if case.reliability is None:
        label = case.version.label
        return (
            None,
            f"Accuracy without labels is not estimated: {label} was registered with too few labelled rows, or before that was kept.",
        )
    return estimate(case.reliability, rows, read_inputs(case.log, case.window, case.interface)), ""


def _seen(
    case: _Case, rows: LabelledRows, loss: CompressionLoss | None, facts: Mapping[str, tuple[float, str]], seed: int
) -> tuple[Seen, Times]:
    times = read_times(case.log, case.window)
    size = case.verdict.size_bytes / 1e6, "the model's file, which never changes"
    return Seen(rows, times.latency_ms, times.rows, loss, {**facts, "size_mb": size}, seed), times


def _notes(gathered: Gathered, rows: LabelledRows) -> tuple[str, ...]:
    """Return what is worth knowing of the labels."""
    said = []
    if not rows.count:
        said.append("Nothing was recorded in this time.")
    elif not rows.is_labelled.any():
        said.append("No labels yet: send them with fairlead feedback, or POST /v2/models/NAME/feedback.")
    if gathered.unfit:
        said.append(f"{gathered.unfit:,} labels can be no answer of this version, e.g. '{gathered.example}'; they are left out.")
    return tuple(said)


def _live(replayed: Replayed, version: Version, pages: Sequence[Page]) -> Replayed:
    """Return what servers say of the original's answers (`twin_share`), where it cannot be asked again."""
    flips = twin_flips(version, pages) if replayed.problem else None
    return replayed if flips is None else Replayed(bounded_loss(*flips))


def _said(replayed: Replayed) -> str:
    return f"The loss by compression is not measured: {replayed.problem}." if replayed.problem else ""


def _burns(case: _Case, rows: LabelledRows, times: Times, now: float) -> tuple[Finding, ...]:
    """Return the promises whose error budget burns too fast."""
    found = []
    for requirement in case.requirements:
        budget = budget_of(requirement)
        if budget is None:
            continue
        burning = most_urgent(burn_rates(_events(requirement, rows, times), budget, now))
        if burning is not None:
            found.append(burn_finding(case.version.name, case.version.number, str(requirement), burning, now))
    return tuple(found)


def _events(requirement: Requirement, rows: LabelledRows, times: Times) -> tuple[Counted, ...]:
    if requirement.kind is MetricKind.LATENCY:
        fitting = times.rows <= requirement.batch
        return counted(times.at[fitting], times.latency_ms[fitting] > requirement.bound)
    known = rows.is_labelled
    return counted(rows.at[known], rows.right[known] != rows.said[known])


def _with_findings(view: QualityView, case: _Case, burns: tuple[Finding, ...], by: str) -> QualityView:
    name, number, window = view.model, view.version, (view.since, view.until)
    allowed = next((item.bound for item in case.requirements if item.name == "accuracy_drop"), None)
    evidence = next((item for item in case.verdict.quality if item.metric == "accuracy"), None)
    found = [
        accuracy_finding(name, view.overall, evidence) if evidence is not None else None,
        estimate_finding(name, number, view.estimated, window) if view.estimated is not None else None,
        compression_finding(name, number, view.loss, allowed, window) if view.loss is not None else None,
    ]
    sliced = slice_findings(name, by, view.slices, view.overall.measured["accuracy"]) if by and "accuracy" in view.overall.measured else ()
    told = (*(one for one in found if one is not None), *sliced, *promise_findings(view.promises, window), *burns)
    return replace(view, findings=tuple(sorted(told, key=lambda one: -one.severity.rank)))
