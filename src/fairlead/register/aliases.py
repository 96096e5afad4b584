"""Aliases: promote to a version, and roll back to where the alias pointed before. Every move is kept.

Takes names and numbers, gives AliasMove. Raises NotFoundError for what does not exist and where there is nothing to go back to,
ConflictError where somebody else moved the alias first or a release of the model runs, ApprovalError where an approval is missing. Never
changes or forgets a version.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from fairlead.core.ports import Clock, RecordStore
from fairlead.core.version import PRODUCTION, AliasMove, check_alias, check_name
from fairlead.errors import ConflictError, NotFoundError
from fairlead.register.approval import require_approval
from fairlead.register.promotion import require_none_runs
from fairlead.register.resolve import require_name

ROLLBACK = "rollback"
_ATTEMPT_COUNT = 50


def promote(
    name: str,
    number: int,
    *,
    records: RecordStore,
    clock: Clock,
    alias: str = PRODUCTION,
    expected: int | None = None,
    reason: str = "promote",
    author: str = "",
) -> AliasMove:
    """Point `alias` at version `number` and return the move, which is kept with its `author`.

    `expected` is where it has to point now (0: nowhere), else ConflictError; None takes it from wherever it is. An alias that is there
    already is not moved again: the move that brought it there is returned.
    """
    check_name(name)
    check_alias(alias)
    require_name(name, records=records)
    require_approval(records.version(name, number), alias, records=records)
    require_none_runs(name, records=records)
    attempts_left = _ATTEMPT_COUNT if expected is None else 1
    while True:
        current = records.aliases(name).get(alias, 0) if expected is None else expected
        if current == number and (move := _last_move(records, name, alias)) is not None and move.number == number:
            return move
        try:
            return records.move_alias(name, alias, number, expected=current, moved_at=clock(), reason=reason, author=author)
        except ConflictError:
            attempts_left -= 1
            if not attempts_left:
                raise


def rollback(
    name: str,
    *,
    records: RecordStore,
    clock: Clock,
    alias: str = PRODUCTION,
    rejected: Collection[int] = (),
    to: int | None = None,
    author: str = "",
) -> AliasMove:
    """Point `alias` back at what it pointed at before its current version, and return the move: at the nearest one that is still there and
    was not `rejected`, or at version `to`, which has to be one of those before.

    Done again it walks further back, never forward to what was rolled back. Raises ConflictError where the alias moves meanwhile: going
    back twice would be one step too many.
    """
    check_name(name)
    check_alias(alias)
    require_name(name, records=records)
    history = records.alias_history(name, alias)
    trail = standing(history)
    if not trail:
        raise NotFoundError(f"{name} has no alias '{alias}'.", hint=f"Give it one: fairlead promote {name}:1 --to {alias}.")
    before = tuple(reversed(trail[:-1]))
    gone = {one.number for one in records.retired(name)}
    target = _target(name, alias, trail[-1], before, rejected, gone) if to is None else _told(name, alias, trail[-1], before, to)
    return records.move_alias(name, alias, target, expected=trail[-1], moved_at=clock(), reason=ROLLBACK, author=author)


def _told(name: str, alias: str, current: int, before: Sequence[int], to: int) -> int:
    """Return where a person says that a rollback goes; `before` has what stands before the current version, newest first."""
    if to in before:
        return to
    here = f"{name}:{current} on {name}@{alias}"
    raise NotFoundError(
        f"{name}:{to} does not stand before {here}.", hint=f"Before it: {_listed(name, before)}. Or: fairlead promote {name}:{to}."
    )


def _target(name: str, alias: str, current: int, before: Sequence[int], rejected: Collection[int], gone: Collection[int]) -> int:
    """Return where a rollback goes; `before` has what stands before the current version, newest first."""
    here = f"{name}:{current} on {name}@{alias}"
    left = [number for number in before if number not in gone]
    target = next((number for number in left if number not in rejected), None)
    if target is not None:
        return target
    if left:
        raise NotFoundError(
            f"Everything before {here} was rejected by a gate: {_listed(name, left)}.",
            hint=f"Go there all the same: fairlead rollback {name} --to {left[0]}.",
        )
    why = f"what stood before {here} was retired: {_listed(name, before)}" if before else f"nothing stands before {here}"
    raise NotFoundError(
        f"There is nothing to roll back to: {why}.", hint=f"See what there is with fairlead versions {name}, or promote another version."
    )


def _listed(name: str, numbers: Iterable[int]) -> str:
    return ", ".join(f"{name}:{number}" for number in dict.fromkeys(numbers)) or "nothing"


def standing(history: Iterable[AliasMove]) -> tuple[int, ...]:
    """Return the version numbers that led to the current one, which is the last; empty for an alias that was never set.

    A promotion adds its version; a rollback takes away what it left. So the number before the last is where a rollback goes, and
    repeated rollbacks walk back through promotions that were not themselves rolled back. Neighbours differ.
    """
    trail: list[int] = []
    for move in history:
        if move.reason == ROLLBACK and move.number in trail:
            while trail[-1] != move.number:
                trail.pop()
        elif not trail or trail[-1] != move.number:
            trail.append(move.number)
    return tuple(trail)


def _last_move(records: RecordStore, name: str, alias: str) -> AliasMove | None:
    history = records.alias_history(name, alias)
    return history[-1] if history else None
