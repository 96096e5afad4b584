"""Registry of 10,000 versions: how long adding, listing, searching, promoting, following and sweeping take, in each store.

    python benchmarks/registry_size.py [--stores sqlite,postgres] [--versions 10000] [--models 20] [--writers 8] [--writes 500]

Prints medians and 99th percentiles in milliseconds. Then R30: a number of processes write to one name at once, while another asks the
database to check itself; none of the writes may be lost or refused. Times depend on how fast the disk syncs; the folder is printed.
PostgreSQL is started for the purpose, in the system's folder for temporary files.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from fairlead.app.wiring import open_records
from fairlead.core.fact import Traits
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.ports import RecordStore
from fairlead.core.query import Query, parse_query
from fairlead.core.version import parse_reference
from fairlead.register.aliases import promote, rollback
from fairlead.register.collect import sweep
from fairlead.register.resolve import resolve
from fairlead.settings import Settings
from fairlead.stores.folder_blobs import FolderBlobs
from fairlead.stores.sqlite_records import SqliteRecords

NAMES = ("card.md", "golden.npz", "interface.json", "lineage.json", "model.onnx", "plan.json", "report.html", "verdict.json")
FRAMEWORKS = ("keras", "xgboost", "sklearn", "torch")
WRITER = """
import sys, time
sys.path.insert(0, sys.argv[4])
from registry_size import opened
from fairlead.core.manifest import Manifest
records, longest = opened(sys.argv[1]), 0.0
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[3])):
    began_at = time.perf_counter()
    records.add_version(sys.argv[2], Manifest(()), 0.0)
    longest = max(longest, time.perf_counter() - began_at)
print(longest * 1000)
"""
SEARCHES = (
    "framework:xgboost accuracy>0.9",
    "alias:production",
    "framework:xgboost accuracy>0.99 alias:production",
    "name:model-1* tag:team",
    "accuracy>0.5",
)


def opened(place: str) -> RecordStore:
    """Return the registry: a URL's, or that of a home folder."""
    return open_records(Settings(registry=place) if "://" in place else Settings(home=Path(place)))


def manifest(tag: str) -> Manifest:
    return Manifest(tuple(FileEntry(name, 1000, hashlib.sha256(f"{tag} {name}".encode()).hexdigest()) for name in NAMES))


def traits(turn: int) -> Traits:
    """Return what a deployment records for the search."""
    return {
        "publisher": f"user-{turn % 7}",
        "framework": FRAMEWORKS[turn % 4],
        "source": "model.h5",
        "engine": "onnxruntime",
        "form": "onnx",
        "size_bytes": 1000.0 * turn,
        "parameter_count": float(turn),
        "accuracy": (turn * 7919 % 10_000) / 10_000,
        "p50_ms": 0.1,
        "p99_ms": 0.5 + turn % 10,
    }


def timed(calls: int, call: Callable[[int], object]) -> tuple[float, float]:
    """Return median and 99th percentile of one call in milliseconds."""
    times = []
    for turn in range(calls):
        began_at = time.perf_counter()
        call(turn)
        times.append((time.perf_counter() - began_at) * 1000)
    return statistics.median(times), sorted(times)[int(len(times) * 0.99)]


def contend(place: str, writers: int, count: int) -> tuple[float, float]:
    """Return writes per second of `writers` processes on one name, and the longest that one write took in milliseconds."""
    command = [sys.executable, "-c", WRITER, place, "shared", str(count), str(Path(__file__).parent)]
    running = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(writers)]
    for writer in running:
        if writer.stdout is not None:
            writer.stdout.readline()
    began_at = time.perf_counter()
    for writer in running:
        if writer.stdin is not None:
            writer.stdin.write("\n")
            writer.stdin.flush()
    while any(writer.poll() is None for writer in running):
        check(opened(place))
        time.sleep(0.5)
    longest = max(float(writer.communicate()[0]) for writer in running)
    took_s = time.perf_counter() - began_at
    records = opened(place)
    check(records)
    numbers = [version.number for version in records.versions("shared")]
    if numbers != list(range(1, writers * count + 1)):
        raise SystemExit("writes were lost")
    return writers * count / took_s, longest


