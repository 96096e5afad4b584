"""The tables of the PostgreSQL registry, as migrations that only go forward. Formats are numbered together with SQLite's: the same number
means the same tables. The first one here is 2.

A released migration is never edited; the next change is a new entry at the end. What `migration` gives runs in one transaction. Raises
StorageError for tables that are newer than this code or not ours.

Triggers hold the laws against every writer, as in stores/sqlite_schema.py, and number the changes: whoever writes waits for the lock that
`LOCK` takes, so that the order of the numbers is the order in which changes become visible, without gaps. Each change is told on the
channel `<schema>.changes`.
"""

# ruff: noqa: S608 - the statements are made of constants

from __future__ import annotations

from fairlead.errors import StorageError
from fairlead.stores.rows import Transaction

_LOCK = "pg_advisory_xact_lock(1180789106, hashtext(current_schema()))"  # "Fair", and the schema: one registry, one writer
LOCK = f"SELECT {_LOCK}"
_FINITE = "CHECK ({column} > '-Infinity' AND {column} < 'Infinity')"
_BODY = """LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    BEGIN
        {statements}
        RETURN NEW;
    END $$"""
_ABORT = "RAISE EXCEPTION '{message}' USING ERRCODE = 'integrity_constraint_violation';"


def _guard(name: str, table: str, condition: str, message: str, *, verbs: str = "INSERT") -> tuple[str, str]:
    """Return the statements that refuse `verbs` on `table` where `condition` holds."""
    statements = f"PERFORM {_LOCK}; IF {condition} THEN {_ABORT.format(message=message)} END IF;"
    return (
        f"CREATE FUNCTION {name}() RETURNS trigger {_BODY.format(statements=statements)}",
        f"CREATE TRIGGER {name} BEFORE {verbs} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()",
    )


def _only_grows(table: str, *, verbs: str = "UPDATE OR DELETE") -> tuple[str, str]:
    """Return the statements that refuse to change or remove rows of `table`."""
    return (
        f"CREATE TRIGGER {table}_refuse BEFORE {verbs} ON {table} FOR EACH ROW EXECUTE FUNCTION only_grows()",
        f"CREATE TRIGGER {table}_refuse_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION only_grows()",
    )


_NUMBER_CHANGES = f"""PERFORM {_LOCK};
        NEW.sequence := 1 + coalesce((SELECT max(sequence) FROM changes), 0);
        PERFORM pg_notify(TG_TABLE_SCHEMA || '.changes', NEW.sequence::text);"""
_REFUSE = "RAISE EXCEPTION '% only grow', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';"

