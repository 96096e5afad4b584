"""Versions, retirements and aliases as rows: every statement about them, for any SQL store.

Functions take an open transaction first. Raise NotFoundError, ConflictError, CorruptError; SpecError and InputError for what cannot be
kept. Never commit.
"""

# ruff: noqa: S608 - every part of a statement stands in this file; what comes from outside is only ever a value

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

from fairlead.core.fact import TAG_PREFIX, Retirement, Traits, check_text
from fairlead.core.manifest import Manifest
from fairlead.core.query import ModelSummary
from fairlead.core.version import AliasMove, Version
from fairlead.errors import ConflictError, CorruptError, InputError, NotFoundError
from fairlead.stores import document
from fairlead.stores.rows import Row, Transaction

_DECIDE_AGAIN = "Somebody else moved it first: look at what is live now, then decide again."
_RESTORE = "Restore the registry from a backup."
_LIVE = "NOT EXISTS (SELECT 1 FROM retirements r WHERE r.name = v.name AND r.number = v.number)"
_ADD_CHANGE = "INSERT INTO changes DEFAULT VALUES RETURNING sequence"
_ADD_VERSION = "INSERT INTO versions (name, number, manifest, digest, created_at, sequence) VALUES (?, ?, ?, ?, ?, ?)"
_ADD_MOVE = "INSERT INTO alias_moves (name, alias, number, previous, moved_at, sequence, reason, author) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_ADD_RETIREMENT = "INSERT INTO retirements (sequence, name, number, retired_at, reason) VALUES (?, ?, ?, ?, ?)"
_ADD_TRAIT = "INSERT INTO traits (name, number, key, text, folded, value) VALUES (?, ?, ?, ?, ?, ?)"
_HIGHEST = "SELECT coalesce(max(number), 0) FROM versions WHERE name = ?"
_SELECT = "SELECT v.name, v.number, v.manifest, v.digest, v.created_at FROM versions v WHERE v.name = ?"
_VERSION_AT = f"{_SELECT} AND v.number = ?"
_VERSIONS = f"{_SELECT} AND {_LIVE} ORDER BY v.number"
_LATEST = f"{_SELECT} AND {_LIVE} ORDER BY v.number DESC LIMIT 1"
_NAMES = f"SELECT DISTINCT v.name FROM versions v WHERE {_LIVE} ORDER BY v.name"
_SUMMARIES = f"SELECT v.name, count(*), max(v.number) FROM versions v WHERE {_LIVE} GROUP BY v.name ORDER BY v.name"
_RETIREMENT = "SELECT retired_at, reason FROM retirements WHERE name = ? AND number = ?"
_RETIRED = """SELECT r.number, r.retired_at, r.reason, v.digest FROM retirements r
    JOIN versions v ON v.name = r.name AND v.number = r.number WHERE r.name = ? ORDER BY r.number"""
_MOVES = """SELECT name, alias, number, previous, moved_at, sequence, reason, author FROM alias_moves
    WHERE name = ? AND alias = ? ORDER BY sequence"""
_NEWEST_MOVE = "SELECT coalesce(max(sequence), 0) FROM alias_moves WHERE name = ? AND alias = ?"
_ALIASES = "SELECT alias, number FROM alias_heads WHERE name = ? ORDER BY alias"
_ALL_ALIASES = "SELECT name, alias, number FROM alias_heads ORDER BY name, alias"
_TRAITS = "SELECT key, text, value FROM traits WHERE name = ? AND number = ? ORDER BY key"
_DROP_TRAIT = "DELETE FROM traits WHERE name = ? AND number = ? AND key = ?"


def next_sequence(transaction: Transaction) -> int:
    """Record that something changes, and return its place in the order of all changes."""
    return int(transaction.rows(_ADD_CHANGE)[0][0])


def add_version(transaction: Transaction, name: str, manifest: Manifest, created_at: float, traits: Traits) -> Version:
    """Add the next version of `name`, with what a search knows of it."""
    number = int(transaction.rows(_HIGHEST, name)[0][0]) + 1
    version = Version(name, number, manifest, created_at)
    text = document.dump(manifest).decode()
    transaction.rows(_ADD_VERSION, name, number, text, version.digest, created_at, next_sequence(transaction))
    for key, value in traits.items():
        put_trait(transaction, name, number, key, value)
    return version


def version_at(transaction: Transaction, name: str, number: int) -> Version:
    """Return a version that is not retired."""
    found = transaction.rows(_VERSION_AT, name, number)
    if not found:
        highest = int(transaction.rows(_HIGHEST, name)[0][0])
        hint = f"{name} has version 1." if highest == 1 else f"{name} has versions 1 to {highest}."
        raise NotFoundError(f"There is no version {name}:{number}.", hint=hint if highest else f"Nothing is registered as '{name}'.")
    retired = transaction.rows(_RETIREMENT, name, number)
    if retired:
        at, reason = retired[0]
        raise NotFoundError(f"{name}:{number} was retired{_spoken_time(at)}: {reason}", hint="Its number is not used again.")
    return _version(found[0])


def latest(transaction: Transaction, name: str) -> Version | None:
    """Return the newest version that is not retired."""
    found = transaction.rows(_LATEST, name)
    return _version(found[0]) if found else None


def versions(transaction: Transaction, name: str) -> list[Row]:
    """Return the rows of all versions that are not retired, oldest first, for `read_versions`."""
    return transaction.rows(_VERSIONS, name)


