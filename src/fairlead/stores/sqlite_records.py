"""Records in one SQLite file: versions that never change, aliases and facts whose every change is kept.

Raises what core.ports.RecordStore says, NoSpaceError, CorruptError, and StorageError for a lock that is not given up, a newer format or a
failing disk. Never acknowledges before the disk has it: rollback journal (SQLite before 3.51.3 can corrupt a write-ahead log),
synchronous=EXTRA. Safe for any number of threads and processes on one machine: every call opens its own connection, so nothing is shared
and a fork inherits nothing.
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from fairlead.errors import CorruptError, NoSpaceError, StorageError
from fairlead.stores import sqlite_schema
from fairlead.stores.durable_files import is_full, make_folder, typed_errors
from fairlead.stores.rows import Row, Value
from fairlead.stores.sql_records import SqlRecords

_OLDEST_SQLITE = (3, 37, 0)  # STRICT tables
_PRAGMAS = ("synchronous = EXTRA", "foreign_keys = ON", "trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0")
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_BROKEN = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_LOOK_S = 0.05  # how often a waiting follower looks
_MODE = 0o660  # less the umask: there are secrets of webhooks in it


class SqliteRecords(SqlRecords):
    """A core.ports.RecordStore in the file `path`, created where it is missing. A call waits for others for `wait_s` at most."""

    def __init__(self, path: Path, *, wait_s: float = 30.0) -> None:
        database = SqliteDatabase(path, wait_s)
        super().__init__(database)
        self.check = database.check


class SqliteDatabase:
    """A stores.rows.Database in the file `path`."""

    def __init__(self, path: Path, wait_s: float) -> None:
        self._path = path
        self._wait_s = wait_s
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise StorageError(f"SQLite {sqlite3.sqlite_version} is too old.", hint="Use a Python with SQLite 3.37 or newer.")
        with typed_errors("creating the registry", path.parent):
            make_folder(path.parent)
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE))  # SQLite would let everybody read it
        with self.connection() as connection:
            self._patiently(connection, "PRAGMA journal_mode = DELETE")
        with self._transaction("DEFERRED") as connection:
            is_current = sqlite_schema.is_current(connection)
        if not is_current:
            with self._transaction("IMMEDIATE") as connection:
                sqlite_schema.migrate(connection)

    @contextmanager
    def reading(self) -> Iterator[SqliteTransaction]:
        """Open a transaction that others may read beside, and write behind."""
        with self._transaction("DEFERRED") as connection:
            yield SqliteTransaction(connection)

    @contextmanager
    def writing(self) -> Iterator[SqliteTransaction]:
        """Open a transaction that is the only one to write."""
        with self._transaction("IMMEDIATE") as connection:
            yield SqliteTransaction(connection)

    def wait(self, timeout_s: float) -> None:
        """Return after a short while: SQLite tells nobody."""
        time.sleep(min(timeout_s, _LOOK_S))

    def check(self) -> tuple[str, ...]:
        """Return what is wrong with the file, in SQLite's words; empty where all is well."""
        with self._transaction("DEFERRED") as connection:
            findings = [str(row[0]) for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
            findings += [f"{row[0]} row {row[1]} refers to nothing" for row in connection.execute("PRAGMA foreign_key_check")]
            return tuple(findings)

    @contextmanager
    def _transaction(self, kind: str) -> Iterator[sqlite3.Connection]:
        """Open a connection, run the block in one transaction, and commit it; any error rolls it back."""
        with self.connection() as connection:
            self._patiently(connection, f"BEGIN {kind}")
            if kind == "DEFERRED":
                self._patiently(
                    connection, "SELECT count(*) FROM sqlite_schema"
                )  # the first read takes the lock; later ones cannot fail on it
            yield connection
            self._patiently(connection, "COMMIT")

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """Open a connection and close it, which rolls back what is not committed."""
        try:
            with closing(sqlite3.connect(self._path, timeout=0.1, isolation_level=None)) as connection:
                for pragma in _PRAGMAS:
                    self._patiently(connection, f"PRAGMA {pragma}")  # some of them read the file
                yield connection
        except sqlite3.Error as error:
            raise self.typed(error) from error

    def _patiently(self, connection: sqlite3.Connection, statement: str) -> None:
        """Run a statement that may find the file locked. All wait by the same short, uneven steps, so that nobody starves."""
        deadline = time.monotonic() + self._wait_s
        while True:
            try:
                connection.execute(statement).fetchall()
            except sqlite3.OperationalError as error:
                if _code(error) not in _BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(random.uniform(0.001, 0.01))  # noqa: S311 - spreads the waiters, guards nothing
            else:
                return

    def typed(self, error: sqlite3.Error) -> StorageError:
        """Return the error that says what SQLite's means here."""
        code, folder = _code(error), self._path.parent
        if code in _BUSY:
            return StorageError(
                f"Another process has kept the registry locked for {self._wait_s:g} s.",
                hint=f"Find it with: fuser {self._path}. A killed process keeps no lock; a stopped one does.",
            )
        if code in _BROKEN:
            return CorruptError(
                f"The registry is damaged: {error}.", hint=f"Restore {self._path} from a backup; the blobs beside it are not affected."
            )
        if code == sqlite3.SQLITE_FULL or (code in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN} and is_full(folder)):
            return NoSpaceError("No space is left for the registry.", hint=f"Free space for {folder} and do it again.")
        return StorageError(f"The registry cannot be used: {error}.", hint=f"Look at {self._path}: its disk, and whether you may write it.")


class SqliteTransaction:
    """A stores.rows.Transaction on an open connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, statement: str, *values: Value) -> list[Row]:
        """Run one statement."""
        return self._connection.execute(statement, values).fetchall()


def _code(error: sqlite3.Error) -> int:
    """Return the primary result code; 0 where the error is Python's own."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
