from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from fairlead.core.manifest import FileEntry, Manifest
from fairlead.errors import CorruptError, InputError, NoSpaceError, StorageError
from fairlead.stores import sqlite_records, sqlite_schema
from fairlead.stores.sqlite_records import SqliteRecords

MANIFEST = Manifest((FileEntry("model.onnx", 3, hashlib.sha256(b"abc").hexdigest()),))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "registry.sqlite"


@pytest.fixture
def records(path: Path) -> SqliteRecords:
    records = SqliteRecords(path, wait_s=0.3)
    for _ in range(2):
        records.add_version("digits", MANIFEST, 1.0)
    records.move_alias("digits", "production", 1, expected=0, moved_at=1.0, reason="deploy")
    return records


def by_hand(path: Path, statement: str, *values: object, pragma: str = "foreign_keys = OFF") -> list[tuple[object, ...]]:
    """Run a statement as somebody with the sqlite3 shell would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA {pragma}")
        return connection.execute(statement, values).fetchall()


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o640), (0o077, 0o600), (0o002, 0o660)])
def test_a_new_registry_is_not_for_everybody_to_read(path, umask, mode):
    before = os.umask(umask)
    try:
        SqliteRecords(path).add_version("digits", MANIFEST, 1.0)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    path.chmod(0o644)  # somebody wants it so
    assert SqliteRecords(path).names() == ("digits",)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE versions SET digest = ''",
        "UPDATE versions SET created_at = 2.0 WHERE number = 1",
        "DELETE FROM versions WHERE number = 2",
        "UPDATE alias_moves SET number = 2",
        "DELETE FROM alias_moves",
        "UPDATE changes SET sequence = sequence + 100",
        "DELETE FROM changes",
        "INSERT INTO versions SELECT name, 4, digest, manifest, created_at, 99 FROM versions WHERE number = 1",
        "INSERT OR REPLACE INTO versions SELECT name, number, digest, manifest, 9.0, sequence FROM versions WHERE number = 1",
        "INSERT INTO versions SELECT name, number, digest, manifest, 9.0, 4 FROM versions WHERE true ON CONFLICT DO UPDATE SET number = 9",
        "INSERT OR REPLACE INTO alias_moves SELECT sequence, name, alias, 2, previous, moved_at, reason, author FROM alias_moves",
        "INSERT INTO alias_moves SELECT 100, name, alias, 2, 0, moved_at, reason, author FROM alias_moves",
        "INSERT INTO alias_moves SELECT 1, name, alias, 2, 1, moved_at, reason, author FROM alias_moves",
    ],
)
def test_the_database_itself_holds_the_laws(records, path, statement):
    before = (records.versions("digits"), records.alias_history("digits", "production"), records.sequence())
    with pytest.raises(sqlite3.IntegrityError, match=r"only grow|no gaps|starts where"):
        by_hand(path, statement)
    assert (records.versions("digits"), records.alias_history("digits", "production"), records.sequence()) == before


def test_the_laws_are_held_by_the_triggers_alone(records, path):
    """Positive control: without its trigger the same statement changes a version, and reading it says so."""
    by_hand(path, "DROP TRIGGER versions_refuse_update")
    by_hand(path, "UPDATE versions SET digest = lower(hex(zeroblob(32))) WHERE number = 1")
    with pytest.raises(CorruptError, match="digits:1 is not what was registered"):
        records.version("digits", 1)
    assert records.version("digits", 2).manifest == MANIFEST


@pytest.mark.parametrize(
    "manifest",
    ["{", "[]", '{"files":[{"name":"x","size_bytes":1,"digest":"../../etc"}]}', '{"files":[{"name":"x","size_bytes":"1","digest":""}]}'],
)
def test_a_manifest_that_was_changed_by_hand_is_refused(records, path, manifest):
    by_hand(path, "DROP TRIGGER versions_refuse_update")
    by_hand(path, "UPDATE versions SET manifest = ? WHERE number = 1", manifest)
    with pytest.raises(CorruptError):
        records.versions("digits")


@pytest.mark.parametrize("number", [3, 0])
def test_a_move_to_a_version_that_does_not_exist_is_refused_by_the_database(records, path, number):
    by_hand(path, "INSERT INTO changes DEFAULT VALUES")
    statement = "INSERT INTO alias_moves VALUES (4, 'digits', 'production', ?, 1, 1.0, 'deploy', '')"
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        by_hand(path, statement, number, pragma="foreign_keys = ON")
    by_hand(path, statement, 2, pragma="foreign_keys = ON")


def test_every_connection_is_durable_and_checks_references(records):
    with records._database.connection() as connection:
        got = {pragma: connection.execute(f"PRAGMA {pragma}").fetchone()[0] for pragma in ("journal_mode", "synchronous", "foreign_keys")}
    assert got == {"journal_mode": "delete", "synchronous": 3, "foreign_keys": 1}


def test_a_registry_that_was_switched_to_a_write_ahead_log_is_switched_back(records, path):
    assert by_hand(path, "PRAGMA journal_mode = WAL") == [("wal",)]
    assert SqliteRecords(path).latest("digits").number == 2
    assert by_hand(path, "PRAGMA journal_mode") == [("delete",)]


def test_a_registry_of_a_newer_release_is_refused_and_stays_as_it_is(records, path):
    by_hand(path, f"PRAGMA user_version = {len(sqlite_schema.MIGRATIONS) + 1}")
    before = path.read_bytes()
    with pytest.raises(
        StorageError, match=rf"format {len(sqlite_schema.MIGRATIONS) + 1}; this Fairlead knows {len(sqlite_schema.MIGRATIONS)}.*upgrade"
    ):
        SqliteRecords(path)
    assert path.read_bytes() == before


def test_the_database_of_another_program_is_refused_and_stays_as_it_is(path):
    path.parent.mkdir()
    by_hand(path, "CREATE TABLE songs (title TEXT)")
    before = path.read_bytes()
    with pytest.raises(StorageError, match="another program"):
        SqliteRecords(path)
    assert path.read_bytes() == before


def test_a_migration_that_fails_leaves_the_old_format(records, path, monkeypatch):
    before = path.read_bytes()
    broken = (*sqlite_schema.MIGRATIONS, ("CREATE TABLE tags (name TEXT) STRICT", "CREATE TABLE tags (name TEXT) STRICT"))
    monkeypatch.setattr(sqlite_schema, "MIGRATIONS", broken)
    with pytest.raises(StorageError, match="tags already exists"):
        SqliteRecords(path)
    assert path.read_bytes() == before
    monkeypatch.undo()
    assert SqliteRecords(path).latest("digits").number == 2


def test_a_migration_runs_once_and_keeps_what_is_there(records, path, monkeypatch):
    monkeypatch.setattr(sqlite_schema, "MIGRATIONS", (*sqlite_schema.MIGRATIONS, ("CREATE TABLE tags (name TEXT) STRICT",)))
    for _ in range(2):
        assert SqliteRecords(path).latest("digits").number == 2
    assert by_hand(path, "PRAGMA user_version") == [(len(sqlite_schema.MIGRATIONS),)]
    assert records.check() == ()


@pytest.mark.parametrize("damage", ["garbage", "flip", "cut"])
def test_a_damaged_registry_is_said_to_be_damaged(records, path, damage):
    data = bytearray(path.read_bytes())
    if damage == "garbage":
        data[:] = b"not a database" * 1000
    elif damage == "cut":
        del data[4096 * 2 :]
    else:
        data[3 * 4096 : 3 * 4096 + 64] = b"\xff" * 64
    path.write_bytes(data)
    with pytest.raises(CorruptError, match="damaged"):
        SqliteRecords(path).versions("digits")


def test_a_lock_that_is_never_given_up_is_said_after_the_wait(records, path):
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert records.latest("digits").number == 2  # readers go on
        with pytest.raises(StorageError, match=r"locked for 0\.3 s") as caught:
            records.add_version("digits", MANIFEST, 1.0)
    assert "fuser" in caught.value.hint
    assert records.add_version("digits", MANIFEST, 1.0).number == 3


def test_a_writer_waits_for_a_reader_and_a_reader_for_a_writer(path):
    patient = SqliteRecords(path, wait_s=20.0)
    patient.add_version("digits", MANIFEST, 1.0)
    code = (
        "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('BEGIN EXCLUSIVE');"
        "print('held', flush=True); time.sleep(0.4); c.execute('COMMIT')"
    )
    for call in (lambda: patient.latest("digits"), lambda: patient.add_version("digits", MANIFEST, 1.0)):
        with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout.readline() == "held\n"
            assert call() is not None


@pytest.mark.parametrize(
    ("code", "is_disk_full", "expected"),
    [
        (sqlite3.SQLITE_FULL, False, NoSpaceError),
        (sqlite3.SQLITE_CANTOPEN, True, NoSpaceError),
        (sqlite3.SQLITE_IOERR_WRITE, True, NoSpaceError),
        (sqlite3.SQLITE_IOERR_FSYNC, False, StorageError),
        (sqlite3.SQLITE_CANTOPEN, False, StorageError),
        (sqlite3.SQLITE_READONLY, True, StorageError),
        (sqlite3.SQLITE_CORRUPT, True, CorruptError),
    ],
)
def test_the_databases_errors_are_told_apart(records, monkeypatch, code, is_disk_full, expected):
    monkeypatch.setattr(sqlite_records, "is_full", lambda _folder: is_disk_full)
    error = sqlite3.OperationalError("in SQLite's words")
    error.sqlite_errorcode = code
    assert type(records._database.typed(error)) is expected


def test_a_folder_in_the_place_of_the_registry_is_an_error_with_a_hint(tmp_path):
    with pytest.raises(StorageError) as caught:
        SqliteRecords(tmp_path)
    assert str(tmp_path) in caught.value.hint


def test_a_time_that_is_no_number_is_refused(records):
    with pytest.raises(InputError, match="not a time"):
        records.add_version("digits", MANIFEST, float("nan"))
    assert records.latest("digits").number == 2
