"""How long a look over many days takes, from rows and from sketches that were kept, and how large these are.

    python benchmarks/monitor/drift_history.py [--days 90] [--features 30] [--rows 200]

A log of one version is written to a temporary folder, a file for each hour with so many rows. The first look reads rows and leaves
sketches, the second reads these, the third does so after retention has removed every row. Prints the table of docs/reference/drift.md.
"""

from __future__ import annotations

import argparse
import math
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from fairlead.app.drift_history import HOUR_S, History
from fairlead.app.drift_windows import Source
from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.manifest import Manifest
from fairlead.core.observation_log import ObservedRows
from fairlead.core.profile import Profile
from fairlead.core.version import Version
from fairlead.monitor.drift.movement import movement
from fairlead.monitor.drift.reference import profile_column
from fairlead.monitor.drift.watch import DriftWatch
from fairlead.monitor.sketch.update import empty, merge
from fairlead.stores.prediction_log import PredictionLog
from fairlead.stores.prediction_log_folder import LogFolder
from fairlead.stores.sketch_archive import SketchArchive

START = 1_788_220_800.0


def fill(log: PredictionLog, days: int, features: int, rows: int) -> None:
    generator = np.random.default_rng(0)
    for hour in range(24 * days):
        facts = {
            "at": START + (hour + np.arange(rows) / rows) * HOUR_S,
            "request_id": np.array([f"{hour}-{row}" for row in range(rows)], object),
            "row": np.zeros(rows, np.int32),
            "status": np.full(rows, "ok", object),
            "share": np.ones(rows, np.float32),
        }
        values = generator.normal(size=(features, rows)).astype("f4")
        log.append(ObservedRows("m", 1, facts | {f"input:f{number}": column for number, column in enumerate(values)}))


def look(history: History, profile: Profile, days: int) -> tuple[int, int]:
    """Do what `fairlead drift` does, and return how many rows in how many windows there were."""
    watch, rows, windows = DriftWatch(profile), 0, 0
    whole = {feature.name: empty(feature) for feature in profile.features}
    for window in history.windows(START, START + days * 24 * HOUR_S, HOUR_S):
        watch.step(window.start, window.end, window.features)
        whole = {name: merge(sketch, window.features[name]) for name, sketch in whole.items()}
        rows, windows = rows + window.rows, windows + 1
    for feature in profile.features:
        movement(feature, whole[feature.name])
    return rows, windows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--features", type=int, default=30)
    parser.add_argument("--rows", type=int, default=200)
    asked = parser.parse_args()
    generator = np.random.default_rng(1)
    features = tuple(profile_column(f"f{number}", generator.normal(size=5000), input_name="x") for number in range(asked.features))
    profile = Profile(features, (), 5000, "rows")
    columns = tuple(feature.name for feature in features)
    interface = Interface((TensorSpec("x", DType.FP32, (None, asked.features), columns),), ())
    with tempfile.TemporaryDirectory() as folder:
        files = LogFolder(Path(folder))
        log = PredictionLog(files)
        fill(log, asked.days, asked.features, asked.rows)
        source = Source(log, Version("m", 1, Manifest(()), START), profile, interface)
        archive = SketchArchive(files)

        def fresh() -> History:
            return History(replace(source, log=PredictionLog(files)), archive, key="", now=START + asked.days * 24 * HOUR_S + HOUR_S)

        print("| look | rows | windows | time | processor time | sketches |")
        print("|---|---|---|---|---|---|")
        told("from rows", lambda: look(fresh(), profile, asked.days), Path(folder))
        told("from sketches", lambda: look(fresh(), profile, asked.days), Path(folder))
        log.prune(before=math.inf, keep_bytes=math.inf)
        told("when the rows are gone", lambda: look(fresh(), profile, asked.days), Path(folder))
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def told(what: str, act: Callable[[], tuple[int, int]], folder: Path) -> None:
    started, processor = time.perf_counter(), time.process_time()
    rows, windows = act()
    took, processor = time.perf_counter() - started, time.process_time() - processor
    size = sum(path.stat().st_size for path in folder.rglob("v*/*.sketches")) / 2**20
    print(f"| {what} | {rows:,} | {windows:,} | {took:.1f} s | {processor:.1f} s | {size:.0f} MiB |", flush=True)


if __name__ == "__main__":
    main()
