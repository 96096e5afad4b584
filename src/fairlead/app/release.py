"""Take a version into production and back: at once, by a canary, unseen beside the live one, or as an arm of an experiment.

Takes a House and what a person wants; gives what came of it. Raises NotFoundError, SpecError, RejectedError (red, another interface, or the
gate said so), ApprovalError, ConflictError (another release runs, or somebody was faster), StorageError. What was begun goes on without the
caller: running servers decide, and whoever is interrupted anywhere leaves nothing half-done.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from fairlead.app.release_begin import ReleaseRequest, begin
from fairlead.app.release_checks import check_candidate, named_version
from fairlead.app.release_outlook import Assessor
from fairlead.app.servers import LOOK_S, WAIT_S, Followed, Roll, wait_for_servers
from fairlead.app.wiring import House
from fairlead.core.heartbeat import ServerBeat
from fairlead.core.release import Basis, Release, ReleaseKind, ReleaseStatus, ReleaseStep
from fairlead.core.version import PRODUCTION, AliasMove, Reference, Version, check_alias
from fairlead.errors import ApprovalError, ConflictError, NotFoundError, RejectedError
from fairlead.register import aliases, promotion
from fairlead.register.promotion import Kept
from fairlead.register.release import chosen, promoted_by, taken_back
from fairlead.register.resolve import resolve

_JUST_NOW_S = 600.0  # who says rollback so soon after a gate did means the same


@dataclass(frozen=True)
class Outcome:
    """What a promotion or a rollback came to: where the alias points (0: nowhere) and pointed, the release that was part of it, and who
    has followed.
    """

    name: str
    alias: str
    number: int
    previous: int
    release: Release | None
    followed: Followed


# Promoting at once.


def promote(
    reference: str,
    house: House,
    *,
    alias: str = PRODUCTION,
    wait_s: float = WAIT_S,
    allow_interface_change: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Point `alias` at the version that `reference` names, once every living server has loaded it and it answered its golden requests.

    Returns when the servers have followed, or after `wait_s`; what is still to be done then goes on by itself. A release of this very
    version that runs is brought to its end. `tell` is told what is waited for.
    """
    version = named_version(reference, house)
    check_alias(alias)
    check_candidate(version, alias, house, allow_interface_change=allow_interface_change)
    previous = house.records.aliases(version.name).get(alias, 0)
    running = promotion.current(version.name, records=house.records)
    if running is not None and running.release.is_active and _is_about(running.release, version, alias):
        return _finish(version, alias, previous, _overrule(running, version, house), house, wait_s)
    promotion.require_none_runs(version.name, records=house.records)
    if previous in {0, version.number} or not _servers(version.name, alias, house):
        user = house.settings.user
        move = aliases.promote(
            version.name, version.number, alias=alias, expected=previous, records=house.records, clock=house.clock, author=user
        )
        return _outcome(move, None, previous, house, wait_s, move.sequence)
    request = ReleaseRequest(ReleaseKind.BLUE_GREEN, reference, alias, (ReleaseStep(),), allow_interface_change=allow_interface_change)
    return _finish(version, alias, previous, _drive(begin(request, house), house, wait_s, tell), house, wait_s)


def release_new(version: Version, alias: str, house: House, *, expected: int) -> AliasMove:
    """Point `alias` at a version that was registered a moment ago, unless it points elsewhere than at `expected` by now.

    What keeps it from moving says that the version is registered all the same, and how it becomes live.
    """
    user, to_promote = house.settings.user, f"fairlead promote {version.label}"
    try:
        return aliases.promote(
            version.name,
            version.number,
            alias=alias,
            expected=expected,
            reason="deploy",
            records=house.records,
            clock=house.clock,
            author=user,
        )
    except ApprovalError as error:
        raise ApprovalError(
            f"Registered as {version.label}, not live yet: {error.message}", hint=f"{error.hint}. Then: {to_promote}"
        ) from error
    except ConflictError as error:
        is_moved = house.records.aliases(version.name).get(alias, 0) != expected
        why = f"another deployment moved @{alias} meanwhile." if is_moved else f"@{alias} stays: {error.message}"
        raise ConflictError(
            f"{version.label} is registered, but {why}",
            hint=f"See `fairlead show {version.name}`; to put this one in production: {to_promote}",
        ) from error


def _is_about(release: Release, version: Version, alias: str) -> bool:
    return release.alias == alias and version.number in {release.candidate, *(arm.version for arm in release.arms)} - {release.live}


def _overrule(kept: Kept, version: Version, house: House) -> Kept:
    """Bring a release to its end because a person promotes its candidate."""
    basis = basis_of(kept, house)

    def become(release: Release) -> Release:
        arm = next((arm.name for arm in release.arms if arm.version == version.number), "")
        now, user = house.clock(), house.settings.user
        return chosen(release, arm, now=now, author=user, basis=basis) if arm else promoted_by(release, now=now, author=user, basis=basis)

    return promotion.change(version.name, become, records=house.records, clock=house.clock, author=house.settings.user)


