"""What benchmarks/kill_sweep.py does to a registry: the operations, the registry that each starts from, and its state."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.target import Machine
from fairlead.core.verdict import Check, Parity, Verdict
from fairlead.register.aliases import promote, rollback
from fairlead.register.collect import sweep
from fairlead.register.stage import Registration, register
from fairlead.stores import sqlite_schema
from fairlead.stores.folder_blobs import FolderBlobs
from fairlead.stores.sqlite_records import SqliteRecords

State: TypeAlias = tuple[object, ...]


@dataclass(frozen=True)
class Home:
    """A registry in a folder, opened anew by every use."""

    folder: Path

    @property
    def records(self) -> SqliteRecords:
        """The records, as a new process would open them."""
        return SqliteRecords(self.folder / "registry.sqlite")

    @property
    def blobs(self) -> FolderBlobs:
        """The blobs, as a new process would open them."""
        return FolderBlobs(self.folder / "blobs")

    def state(self) -> State:
        """Everything that is recorded, but for times."""
        records = self.records
        versions = tuple((version.label, version.digest) for name in records.names() for version in records.versions(name))
        moves = tuple((move.number, move.previous, move.reason) for move in records.alias_history("digits", "production"))
        facts = tuple((fact.key, fact.revision, fact.body) for kind in ("tag", "release") for fact in records.facts(kind))
        gone = tuple((item.number, item.reason) for item in records.retired("digits"))
        known = tuple(dict(records.traits(label.partition(":")[0], int(label.partition(":")[2])).items()).items() for label, _ in versions)
        return versions, moves, facts, gone, tuple(map(tuple, known)), tuple(change.subject for change in records.changes(0))


Operation: TypeAlias = Callable[[Home], None]


def files_in(folder: Path, tag: str) -> dict[str, Path]:
    contents = {"model.onnx": f"weights {tag}".encode() * 1000, "verdict.json": b"{}", "card.md": f"# {tag}".encode()}
    if not folder.exists():
        folder.mkdir(parents=True)
        for name, data in contents.items():
            (folder / name).write_bytes(data)
    return {name: folder / name for name in contents}


def registration(folder: Path, tag: str) -> Registration:
    files = files_in(folder / tag, tag)
    digest = hashlib.sha256(files["model.onnx"].read_bytes()).hexdigest()
    verdict = Verdict(
        candidate="as it is",
        engine="none",
        reference="none",
        checks=(Check("parity", is_met=True, measured=0.0, bound="<=1e-5"),),
        parity=Parity(1, 0, (), 0, {}, is_deterministic=True, tolerance=1e-5),
        quality=(),
        speed=(),
        size_bytes=1,
        memory_peak_bytes=1,
        original_size_bytes=1,
        model_digest=digest,
        data_digest="",
        data_description="none",
        row_count=1,
        seed=0,
        machine=Machine("none", "none", 1, 1),
    )
    return Registration("digits", files, verdict)


def do_register(home: Home) -> None:
    register(registration(home.folder / "work", "new"), records=home.records, blobs=home.blobs, clock=time.time)


def do_register_wrongly(home: Home) -> None:
    """The planted fault: a version is recorded before its bytes are stored."""
    files = registration(home.folder / "work", "new").files
    entries = [FileEntry(name, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()) for name, path in files.items()]
    home.records.add_version("digits", Manifest(tuple(sorted(entries, key=lambda entry: entry.name))), time.time())
    for path in files.values():
        with path.open("rb") as source:
            home.blobs.put(source)


def do_promote(home: Home) -> None:
    promote("digits", 1, records=home.records, clock=time.time)


def do_rollback(home: Home) -> None:
    rollback("digits", records=home.records, clock=time.time)


def do_sweep(home: Home) -> None:
    sweep(records=home.records, blobs=home.blobs, grace_s=-1.0)


def do_delete(home: Home) -> None:
    """Take a version away, as `fairlead gc` does; done again, it finds that it is gone."""
    if any(version.number == 1 for version in home.records.versions("digits")):
        home.records.retire_version("digits", 1, at=time.time(), reason="old")


def do_collect(home: Home) -> None:
    do_delete(home)
    do_sweep(home)


def do_tag(home: Home) -> None:
    """Write a fact that the search is told of in the same transaction."""
    held = home.records.fact("tag", "digits:1/team")
    if held is None:
        home.records.put_fact("tag", "digits:1/team", json.dumps("ml"), expected=0, at=time.time(), author="ann")


def do_migrate(home: Home) -> None:
    """Open a registry of an older format, which brings it to the newest format."""
    home.records.names()


def to_format(number: int, home: Home) -> None:
    """Write the registry anew as an older Fairlead would have left it."""
    newest, path = home.folder / "newest.sqlite", home.folder / "registry.sqlite"
    path.rename(newest)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in (statement for statements in sqlite_schema.MIGRATIONS[:number] for statement in statements):
            connection.execute(statement)
        connection.execute("ATTACH ? AS newest", (str(newest),))
        for table in ("changes", "versions", "alias_moves"):
            columns = ", ".join(row[1] for row in connection.execute(f"PRAGMA main.table_info({table})"))
            connection.execute(f"INSERT INTO main.{table} SELECT {columns} FROM newest.{table}")  # noqa: S608 - of the names above
        connection.execute(f"PRAGMA application_id = {sqlite_schema.APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {number}")
    newest.unlink()


OPERATIONS: dict[str, Operation] = {
    "register": do_register,
    "register into a new registry": do_register,
    "promote": do_promote,
    "rollback": do_rollback,
    "sweep": do_sweep,
    "delete a version": do_delete,
    "gc (delete and sweep)": do_collect,
    "tag": do_tag,
    "migrate from format 1": do_migrate,
    "migrate from format 2": do_migrate,
}
PLANTED = "planted fault: record before blobs"


def prepare(operation: str, folder: Path) -> Home:
    """Make the registry that the operation starts from: three versions, two promotions, one stray blob; or none at all."""
    home = Home(folder)
    registration(folder / "work", "new")  # its files lie ready, so that the operation alone changes the disk
    if operation == "register into a new registry":
        return home
    for tag in ("a", "b", "c"):
        version = register(registration(folder / "work", tag), records=home.records, blobs=home.blobs, clock=time.time)
        if tag != "a":
            promote("digits", version.number, records=home.records, clock=time.time)
    stray = folder / "work" / "stray"
    stray.write_bytes(b"stray")
    with stray.open("rb") as source:
        home.blobs.put(source)
    (folder / "blobs" / "incoming" / "killed.part").write_bytes(b"half")
    if operation.startswith("migrate"):
        to_format(int(operation.rsplit(maxsplit=1)[1]), home)
    return home
