"""One connection to PostgreSQL with a deadline on everything, and what its errors mean for a store.

Takes a PostgresAddress; gives rows. Raises StoreAwayError where the server cannot be reached, does not answer in time or breaks off,
NoSpaceError, CorruptError, and StorageError for the rest. Never shows a password, never sends one unencrypted beyond this machine unless
the address says so. After a StoreAwayError the connection is dead: drop it.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import time
from typing import Any

from pg8000.exceptions import DatabaseError, Error
from pg8000.native import Connection
from scramp import ScramException

from fairlead.errors import CorruptError, NoSpaceError, StorageError, StoreAwayError
from fairlead.stores.postgres_address import PostgresAddress
from fairlead.stores.rows import Row, Value

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # https://www.postgresql.org/docs/current/protocol-message-formats.html
_PREPARED_LIMIT = 200  # statements that the server keeps for us; searches make new ones
# Whoever goes silent in the middle of a change is ended by the server, so that he keeps nobody else waiting.
_SETTINGS = """SET search_path = "{schema}"; SET statement_timeout = {call_ms}; SET lock_timeout = {lock_ms};
    SET idle_in_transaction_session_timeout = {call_ms}; SET client_min_messages = warning; SET bytea_output = hex;
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local')"""
# What breaks inside pg8000 when the other side is gone, or is no PostgreSQL.
_BROKEN = (Error, OSError, ScramException, struct.error, KeyError, IndexError, AttributeError, ValueError)
_AWAY = ("08", "57P", "57014", "53300", "25P03")
_LOOK = "See whether it runs and can be reached from here."


