"""The tables of the SQLite registry, as migrations that only go forward: number n in the list takes format n-1 to format n.

A released migration is never edited; the next change is a new entry at the end. `migrate` runs what is missing in one transaction, so
that a killed upgrade leaves the old format whole. Raises StorageError for a database that is newer than this code or not ours.

The tables only grow, but for `reports`, tags and what is derived: `alias_heads` and `fact_heads` say where the last move went and which
revision is the newest. Triggers hold the laws against every writer: versions, moves, retirements and facts are never changed or removed,
numbers and revisions have no gaps, each move starts where the one before it ended, no alias points at a retired version, and the heads
say what the tables say.
"""

# ruff: noqa: S608 - the statements are made of constants

from __future__ import annotations

import sqlite3

from fairlead.errors import StorageError

APPLICATION_ID = 0x4661_6972  # "Fair" in the file's header, see https://www.sqlite.org/fileformat2.html#application_id

_FORMAT_1 = (
    # One row per change of anything: its number is what followers compare.
    """CREATE TABLE changes (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT
    ) STRICT""",
    """CREATE TABLE versions (
        name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 128 AND name NOT GLOB '*[^a-z0-9._-]*'),
        number INTEGER NOT NULL CHECK (number >= 1),
        digest TEXT NOT NULL CHECK (length(digest) = 64 AND digest NOT GLOB '*[^0-9a-f]*'),
        manifest TEXT NOT NULL CHECK (length(manifest) > 0),
        created_at REAL NOT NULL,
        sequence INTEGER NOT NULL UNIQUE REFERENCES changes (sequence),
        PRIMARY KEY (name, number)
    ) STRICT""",
    """CREATE TABLE alias_moves (
        sequence INTEGER PRIMARY KEY REFERENCES changes (sequence),
        name TEXT NOT NULL,
        alias TEXT NOT NULL CHECK (length(alias) BETWEEN 1 AND 64 AND alias NOT GLOB '*[^a-z0-9_-]*'),
        number INTEGER NOT NULL,
        previous INTEGER NOT NULL CHECK (previous >= 0),
        moved_at REAL NOT NULL,
        reason TEXT NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
        FOREIGN KEY (name, number) REFERENCES versions (name, number)
    ) STRICT""",
    "CREATE INDEX alias_moves_by_alias ON alias_moves (name, alias, sequence)",
    """CREATE TRIGGER versions_are_numbered BEFORE INSERT ON versions
        WHEN NEW.number <> 1 + coalesce((SELECT max(number) FROM versions WHERE name = NEW.name), 0)
        BEGIN SELECT raise(ABORT, 'version numbers have no gaps and are never used twice'); END""",
    """CREATE TRIGGER moves_are_linear BEFORE INSERT ON alias_moves
        WHEN NEW.previous <> coalesce(
            (SELECT number FROM alias_moves WHERE name = NEW.name AND alias = NEW.alias ORDER BY sequence DESC LIMIT 1), 0)
        OR NEW.sequence <= coalesce((SELECT max(sequence) FROM alias_moves), 0)
        BEGIN SELECT raise(ABORT, 'a move starts where the one before it ended'); END""",
    *(
        f"""CREATE TRIGGER {table}_refuse_{verb.lower()} BEFORE {verb} ON {table}
        BEGIN SELECT raise(ABORT, '{table} only grow'); END"""
        for table in ("changes", "versions", "alias_moves")
        for verb in ("UPDATE", "DELETE")
    ),
)