_FORMAT_2 = (
    "CREATE TABLE changes (sequence BIGINT PRIMARY KEY CHECK (sequence >= 1))",
    f"""CREATE TABLE versions (
        name TEXT COLLATE "C" NOT NULL CHECK (name ~ '^[a-z0-9._-]{{1,128}}$'),
        number BIGINT NOT NULL CHECK (number >= 1),
        digest TEXT COLLATE "C" NOT NULL CHECK (digest ~ '^[0-9a-f]{{64}}$'),
        manifest TEXT COLLATE "C" NOT NULL CHECK (length(manifest) > 0),
        created_at DOUBLE PRECISION NOT NULL {_FINITE.format(column="created_at")},
        sequence BIGINT NOT NULL UNIQUE REFERENCES changes (sequence),
        PRIMARY KEY (name, number)
    )""",
    f"""CREATE TABLE alias_moves (
        sequence BIGINT PRIMARY KEY REFERENCES changes (sequence),
        name TEXT COLLATE "C" NOT NULL,
        alias TEXT COLLATE "C" NOT NULL CHECK (alias ~ '^[a-z0-9_-]{{1,64}}$'),
        number BIGINT NOT NULL,
        previous BIGINT NOT NULL CHECK (previous >= 0),
        moved_at DOUBLE PRECISION NOT NULL {_FINITE.format(column="moved_at")},
        reason TEXT COLLATE "C" NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
        FOREIGN KEY (name, number) REFERENCES versions (name, number)
    )""",
    "CREATE INDEX alias_moves_by_alias ON alias_moves (name, alias, sequence)",
    """CREATE TABLE alias_heads (
        name TEXT COLLATE "C" NOT NULL,
        alias TEXT COLLATE "C" NOT NULL,
        number BIGINT NOT NULL,
        PRIMARY KEY (name, alias)
    )""",
    "CREATE INDEX alias_heads_by_version ON alias_heads (name, number)",
    f"""CREATE TABLE retirements (
        sequence BIGINT PRIMARY KEY REFERENCES changes (sequence),
        name TEXT COLLATE "C" NOT NULL,
        number BIGINT NOT NULL,
        retired_at DOUBLE PRECISION NOT NULL {_FINITE.format(column="retired_at")},
        reason TEXT COLLATE "C" NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
        UNIQUE (name, number),
        FOREIGN KEY (name, number) REFERENCES versions (name, number)
    )""",
    # What a search knows of a version. `folded` is the text without case; a number stands in `value` instead.
    f"""CREATE TABLE traits (
        name TEXT COLLATE "C" NOT NULL,
        number BIGINT NOT NULL,
        key TEXT COLLATE "C" NOT NULL CHECK (length(key) BETWEEN 1 AND 68),
        text TEXT COLLATE "C",
        folded TEXT COLLATE "C",
        value DOUBLE PRECISION {_FINITE.format(column="value")},
        PRIMARY KEY (name, number, key),
        CHECK ((text IS NULL) = (folded IS NULL) AND (text IS NULL) <> (value IS NULL)),
        FOREIGN KEY (name, number) REFERENCES versions (name, number)
    )""",
    "CREATE INDEX traits_by_text ON traits (key, folded)",
    "CREATE INDEX traits_by_value ON traits (key, value)",
    f"""CREATE TABLE facts (
        sequence BIGINT PRIMARY KEY REFERENCES changes (sequence),
        kind TEXT COLLATE "C" NOT NULL CHECK (kind ~ '^[a-z0-9_-]{{1,64}}$'),
        key TEXT COLLATE "C" NOT NULL CHECK (length(key) BETWEEN 1 AND 512),
        revision BIGINT NOT NULL CHECK (revision >= 1),
        body TEXT COLLATE "C" CHECK (length(body) <= 1048576),
        at DOUBLE PRECISION NOT NULL {_FINITE.format(column="at")},
        author TEXT COLLATE "C" NOT NULL CHECK (length(author) BETWEEN 1 AND 1000),
        UNIQUE (kind, key, revision)
    )""",
    """CREATE TABLE fact_heads (
        kind TEXT COLLATE "C" NOT NULL,
        key TEXT COLLATE "C" NOT NULL,
        revision BIGINT NOT NULL,
        PRIMARY KEY (kind, key)
    )""",
    f"""CREATE TABLE reports (
        kind TEXT COLLATE "C" NOT NULL CHECK (kind ~ '^[a-z0-9_-]{{1,64}}$'),
        key TEXT COLLATE "C" NOT NULL CHECK (length(key) BETWEEN 1 AND 512),
        body TEXT COLLATE "C" NOT NULL CHECK (length(body) BETWEEN 1 AND 1048576),
        at DOUBLE PRECISION NOT NULL {_FINITE.format(column="at")},
        PRIMARY KEY (kind, key)
    )""",
    f"CREATE FUNCTION changes_are_numbered() RETURNS trigger {_BODY.format(statements=_NUMBER_CHANGES)}",
    "CREATE TRIGGER changes_are_numbered BEFORE INSERT ON changes FOR EACH ROW EXECUTE FUNCTION changes_are_numbered()",
    *_guard(
        "versions_are_numbered",
        "versions",
        "NEW.number <> 1 + coalesce((SELECT max(number) FROM versions WHERE name = NEW.name), 0)",
        "version numbers have no gaps and are never used twice",
    ),
    *_guard(
        "moves_are_linear",
        "alias_moves",
        """NEW.previous <> coalesce(
            (SELECT number FROM alias_moves WHERE name = NEW.name AND alias = NEW.alias ORDER BY sequence DESC LIMIT 1), 0)
        OR NEW.sequence <= coalesce((SELECT max(sequence) FROM alias_moves), 0)""",
        "a move starts where the one before it ended",
    ),
    *_guard(
        "moves_go_to_what_is_there",
        "alias_moves",
        "EXISTS (SELECT 1 FROM retirements WHERE name = NEW.name AND number = NEW.number)",
        "no alias points at a retired version",
    ),
    *_guard(
        "retired_is_what_no_alias_points_at",
        "retirements",
        "EXISTS (SELECT 1 FROM alias_heads WHERE name = NEW.name AND number = NEW.number)",
        "no alias points at a retired version",
    ),
    *_guard(
        "facts_are_linear",
        "facts",
        """NEW.revision <> 1 + coalesce((SELECT max(revision) FROM facts WHERE kind = NEW.kind AND key = NEW.key), 0)
        OR NEW.sequence <= coalesce((SELECT max(sequence) FROM facts), 0)""",
        "revisions have no gaps and are never used twice",
    ),
    *_guard(
        "alias_heads_say",
        "alias_heads",
        """NEW.number IS DISTINCT FROM
            (SELECT number FROM alias_moves WHERE name = NEW.name AND alias = NEW.alias ORDER BY sequence DESC LIMIT 1)""",
        "a head says where the last move went",
        verbs="INSERT OR UPDATE",
    ),
    *_guard(
        "fact_heads_say",
        "fact_heads",
        "NEW.revision IS DISTINCT FROM (SELECT max(revision) FROM facts WHERE kind = NEW.kind AND key = NEW.key)",
        "a head says which revision is the newest",
        verbs="INSERT OR UPDATE",
    ),
    """CREATE FUNCTION moves_move_heads() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    BEGIN
        INSERT INTO alias_heads VALUES (NEW.name, NEW.alias, NEW.number)
            ON CONFLICT (name, alias) DO UPDATE SET number = excluded.number;
        RETURN NULL;
    END $$""",
    "CREATE TRIGGER moves_move_heads AFTER INSERT ON alias_moves FOR EACH ROW EXECUTE FUNCTION moves_move_heads()",
    """CREATE FUNCTION facts_move_heads() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    BEGIN
        INSERT INTO fact_heads VALUES (NEW.kind, NEW.key, NEW.revision)
            ON CONFLICT (kind, key) DO UPDATE SET revision = excluded.revision;
        RETURN NULL;
    END $$""",
    "CREATE TRIGGER facts_move_heads AFTER INSERT ON facts FOR EACH ROW EXECUTE FUNCTION facts_move_heads()",
    f"CREATE FUNCTION only_grows() RETURNS trigger {_BODY.format(statements=_REFUSE)}",
    *(statement for table in ("changes", "versions", "alias_moves", "retirements", "facts") for statement in _only_grows(table)),
    *(statement for table in ("alias_heads", "fact_heads") for statement in _only_grows(table, verbs="DELETE")),
    """CREATE FUNCTION traits_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF OLD.key NOT LIKE 'tag:%' THEN
            RAISE EXCEPTION 'traits only grow' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN coalesce(NEW, OLD);
    END $$""",
    "CREATE TRIGGER traits_refuse BEFORE UPDATE OR DELETE ON traits FOR EACH ROW EXECUTE FUNCTION traits_refuse()",
    "CREATE TRIGGER traits_refuse_truncate BEFORE TRUNCATE ON traits FOR EACH STATEMENT EXECUTE FUNCTION only_grows()",
)

