"""Bring a model to what release.yaml says: show what differs, and do what is to be done; nothing where nothing differs.

Takes a ReleaseRequest and a House; gives Difference values. Raises what beginning a release raises, and ConflictError where what the file
asks for was taken back since: a file that is applied again and again must not promote again what a gate or a person rolled back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from fairlead.app.release import Outcome, promote
from fairlead.app.release_begin import ReleaseRequest, begin, plan
from fairlead.app.release_checks import check_candidate
from fairlead.app.servers import WAIT_S, Followed, wait_for_servers
from fairlead.app.wiring import House
from fairlead.core.release import Release, ReleaseKind, ReleaseStatus, check_release, percent
from fairlead.errors import ConflictError
from fairlead.register import promotion
from fairlead.register.aliases import ROLLBACK
from fairlead.register.promotion import Kept
from fairlead.register.release import stopped

_BACK = frozenset({ReleaseStatus.ROLLED_BACK, ReleaseStatus.STOPPED})
_DONE = frozenset({ReleaseStatus.FINISHED, ReleaseStatus.PROMOTED})


@dataclass(frozen=True)
class Difference:
    """What is, what the file wants, and what has to be done about it, as sentences; nothing `to_do` where it is so already.

    `ends` is the running release that has to be ended first; `why_not` says why what is to be done is not done without being told twice.
    """

    name: str
    alias: str
    is_now: str
    wanted: str
    to_do: tuple[str, ...]
    ends: str = ""
    why_not: str = ""


@dataclass(frozen=True)
class Applied:
    """What was different, and what was done: a release that was ended (who has followed that), one that was begun, or a promotion; None
    where nothing was done.
    """

    difference: Difference
    ended: Followed | None = None
    begun: Kept | None = None
    outcome: Outcome | None = None


def difference(request: ReleaseRequest, house: House, *, is_forced: bool = False) -> Difference:
    """Compare; raises what keeps it from being done. Changes nothing. A shadow that has finished and an experiment that was decided are not
    wanted once more, unless `is_forced`.
    """
    wanted = plan(request, house)
    last = promotion.current(wanted.name, records=house.records)
    live = f"{wanted.name}:{wanted.live}" if wanted.live else "nothing"
    running = last.release if last is not None and last.release.is_active else None
    is_now = f"{live} is live" + (f"; {_spoken(running)} runs" if running is not None else "")
    about = Difference(wanted.name, wanted.alias, is_now, _wish(wanted), ())
    if wanted.kind is ReleaseKind.BLUE_GREEN:
        return _at_once(wanted, running, about, request, house)
    if running is not None and _settings(running) == _settings(wanted):
        return about
    if wanted.candidate == wanted.live:
        return about if running is None else replace(about, to_do=(f"end {_spoken(running)}",), ends=running.id)
    if last is not None and not is_forced and _is_done(last.release, wanted):
        return replace(about, is_now=f"{is_now}; {_spoken(last.release)} has ended: {last.release.log[-1].sentence}")
    check_release(wanted)
    _check(wanted, request, house)
    to_do = (*((f"end {_spoken(running)}",) if running is not None else ()), f"begin {_spoken(wanted)}")
    why_not = "" if last is None or running is not None else _taken_back(last.release, wanted)
    return replace(about, to_do=to_do, ends=running.id if running is not None else "", why_not=why_not or _rolled_back(wanted, house))


def apply(
    request: ReleaseRequest, house: House, *, is_forced: bool = False, wait_s: float = WAIT_S, tell: Callable[[str], None] = lambda _: None
) -> Applied:
    """Do what differs. `is_forced` does what was taken back once more."""
    found = difference(request, house, is_forced=is_forced)
    if not found.to_do:
        return Applied(found)
    if found.why_not and not is_forced:
        raise ConflictError(found.why_not, hint="Name another version in the file, or say that it is meant: --again.")
    ended = _end(found, house, wait_s) if found.ends else None
    if request.kind is ReleaseKind.BLUE_GREEN:
        change = request.allow_interface_change
        outcome = promote(request.reference, house, alias=request.alias, wait_s=wait_s, allow_interface_change=change, tell=tell)
        return Applied(found, ended, outcome=outcome)
    if len(found.to_do) == 1 and found.ends:
        return Applied(found, ended)
    return Applied(found, ended, begin(request, house))


def _at_once(wanted: Release, running: Release | None, about: Difference, request: ReleaseRequest, house: House) -> Difference:
    ends = (f"end {_spoken(running)}",) if running is not None and running.candidate != wanted.candidate else ()
    if wanted.candidate == wanted.live:
        return replace(about, to_do=ends, ends=running.id if running is not None and ends else "")
    _check(wanted, request, house)
    to_do = (*ends, f"promote {wanted.name}:{wanted.candidate} at once")
    return replace(about, to_do=to_do, ends=running.id if running is not None and ends else "", why_not=_rolled_back(wanted, house))


def _check(wanted: Release, request: ReleaseRequest, house: House) -> None:
    is_split = wanted.kind is not ReleaseKind.BLUE_GREEN
    for number in {wanted.candidate, *(arm.version for arm in wanted.arms)} - {0, wanted.live}:
        version = house.records.version(wanted.name, number)
        check_candidate(version, wanted.alias, house, allow_interface_change=request.allow_interface_change, is_split=is_split)


def _end(found: Difference, house: House, wait_s: float) -> Followed:
    """End the release that runs; return once living servers have followed, or after `wait_s`."""

    def become(release: Release) -> Release:
        if release.id != found.ends:
            raise ConflictError(f"Somebody began another release of {found.name} meanwhile.", hint="Look at it, then apply again.")
        return stopped(release, now=house.clock(), author=house.settings.user)

    kept = promotion.change(found.name, become, records=house.records, clock=house.clock, author=house.settings.user)
    return wait_for_servers(found.name, kept.sequence, records=house.records, now=house.clock, wait_s=wait_s)


def _settings(release: Release) -> Release:
    """Return what a person said of a release: everything but what became of it."""
    unsaid = Release(release.id, release.name, release.kind, 0)
    return replace(
        release,
        id="",
        live=0 if release.arms else release.live,
        live_move=0,
        status=unsaid.status,
        step=0,
        author="",
        started_at=0.0,
        step_started_at=0.0,
        log=(),
        candidate=0 if release.arms else release.candidate,
        arms=tuple(sorted(release.arms, key=lambda arm: arm.name)),
    )


def _is_done(last: Release, wanted: Release) -> bool:
    """Whether the shadow or experiment that is wanted has been, and came to its own end; a canary that did has made its version live."""
    return wanted.kind is not ReleaseKind.CANARY and last.status in _DONE and _settings(last) == _settings(wanted)


def _rolled_back(wanted: Release, house: House) -> str:
    """Return that the wanted version was live and left by a rollback, however far that went back; "" where it was not."""
    moves = house.records.alias_history(wanted.name, wanted.alias)
    left = next((move for move in reversed(moves) if move.previous == wanted.candidate), None)
    if left is None or left.reason != ROLLBACK:
        return ""
    return f"{wanted.name}:{wanted.candidate} was rolled back from {wanted.name}@{wanted.alias}."


def _taken_back(last: Release, wanted: Release) -> str:
    if last.status not in _BACK or _settings(last) != _settings(wanted):
        return ""
    return f"{_spoken(last).capitalize()} with these very settings has ended: {last.log[-1].sentence}"


def _spoken(release: Release) -> str:
    if release.arms:
        return f"the experiment {', '.join(f'{arm.name}={release.name}:{arm.version} {percent(arm.share)}' for arm in release.arms)}"
    return f"the {release.kind} of {release.name}:{release.candidate}"


def _wish(wanted: Release) -> str:
    gate = f"; gate {wanted.gate} (alpha {wanted.gate.alpha:g})" if wanted.gate is not None else ""
    if wanted.arms:
        return f"{_spoken(wanted)}{gate}"
    steps = f" by {', '.join(step.text for step in wanted.steps)}" if wanted.steps else " at once"
    return f"{wanted.name}:{wanted.candidate}{steps}{gate}"
