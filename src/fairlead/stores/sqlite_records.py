"""Records in one SQLite file: versions that never change, and aliases whose every move is kept.

Takes and gives core values; times come from the caller. Raises NotFoundError, ConflictError, NoSpaceError, CorruptError, and StorageError
for a lock that is not given up, a newer format or a failing disk. Never acknowledges before the disk has it: rollback journal (SQLite
before 3.51.3 can corrupt a write-ahead log), synchronous=EXTRA. Safe for any number of threads and processes on one machine: every call
opens its own connection, so nothing is shared and a fork inherits nothing.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from fairlead.core.manifest import Manifest
from fairlead.core.version import AliasMove, Version, check_alias, check_name
from fairlead.errors import ConflictError, CorruptError, InputError, NoSpaceError, NotFoundError, StorageError
from fairlead.stores import document, sqlite_schema
from fairlead.stores.durable_files import is_full, make_folder, typed_errors

_OLDEST_SQLITE = (3, 37, 0)  # STRICT tables
_PRAGMAS = ("synchronous = EXTRA", "foreign_keys = ON", "trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0")
_RESTORE = "Restore the registry from a backup."
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_BROKEN = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_ADD_CHANGE = "INSERT INTO changes DEFAULT VALUES RETURNING sequence"
_ADD_VERSION = "INSERT INTO versions (name, number, manifest, digest, created_at, sequence) VALUES (?, ?, ?, ?, ?, ?)"
_ADD_MOVE = "INSERT INTO alias_moves (name, alias, number, previous, moved_at, sequence, reason) VALUES (?, ?, ?, ?, ?, ?, ?)"
_HIGHEST = "SELECT coalesce(max(number), 0) FROM versions WHERE name = ?"
_VERSION_AT = "SELECT name, number, manifest, digest, created_at FROM versions WHERE name = ? AND number = ?"
_VERSIONS = "SELECT name, number, manifest, digest, created_at FROM versions WHERE name = ? ORDER BY number"
_MOVES = """SELECT name, alias, number, previous, moved_at, sequence, reason FROM alias_moves
    WHERE name = ? AND alias = ? ORDER BY sequence"""
# SQLite takes the other columns from the row that holds the maximum: https://www.sqlite.org/lang_select.html#bareagg
_ALIASES = "SELECT alias, number, max(sequence) FROM alias_moves WHERE name = ? GROUP BY alias ORDER BY alias"


class SqliteRecords:
    """A core.ports.RecordStore in the file `path`, created where it is missing. A call waits for others for `wait_s` at most."""

    def __init__(self, path: Path, *, wait_s: float = 30.0) -> None:
        self._path = path
        self._wait_s = wait_s
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise StorageError(f"SQLite {sqlite3.sqlite_version} is too old.", hint="Use a Python with SQLite 3.37 or newer.")
        with typed_errors("creating the registry", path.parent):
            make_folder(path.parent)
        with self._connection() as connection:
            self._patiently(connection, "PRAGMA journal_mode = DELETE")
        with self._transaction() as connection:
            is_current = sqlite_schema.is_current(connection)
        if not is_current:
            with self._transaction("IMMEDIATE") as connection:
                sqlite_schema.migrate(connection)

    def add_version(self, name: str, manifest: Manifest, created_at: float) -> Version:
        """Add the next version of `name` and return it."""
        check_name(name)
        with self._transaction("IMMEDIATE") as connection:
            version = Version(name, _highest(connection, name) + 1, manifest, created_at)
            text, sequence = document.dump(manifest).decode(), _next_sequence(connection)
            connection.execute(_ADD_VERSION, (name, version.number, text, version.digest, created_at, sequence))
        return version

    def version(self, name: str, number: int) -> Version:
        """Return one version."""
        with self._transaction() as connection:
            return _version_at(connection, name, number)

    def latest(self, name: str) -> Version | None:
        """Return the version with the highest number."""
        with self._transaction() as connection:
            highest = _highest(connection, name)
            return _version_at(connection, name, highest) if highest else None

    def versions(self, name: str) -> tuple[Version, ...]:
        """Return all versions of `name`, oldest first."""
        with self._transaction() as connection:
            rows = connection.execute(_VERSIONS, (name,)).fetchall()
        return tuple(map(_version, rows))

    def names(self) -> tuple[str, ...]:
        """Return all model names, sorted."""
        with self._transaction() as connection:
            return tuple(name for (name,) in connection.execute("SELECT DISTINCT name FROM versions ORDER BY name"))

    def move_alias(self, name: str, alias: str, number: int, *, expected: int, moved_at: float, reason: str) -> AliasMove:
        """Point `alias` at version `number` if it now points at `expected`."""
        check_alias(alias)
        with self._transaction("IMMEDIATE") as connection:
            _version_at(connection, name, number)
            current = _aliases(connection, name).get(alias, 0)
            if current != expected:
                raise ConflictError(
                    f"{name}@{alias} points at {_spoken(current)}, not at {_spoken(expected)}.",
                    hint="Somebody else moved it first: look at what is live now, then decide again.",
                )
            move = AliasMove(name, alias, number, current, moved_at, _next_sequence(connection), reason)
            connection.execute(_ADD_MOVE, (name, alias, number, current, moved_at, move.sequence, reason))
        return move

    def aliases(self, name: str) -> Mapping[str, int]:
        """Return alias -> version number."""
        with self._transaction() as connection:
            return _aliases(connection, name)

    def alias_history(self, name: str, alias: str) -> tuple[AliasMove, ...]:
        """Return every move, oldest first."""
        with self._transaction() as connection:
            return tuple(AliasMove(*row) for row in connection.execute(_MOVES, (name, alias)))

    def sequence(self) -> int:
        """Return the number of the newest change, 0 for none."""
        with self._transaction() as connection:
            return int(connection.execute("SELECT coalesce(max(sequence), 0) FROM changes").fetchone()[0])

    def check(self) -> tuple[str, ...]:
        """Return what is wrong with the file, in SQLite's words; empty where all is well."""
        with self._transaction() as connection:
            findings = [str(row[0]) for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
            findings += [f"{row[0]} row {row[1]} refers to nothing" for row in connection.execute("PRAGMA foreign_key_check")]
            return tuple(findings)

    @contextmanager
    def _transaction(self, kind: str = "DEFERRED") -> Iterator[sqlite3.Connection]:
        """Open a connection, run the block in one transaction, and commit it; any error rolls it back."""
        with self._connection() as connection:
            self._patiently(connection, f"BEGIN {kind}")
            if kind == "DEFERRED":
                self._patiently(
                    connection, "SELECT count(*) FROM sqlite_schema"
                )  # the first read takes the lock; later ones cannot fail on it
            yield connection
            self._patiently(connection, "COMMIT")

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """Open a connection and close it, which rolls back what is not committed."""
        try:
            with closing(sqlite3.connect(self._path, timeout=0.1, isolation_level=None)) as connection:
                for pragma in _PRAGMAS:
                    self._patiently(connection, f"PRAGMA {pragma}")  # some of them read the file
                yield connection
        except sqlite3.Error as error:
            raise self._typed(error) from error

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

    def _typed(self, error: sqlite3.Error) -> StorageError:
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


def _code(error: sqlite3.Error) -> int:
    """Return the primary result code; 0 where the error is Python's own."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _next_sequence(connection: sqlite3.Connection) -> int:
    return int(connection.execute(_ADD_CHANGE).fetchone()[0])


def _highest(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(_HIGHEST, (name,)).fetchone()[0])


def _version_at(connection: sqlite3.Connection, name: str, number: int) -> Version:
    row = connection.execute(_VERSION_AT, (name, number)).fetchone()
    if row is not None:
        return _version(row)
    highest = _highest(connection, name)
    hint = f"{name} has version 1." if highest == 1 else f"{name} has versions 1 to {highest}."
    raise NotFoundError(f"There is no version {name}:{number}.", hint=hint if highest else f"Nothing is registered as '{name}'.")


def _version(row: tuple[str, int, str, str, float]) -> Version:
    name, number, manifest, digest, created_at = row
    try:
        version = Version(name, number, document.load(manifest.encode(), Manifest), created_at)
    except InputError as error:
        raise CorruptError(f"The manifest of {name}:{number} is damaged: {error.message}", hint=_RESTORE) from error
    if version.digest != digest:
        raise CorruptError(f"The manifest of {version.label} is not what was registered.", hint=_RESTORE)
    return version


def _aliases(connection: sqlite3.Connection, name: str) -> dict[str, int]:
    return {alias: number for alias, number, _ in connection.execute(_ALIASES, (name,))}


def _spoken(number: int) -> str:
    return f"version {number}" if number else "no version"
