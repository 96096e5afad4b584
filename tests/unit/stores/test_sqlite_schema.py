"""What each release wrote stays readable, and what it was stays as it was."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fairlead.register.aliases import standing
from fairlead.stores import sqlite_schema
from fairlead.stores.sqlite_records import SqliteRecords

DATA = Path(__file__).parent / "data"


def test_a_registry_of_format_1_is_read_whole(tmp_path):
    path = Path(shutil.copy(DATA / "registry_format_1.sqlite", tmp_path))
    records = SqliteRecords(path)
    assert records.names() == ("digits", "prices")
    assert [version.created_at for version in records.versions("digits")] == [1_795_000_001.5, 1_795_000_002.5, 1_795_000_003.5]
    assert records.version("digits", 2).manifest.entry("model.onnx").digest == hashlib.sha256(b"2").hexdigest()
    assert standing(records.alias_history("digits", "production")) == (1, 2)
    assert records.aliases("digits") == {"production": 2}
    assert records.sequence() == 8
    assert records.check() == ()


def test_a_registry_of_format_2_keeps_its_moves_and_gets_authors(tmp_path):
    path = Path(shutil.copy(DATA / "registry_format_2.sqlite", tmp_path))
    with closing(sqlite3.connect(path)) as kept:
        before = kept.execute("SELECT name, alias, number, previous, moved_at, sequence, reason FROM alias_moves ORDER BY 6").fetchall()
    assert before
    records = SqliteRecords(path)
    places = dict.fromkeys((name, alias) for name, alias, *_ in before)
    moves = [move for name, alias in places for move in records.alias_history(name, alias)]
    assert sorted((m.name, m.alias, m.number, m.previous, m.moved_at, m.sequence, m.reason) for m in moves) == sorted(before)
    assert {move.author for move in moves} == {""}
    name, alias, number, *_ = before[-1]
    moved = records.move_alias(name, alias, number, expected=records.aliases(name)[alias], moved_at=9.0, reason="promote", author="ann")
    assert (records.alias_history(name, alias)[-1], moved.author) == (moved, "ann")
    assert records.check() == ()


def test_a_registry_of_format_3_is_read_whole(tmp_path):
    records = SqliteRecords(Path(shutil.copy(DATA / "registry_format_3.sqlite", tmp_path)))
    assert [(move.number, move.reason, move.author) for move in records.alias_history("digits", "production")] == [
        (1, "deploy", "ann"),
        (2, "canary", "gate"),
        (1, "rollback", "bob"),
    ]
    assert records.check() == ()


def schema(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    return connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()


@pytest.mark.parametrize("number", range(1, len(sqlite_schema.MIGRATIONS) + 1))
def test_a_released_migration_is_never_edited(number):
    kept_at = f"file:{DATA}/registry_format_{number}.sqlite?mode=ro"
    with closing(sqlite3.connect(kept_at, uri=True)) as kept, closing(sqlite3.connect(":memory:")) as fresh:
        for statements in sqlite_schema.MIGRATIONS[:number]:
            for statement in statements:
                fresh.execute(statement)
        assert schema(fresh) == schema(kept)
