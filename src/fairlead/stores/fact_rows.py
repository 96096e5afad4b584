"""Facts, reports and changes as rows: every statement about them, for any SQL store.

Functions take an open transaction first. Raise NotFoundError, ConflictError; SpecError and InputError for what cannot be kept. Never
commit.
"""

# ruff: noqa: S608 - every part of a statement stands in this file; what comes from outside is only ever a value

from __future__ import annotations

from fairlead.core.fact import TAG, Change, Fact, Report, parse_tag_key, tag_value
from fairlead.errors import ConflictError
from fairlead.stores import version_rows
from fairlead.stores.rows import Row, Transaction

_LAST = "\U0010ffff"  # sorts after every key that begins like the text before it
_COLUMNS = "f.kind, f.key, f.revision, f.body, f.at, f.author, f.sequence"
_OF_HEAD = "facts f JOIN fact_heads h ON h.kind = f.kind AND h.key = f.key AND h.revision = f.revision"
_FACT = f"SELECT {_COLUMNS} FROM {_OF_HEAD} WHERE h.kind = ? AND h.key = ?"
_FACTS = f"SELECT {_COLUMNS} FROM {_OF_HEAD} WHERE h.kind = ? AND h.key >= ? AND h.key < ? AND f.body IS NOT NULL ORDER BY h.key"
_HISTORY = f"SELECT {_COLUMNS} FROM facts f WHERE f.kind = ? AND f.key = ? ORDER BY f.revision"
_ADD_FACT = "INSERT INTO facts (kind, key, revision, body, at, author, sequence) VALUES (?, ?, ?, ?, ?, ?, ?)"
_PUT_REPORT = """INSERT INTO reports (kind, key, body, at) VALUES (?, ?, ?, ?)
    ON CONFLICT (kind, key) DO UPDATE SET body = excluded.body, at = excluded.at"""
_REPORTS = "SELECT kind, key, body, at FROM reports WHERE kind = ? AND key >= ? AND key < ? ORDER BY key"
_DROP_REPORT = "DELETE FROM reports WHERE kind = ? AND key = ?"
_SEQUENCE = "SELECT coalesce(max(sequence), 0) FROM changes"
_AFTER = "WHERE sequence > ? ORDER BY sequence LIMIT ?"
_CREATED = f"SELECT sequence, name, number, digest, created_at FROM versions {_AFTER}"
_MOVED = f"SELECT sequence, name, alias, number, previous, moved_at, reason, author FROM alias_moves {_AFTER}"
_RETIRED = f"SELECT sequence, name, number, retired_at, reason FROM retirements {_AFTER}"
_CHANGED = f"SELECT sequence, kind, key, revision, at, author, body IS NULL FROM facts {_AFTER}"


def put(transaction: Transaction, kind: str, key: str, body: str | None, expected: int, at: float, author: str) -> Fact:
    """Add the next revision if the newest is `expected`; a tag is made known to the search as well."""
    newest = _newest(transaction, kind, key)
    current = 0 if newest is None or newest.body is None else newest.revision
    if current != expected:
        raise ConflictError(
            f"{kind} '{key}' is at {_spoken(current)}, not at {_spoken(expected)}.",
            hint="Somebody else changed it first: look at what is there now, then decide again.",
        )
    if kind == TAG:
        name, number, tag = parse_tag_key(key)
        version_rows.replace_tag(transaction, name, number, tag, None if body is None else tag_value(body))
    revision = newest.revision + 1 if newest else 1
    fact = Fact(kind, key, revision, body, at, author, version_rows.next_sequence(transaction))
    transaction.rows(_ADD_FACT, kind, key, fact.revision, body, at, author, fact.sequence)
    return fact


def fact(transaction: Transaction, kind: str, key: str) -> Fact | None:
    """Return what holds now."""
    newest = _newest(transaction, kind, key)
    return newest if newest and newest.body is not None else None


def facts(transaction: Transaction, kind: str, prefix: str) -> tuple[Fact, ...]:
    """Return what holds now under keys that begin with `prefix`."""
    return tuple(Fact(*row) for row in transaction.rows(_FACTS, kind, prefix, prefix + _LAST))


def history(transaction: Transaction, kind: str, key: str) -> tuple[Fact, ...]:
    """Return every revision, oldest first."""
    return tuple(Fact(*row) for row in transaction.rows(_HISTORY, kind, key))


def put_report(transaction: Transaction, report: Report) -> None:
    """Keep a report in place of the one before it."""
    transaction.rows(_PUT_REPORT, report.kind, report.key, report.body, report.at)


def reports(transaction: Transaction, kind: str, prefix: str) -> tuple[Report, ...]:
    """Return the reports under keys that begin with `prefix`."""
    return tuple(Report(*row) for row in transaction.rows(_REPORTS, kind, prefix, prefix + _LAST))


def drop_report(transaction: Transaction, kind: str, key: str) -> None:
    """Forget a report."""
    transaction.rows(_DROP_REPORT, kind, key)


def sequence(transaction: Transaction) -> int:
    """Return the number of the newest change, 0 for none."""
    return int(transaction.rows(_SEQUENCE)[0][0])


def require_unchanged(transaction: Transaction, after: int | None) -> None:
    """Raise ConflictError unless `after` is None, or the number of the newest change."""
    newest = sequence(transaction)
    if after is not None and newest != after:
        raise ConflictError(
            f"The registry has changed meanwhile: its sequence is {newest}, not {after}.",
            hint="Look at what is there now, then decide again.",
        )


def changes(transaction: Transaction, since: int, limit: int) -> tuple[Change, ...]:
    """Return what happened after `since`, the oldest `limit` of it."""
    found = [
        *map(_created, transaction.rows(_CREATED, since, limit)),
        *map(_moved, transaction.rows(_MOVED, since, limit)),
        *map(_retired, transaction.rows(_RETIRED, since, limit)),
        *map(_changed, transaction.rows(_CHANGED, since, limit)),
    ]
    return tuple(sorted(found, key=lambda change: change.sequence)[:limit])


def _created(row: Row) -> Change:
    place, name, number, digest, at = row
    return Change(place, "version.created", f"{name}:{number}", at, {"name": name, "number": number, "digest": digest})


def _moved(row: Row) -> Change:
    place, name, alias, number, previous, at, reason, author = row
    detail = {"name": name, "alias": alias, "number": number, "previous": previous, "reason": reason, "author": author}
    return Change(place, "alias.moved", f"{name}@{alias}", at, detail)


def _retired(row: Row) -> Change:
    place, name, number, at, reason = row
    return Change(place, "version.retired", f"{name}:{number}", at, {"name": name, "number": number, "reason": reason})


def _changed(row: Row) -> Change:
    place, kind, key, revision, at, author, is_removed = row
    detail = {"kind": kind, "key": key, "revision": revision, "author": author, "is_removed": bool(is_removed)}
    return Change(place, "fact.changed", f"{kind}/{key}", at, detail)


def _newest(transaction: Transaction, kind: str, key: str) -> Fact | None:
    found = transaction.rows(_FACT, kind, key)
    return Fact(*found[0]) if found else None


def _spoken(revision: int) -> str:
    return f"revision {revision}" if revision else "no revision"
