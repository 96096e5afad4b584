"""A record store over SQL tables: what core.ports.RecordStore says, as transactions of any stores.rows.Database.

Takes and gives core values; times come from the caller. Raises SpecError and InputError for what cannot be kept before it opens a
transaction, and NotFoundError, ConflictError, CorruptError and StorageError as the port says.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from fairlead.core import fact
from fairlead.core.fact import NO_TRAITS, Change, Fact, Report, Retirement, Traits
from fairlead.core.manifest import Manifest
from fairlead.core.query import Hit, ModelSummary, Query
from fairlead.core.version import AliasMove, Version, check_alias, check_name
from fairlead.stores import fact_rows, find_rows, version_rows
from fairlead.stores.rows import Database


class SqlRecords:
    """A core.ports.RecordStore over `database`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_version(self, name: str, manifest: Manifest, created_at: float, traits: Traits = NO_TRAITS) -> Version:
        """Add the next version of `name` and return it."""
        check_name(name)
        fact.check_traits(traits)
        fact.check_time(created_at)
        with self._database.writing() as transaction:
            return version_rows.add_version(transaction, name, manifest, created_at, traits)

    def version(self, name: str, number: int) -> Version:
        """Return one version."""
        with self._database.reading() as transaction:
            return version_rows.version_at(transaction, name, number)

    def latest(self, name: str) -> Version | None:
        """Return the version with the highest number."""
        with self._database.reading() as transaction:
            return version_rows.latest(transaction, name)

    def versions(self, name: str) -> tuple[Version, ...]:
        """Return all versions of `name`, oldest first."""
        with self._database.reading() as transaction:
            rows = version_rows.versions(transaction, name)
        return version_rows.read_versions(rows)

    def names(self) -> tuple[str, ...]:
        """Return all model names, sorted."""
        with self._database.reading() as transaction:
            return version_rows.names(transaction)

    def summaries(self) -> tuple[ModelSummary, ...]:
        """Return what is registered under each name."""
        with self._database.reading() as transaction:
            return version_rows.summaries(transaction)

    def retire_version(self, name: str, number: int, *, at: float, reason: str, after: int | None = None) -> None:
        """Take the version away for good, if nothing changed since `after`."""
        fact.check_time(at)
        with self._database.writing() as transaction:
            fact_rows.require_unchanged(transaction, after)
            version_rows.retire(transaction, name, number, at, reason)

    def retired(self, name: str) -> tuple[Retirement, ...]:
        """Return every retirement of `name`."""
        with self._database.reading() as transaction:
            return version_rows.retired(transaction, name)

    def traits(self, name: str, number: int) -> Traits:
        """Return what a search knows of the version."""
        with self._database.reading() as transaction:
            return version_rows.traits(transaction, name, number)

    def add_traits(self, name: str, number: int, traits: Traits) -> None:
        """Add traits to a version that lacks them."""
        fact.check_traits(traits)
        with self._database.writing() as transaction:
            version_rows.add_traits(transaction, name, number, traits)

    def find(self, query: Query, *, limit: int = 1000) -> tuple[Hit, ...]:
        """Return the versions for which `query` holds."""
        with self._database.reading() as transaction:
            return find_rows.find(transaction, query, limit)

    def move_alias(
        self, name: str, alias: str, number: int, *, expected: int, moved_at: float, reason: str, after: int | None = None, author: str = ""
    ) -> AliasMove:
        """Point `alias` at version `number` if it now points at `expected` and has not moved since `after`."""
        check_alias(alias)
        fact.check_time(moved_at)
        if author:
            fact.check_text(author, "an author")
        with self._database.writing() as transaction:
            version_rows.version_at(transaction, name, number)
            version_rows.require_alias(transaction, name, alias, expected, after)
            return version_rows.move_alias(transaction, name, alias, number, moved_at, reason, author)

    def aliases(self, name: str) -> Mapping[str, int]:
        """Return alias -> version number."""
        with self._database.reading() as transaction:
            return version_rows.aliases(transaction, name)

    def alias_history(self, name: str, alias: str) -> tuple[AliasMove, ...]:
        """Return every move, oldest first."""
        with self._database.reading() as transaction:
            return version_rows.alias_history(transaction, name, alias)

    def put_fact(self, kind: str, key: str, body: str | None, *, expected: int, at: float, author: str) -> Fact:
        """Replace the fact if its revision is now `expected`."""
        fact.check_kind(kind)
        fact.check_key(key)
        fact.check_text(author, "an author")
        fact.check_time(at)
        if body is not None:
            fact.check_body(body)
        with self._database.writing() as transaction:
            return fact_rows.put(transaction, kind, key, body, expected, at, author)

    def fact(self, kind: str, key: str) -> Fact | None:
        """Return the newest revision."""
        with self._database.reading() as transaction:
            return fact_rows.fact(transaction, kind, key)

    def facts(self, kind: str, prefix: str = "") -> tuple[Fact, ...]:
        """Return the newest revision of every fact whose key begins with `prefix`."""
        with self._database.reading() as transaction:
            return fact_rows.facts(transaction, kind, prefix)

    def fact_history(self, kind: str, key: str) -> tuple[Fact, ...]:
        """Return every revision, oldest first."""
        with self._database.reading() as transaction:
            return fact_rows.history(transaction, kind, key)

    def put_report(self, kind: str, key: str, body: str, at: float) -> None:
        """Keep what somebody says, in place of what was there."""
        report = Report(fact.check_kind(kind), fact.check_key(key), fact.check_body(body), fact.check_time(at))
        with self._database.writing() as transaction:
            fact_rows.put_report(transaction, report)

    def reports(self, kind: str, prefix: str = "") -> tuple[Report, ...]:
        """Return the reports whose key begins with `prefix`."""
        with self._database.reading() as transaction:
            return fact_rows.reports(transaction, kind, prefix)

    def drop_report(self, kind: str, key: str) -> None:
        """Forget the report."""
        with self._database.writing() as transaction:
            fact_rows.drop_report(transaction, kind, key)

    def changes(self, since: int, limit: int = 1000) -> tuple[Change, ...]:
        """Return what happened after sequence number `since`."""
        with self._database.reading() as transaction:
            return fact_rows.changes(transaction, since, limit)

    def sequence(self) -> int:
        """Return the number of the newest change, 0 for none."""
        with self._database.reading() as transaction:
            return fact_rows.sequence(transaction)

    def wait_for_change(self, since: int, timeout_s: float) -> int:
        """Return the sequence as soon as it is not `since` any more, or after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while (found := self.sequence()) == since and (left_s := deadline - time.monotonic()) > 0:
            self._database.wait(left_s)
        return found
