"""Run by test_registry_kills.py in a process of its own, which forks: writers to a registry that are killed, and what is left.

    registry_kills.py messages URL         kill a writer before and after each message that it sends to PostgreSQL
    registry_kills.py writers PLACE COUNT  kill writers at random moments, COUNT times

Prints JSON: how many were tried, how many of them had happened wholly, and what was wrong afterwards.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from fairlead.app.wiring import open_records
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.ports import RecordStore
from fairlead.settings import Settings

TRAITS = {"framework": "keras", "accuracy": 0.9}


def opened(place: str) -> RecordStore:
    return open_records(Settings(registry=place) if "://" in place else Settings(home=Path(place)))


def manifest(tag: str) -> Manifest:
    return Manifest((FileEntry("model.onnx", 3, hashlib.sha256(tag.encode()).hexdigest()),))


OPERATIONS: dict[str, Callable[[RecordStore, str], object]] = {
    "register": lambda records, name: records.add_version(name, manifest("new"), 1.0, TRAITS),
    "promote": lambda records, name: records.move_alias(name, "production", 2, expected=1, moved_at=1.0, reason="promote"),
    "delete": lambda records, name: records.retire_version(name, 2, at=1.0, reason="old"),
    "tag": lambda records, name: records.put_fact("tag", f"{name}:1/team", '"ml"', expected=0, at=1.0, author="ann"),
}


def prepared(records: RecordStore, name: str) -> str:
    for tag in "ab":
        records.add_version(name, manifest(tag), 1.0, TRAITS)
    records.move_alias(name, "production", 1, expected=0, moved_at=1.0, reason="deploy")
    return name


def state(records: RecordStore, name: str) -> str:
    """Return everything that is known of one model, but for its name and the places in the order of changes."""
    found = (
        [(version.number, version.digest, records.traits(name, version.number)) for version in records.versions(name)],
        records.aliases(name),
        [(fact.key, fact.revision, fact.body) for fact in records.facts("tag", f"{name}:")],
        [(item.number, item.reason) for item in records.retired(name)],
        [(move.number, move.previous) for move in records.alias_history(name, "production")],
    )
    return repr(found).replace(name, "")


def close(records: RecordStore) -> None:
    getattr(records, "close", lambda: None)()


def killed_at(work: Callable[[], object], position: int, *, is_after: bool) -> bool:
    """Work in a child that is killed before or after its message number `position`; whether it was."""
    child = os.fork()
    if child == 0:
        from fairlead.stores.postgres_connection import PostgresConnection  # of the extra

        send, commit, count = PostgresConnection.__dict__["_guarded"], PostgresConnection.commit, [0]

        def counted(call: Callable[[], object]) -> object:
            count[0] += 1
            if count[0] == position and not is_after:
                os.kill(os.getpid(), signal.SIGKILL)
            answer = call()
            if count[0] == position:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        PostgresConnection._guarded = lambda self, call: counted(lambda: send(self, call))
        PostgresConnection.commit = lambda self: counted(lambda: commit(self))
        work()
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def sweep_messages(url: str) -> dict[str, object]:
    records, happened, problems, turn = opened(url), 0, [], 0
    for operation, run in OPERATIONS.items():
        whole = prepared(records, f"{operation}-whole")
        before = state(records, whole)
        run(records, whole)
        after = state(records, whole)
        for is_after in (False, True):
            position, is_killed = 0, True
            while is_killed:
                position, turn = position + 1, turn + 1
                name = prepared(records, f"{operation}-{turn}")
                is_killed = killed_at(lambda run=run, name=name: run(opened(url), name), position, is_after=is_after)
                records.put_report("sweep", "last", "1", 1.0)  # waits until the server has ended the killed one's change
                left = state(records, name)
                happened += is_killed and left == after
                if left not in (before, after) or (left != after and not is_killed):
                    problems.append(f"{operation}, message {position}: {left}")
    problems += opening_problems(url) + migration_problems(url)
    close(records)
    return {"tried": turn, "happened": happened, "problems": problems}


def opening_problems(url: str) -> list[str]:
    """Kill whoever makes the tables, at each message: whoever comes next can."""
    problems, position, is_killed = [], 0, True
    while is_killed:
        position += 1
        place = f"{url}_new{position}"
        is_killed = killed_at(lambda place=place: opened(place), position, is_after=position % 2 == 0)
        records = opened(place)
        records.add_version("digits", manifest("a"), 1.0)
        if records.names() != ("digits",):
            problems.append(f"opening, message {position}")
        close(records)
    return problems


def migration_problems(url: str) -> list[str]:
    """Kill whoever brings tables of format 2 to the newest format, at each message: whoever comes next can, and nothing is lost."""
    from fairlead.stores import postgres_schema  # of the extra

    problems, position, is_killed, newest = [], 0, True, postgres_schema.MIGRATIONS
    while is_killed:
        position += 1
        place = f"{url}_old{position}"
        postgres_schema.MIGRATIONS = {2: newest[2]}
        records = opened(place)
        records.add_version("digits", manifest("a"), 1.0)
        close(records)
        postgres_schema.MIGRATIONS = newest
        is_killed = killed_at(lambda place=place: opened(place), position, is_after=position % 2 == 0)
        records = opened(place)
        moved = records.move_alias("digits", "production", 1, expected=0, moved_at=1.0, reason="deploy", author="ann")
        if (records.version("digits", 1).digest, moved.author) != (manifest("a").digest, "ann"):
            problems.append(f"migration, message {position}")
        close(records)
    return problems


def write(place: str, name: str, pipe: int) -> None:
    """Add versions and revisions of a fact for ever; say each that was acknowledged."""
    records = opened(place)
    while True:
        held = records.fact("release", name)
        fact = records.put_fact("release", name, "1", expected=held.revision if held else 0, at=1.0, author="ann")
        os.write(pipe, f"F {name} {fact.revision}\n".encode())
        version = records.add_version("digits", manifest(name), 1.0, TRAITS)
        os.write(pipe, f"V {name} {version.number}\n".encode())


def kill_writers(place: str, count: int) -> dict[str, object]:
    close(opened(place))
    reader, pipe = os.pipe()
    children: list[int] = []
    generator, said = random.Random(7), b""
    for _ in range(count):
        while len(children) < 3:
            child = os.fork()
            if child == 0:
                write(place, f"writer-{os.getpid()}", pipe)
            children.append(child)
        said += os.read(reader, 65536)  # something was acknowledged since the last kill
        time.sleep(generator.uniform(0.0, 0.05))
        victim = children.pop(generator.randrange(len(children)))
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    os.close(pipe)
    while part := os.read(reader, 65536):
        said += part
    return examined(place, [line.split() for line in said.decode().splitlines()])


def examined(place: str, said: list[list[str]]) -> dict[str, object]:
    """Compare what was acknowledged with what is there."""
    records = opened(place)
    versions = {version.number: version.digest for version in records.versions("digits")}
    problems = [
        f"{kind} {name} {number} is lost"
        for kind, name, number in said
        if kind == "V" and versions.get(int(number)) != manifest(name).digest
    ]
    for kind, name, number in said:
        history = [fact.revision for fact in records.fact_history("release", name)]
        if kind == "F" and (int(number) not in history or history != list(range(1, len(history) + 1))):
            problems.append(f"revision {number} of {name} is lost")
    if sorted(versions) != list(range(1, len(versions) + 1)):
        problems.append("numbers have gaps")
    if any(dict(records.traits("digits", number)) != TRAITS for number in versions):
        problems.append("a version lacks its traits")
    told = [change.sequence for change in records.changes(0, limit=10**6)]
    if told != list(range(1, records.sequence() + 1)):
        problems.append("the sequence has gaps")
    problems += getattr(records, "check", tuple)()
    close(records)
    return {"tried": len(said), "happened": len(versions), "problems": problems}


if __name__ == "__main__":
    print(json.dumps(sweep_messages(sys.argv[2]) if sys.argv[1] == "messages" else kill_writers(sys.argv[2], int(sys.argv[3]))))
