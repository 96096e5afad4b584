"""How long drift takes over many rows, and in how much memory. Prints the table of docs/reference/drift.md.

    python benchmarks/monitor/drift_speed.py [--rows 10000000] [--features 30] [--threads 2]

Rows lie in a Parquet file of a million, which is read ten times: a fifth of the features are categories, the others numbers with missing
values. Reading, counting, sketches, the evidence of ten windows and every measure at the end are timed; making the file is not.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fairlead.core.profile import Profile
from fairlead.monitor.drift.movement import movement
from fairlead.monitor.drift.reference import profile_column
from fairlead.monitor.drift.watch import DriftWatch
from fairlead.monitor.sketch.update import empty, merge, update

FILE_ROWS = 1_000_000
BLOCK_ROWS = 2**16


def write(path: Path, features: int, rows: int) -> None:
    generator = np.random.default_rng(0)
    names = np.array([f"category {number}" for number in range(40)])
    writer = None
    for _ in range(rows // 100_000):
        columns = {}
        for number in range(features):
            if number % 5 == 4:
                columns[f"f{number}"] = pa.array(names[generator.geometric(0.1, 100_000).clip(1, 40) - 1])
            else:
                values = generator.normal(size=100_000).astype("f4")
                values[generator.random(100_000) < 0.01] = np.nan
                columns[f"f{number}"] = pa.array(values)
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--features", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        write(path, asked.features, min(FILE_ROWS, asked.rows))
        measure(path, asked)


def measure(path: Path, asked: argparse.Namespace) -> None:
    first = next(pq.ParquetFile(path).iter_batches(10_000))
    features = tuple(profile_column(name, column(first, name), input_name="x") for name in first.schema.names)
    watch = DriftWatch(Profile(features, (), 10_000, "rows"))
    whole = {feature.name: empty(feature) for feature in features}
    started, processor = time.perf_counter(), time.process_time()
    reading = 0.0
    rows = 0
    with ThreadPoolExecutor(asked.threads) as pool:
        for window in range(max(asked.rows // FILE_ROWS, 1)):
            sketches = {feature.name: empty(feature) for feature in features}
            batches = pq.ParquetFile(path).iter_batches(BLOCK_ROWS, use_threads=asked.threads > 1)
            while True:
                before = time.perf_counter()
                batch = next(batches, None)
                reading += time.perf_counter() - before
                if batch is None:
                    break
                futures = {
                    feature.name: pool.submit(update, sketches[feature.name], feature, column(batch, feature.name)) for feature in features
                }
                sketches = {name: future.result() for name, future in futures.items()}
                rows += batch.num_rows
            watch.step(window * 3600.0, window * 3600.0 + 3600, sketches)
            whole = {name: merge(sketch, sketches[name]) for name, sketch in whole.items()}
    moved = [movement(feature, whole[feature.name]) for feature in features]
    took = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("| rows | features | threads | time | of it reading | processor time | peak memory | largest movement |")
    print("|---|---|---|---|---|---|---|---|")
    print(
        f"| {rows:,} | {asked.features} | {asked.threads} | {took:.1f} s | {reading:.1f} s | {time.process_time() - processor:.1f} s "
        f"| {peak:.0f} MiB | {max(item.moved for item in moved):.3f} |"
    )


def column(batch: pa.RecordBatch, name: str) -> np.ndarray:
    return batch.column(name).to_numpy(zero_copy_only=False)


if __name__ == "__main__":
    main()
