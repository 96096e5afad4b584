"""Releases in the registry: begun, changed and brought to their end by compare-and-set, so that of many who decide exactly one does.

Takes Releases and pure functions on them, gives what stands in the registry then (Kept). Raises ConflictError where another release runs,
and what the store raises. Killed anywhere, the next who looks goes on: a promotion is first decided (`promoting`), then the alias moves,
then it is said to be done, and each of these steps is done once whoever does it. A promoter that slept between its decision and its move
cannot move the alias any more once somebody else did.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from fairlead.core.fact import Fact
from fairlead.core.ports import Clock, RecordStore
from fairlead.core.release import Release, ReleaseEvent, ReleaseKind, ReleaseStatus, check_release
from fairlead.core.version import AliasMove
from fairlead.errors import ConflictError, CorruptError, NotFoundError
from fairlead.register.release import GATE, Outlook, failed, next_state
from fairlead.stores.document import dump, load

FACT = "release"
_ATTEMPT_COUNT = 20


@dataclass(frozen=True)
class Kept:
    """A release as it stands in the registry. `sequence` is that of its newest revision, which servers have to reach to follow it."""

    release: Release
    revision: int
    sequence: int


def current(name: str, *, records: RecordStore) -> Kept | None:
    """Return the release of a model that was begun last, whether it runs or has ended; None where there was none."""
    fact = records.fact(FACT, name)
    return None if fact is None else _kept(fact)


def running(records: RecordStore, *, passes_over_damage: bool = False) -> tuple[Kept, ...]:
    """Return every release that has not ended, by model name. One that cannot be read is CorruptError, or is left out where that is said:
    then it keeps nobody from looking after the others.
    """
    found = []
    for fact in records.facts(FACT):
        try:
            kept = _kept(fact)
        except CorruptError:
            if not passes_over_damage:
                raise
            continue
        found += [kept] * kept.release.is_active
    return tuple(found)


def events(name: str, *, records: RecordStore) -> tuple[tuple[Release, ReleaseEvent, int], ...]:
    """Return everything that happened to releases of a model, in order: the release as it was then, the event, and its sequence."""
    found: list[tuple[Release, ReleaseEvent, int]] = []
    before: tuple[ReleaseEvent, ...] = ()
    for fact in records.fact_history(FACT, name):
        if fact.body is None:
            continue
        release = load(fact.body.encode(), Release)
        known = release.log.index(before[-1]) + 1 if before and before[-1] in release.log else 0
        found += [(release, event, fact.sequence) for event in release.log[known:]]
        before = release.log
    return tuple(found)


def rejected(name: str, *, records: RecordStore) -> frozenset[int]:
    """Return the versions of a model that a gate took back, and that nobody brought back since: by a release, or by moving the alias."""
    found: dict[int, tuple[int, str]] = {}
    for release, event, sequence in events(name, records=records):
        if event.status is ReleaseStatus.ROLLED_BACK and event.author == GATE and release.kind is not ReleaseKind.BLUE_GREEN:
            found[release.candidate] = sequence, release.alias
        elif event.status is ReleaseStatus.PROMOTED:
            found.pop(release.candidate, None)
    moved = {alias: records.alias_history(name, alias) for _, alias in found.values()}
    return frozenset(
        number
        for number, (sequence, alias) in found.items()
        if not any(move.number == number and move.sequence > sequence for move in moved[alias])
    )


def live_move(name: str, alias: str, *, records: RecordStore) -> AliasMove | None:
    """Return the move that brought `alias` to where it points; None where it was never set."""
    history = records.alias_history(name, alias)
    return history[-1] if history else None


def begin(release: Release, *, records: RecordStore) -> Kept:
    """Begin `release`; raises ConflictError while another one of the model runs, SpecError for one that cannot run."""
    check_release(release)
    fact = records.fact(FACT, release.name)
    if fact is not None:
        require_none_runs(release.name, records=records)
    try:
        return _put(release, 0 if fact is None else fact.revision, records, release.author, release.started_at)
    except ConflictError:
        require_none_runs(release.name, records=records)
        raise


def require_none_runs(name: str, *, records: RecordStore) -> None:
    """Raise ConflictError while a release of the model directs traffic."""
    kept = current(name, records=records)
    if kept is not None and kept.release.is_active:
        raise ConflictError(
            f"{describe(kept.release)} is running.",
            hint=f"See it with fairlead release {name}; end it with fairlead release {name} stop.",
        )


def describe(release: Release) -> str:
    """Return what a release is: `A canary of digits:4 for digits@production`."""
    if release.arms:
        return f"An experiment with {', '.join(f'{arm.name}={release.name}:{arm.version}' for arm in release.arms)}"
    return f"A {release.kind} of {release.name}:{release.candidate} for {release.name}@{release.alias}"


def change(name: str, become: Callable[[Release], Release], *, records: RecordStore, clock: Clock, author: str) -> Kept:
    """Let the running release become what `become` makes of it, and take it to its end where that is decided.

    Raises NotFoundError where none runs, and what `become` raises. Where somebody else was faster, it is asked again about what is there.
    """
    for _ in range(_ATTEMPT_COUNT):
        kept = current(name, records=records)
        if kept is None or not kept.release.is_active:
            raise NotFoundError(f"No release of {name} is running.", hint=f"See what there was: fairlead history {name}.")
        kept = settle(kept, records=records, clock=clock)
        after = become(kept.release)
        if after is kept.release:
            return kept
        try:
            changed = _put(after, kept.revision, records, author, clock())
        except ConflictError:
            continue
        return settle(changed, records=records, clock=clock)
    raise ConflictError(f"Others keep changing the release of {name}.", hint="Look at it, then decide again.")


def fail(kept: Kept, reason: str, *, records: RecordStore, clock: Clock) -> None:
    """End a release that cannot go on; somebody who was faster has the last word."""
    with contextlib.suppress(ConflictError):
        _put(failed(kept.release, reason, now=clock()), kept.revision, records, kept.release.author, clock())


def judge(kept: Kept, outlook: Outlook, *, records: RecordStore, clock: Clock, author: str) -> Kept | None:
    """Let a release become by itself what it has to; None where somebody else was faster, which is as good."""
    after = next_state(kept.release, outlook)
    try:
        if after is not kept.release:
            kept = _put(after, kept.revision, records, author, outlook.now)
        return settle(kept, records=records, clock=clock)
    except ConflictError:
        return None


def settle(kept: Kept, *, records: RecordStore, clock: Clock) -> Kept:
    """Finish a promotion that is decided: move the alias where that is still to be done, and say that it is done. What stands then is
    returned, whoever did it.
    """
    if kept.release.status is not ReleaseStatus.PROMOTING:
        return kept
    try:
        return _finish(kept, records, clock)
    except ConflictError:
        return current(kept.release.name, records=records) or kept


def _finish(kept: Kept, records: RecordStore, clock: Clock) -> Kept:
    release = kept.release
    moved = live_move(release.name, release.alias, records=records)
    if moved is not None and moved.sequence == release.live_move:
        try:
            moved = _move(release, records, clock)
        except NotFoundError as error:
            after = failed(release, f"It could not be promoted: {error}", now=clock(), author=release.decided_by)
            return _put(after, kept.revision, records, release.author, clock())
    number, sequence = (moved.number, moved.sequence) if moved is not None else (0, 0)
    after = next_state(release, Outlook(clock(), 0.0, number, sequence))
    return _put(after, kept.revision, records, release.author, clock())


def _move(release: Release, records: RecordStore, clock: Clock) -> AliasMove | None:
    """Move the alias; where somebody else has moved it meanwhile, return what is there."""
    try:
        return records.move_alias(
            release.name,
            release.alias,
            release.candidate,
            expected=release.live,
            after=release.live_move,
            moved_at=clock(),
            reason=release.kind.value,
            author=release.decided_by,
        )
    except ConflictError:
        return live_move(release.name, release.alias, records=records)


def _put(release: Release, revision: int, records: RecordStore, author: str, at: float) -> Kept:
    fact = records.put_fact(FACT, release.name, dump(release).decode(), expected=revision, at=at, author=author)
    return Kept(release, fact.revision, fact.sequence)


def _kept(fact: Fact) -> Kept:
    return Kept(load((fact.body or "").encode(), Release), fact.revision, fact.sequence)