def check(records: RecordStore) -> None:
    """Let SQLite examine itself."""
    if isinstance(records, SqliteRecords) and (found := records.check()):
        raise SystemExit(f"the registry is damaged: {found}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stores", default="sqlite,postgres", help="which, with commas between")
    parser.add_argument("--versions", type=int, default=10_000)
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--writes", type=int, default=500)
    parser.add_argument("--folder", type=Path, help="where the registry is built; the default is the system's folder for temporary files")
    chosen = parser.parse_args()
    for store in chosen.stores.split(","):
        with ExitStack() as stack:
            folder = Path(tempfile.mkdtemp(prefix="registry-size-", dir=chosen.folder))
            stack.callback(shutil.rmtree, folder)
            places = [str(folder / "many"), str(folder / "contended")]
            if store == "postgres":
                server = stack.enter_context(running_postgres())
                places = [server.url("many"), server.url("contended")]
            print(f"\n{store}: {chosen.versions:,} versions of {chosen.models} models, 8 files and 10 traits each")
            measure(places[0], folder, chosen.versions, chosen.models)
            rate, longest = contend(places[1], chosen.writers, chosen.writes)
            print(f"{chosen.writers} processes, {chosen.writes} writes each on one name:")
            print(f"  {rate:,.0f} per s, longest {longest:,.0f} ms, none lost, none refused")


def search(records: RecordStore, query: Query, _turn: int) -> object:
    return records.find(query, limit=100)


def running_postgres():  # type: ignore[no-untyped-def] - of the tests
    """Return a context with a PostgreSQL of its own."""
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    from postgres_server import find_binaries, postgres_server

    binaries = find_binaries()
    if binaries is None:
        raise SystemExit("PostgreSQL is not installed.")
    return postgres_server(binaries)


def measure(place: str, folder: Path, versions: int, models: int) -> None:
    records, blobs = opened(place), FolderBlobs(folder / "blobs")
    for turn in range(50):
        blobs.put(io.BytesIO(str(turn).encode()))
    per_model = versions // models
    rows = {
        "add a version": timed(versions, lambda turn: records.add_version(f"model-{turn % models}", manifest(str(turn)), 0.0, traits(turn)))
    }
    tools = {"records": records, "clock": time.time}

    def tag(turn: int) -> object:
        return records.put_fact("tag", f"model-1:{1 + turn}/team", '"ml"', expected=0, at=0.0, author="ann")

    rows |= {
        "promote": timed(100, lambda turn: promote(f"model-{turn % models}", 1 + turn % per_model, **tools)),
        "roll back": timed(40, lambda turn: rollback(f"model-{turn % models}", **tools)),
        "tag a version": timed(100, tag),
        "resolve name": timed(200, lambda turn: resolve(parse_reference(f"model-{turn % models}"), records=records)),
        "resolve name:number": timed(200, lambda turn: resolve(parse_reference(f"model-1:{1 + turn % per_model}"), records=records)),
        "list the models, with counts and aliases": timed(50, lambda _: records.summaries()),
        f"list the {per_model} versions of one name": timed(20, lambda _: records.versions("model-1")),
        "look for changes (sequence)": timed(200, lambda _: records.sequence()),
        "read 1,000 changes": timed(20, lambda turn: records.changes(turn * 400)),
        "heartbeat (put a report)": timed(100, lambda turn: records.put_report("server", f"server-{turn % 10}", '{"beat": 1}', 0.0)),
        "open the registry": timed(50, lambda _: opened(place)),
    }
    for text in SEARCHES:
        query = parse_query(text)
        found = records.find(query, limit=100)
        rows[f"search {text} (first {len(found)})"] = timed(20, partial(search, records, query))
    rows["sweep (reads every version)"] = timed(3, lambda _: sweep(records=records, blobs=blobs))
    print(f"{'':66}{'median ms':>12}{'p99 ms':>12}")
    for what, (median, worst) in rows.items():
        print(f"{what:66}{median:>12.2f}{worst:>12.2f}")


if __name__ == "__main__":
    main()