def read_versions(rows: list[Row]) -> tuple[Version, ...]:
    """Return what `versions` gave as values; apart from it, so that nobody waits for us meanwhile."""
    return tuple(map(_version, rows))


def names(transaction: Transaction) -> tuple[str, ...]:
    """Return the names that have a version."""
    return tuple(name for (name,) in transaction.rows(_NAMES))


def summaries(transaction: Transaction) -> tuple[ModelSummary, ...]:
    """Return every name with how many versions it has and where its aliases point."""
    pointing: dict[str, dict[str, int]] = {}
    for name, alias, number in transaction.rows(_ALL_ALIASES):
        pointing.setdefault(name, {})[alias] = number
    return tuple(ModelSummary(name, count, newest, pointing.get(name, {})) for name, count, newest in transaction.rows(_SUMMARIES))


def retire(transaction: Transaction, name: str, number: int, at: float, reason: str) -> None:
    """Take a version away that no alias points at."""
    version_at(transaction, name, number)
    pointing = [alias for alias, target in aliases(transaction, name).items() if target == number]
    if pointing:
        raise ConflictError(
            f"{name}:{number} cannot go: {', '.join(f'{name}@{alias}' for alias in pointing)} points at it.",
            hint="Promote another version there first.",
        )
    transaction.rows(_ADD_RETIREMENT, next_sequence(transaction), name, number, at, check_text(reason, "a reason"))


def retired(transaction: Transaction, name: str) -> tuple[Retirement, ...]:
    """Return every retirement of `name`."""
    return tuple(Retirement(*row) for row in transaction.rows(_RETIRED, name))


def require_alias(transaction: Transaction, name: str, alias: str, expected: int, after: int | None) -> None:
    """Raise ConflictError unless the alias points at `expected` and, where that is asked, its newest move is `after`."""
    current = aliases(transaction, name).get(alias, 0)
    if current != expected:
        raise ConflictError(f"{name}@{alias} points at {_spoken(current)}, not at {_spoken(expected)}.", hint=_DECIDE_AGAIN)
    if after is not None and int(transaction.rows(_NEWEST_MOVE, name, alias)[0][0]) != after:
        raise ConflictError(f"{name}@{alias} has moved meanwhile, and points at {_spoken(current)} again.", hint=_DECIDE_AGAIN)


def move_alias(transaction: Transaction, name: str, alias: str, number: int, moved_at: float, reason: str, author: str) -> AliasMove:
    """Point the alias at `number`, which is there."""
    current = aliases(transaction, name).get(alias, 0)
    move = AliasMove(name, alias, number, current, moved_at, next_sequence(transaction), check_text(reason, "a reason"), author)
    transaction.rows(_ADD_MOVE, name, alias, number, current, moved_at, move.sequence, reason, author)
    return move


def aliases(transaction: Transaction, name: str) -> Mapping[str, int]:
    """Return alias -> version number."""
    return dict(transaction.rows(_ALIASES, name))


def alias_history(transaction: Transaction, name: str, alias: str) -> tuple[AliasMove, ...]:
    """Return every move of an alias, oldest first."""
    return tuple(AliasMove(*row) for row in transaction.rows(_MOVES, name, alias))


def traits(transaction: Transaction, name: str, number: int) -> dict[str, str | float]:
    """Return what a search knows of a version."""
    version_at(transaction, name, number)
    return {key: value if text is None else text for key, text, value in transaction.rows(_TRAITS, name, number)}


def add_traits(transaction: Transaction, name: str, number: int, added: Traits) -> None:
    """Add what is not known yet; what is known has to be the same."""
    known = traits(transaction, name, number)
    for key, value in added.items():
        if key not in known:
            put_trait(transaction, name, number, key, value)
        elif known[key] != value:
            raise ConflictError(f"'{key}' of {name}:{number} is {known[key]!r}, not {value!r}.", hint="What a version is never changes.")


def put_trait(transaction: Transaction, name: str, number: int, key: str, value: str | float) -> None:
    """Add one trait or tag that is not there."""
    if isinstance(value, str):
        transaction.rows(_ADD_TRAIT, name, number, key, value, value.casefold(), None)
    else:
        transaction.rows(_ADD_TRAIT, name, number, key, None, None, float(value))


def replace_tag(transaction: Transaction, name: str, number: int, tag: str, value: str | float | None) -> None:
    """Let a search know that the version has the tag with `value`, or has it no more (None)."""
    version_at(transaction, name, number)
    transaction.rows(_DROP_TRAIT, name, number, TAG_PREFIX + tag)
    if value is not None:
        put_trait(transaction, name, number, TAG_PREFIX + tag, value)


@lru_cache(maxsize=4096)  # equal text is an equal manifest, and a server that follows a registry reads all of them at every change
def _manifest(text: str) -> Manifest:
    return document.load(text.encode(), Manifest)


def _version(row: Row) -> Version:
    name, number, manifest, digest, created_at = row
    try:
        version = Version(name, number, _manifest(manifest), created_at)
    except InputError as error:
        raise CorruptError(f"The manifest of {name}:{number} is damaged: {error.message}", hint=_RESTORE) from error
    if version.digest != digest:
        raise CorruptError(f"The manifest of {version.label} is not what was registered.", hint=_RESTORE)
    return version


def _spoken(number: int) -> str:
    return f"version {number}" if number else "no version"


def _spoken_time(at: float) -> str:
    try:
        return f" on {datetime.fromtimestamp(at, UTC):%Y-%m-%d at %H:%M} UTC"
    except (ValueError, OverflowError, OSError):  # what a clock said that was far off
        return ""