_FORMAT_2 = (
    """CREATE TABLE alias_heads (
        name TEXT NOT NULL,
        alias TEXT NOT NULL,
        number INTEGER NOT NULL,
        PRIMARY KEY (name, alias)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX alias_heads_by_version ON alias_heads (name, number)",
    """INSERT INTO alias_heads SELECT name, alias, number FROM alias_moves WHERE true ORDER BY sequence
        ON CONFLICT DO UPDATE SET number = excluded.number""",
    """CREATE TABLE retirements (
        sequence INTEGER PRIMARY KEY REFERENCES changes (sequence),
        name TEXT NOT NULL,
        number INTEGER NOT NULL,
        retired_at REAL NOT NULL,
        reason TEXT NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
        UNIQUE (name, number),
        FOREIGN KEY (name, number) REFERENCES versions (name, number)
    ) STRICT""",
    # What a search knows of a version. `folded` is the text without case; a number stands in `value` instead.
    """CREATE TABLE traits (
        name TEXT NOT NULL,
        number INTEGER NOT NULL,
        key TEXT NOT NULL CHECK (length(key) BETWEEN 1 AND 68),
        text TEXT,
        folded TEXT,
        value REAL,
        PRIMARY KEY (name, number, key),
        CHECK ((text IS NULL) = (folded IS NULL) AND (text IS NULL) <> (value IS NULL)),
        FOREIGN KEY (name, number) REFERENCES versions (name, number)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX traits_by_text ON traits (key, folded)",
    "CREATE INDEX traits_by_value ON traits (key, value)",
    """CREATE TABLE facts (
        sequence INTEGER PRIMARY KEY REFERENCES changes (sequence),
        kind TEXT NOT NULL CHECK (length(kind) BETWEEN 1 AND 64 AND kind NOT GLOB '*[^a-z0-9_-]*'),
        key TEXT NOT NULL CHECK (length(key) BETWEEN 1 AND 512),
        revision INTEGER NOT NULL CHECK (revision >= 1),
        body TEXT CHECK (length(body) <= 1048576),
        at REAL NOT NULL,
        author TEXT NOT NULL CHECK (length(author) BETWEEN 1 AND 1000),
        UNIQUE (kind, key, revision)
    ) STRICT""",
    """CREATE TABLE fact_heads (
        kind TEXT NOT NULL,
        key TEXT NOT NULL,
        revision INTEGER NOT NULL,
        PRIMARY KEY (kind, key)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE reports (
        kind TEXT NOT NULL CHECK (length(kind) BETWEEN 1 AND 64 AND kind NOT GLOB '*[^a-z0-9_-]*'),
        key TEXT NOT NULL CHECK (length(key) BETWEEN 1 AND 512),
        body TEXT NOT NULL CHECK (length(body) BETWEEN 1 AND 1048576),
        at REAL NOT NULL,
        PRIMARY KEY (kind, key)
    ) STRICT""",
    """CREATE TRIGGER moves_go_to_what_is_there BEFORE INSERT ON alias_moves
        WHEN EXISTS (SELECT 1 FROM retirements WHERE name = NEW.name AND number = NEW.number)
        BEGIN SELECT raise(ABORT, 'no alias points at a retired version'); END""",
    """CREATE TRIGGER retired_is_what_no_alias_points_at BEFORE INSERT ON retirements
        WHEN EXISTS (SELECT 1 FROM alias_heads WHERE name = NEW.name AND number = NEW.number)
        BEGIN SELECT raise(ABORT, 'no alias points at a retired version'); END""",
    """CREATE TRIGGER facts_are_linear BEFORE INSERT ON facts
        WHEN NEW.revision <> 1 + coalesce((SELECT max(revision) FROM facts WHERE kind = NEW.kind AND key = NEW.key), 0)
        OR NEW.sequence <= coalesce((SELECT max(sequence) FROM facts), 0)
        BEGIN SELECT raise(ABORT, 'revisions have no gaps and are never used twice'); END""",
    """CREATE TRIGGER moves_move_heads AFTER INSERT ON alias_moves BEGIN
        INSERT INTO alias_heads VALUES (NEW.name, NEW.alias, NEW.number) ON CONFLICT DO UPDATE SET number = excluded.number; END""",
    """CREATE TRIGGER facts_move_heads AFTER INSERT ON facts BEGIN
        INSERT INTO fact_heads VALUES (NEW.kind, NEW.key, NEW.revision) ON CONFLICT DO UPDATE SET revision = excluded.revision; END""",
    *(
        f"""CREATE TRIGGER alias_heads_say_{verb.lower()} BEFORE {verb} ON alias_heads
        WHEN NEW.number IS NOT (SELECT number FROM alias_moves WHERE name = NEW.name AND alias = NEW.alias ORDER BY sequence DESC LIMIT 1)
        BEGIN SELECT raise(ABORT, 'a head says where the last move went'); END"""
        for verb in ("INSERT", "UPDATE")
    ),
    *(
        f"""CREATE TRIGGER fact_heads_say_{verb.lower()} BEFORE {verb} ON fact_heads
        WHEN NEW.revision IS NOT (SELECT max(revision) FROM facts WHERE kind = NEW.kind AND key = NEW.key)
        BEGIN SELECT raise(ABORT, 'a head says which revision is the newest'); END"""
        for verb in ("INSERT", "UPDATE")
    ),
    *(
        f"""CREATE TRIGGER traits_refuse_{verb.lower()} BEFORE {verb} ON traits
        WHEN OLD.key NOT GLOB 'tag:*'
        BEGIN SELECT raise(ABORT, 'traits only grow'); END"""
        for verb in ("UPDATE", "DELETE")
    ),
    *(
        f"""CREATE TRIGGER {table}_refuse_{verb.lower()} BEFORE {verb} ON {table}
        BEGIN SELECT raise(ABORT, '{table} only grow'); END"""
        for table in ("retirements", "facts")
        for verb in ("UPDATE", "DELETE")
    ),
    *(
        f"""CREATE TRIGGER {table}_refuse_delete BEFORE DELETE ON {table}
        BEGIN SELECT raise(ABORT, '{table} only grow'); END"""
        for table in ("alias_heads", "fact_heads")
    ),
)

# Who moved an alias; "" for moves from before authors were kept.
_FORMAT_3 = ("ALTER TABLE alias_moves ADD COLUMN author TEXT NOT NULL DEFAULT '' CHECK (length(author) <= 1000)",)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FORMAT_1, _FORMAT_2, _FORMAT_3)


def is_current(connection: sqlite3.Connection) -> bool:
    """Whether the database has the newest format; raises StorageError where it is newer still, or holds something else."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    is_empty = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
    if application != APPLICATION_ID and not (is_empty and application == 0 and version == 0):
        raise StorageError("The registry's file is a database of another program.", hint="Point FAIRLEAD_HOME at a folder of its own.")
    if version > len(MIGRATIONS):
        raise StorageError(
            f"The registry has format {version}; this Fairlead knows {len(MIGRATIONS)}.",
            hint="A newer Fairlead wrote it: upgrade with pip install -U fairlead.",
        )
    return version == len(MIGRATIONS)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the database to the newest format; the caller holds a write transaction and commits it."""
    if is_current(connection):
        return
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    for statements in MIGRATIONS[version:]:
        for statement in statements:
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