class PostgresConnection:
    """An open connection. Belongs to one thread at a time."""

    def __init__(self, address: PostgresAddress, *, connect_limit_s: float, call_limit_s: float) -> None:
        self._address = address
        self._deadline = time.monotonic() + connect_limit_s
        self._prepared: dict[str, tuple[Any, Any, Any]] = {}
        self._socket = self._opened(connect_limit_s)
        call_ms = int(call_limit_s * 1000)
        try:
            self._socket.settimeout(self._left_s())
            self._wire = Connection(
                address.user,
                password=address.password,
                database=address.database,
                sock=self._socket,
                ssl_context=False,  # it is encrypted already, where that is wanted
                application_name="fairlead",
            )
            self.simple(_SETTINGS.format(schema=address.schema, call_ms=call_ms, lock_ms=max(call_ms - 1000, call_ms // 2)))
        except StorageError:
            self._socket.close()
            raise
        except _BROKEN as error:
            self._socket.close()
            raise self.typed(error) from error

    def begin(self, statement: str, limit_s: float) -> None:
        """Begin a transaction by `statement`; it and everything until the next beginning have `limit_s` together."""
        self._deadline = time.monotonic() + limit_s
        self.simple(statement)

    def simple(self, statements: str) -> None:
        """Run statements without values."""
        self._guarded(lambda: self._wire.execute_simple(statements))

    def commit(self) -> None:
        """Make the transaction's changes durable. Where the answer is lost, the error says that nobody knows."""
        try:
            self._socket.settimeout(self._left_s())
        except TimeoutError as error:
            raise self.typed(error) from error
        try:
            self._wire.execute_simple("COMMIT")
        except _BROKEN as error:
            meant = self.typed(error)
            if isinstance(meant, StoreAwayError):
                meant = StoreAwayError(
                    f"The connection to the registry {self._address.shown} broke while a change was confirmed.",
                    hint="Whether it happened is not known: look at what is there before you do it again.",
                )
            raise meant from error

    def rows(self, statement: str, *values: Value) -> list[Row]:
        """Run one statement and return its rows."""
        found: list[Row] = self._guarded(lambda: self._run(statement, values))
        return found

    def _run(self, statement: str, values: tuple[Value, ...]) -> list[Row]:
        if statement not in self._prepared:
            if len(self._prepared) >= _PREPARED_LIMIT:
                self._wire.execute_simple("DEALLOCATE ALL")
                self._prepared.clear()
            parts = statement.split("?")
            numbered = parts[0] + "".join(f"${place}{part}" for place, part in enumerate(parts[1:], start=1))
            self._prepared[statement] = self._wire.prepare_statement(numbered, ())
        name, columns, readers = self._prepared[statement]
        texts = tuple(None if value is None else repr(value) if isinstance(value, float) else str(value) for value in values)
        found: list[list[Any]] = self._wire.execute_named(name, texts, columns, readers, statement).rows or []
        return [tuple(row) for row in found]

    def _guarded(self, call: Any) -> Any:
        try:
            self._socket.settimeout(self._left_s())
            return call()
        except _BROKEN as error:
            raise self.typed(error) from error

    def _left_s(self) -> float:
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s

    def is_quiet(self) -> bool:
        """Whether nothing has come since the last answer; what is not quiet has ended, or is about to."""
        return not select.select([self._socket], [], [], 0)[0]

    def wait(self, timeout_s: float) -> None:
        """Return when something has come, after `timeout_s` at the latest; then take in all that has come."""
        if select.select([self._socket], [], [], timeout_s)[0]:
            self._deadline = time.monotonic() + max(timeout_s, 1.0)
            self.simple("")
            self._wire.notifications.clear()

    def close(self) -> None:
        """Say good-bye and let go."""
        try:
            self._socket.settimeout(0.5)
            self._wire.close()
        except _BROKEN:
            pass
        finally:
            self._socket.close()

    def drop(self) -> None:
        """Let go without a word: the connection is broken, or belongs to the process that we were forked from."""
        self._socket.close()
        self._wire._sock = self._wire._usock = None  # noqa: SLF001 - the file around the socket holds its descriptor

    def _opened(self, limit_s: float) -> socket.socket:
        """Return a connected socket, encrypted where the address says so."""
        opened: socket.socket | None = None
        try:
            opened = self._connected(limit_s)
            return opened if self._address.ssl_mode == "disable" else self._encrypted(opened)
        except OSError as error:
            if opened is not None:
                opened.close()
            if isinstance(error, ssl.SSLError):
                raise StorageError(
                    f"The registry's server {self._address.shown} cannot be trusted: {error.reason or error}.",
                    hint="Name its authority with ?sslrootcert=<file>; ?sslmode=require encrypts without asking who answers.",
                ) from error
            raise self.typed(error) from error
        except StorageError:
            if opened is not None:
                opened.close()
            raise

    def _connected(self, limit_s: float) -> socket.socket:
        if self._address.socket_folder:
            opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            opened.settimeout(limit_s)
            try:
                opened.connect(str(self._address.socket_folder / f".s.PGSQL.{self._address.port}"))
            except OSError:
                opened.close()
                raise
            return opened
        opened = socket.create_connection((self._address.host, self._address.port), limit_s)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # A peer that vanished without a word is noticed after these, also while nobody asks anything.
        for option, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 10_000)):
            if hasattr(socket, option):
                opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        return opened

    def _encrypted(self, plain: socket.socket) -> socket.socket:
        plain.sendall(_SSL_REQUEST)
        if plain.recv(1) != b"S":
            raise StorageError(
                f"The registry's server {self._address.shown} does not encrypt.",
                hint="Switch ssl on there; where the network is trusted, add ?sslmode=disable to the registry's URL.",
            )
        context = ssl.create_default_context(cafile=self._address.ssl_root)
        if self._address.ssl_mode == "require":
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(plain, server_hostname=self._address.host or None)

    def typed(self, error: Exception) -> StorageError:
        """Return the error that says what `error` means here."""
        shown = self._address.shown
        if not isinstance(error, DatabaseError):
            cause = error.__cause__ or error
            if isinstance(cause, TimeoutError):
                return StoreAwayError(f"The registry {shown} does not answer.", hint=_LOOK)
            reason = getattr(cause, "strerror", "") or "the connection broke"
            return StoreAwayError(f"The registry {shown} cannot be reached: {reason}.", hint=_LOOK)
        told = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
        return _meaning(str(told.get("C", "")), str(told.get("M", "no reason was given")), self._address)


def _meaning(code: str, message: str, address: PostgresAddress) -> StorageError:
    """Return the error for an SQLSTATE, see https://www.postgresql.org/docs/current/errcodes-appendix.html."""
    shown = address.shown
    if code.startswith(_AWAY):
        if code == "57014":
            return StoreAwayError(f"The registry {shown} did not answer in time.", hint=_LOOK)
        return StoreAwayError(f"The registry {shown} is not available: {message}.", hint=_LOOK)
    if code == "25006":
        return StoreAwayError(
            f"The registry {shown} takes no changes now: {message}.", hint="Is it a standby? Name the primary in its URL."
        )
    if code == "55P03":
        return StoreAwayError(
            "Another process has kept the registry locked for too long.", hint="Whoever goes silent in a change is ended soon: do it again."
        )
    if code.startswith("28"):
        return StorageError(
            f"The registry refuses {address.user}: {message}.",
            hint="Look at the user and the password in FAIRLEAD_REGISTRY, or PGPASSWORD.",
        )
    if code == "3D000":
        return StorageError(f"The registry's server has no database '{address.database}'.", hint=f"Make it: createdb {address.database}")
    if code == "42501":
        return StorageError(
            f"{address.user} may not do that in the registry: {message}.",
            hint=f"Let its owner do it once, or grant CREATE on database {address.database}.",
        )
    if code == "53100":
        return NoSpaceError("No space is left for the registry.", hint=f"Free space on the server of {shown} and do it again.")
    if code.startswith("XX"):
        return CorruptError(f"The registry is damaged: {message}.", hint="Restore its database from a backup; the blobs are not affected.")
    return StorageError(f"The registry cannot be used: {message}.", hint=f"PostgreSQL says {code or 'no code'} at {shown}.")
