"""Registry of 10,000 versions: how long adding, listing, resolving, promoting, following and sweeping take.

    python benchmarks/registry_size.py [--versions 10000] [--models 20] [--writers 8]

Prints medians and 99th percentiles in milliseconds, then how many writes per second a number of processes get done together, and that
none of them is lost. Times depend on how fast the disk syncs; the folder is printed.
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
from pathlib import Path

from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.version import parse_reference
from fairlead.register.aliases import promote, rollback
from fairlead.register.collect import sweep
from fairlead.register.resolve import resolve
from fairlead.stores.folder_blobs import FolderBlobs
from fairlead.stores.sqlite_records import SqliteRecords

NAMES = ("card.md", "golden.npz", "interface.json", "lineage.json", "model.onnx", "plan.json", "report.html", "verdict.json")
WRITER = """
import sys, time
from pathlib import Path
from fairlead.core.manifest import Manifest
from fairlead.stores.sqlite_records import SqliteRecords
records, longest = SqliteRecords(Path(sys.argv[1])), 0.0
sys.stdin.readline()
for _ in range(int(sys.argv[3])):
    began_at = time.perf_counter()
    records.add_version(sys.argv[2], Manifest(()), 0.0)
    longest = max(longest, time.perf_counter() - began_at)
print(longest * 1000)
"""


def manifest(tag: str) -> Manifest:
    return Manifest(tuple(FileEntry(name, 1000, hashlib.sha256(f"{tag} {name}".encode()).hexdigest()) for name in NAMES))


def timed(calls: int, call: Callable[[int], object]) -> tuple[float, float]:
    """Return median and 99th percentile of one call in milliseconds."""
    times = []
    for turn in range(calls):
        began_at = time.perf_counter()
        call(turn)
        times.append((time.perf_counter() - began_at) * 1000)
    return statistics.median(times), sorted(times)[int(len(times) * 0.99)]


def contend(folder: Path, writers: int, count: int) -> tuple[float, float]:
    """Return writes per second of `writers` processes on one name, and the longest that one write took in milliseconds."""
    path = folder / "contended.sqlite"
    command = [sys.executable, "-c", WRITER, str(path), "shared", str(count)]
    running = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(writers)]
    time.sleep(2)  # until all have started
    began_at = time.perf_counter()
    for writer in running:
        if writer.stdin is not None:
            writer.stdin.write("\n")
            writer.stdin.flush()
    longest = max(float(writer.communicate()[0]) for writer in running)
    took_s = time.perf_counter() - began_at
    numbers = [version.number for version in SqliteRecords(path).versions("shared")]
    if numbers != list(range(1, writers * count + 1)):
        raise SystemExit("writes were lost")
    return writers * count / took_s, longest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", type=int, default=10_000)
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--folder", type=Path, help="where the registry is built; the default is the system's folder for temporary files")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="registry-size-", dir=chosen.folder))
    try:
        measure(folder, chosen.versions, chosen.models)
        rate, longest = contend(folder, chosen.writers, 100)
        print(f"{chosen.writers} processes, 100 writes each on one name: {rate:,.0f} per s, longest {longest:,.0f} ms, none lost")
    finally:
        shutil.rmtree(folder)


def measure(folder: Path, versions: int, models: int) -> None:
    records, blobs = SqliteRecords(folder / "registry.sqlite"), FolderBlobs(folder / "blobs")
    for turn in range(50):
        blobs.put(io.BytesIO(str(turn).encode()))
    per_model = versions // models
    rows = {"add a version": timed(versions, lambda turn: records.add_version(f"model-{turn % models}", manifest(str(turn)), 0.0))}
    tools = {"records": records, "clock": time.time}
    rows |= {
        "promote": timed(100, lambda turn: promote(f"model-{turn % models}", 1 + turn % per_model, **tools)),
        "roll back": timed(40, lambda turn: rollback(f"model-{turn % models}", **tools)),
        "resolve name": timed(200, lambda turn: resolve(parse_reference(f"model-{turn % models}"), records=records)),
        "resolve name:number": timed(200, lambda turn: resolve(parse_reference(f"model-1:{1 + turn % per_model}"), records=records)),
        "list names": timed(50, lambda _: records.names()),
        f"list the {per_model} versions of one name": timed(20, lambda _: records.versions("model-1")),
        "look for changes (sequence)": timed(200, lambda _: records.sequence()),
        "open the registry": timed(50, lambda _: SqliteRecords(folder / "registry.sqlite")),
        "sweep (reads every version)": timed(3, lambda _: sweep(records=records, blobs=blobs)),
    }
    size_mb = (folder / "registry.sqlite").stat().st_size / 1e6
    print(f"{versions:,} versions of {models} models, 8 files each, in {folder}: {size_mb:.1f} MB")
    print(f"{'':40}{'median ms':>12}{'p99 ms':>12}")
    for what, (median, worst) in rows.items():
        print(f"{what:40}{median:>12.2f}{worst:>12.2f}")


if __name__ == "__main__":
    main()
