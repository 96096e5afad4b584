"""The first ten minutes in numbers: how long help, reading, and the way from a .h5 file to a registered version take.

    python benchmarks/first_minutes.py FOLDER      (FOLDER holds model.h5 and digits.npz, as `make demo` leaves them in .demo)

Prints a table: what, median seconds, the line that it has to keep. Runs everything in an empty home; starts nothing that stays.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 5
FAIRLEAD = [sys.executable, "-m", "fairlead"]
READER = """
import json, sys, time
from pathlib import Path
from fairlead.ingest.keras_reader import read_in_sandbox
import tempfile
with tempfile.TemporaryDirectory() as scratch:
    started = time.perf_counter()
    read_in_sandbox({"path": sys.argv[1], "format": "keras-h5", "scratch": scratch})
    print(json.dumps(time.perf_counter() - started))
"""


def seconds(command: list[str], environment: dict[str, str]) -> float:
    """Return the wall time of a command; exit where it fails."""
    started = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    folder = Path(sys.argv[1])
    model, data = str(folder / "model.h5"), str(folder / "digits.npz")
    rows: list[tuple[str, float, str]] = []
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {"FAIRLEAD_HOME": home}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        deploy = [*FAIRLEAD, "deploy", model, "--name", "digits", "--data", data, "--require", "accuracy>=0.9", "--require", "p99_ms<=50"]
        read = [sys.executable, "-c", READER, model]
        seconds([*FAIRLEAD, "--help"], environment)
        rows.append(("fairlead --help", statistics.median(seconds([*FAIRLEAD, "--help"], environment) for _ in range(ROUNDS)), "< 0.3 s"))
        times = [json.loads(subprocess.run(read, env=environment, capture_output=True, check=True).stdout) for _ in range(ROUNDS)]
        rows.append(("reader alone, .h5 of the digit network", statistics.median(times), "< 0.2 s"))
        rows.append((".h5 to registered, verified version", statistics.median(seconds(deploy, environment) for _ in range(3)), "< 5 s"))
    print("| what | median | line |\n|---|---|---|")
    for what, measured, line in rows:
        print(f"| {what} | {measured:.2f} s | {line} |")


if __name__ == "__main__":
    main()
