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