def _drive(kept: Kept, house: House, wait_s: float, tell: Callable[[str], None]) -> Kept:
    """Judge a release until it has ended or `wait_s` is over: as a server does, only more often."""
    assessor, deadline, said = Assessor(house.records, house.clock), time.monotonic() + wait_s, ""
    while kept.release.is_active and time.monotonic() < deadline:
        outlook = assessor.assess(kept).outlook
        after = promotion.judge(kept, outlook, records=house.records, clock=house.clock, author=house.settings.user)
        if after is None or after is kept:
            if outlook.obstacle != said:
                said = outlook.obstacle
                tell(said)
            time.sleep(LOOK_S)
            after = promotion.current(kept.release.name, records=house.records)
        kept = kept if after is None else after
    return kept


def _finish(version: Version, alias: str, previous: int, kept: Kept, house: House, wait_s: float) -> Outcome:
    release, number = kept.release, house.records.aliases(version.name).get(alias, 0)
    if release.status in {ReleaseStatus.ROLLED_BACK, ReleaseStatus.STOPPED}:
        raise RejectedError(
            f"{version.label} was not promoted, {version.name}@{alias} is {version.name}:{number}: {release.log[-1].sentence}",
            hint=f"See: fairlead history {version.name}.",
        )
    followed = wait_for_servers(version.name, kept.sequence, records=house.records, now=house.clock, wait_s=wait_s)
    return Outcome(version.name, alias, number, previous, release, followed)


def _servers(name: str, alias: str, house: House) -> bool:
    """Whether a living server follows `alias` of the model."""

    def is_one(living: tuple[ServerBeat, ...]) -> bool:
        return any(beat.alias == alias and name in beat.applied for beat in living)

    return is_one(Roll(house.records, house.clock).until(is_one))


# Back.


def rollback(
    name: str, house: House, *, alias: str = PRODUCTION, wait_s: float = WAIT_S, to: int | None = None, is_further: bool = False
) -> Outcome:
    """End the release of the model that runs; where none does, take `alias` back to where it pointed before. Returns when living servers
    have followed: from then on no new request meets what was taken back.

    Where a canary was rolled back in the last minutes and nothing happened since, that was the rollback: nothing moves, unless
    `is_further` or `to`, the version to go to, is said. What a gate rejected is gone to only where `to` says so.
    """
    resolve(Reference(name), records=house.records)  # an unknown name is said as such, with the nearest
    check_alias(alias)
    ended = _end_release(name, alias, house)
    if ended is None and not is_further and to is None:
        ended = _ended_just_now(name, alias, house)
    if ended is not None:
        followed = wait_for_servers(name, ended.sequence, records=house.records, now=house.clock, wait_s=wait_s)
        return Outcome(name, alias, ended.release.live, ended.release.live, ended.release, followed)
    rejected = promotion.rejected(name, records=house.records)
    user = house.settings.user
    move = aliases.rollback(name, alias=alias, rejected=rejected, to=to, records=house.records, clock=house.clock, author=user)
    return _outcome(move, None, move.previous, house, wait_s, move.sequence)


def _ended_just_now(name: str, alias: str, house: House) -> Kept | None:
    """Return the canary (or the like) that was rolled back in the last minutes, where nothing was moved since; else None."""
    kept = promotion.current(name, records=house.records)
    if kept is None or kept.release.alias != alias or kept.release.status is not ReleaseStatus.ROLLED_BACK:
        return None
    if kept.release.kind is ReleaseKind.BLUE_GREEN:
        return None  # it had not begun to answer
    move = promotion.live_move(name, alias, records=house.records)
    is_newest = move is not None and move.sequence == kept.release.live_move
    return kept if is_newest and abs(house.clock() - kept.release.log[-1].at) < _JUST_NOW_S else None


def _end_release(name: str, alias: str, house: House) -> Kept | None:
    """Take the candidate of the running release back; None where none runs, or its candidate is live by now."""
    kept = promotion.current(name, records=house.records)
    if kept is None or not kept.release.is_active or kept.release.alias != alias:
        return None
    basis = basis_of(kept, house)

    def become(release: Release) -> Release:
        return taken_back(release, now=house.clock(), author=house.settings.user, basis=basis) if release.is_active else release

    try:
        kept = promotion.change(name, become, records=house.records, clock=house.clock, author=house.settings.user)
    except NotFoundError:  # it has just ended by itself
        kept = promotion.current(name, records=house.records) or kept
    return None if kept.release.status is ReleaseStatus.PROMOTED else kept


def _outcome(move: AliasMove, release: Release | None, previous: int, house: House, wait_s: float, sequence: int) -> Outcome:
    followed = wait_for_servers(move.name, sequence, records=house.records, now=house.clock, wait_s=wait_s)
    return Outcome(move.name, move.alias, move.number, previous, release, followed)


def basis_of(kept: Kept, house: House) -> Basis | None:
    """Return the numbers that stand behind a release now."""
    decision = Assessor(house.records, house.clock).assess(kept).outlook.decision
    return None if decision is None else Basis(decision.findings)
