"""Begin a release: everything that could keep it from running is said before anything is written.

Takes a ReleaseRequest and a House; gives the release as it stands in the registry. Raises NotFoundError, SpecError, RejectedError (red, or
another interface), ApprovalError, ConflictError (another release runs), StorageError.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace

from fairlead.app.release_checks import check_candidate, named_version
from fairlead.app.release_outlook import EVIDENCE
from fairlead.app.wiring import House
from fairlead.core.conversion import TWIN_FILE
from fairlead.core.gate import GateSpec, Source
from fairlead.core.release import Release, ReleaseKind, ReleaseStatus, ReleaseStep, check_release, percent
from fairlead.core.traffic import Arm, Segment
from fairlead.core.version import PRODUCTION, Reference, check_alias, parse_reference
from fairlead.errors import NotFoundError, SpecError
from fairlead.register import promotion
from fairlead.register.promotion import Kept
from fairlead.register.resolve import resolve

_COMPARED_SHARE = 0.1  # of the requests are answered twice where a gate compares answers and nobody said how many


@dataclass(frozen=True)
class ReleaseRequest:
    """What to try and how. `steps` for a canary or a shadow, `arms` for an experiment; a step lasts `min_step_s` at least."""

    kind: ReleaseKind
    reference: str
    alias: str = PRODUCTION
    steps: tuple[ReleaseStep, ...] = ()
    arms: tuple[Arm, ...] = ()
    gate: GateSpec | None = None
    min_step_s: float = 0.0
    sticky: str = ""
    segments: tuple[Segment, ...] = ()
    twin_share: float = 0.0
    is_held: bool = False
    allow_interface_change: bool = False


def begin(request: ReleaseRequest, house: House) -> Kept:
    """Check everything and begin a release; running servers take it from there."""
    release = check_release(plan(request, house))
    is_split = request.kind is not ReleaseKind.BLUE_GREEN
    for number in {release.candidate, *(arm.version for arm in release.arms)} - {0, release.live}:
        version = house.records.version(release.name, number)
        check_candidate(version, release.alias, house, allow_interface_change=request.allow_interface_change, is_split=is_split)
    _check_twin(release, house)
    before = promotion.current(release.name, records=house.records)
    kept = promotion.begin(release, records=house.records)
    _require_versions(kept, house)
    if before is not None:
        for report in house.records.reports(EVIDENCE, f"{before.release.id}/"):
            house.records.drop_report(EVIDENCE, report.key)
    return kept


def _require_versions(kept: Kept, house: House) -> None:
    """End the release where a clean-up took one of its versions away in the moment before it began; from now on none goes."""
    try:
        for number in kept.release.in_use():
            house.records.version(kept.release.name, number)
    except NotFoundError as error:
        promotion.fail(kept, str(error), records=house.records, clock=house.clock)
        raise


def plan(request: ReleaseRequest, house: House) -> Release:
    """Return the release that `request` would begin; raises for what is not there, changes nothing."""
    alias = check_alias(request.alias)
    if request.kind is ReleaseKind.EXPERIMENT:
        name, number = resolve(Reference(parse_reference(request.reference).name), records=house.records).name, 0
    else:
        version = named_version(request.reference, house)
        name, number = version.name, version.number
    move = promotion.live_move(name, alias, records=house.records)
    live, arms = (move.number if move is not None else 0), request.arms
    arms = tuple(sorted(arms, key=lambda arm: arm.version != live))  # the live one comes first: the others are compared with it
    now = house.clock()
    return Release(
        id=secrets.token_hex(6),
        name=name,
        kind=request.kind,
        live=live,
        candidate=number,
        alias=alias,
        live_move=move.sequence if move is not None else 0,
        steps=_with_pairs(request),
        arms=arms,
        gate=request.gate,
        min_step_s=request.min_step_s,
        sticky=request.sticky,
        segments=request.segments,
        twin_share=request.twin_share or (_COMPARED_SHARE if _compares(request, Source.TWIN) else 0.0),
        status=ReleaseStatus.HELD if request.is_held else ReleaseStatus.RUNNING,
        author=house.settings.user,
        started_at=now,
        step_started_at=now,
    ).with_event(now, _opening(request), house.settings.user)


def _opening(request: ReleaseRequest) -> str:
    if request.kind is ReleaseKind.BLUE_GREEN:
        return "Began to load it everywhere."
    gate = f", gate: {request.gate}" if request.gate is not None else ""
    if request.arms:
        said = ", ".join(f"{arm.name} (version {arm.version}) {percent(arm.share)}" for arm in request.arms)
        return f"Began an experiment: {said}{gate}."
    return f"Began a {request.kind}: {', then '.join(step.text for step in _with_pairs(request))}{gate}."


def _compares(request: ReleaseRequest, source: Source) -> bool:
    return request.gate is not None and source in request.gate.sources


def _with_pairs(request: ReleaseRequest) -> tuple[ReleaseStep, ...]:
    """Where the gate compares answers, some requests have to be answered twice."""
    if not _compares(request, Source.SHADOW) or any(step.shadow for step in request.steps):
        return request.steps
    if request.kind is ReleaseKind.EXPERIMENT:
        raise SpecError("An experiment's gate cannot compare answers.", hint="Leave out disagreement: try it as a shadow first.")
    return tuple(replace(step, shadow=_COMPARED_SHARE) for step in request.steps)


def _check_twin(release: Release, house: House) -> None:
    """Refuse to measure what compression costs of a version that was not compressed, or is an arm among several."""
    if not release.twin_share:
        return
    numbers = [arm.version for arm in release.arms[1:]] or [release.candidate]
    for number in numbers:
        version = house.records.version(release.name, number)
        if not any(entry.name == TWIN_FILE for entry in version.manifest.files):
            raise SpecError(
                f"{version.label} has no uncompressed original to compare with: it loses nothing, or was registered without one.",
                hint="Leave out twin_flips and --twin.",
            )
