"""What only PostgreSQL can get wrong: laws against other writers, newer tables, connections, threads, forks, encryption, errors."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import subprocess
import threading
from pathlib import Path
from urllib.parse import quote

import pytest

pytest.importorskip("pg8000", reason="the extra 'postgres' is not installed")
from pg8000.exceptions import DatabaseError
from pg8000.native import Connection

from fairlead.core.manifest import FileEntry, Manifest
from fairlead.errors import CorruptError, NoSpaceError, NotFoundError, StorageError, StoreAwayError
from fairlead.stores import postgres_records, postgres_schema
from fairlead.stores.document import dump
from fairlead.stores.postgres_address import parse_address
from fairlead.stores.postgres_connection import PostgresConnection
from fairlead.stores.postgres_records import PostgresRecords
from postgres_server import DATABASE, PASSWORD, USER, own

MANIFEST = Manifest((FileEntry("model.onnx", 3, hashlib.sha256(b"abc").hexdigest()),))
_schemas = itertools.count(1)


@pytest.fixture
def url(postgres):
    return postgres.url(f"unit_{next(_schemas)}")


@pytest.fixture
def records(url):
    records = PostgresRecords(url)
    for _ in range(2):
        records.add_version("digits", MANIFEST, 1.0, {"framework": "keras"})
    records.move_alias("digits", "production", 1, expected=0, moved_at=1.0, reason="deploy")
    records.put_fact("release", "digits", "1", expected=0, at=1.0, author="ann")
    yield records
    records.close()


@pytest.fixture
def by_hand(postgres, url):
    """Run statements as somebody with psql would."""
    connection = Connection(USER, password=PASSWORD, host="127.0.0.1", port=postgres.port, database=DATABASE)
    connection.run(f"SET search_path = {parse_address(url).schema}")
    yield connection.run
    connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE versions SET created_at = 2.0 WHERE number = 1",
        "DELETE FROM versions WHERE number = 2",
        "TRUNCATE versions CASCADE",
        "UPDATE alias_moves SET number = 2",
        "DELETE FROM alias_moves",
        "UPDATE changes SET sequence = sequence + 100",
        "DELETE FROM changes",
        "UPDATE facts SET body = '2'",
        "DELETE FROM facts",
        "UPDATE traits SET text = 'x', folded = 'x'",
        "DELETE FROM traits",
        "TRUNCATE traits",
        "UPDATE alias_heads SET number = 2",
        "DELETE FROM alias_heads",
        "UPDATE fact_heads SET revision = 2",
        "INSERT INTO alias_heads VALUES ('digits', 'staging', 2)",
        "INSERT INTO versions SELECT name, 4, digest, manifest, created_at, 4 FROM versions WHERE number = 1",
        "INSERT INTO versions SELECT name, number, digest, manifest, 9.0, 4 FROM versions WHERE number = 1",
        "INSERT INTO alias_moves SELECT 100, name, alias, 2, 0, moved_at, reason, author FROM alias_moves",
        "INSERT INTO alias_moves SELECT 1, name, alias, 2, 1, moved_at, reason, author FROM alias_moves",
        "INSERT INTO facts SELECT 100, kind, key, 3, body, at, author FROM facts",
        "INSERT INTO retirements VALUES (100, 'digits', 1, 1.0, 'old')",
    ],
)
def test_the_database_itself_holds_the_laws(records, by_hand, statement):
    before = (records.versions("digits"), records.alias_history("digits", "production"), records.facts("release"), records.sequence())
    with pytest.raises(DatabaseError, match=r"only grow|no gaps|starts where|head says|retired|duplicate key|still referenced"):
        by_hand(statement)
    assert (
        records.versions("digits"),
        records.alias_history("digits", "production"),
        records.facts("release"),
        records.sequence(),
    ) == before


def test_the_laws_are_held_by_the_triggers_alone(records, by_hand):
    """Positive control: without its trigger the same statement changes a version, and reading it says so."""
    by_hand("DROP TRIGGER versions_refuse ON versions")
    by_hand("UPDATE versions SET digest = repeat('0', 64) WHERE number = 1")
    with pytest.raises(CorruptError, match="not what was registered"):
        records.version("digits", 1)


def test_changes_by_hand_are_numbered_and_told_too(records, by_hand):
    waited = threading.Thread(target=lambda: told.append(records.wait_for_change(4, 60.0)))
    told: list[int] = []
    waited.start()
    by_hand("INSERT INTO changes VALUES (77)")
    waited.join(timeout=30)
    assert (told, records.sequence()) == ([5], 5)


def test_tables_of_a_newer_release_are_refused_and_stay_as_they_are(records, url, by_hand):
    newest = max(postgres_schema.MIGRATIONS)
    by_hand("INSERT INTO registry_format VALUES (:number)", number=newest + 1)
    with pytest.raises(StorageError, match=rf"format {newest + 1}; this Fairlead knows {newest}.*upgrade"):
        PostgresRecords(url)


def test_the_schema_of_another_program_is_refused_and_stays_as_it_is(url, by_hand):
    schema = parse_address(url).schema
    by_hand(f"CREATE SCHEMA {schema}")
    by_hand("CREATE TABLE songs (title TEXT)")
    with pytest.raises(StorageError, match="another program"):
        PostgresRecords(url)
    assert by_hand("SELECT tablename FROM pg_tables WHERE schemaname = :schema", schema=schema) == [["songs"]]


def test_a_migration_that_fails_leaves_nothing(url, by_hand, monkeypatch):
    broken = {**postgres_schema.MIGRATIONS, 4: ("CREATE TABLE more (name TEXT)", "CREATE TABLE more (name TEXT)")}
    with monkeypatch.context() as patch:
        patch.setattr(postgres_schema, "MIGRATIONS", broken)
        with pytest.raises(StorageError, match="already exists"):
            PostgresRecords(url)
    assert by_hand("SELECT 1 FROM pg_namespace WHERE nspname = :schema", schema=parse_address(url).schema) == []
    records = PostgresRecords(url)
    assert records.names() == ()
    records.close()


def test_a_migration_runs_once_and_keeps_what_is_there(records, url, by_hand, monkeypatch):
    monkeypatch.setattr(postgres_schema, "MIGRATIONS", {**postgres_schema.MIGRATIONS, 4: ("CREATE TABLE more (name TEXT)",)})
    for _ in range(2):
        again = PostgresRecords(url)
        assert again.latest("digits").number == 2
        again.close()
    assert by_hand("SELECT number FROM registry_format ORDER BY number") == [[2], [3], [4]]


def test_tables_of_format_2_are_brought_to_the_newest_and_keep_what_they_hold(url, by_hand, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(postgres_schema, "MIGRATIONS", {2: postgres_schema.MIGRATIONS[2]})
        PostgresRecords(url).close()
    by_hand("INSERT INTO changes VALUES (1)")
    by_hand("INSERT INTO versions VALUES ('digits', 1, :digest, :text, 1.0, 1)", digest=MANIFEST.digest, text=dump(MANIFEST).decode())
    by_hand("INSERT INTO changes VALUES (2)")
    by_hand("INSERT INTO alias_moves VALUES (2, 'digits', 'production', 1, 0, 5.0, 'deploy')")
    records = PostgresRecords(url)
    records.add_version("digits", MANIFEST, 2.0)
    records.move_alias("digits", "production", 2, expected=1, moved_at=6.0, reason="promote", author="ann")
    assert [(move.number, move.author) for move in records.alias_history("digits", "production")] == [(1, ""), (2, "ann")]
    records.close()


def test_stores_that_open_a_new_registry_at_once_all_can(url):
    opened: list[PostgresRecords] = []
    threads = [threading.Thread(target=lambda: opened.append(PostgresRecords(url))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 6
    for records in opened:
        records.close()


def test_many_threads_share_few_connections(postgres, url):
    before = postgres.connection_count()
    records = PostgresRecords(url, connection_count=2)
    seen: list[int] = []

    def work() -> None:
        for _ in range(5):
            records.put_report("server", threading.current_thread().name, "1", 1.0)
            seen.append(postgres.connection_count() - before)

    threads = [threading.Thread(target=work) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(seen) <= 2
    assert len(records.reports("server")) == 10
    records.close()


def test_a_forked_child_uses_connections_of_its_own_and_the_parents_stay_whole(records):
    child = os.fork()
    if child == 0:
        try:
            for _ in range(5):
                records.put_report("server", "child", "1", 1.0)
            records.close()
        finally:
            os._exit(int(not records.reports("server", "child")))
    for _ in range(20):
        assert records.latest("digits").number == 2
    assert os.waitpid(child, 0)[1] == 0
    assert records.reports("server", "child")
    assert records.add_version("digits", MANIFEST, 1.0).number == 3


def test_a_change_that_was_refused_leaves_the_connection_of_use(postgres, records):
    for _ in range(30):
        with pytest.raises(NotFoundError):
            records.version("digits", 9)
        with pytest.raises(StorageError), records._database.writing() as transaction:
            transaction.rows("SELECT 1 / 0")
    assert len(records._database._idle.connections) <= 2
    assert records.latest("digits").number == 2


def test_more_statements_than_the_server_keeps_for_us_go_on(records, monkeypatch):
    monkeypatch.setattr("fairlead.stores.postgres_connection._PREPARED_LIMIT", 3)
    for number in range(10):
        with records._database.reading() as transaction:
            assert transaction.rows(f"SELECT {number} + CAST(? AS BIGINT)", 1) == [(number + 1,)]


def test_a_lock_that_is_not_given_up_is_said_and_ends_by_itself(postgres, url, records):
    hasty = PostgresRecords(url, call_limit_s=1.0)
    with records._database.writing():
        assert hasty.latest("digits").number == 2  # readers go on
        with pytest.raises(StoreAwayError, match=r"locked|in time"):
            hasty.add_version("digits", MANIFEST, 1.0)
    assert hasty.add_version("digits", MANIFEST, 1.0).number == 3
    hasty.close()


@pytest.mark.parametrize(
    ("change", "error", "word"),
    [
        (lambda url: url.replace(f"{USER}:", f"{USER}:not"), StorageError, "refuses"),
        (lambda url: url.replace("/registry?", "/nowhere?"), StorageError, "no database"),
        (lambda url: url + "&sslmode=require", StorageError, "does not encrypt"),
        (lambda url: url.replace(f":{quote(PASSWORD, safe='')}", ""), StorageError, "refuses"),
    ],
)
def test_what_cannot_be_opened_is_said_without_the_password(url, change, error, word):
    with pytest.raises(error, match=word) as caught:
        PostgresRecords(change(url))
    assert PASSWORD not in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("57P01", StoreAwayError),
        ("57014", StoreAwayError),
        ("08006", StoreAwayError),
        ("53300", StoreAwayError),
        ("25006", StoreAwayError),
        ("55P03", StoreAwayError),
        ("53100", NoSpaceError),
        ("XX001", CorruptError),
        ("42501", StorageError),
        ("42P01", StorageError),
    ],
)
def test_the_servers_errors_are_told_apart(records, code, expected):
    with records._database.reading() as transaction:
        assert type(transaction.typed(DatabaseError({"C": code, "M": "in its words"}))) is expected


def test_a_user_without_rights_is_told_what_to_grant(postgres, by_hand, url):
    by_hand("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    with pytest.raises(StorageError, match="may not"):
        PostgresRecords(f"postgresql://guest:guest@127.0.0.1:{postgres.port}/{DATABASE}?schema=other")
    by_hand("DROP ROLE guest")


def test_an_encrypted_server_is_believed_only_with_its_authority(postgres, url, tmp_path, by_hand):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key, certificate = postgres.folder / "data" / "server.key", postgres.folder / "data" / "server.crt"
    command = "openssl req -new -x509 -days 2 -nodes -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -newkey rsa:2048"
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    key.chmod(0o600)
    for path in (key, certificate):
        own(path)
    authority = Path(shutil.copy(certificate, tmp_path / "authority.crt"))
    by_hand("ALTER SYSTEM SET ssl = on")
    by_hand("SELECT pg_reload_conf()")
    try:
        for options, problem in (
            (f"sslmode=verify-full&sslrootcert={authority}", ""),
            ("sslmode=require", ""),
            ("sslmode=verify-full", "cannot be trusted"),
        ):
            if problem:
                with pytest.raises(StorageError, match=problem):
                    PostgresRecords(f"{url}&{options}")
            else:
                records = PostgresRecords(f"{url}&{options}")
                assert records.names() == ()
                assert records._database._idle.connections[0]._socket.version() in {"TLSv1.2", "TLSv1.3"}
                records.close()
    finally:
        by_hand("ALTER SYSTEM SET ssl = off")
        by_hand("SELECT pg_reload_conf()")


def test_a_server_on_this_machine_can_be_reached_by_its_socket(postgres, url):
    address = parse_address(url)
    there = f"postgresql://{USER}@/{DATABASE}?host={postgres.folder}&schema={address.schema}"
    with pytest.raises(StoreAwayError):
        PostgresRecords(there, password=PASSWORD)  # there is no socket with the usual port
    connection = PostgresConnection(
        parse_address(there.replace("@/", f"@:{postgres.port}/"), password=PASSWORD), connect_limit_s=5.0, call_limit_s=5.0
    )
    assert connection.rows("SELECT 1") == [(1,)]
    connection.close()


def test_who_waits_in_many_threads_is_told_in_all_of_them(records, monkeypatch):
    told: list[int] = []
    threads = [threading.Thread(target=lambda: told.append(records.wait_for_change(4, 60.0))) for _ in range(5)]
    for thread in threads:
        thread.start()
    records.add_version("digits", MANIFEST, 1.0)
    for thread in threads:
        thread.join(timeout=30)
    assert told == [5] * 5


def test_a_notification_that_was_lost_costs_a_moment_only(records, monkeypatch):
    monkeypatch.setattr(postgres_records, "_WAIT_S", 0.05)
    records.wait_for_change(4, 0.01)
    monkeypatch.setattr(PostgresConnection, "wait", lambda self, timeout_s: None)
    told: list[int] = []
    waiting = threading.Thread(target=lambda: told.append(records.wait_for_change(4, 60.0)))
    waiting.start()
    records.add_version("digits", MANIFEST, 1.0)
    waiting.join(timeout=30)
    assert told == [5]
