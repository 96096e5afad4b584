"""Records in PostgreSQL: what stores/sqlite_records.py keeps in a file, for servers on many machines.

Raises what core.ports.RecordStore says; StoreAwayError where the server cannot be reached, does not answer in time or breaks off. Every
call has a deadline, and the next call connects anew by itself. Never acknowledges before the server has confirmed the commit: where the
connection breaks in that moment, the error says that nobody knows. Safe for any number of threads and processes: at most `connection_count`
connections are open, each used by one thread at a time, none by a forked child.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from fairlead.errors import FairleadError, StorageError, StoreAwayError
from fairlead.stores import postgres_schema
from fairlead.stores.postgres_address import PostgresAddress, parse_address
from fairlead.stores.postgres_connection import PostgresConnection
from fairlead.stores.sql_records import SqlRecords

_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_WRITE = f"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; {postgres_schema.LOCK}"
_MIGRATE = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
_WAIT_S = 1.0  # a follower looks by itself that often, should a notification be lost
_POLL_S = 0.25  # and so do further waiting threads of this process: one connection listens


class PostgresRecords(SqlRecords):
    """A core.ports.RecordStore at `url`; its tables are made where they are missing."""

    def __init__(
        self, url: str, *, password: str = "", connect_limit_s: float = 5.0, call_limit_s: float = 10.0, connection_count: int = 4
    ) -> None:
        self._postgres = PostgresDatabase(parse_address(url, password=password), connect_limit_s, call_limit_s, connection_count)
        super().__init__(self._postgres)
        self._postgres.prepare()

    @staticmethod
    def describe(url: str, *, password: str = "") -> str:
        """Return what is at `url`, in a few words, without changing anything; raises StorageError."""
        return PostgresDatabase(parse_address(url, password=password)).describe()

    def close(self) -> None:
        """Close the idle connections; the next call opens one again."""
        self._postgres.close()


class _Idle:
    """Connections that nobody uses now, and the process that they belong to."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connections: list[PostgresConnection] = []
        self.listening: PostgresConnection | None = None
        self.owner = os.getpid()

    def take(self) -> PostgresConnection | None:
        """Return a connection that seems alive, None where there is none."""
        with self.lock:
            self._disown()
            while self.connections:
                connection = self.connections.pop()
                if connection.is_quiet():
                    return connection
                connection.drop()
            return None

    def put(self, connection: PostgresConnection) -> None:
        """Take a connection back."""
        with self.lock:
            self.connections.append(connection)

    def close(self) -> None:
        """Close them all."""
        with self.lock:
            self._disown()
            for connection in (*self.connections, *filter(None, [self.listening])):
                connection.close()
            self.connections, self.listening = [], None

    def _disown(self) -> None:
        """After a fork, let go of what is the parent's without telling the server."""
        if self.owner != os.getpid():
            for connection in (*self.connections, *filter(None, [self.listening])):
                connection.drop()
            self.connections, self.listening, self.owner = [], None, os.getpid()


class PostgresDatabase:
    """A stores.rows.Database at `address`."""

    def __init__(
        self, address: PostgresAddress, connect_limit_s: float = 5.0, call_limit_s: float = 10.0, connection_count: int = 4
    ) -> None:
        self._address, self._connect_limit_s, self._call_limit_s = address, connect_limit_s, call_limit_s
        self._idle = _Idle()
        self._free = threading.BoundedSemaphore(connection_count)
        self._listener = threading.Lock()
        weakref.finalize(self, self._idle.close)

    def prepare(self) -> None:
        """Make the tables, or bring them to the newest format; does nothing where they are there."""
        schema = self._address.schema
        with self.reading() as transaction:
            number = postgres_schema.found_format(transaction, schema)
        if number < max(postgres_schema.MIGRATIONS):
            with self._transaction(_MIGRATE) as transaction:
                transaction.simple(postgres_schema.migration(transaction, schema))

    def describe(self) -> str:
        """Return which server and format is there, in a few words."""
        try:
            with self.reading() as transaction:
                number = postgres_schema.found_format(transaction, self._address.schema)
                version = str(transaction.rows("SELECT current_setting('server_version')")[0][0]).split()[0]
        finally:
            self.close()
        return f"PostgreSQL {version} at {self._address.shown}, " + (f"format {number}" if number else "nothing is in it yet")

    @contextmanager
    def reading(self) -> Iterator[PostgresConnection]:
        """Open a transaction that sees one state of all tables."""
        with self._transaction(_READ, is_change=False) as transaction:
            yield transaction

    @contextmanager
    def writing(self) -> Iterator[PostgresConnection]:
        """Open a transaction beside which nobody else writes."""
        with self._transaction(_WRITE) as transaction:
            yield transaction

    def wait(self, timeout_s: float) -> None:
        """Return when a change was told, or after a while."""
        if not self._listener.acquire(blocking=False):
            time.sleep(min(timeout_s, _POLL_S))
            return
        try:
            self._listen(min(timeout_s, _WAIT_S))
        finally:
            self._listener.release()

    def _listen(self, timeout_s: float) -> None:
        connection = self._idle.listening
        try:
            if connection is None:
                connection = self._open()
                connection.simple(f'LISTEN "{self._address.schema}.changes"')
                self._idle.listening = connection  # at once back: what changed before nobody told us
            else:
                connection.wait(timeout_s)
        except StorageError:
            self._idle.listening = None
            if connection is not None:
                connection.drop()
            time.sleep(min(timeout_s, _POLL_S))  # whoever waits asks for the sequence next, and hears what is wrong

    def close(self) -> None:
        """Close the idle connections."""
        self._idle.close()

    @contextmanager
    def _transaction(self, beginning: str, *, is_change: bool = True) -> Iterator[PostgresConnection]:
        """Run the block in one transaction and commit it; any error rolls it back. What was read needs no confirmation."""
        if not self._free.acquire(timeout=self._call_limit_s):
            raise StoreAwayError(f"The registry {self._address.shown} is slow: all connections are in use.", hint="Do it again.")
        try:
            connection = self._begun(beginning)
            try:
                yield connection
                if is_change:
                    connection.commit()
            except StoreAwayError:
                connection.drop()
                raise
            except FairleadError:
                self._roll_back(connection)
                raise
            except BaseException:
                connection.drop()  # it may stand in the middle of an answer
                raise
            if is_change:
                self._idle.put(connection)
            else:
                self._roll_back(connection)
        finally:
            self._free.release()

    def _begun(self, beginning: str) -> PostgresConnection:
        """Return a connection with an open transaction. One that waited may have died meanwhile: then another is taken."""
        while True:
            kept = self._idle.take()
            connection = kept or self._open()
            try:
                connection.begin(beginning, self._call_limit_s)
            except StoreAwayError:
                connection.drop()
                if kept is None:
                    raise
            except BaseException:
                connection.drop()
                raise
            else:
                return connection

    def _roll_back(self, connection: PostgresConnection) -> None:
        try:
            connection.simple("ROLLBACK")
        except StorageError:
            connection.drop()
        else:
            self._idle.put(connection)

    def _open(self) -> PostgresConnection:
        return PostgresConnection(self._address, connect_limit_s=self._connect_limit_s, call_limit_s=self._call_limit_s)