# Who moved an alias; "" for moves from before authors were kept.
_FORMAT_3 = ("""ALTER TABLE alias_moves ADD COLUMN author TEXT COLLATE "C" NOT NULL DEFAULT '' CHECK (length(author) <= 1000)""",)

MIGRATIONS: dict[int, tuple[str, ...]] = {2: _FORMAT_2, 3: _FORMAT_3}


def found_format(transaction: Transaction, schema: str) -> int:
    """Return the number of the format that is there, 0 for none; raises StorageError where it is newer than this code, or not ours."""
    tables = {name for (name,) in transaction.rows("SELECT tablename::text FROM pg_catalog.pg_tables WHERE schemaname = ?", schema)}
    if not tables:
        return 0
    if "registry_format" not in tables:
        raise StorageError(
            f"The schema '{schema}' holds tables of another program.", hint="Add ?schema=<another one> to the registry's URL."
        )
    number = int(transaction.rows("SELECT max(number) FROM registry_format")[0][0])
    newest = max(MIGRATIONS)
    if number > newest:
        raise StorageError(
            f"The registry has format {number}; this Fairlead knows {newest}.",
            hint="A newer Fairlead wrote it: upgrade with pip install -U fairlead.",
        )
    return number


def migration(transaction: Transaction, schema: str) -> str:
    """Return the statements that bring the tables to the newest format; nobody else migrates beside this transaction."""
    transaction.rows("SELECT pg_advisory_xact_lock(1180789106, hashtext(?))", schema)
    if not transaction.rows("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = ?", schema):
        transaction.rows(f'CREATE SCHEMA "{schema}"')
    number = found_format(transaction, schema)
    first = () if number else ("CREATE TABLE registry_format (number BIGINT PRIMARY KEY)",)
    later = sorted(found for found in MIGRATIONS if found > number)
    steps = (statement for found in later for statement in (*MIGRATIONS[found], f"INSERT INTO registry_format VALUES ({found})"))
    return ";\n".join((*first, *steps))
