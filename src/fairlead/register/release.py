"""What becomes of a release next: pure functions of what it is, what the gate says, and what the time is.

Takes a Release and an Outlook, or what a person wants; gives the Release as it is then (the very same where nothing changes). Raises
ConflictError for what cannot be done to a release as it stands. Laws: nothing is promoted but by the gate's `advance` in the last step, or
by a person; one that has ended stays as it is; every change has its entry in the log.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fairlead.core.gate import FindingState, GateDecision, GateVerdict
from fairlead.core.release import Basis, Release, ReleaseKind, ReleaseStatus
from fairlead.errors import ConflictError

GATE = "gate"  # who decided, where nobody did


@dataclass(frozen=True)
class Outlook:
    """What a release is judged by: Unix seconds `now`, the seconds that its step has lasted, where its alias points (0: nowhere) since the
    move with the sequence `alias_move`, what the gate says (None: there is no gate), what else keeps it from being promoted (`obstacle`:
    a server that is still loading it, an approval), and why the candidate cannot be served at all (`defect`); both "" for nothing.
    `compared` says what the answers of a shadow were like, for the log when its time is over.
    """

    now: float
    step_age_s: float
    alias: int
    alias_move: int
    decision: GateDecision | None = None
    obstacle: str = ""
    defect: str = ""
    compared: str = ""


def next_state(release: Release, outlook: Outlook) -> Release:
    """Return what `release` becomes by itself."""
    if not release.is_active:
        return release
    if (outlook.alias, outlook.alias_move) != (release.live, release.live_move):
        return _overtaken(release, outlook)
    if release.status is ReleaseStatus.PROMOTING:
        return release  # the alias is still to be moved
    decision = outlook.decision
    if outlook.defect:
        return release.with_event(outlook.now, outlook.defect, GATE, status=ReleaseStatus.ROLLED_BACK)
    if decision is not None and decision.verdict is GateVerdict.ROLL_BACK:
        return release.with_event(outlook.now, decision.sentence, GATE, _basis(decision), status=ReleaseStatus.ROLLED_BACK)
    if release.status is ReleaseStatus.HELD or release.kind is ReleaseKind.EXPERIMENT or outlook.step_age_s < release.min_step_s:
        return release
    if release.kind is ReleaseKind.SHADOW and release.is_last_step:
        return _finished(release, outlook)
    if decision is not None and decision.verdict is not GateVerdict.ADVANCE:
        return release
    if release.is_last_step and outlook.obstacle:
        return release
    return _onward(release, outlook.now, GATE, _why(release, decision), _basis(decision))


def waits_for(release: Release, outlook: Outlook) -> str:
    """Return what has to happen before a release goes on, as a sentence; "" for one that has ended."""
    if not release.is_active:
        return ""
    if release.status is ReleaseStatus.PROMOTING:
        return "It is being promoted."
    if release.status is ReleaseStatus.HELD:
        return "It is held: it goes on when somebody says `fairlead release resume`, and back if the gate says so."
    if release.kind is ReleaseKind.EXPERIMENT:
        return "It runs until somebody chooses an arm or stops it."
    left_s = release.min_step_s - outlook.step_age_s
    decision = outlook.decision
    if release.kind is ReleaseKind.BLUE_GREEN:
        return outlook.obstacle
    if decision is not None and decision.verdict is GateVerdict.HOLD and not (release.kind is ReleaseKind.SHADOW and left_s > 0):
        return _still_open(decision)
    if left_s > 0:
        return f"This step lasts {_duration(left_s)} more."
    return outlook.obstacle


def _still_open(decision: GateDecision) -> str:
    """Return which metrics are open and about how long that takes; the sentence of the decision has the numbers."""
    unknown = [finding for finding in decision.findings if finding.state is FindingState.OPEN]
    if not unknown:
        return decision.sentence.removeprefix("Hold: ")
    names = ", ".join(finding.metric for finding in unknown)
    unseen = [finding.metric for finding in unknown if not finding.requests]
    if unseen:
        return f"Evidence on {names}; nothing was seen yet of {', '.join(unseen)}."
    if any(finding.needed is None for finding in unknown):
        return f"Evidence on {names}; at the present values more of it would hardly tell."
    slowest = max(unknown, key=lambda finding: finding.needed or 0)
    time = f", {_duration(slowest.needed_s)} at the present rate" if slowest.needed_s is not None else ""
    return f"Evidence on {names}: about {slowest.needed or 0:,} more{time}."


def held(release: Release, *, now: float, author: str) -> Release:
    """Keep a release where it is until it is resumed."""
    if release.status is ReleaseStatus.HELD:
        return release
    _require(release, ReleaseStatus.RUNNING)
    return release.with_event(now, f"Held by {author}.", author, status=ReleaseStatus.HELD)


def resumed(release: Release, *, now: float, author: str) -> Release:
    """Let a held release go on by itself."""
    if release.status is ReleaseStatus.RUNNING:
        return release
    _require(release, ReleaseStatus.HELD)
    return release.with_event(now, f"Resumed by {author}.", author, status=ReleaseStatus.RUNNING)


def stopped(release: Release, *, now: float, author: str, basis: Basis | None = None) -> Release:
    """End a release where it is: everything goes to the live version."""
    _require(release, ReleaseStatus.RUNNING, ReleaseStatus.HELD)
    return release.with_event(now, f"Stopped by {author}.", author, basis, status=ReleaseStatus.STOPPED)


def taken_back(release: Release, *, now: float, author: str, basis: Basis | None = None) -> Release:
    """End a release because a person takes the candidate back."""
    _require(release, ReleaseStatus.RUNNING, ReleaseStatus.HELD)
    return release.with_event(now, f"Rolled back by {author}.", author, basis, status=ReleaseStatus.ROLLED_BACK)


def advanced(release: Release, *, now: float, author: str, basis: Basis | None = None) -> Release:
    """Take a canary to its next step, or to its promotion, whatever the gate says."""
    _require(release, ReleaseStatus.RUNNING, ReleaseStatus.HELD)
    if release.kind not in {ReleaseKind.CANARY, ReleaseKind.BLUE_GREEN}:
        raise ConflictError(
            f"The {release.kind} of {release.name} has no next step.",
            hint=f"Choose an arm: fairlead experiment {release.name} --choose {release.tried[0]}."
            if release.kind is ReleaseKind.EXPERIMENT
            else f"Promote it: fairlead release {release.name} stop, then fairlead promote {release.name}:{release.candidate}.",
        )
    return _onward(release, now, author, f"{author} said so.", basis)


def promoted_by(release: Release, *, now: float, author: str, basis: Basis | None = None) -> Release:
    """Promote the candidate at once, whatever the gate says and however many steps are left."""
    _require(release, ReleaseStatus.RUNNING, ReleaseStatus.HELD)
    said = f"{author} promoted {release.name}:{release.candidate} at once."
    return release.with_event(now, said, author, basis, status=ReleaseStatus.PROMOTING)


def chosen(release: Release, arm: str, *, now: float, author: str, basis: Basis | None = None) -> Release:
    """End an experiment with one of its arms: the control ends it, another one is promoted."""
    _require(release, ReleaseStatus.RUNNING, ReleaseStatus.HELD)
    numbers = {item.name: item.version for item in release.arms}
    if arm not in numbers:
        known = ", ".join(numbers) or "none"
        raise ConflictError(f"The {release.kind} of {release.name} has no arm '{arm[:32]}'.", hint=f"Arms: {known}.")
    said = f"{author} chose {arm} ({release.name}:{numbers[arm]})."
    if numbers[arm] == release.live:
        return release.with_event(now, f"{said} It is live already.", author, basis, status=ReleaseStatus.FINISHED)
    return replace(release, candidate=numbers[arm]).with_event(now, said, author, basis, status=ReleaseStatus.PROMOTING)


def failed(release: Release, reason: str, *, now: float, author: str = GATE) -> Release:
    """End a release that cannot go on, for a reason that is no matter of evidence; `author` had decided that it should."""
    return release.with_event(now, reason, author, status=ReleaseStatus.STOPPED)


def _overtaken(release: Release, outlook: Outlook) -> Release:
    """The alias points elsewhere than when the release began: at the candidate, which ends it well, or at something else."""
    place = f"{release.name}@{release.alias}"
    number = outlook.alias
    arms = {arm.version for arm in release.arms[1:]} or {release.candidate}
    if number in arms:
        ended = replace(release, candidate=number)
        if release.status is ReleaseStatus.PROMOTING and number == release.candidate:
            return ended.with_event(outlook.now, f"{place} is {release.name}:{number} now.", GATE, status=ReleaseStatus.PROMOTED)
        said = f"{place} was moved to {release.name}:{number} by hand; that ends the {release.kind}."
        return ended.with_event(outlook.now, said, GATE, status=ReleaseStatus.PROMOTED)
    where = "moved away and back" if number == release.live else f"moved to {release.name}:{number}" if number else "taken away"
    return release.with_event(
        outlook.now, f"{place} was {where} by hand; that ends the {release.kind}.", GATE, status=ReleaseStatus.STOPPED
    )


def _onward(release: Release, now: float, author: str, why: str, basis: Basis | None) -> Release:
    if release.is_last_step:
        said = f"Promoting {release.name}:{release.candidate}. {why}"
        return release.with_event(now, said, author, basis, status=ReleaseStatus.PROMOTING)
    after = release.steps[release.step + 1]
    logged = release.with_event(now, f"On to {after.text}. {why}", author, basis, status=ReleaseStatus.RUNNING)
    return replace(logged, step=release.step + 1, step_started_at=now)


def _why(release: Release, decision: GateDecision | None) -> str:
    if decision is not None:
        return decision.sentence
    return "Every server has it." if release.kind is ReleaseKind.BLUE_GREEN else "Its time is over."


def _finished(release: Release, outlook: Outlook) -> Release:
    decision = outlook.decision
    said = ("Its time is over; nothing was promoted.", outlook.compared, decision.sentence if decision is not None else "")
    return release.with_event(outlook.now, " ".join(filter(None, said)), GATE, _basis(decision), status=ReleaseStatus.FINISHED)


def _basis(decision: GateDecision | None) -> Basis | None:
    return None if decision is None else Basis(decision.findings)


def _require(release: Release, *statuses: ReleaseStatus) -> None:
    if release.status in statuses:
        return
    if release.status is ReleaseStatus.PROMOTING:
        raise ConflictError(
            f"{release.name}:{release.candidate} is being promoted at this moment.", hint=f"Take it back: fairlead rollback {release.name}."
        )
    said = (
        "is running"
        if release.status is ReleaseStatus.RUNNING
        else f"is over ({release.status.replace('_', ' ')})"
        if not release.is_active
        else "is held"
    )
    raise ConflictError(f"The {release.kind} of {release.name} {said}.", hint=f"See: fairlead release {release.name}.")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
