"""What the SQL stores share: one transaction as something that takes statements and gives rows.

Statements are written with `?` for each value, in the SQL that SQLite and PostgreSQL both speak.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

Row = tuple[Any, ...]
Value = str | float | None


class Transaction(Protocol):
    """An open transaction."""

    def rows(self, statement: str, *values: Value) -> list[Row]:
        """Run one statement and return the rows that it gives."""
        ...


class Database(Protocol):
    """Where the tables are. Its own errors come out as StorageError and the like."""

    def reading(self) -> AbstractContextManager[Transaction]:
        """Open a transaction that sees one state of all tables and changes nothing."""
        ...

    def writing(self) -> AbstractContextManager[Transaction]:
        """Open a transaction beside which nobody else writes; it is durable when the block has ended, undone where the block raised."""
        ...

    def wait(self, timeout_s: float) -> None:
        """Return when something may have changed, after `timeout_s` at the latest."""
        ...
