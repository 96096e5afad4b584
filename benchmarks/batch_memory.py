"""What `fairlead batch` takes: peak memory for 1x and 20x the rows, and rows per second against a loop written by hand.

    python benchmarks/batch_memory.py [--rows 200000] [--factor 20]

The loop by hand reads the same .parquet with pyarrow in batches, runs the same model with ONNX Runtime, and writes a .parquet: no names
checked, no part that outlives a kill, no wrong row found. Each run is a process of its own; memory is its high-water mark (VmHWM).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
from onnx import TensorProto, helper, numpy_helper

import fairlead

FEATURES, HIDDEN, CLASSES = 20, 64, 3
FORMATS = (".parquet", ".csv")
BY_HAND = """
import sys
import numpy as np, onnxruntime, pyarrow as pa, pyarrow.parquet as pq
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[4])
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
names = [f"c{number}" for number in range(20)]
writer = None
for batch in pq.ParquetFile(sys.argv[2]).iter_batches(8192):
    rows = np.stack([batch.column(name).to_numpy() for name in names], axis=1)
    (scores,) = session.run(None, {"x": rows})
    out = pa.table({"id": batch.column("id"), "prediction": scores.argmax(1), **{f"score_{k}": scores[:, k] for k in range(3)}})
    writer = writer or pq.ParquetWriter(sys.argv[3], out.schema, compression="zstd")
    writer.write_table(out)
writer.close()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--factor", type=int, default=20)
    parser.add_argument("--formats", default=",".join(FORMATS))
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), said.rows, said.factor, said.formats.split(","))


def measure(folder: Path, rows: int, factor: int, formats: list[str]) -> None:
    model = write_model(folder / "net.onnx")
    os.environ |= {"FAIRLEAD_HOME": str(folder / "home"), "FAIRLEAD_ENGINES": "onnxruntime"}
    fairlead.deploy(model, name="net", data=(np.random.default_rng(0).normal(size=(64, FEATURES)).astype(np.float32), None))
    print("| run | rows | seconds | rows/s | peak memory, MB |")
    print("|---|---:|---:|---:|---:|")
    peaks: dict[str, list[float]] = {}
    for count in (rows, rows * factor):
        write_rows(folder / "rows.parquet", count)
        for suffix in formats:
            if suffix == ".csv":
                to_csv(folder / "rows.parquet", folder / "rows.csv")
            for workers in (1, os.cpu_count() or 1):
                name = f"fairlead batch, {suffix} to {suffix}, {workers} thread{'s' if workers > 1 else ''}"
                command = [
                    "-m",
                    "fairlead",
                    "batch",
                    "net",
                    "--input",
                    str(folder / f"rows{suffix}"),
                    "--output",
                    str(folder / f"out{suffix}"),
                ]
                peak = show(name, count, [*command, "--keep", "id", "--overwrite", "--workers", str(workers)])
                peaks.setdefault(name, []).append(peak)
            (folder / f"out{suffix}").unlink()
        (folder / "rows.csv").unlink(missing_ok=True)
        for threads in (1, os.cpu_count() or 1):
            arguments = [str(model), str(folder / "rows.parquet"), str(folder / "hand.parquet"), str(threads)]
            show(f"by hand, .parquet, {threads} thread{'s' if threads > 1 else ''}", count, ["-c", BY_HAND, *arguments])
    print()
    for name, (once, often) in peaks.items():
        print(f"{name}: {factor}x the rows take {often / once:.2f}x the memory")


def show(name: str, rows: int, arguments: list[str]) -> float:
    """Run Python with `arguments`, print a line of the table, return the peak memory in MB."""
    began = time.perf_counter()
    running = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0.0
    while running.poll() is None:
        peak = max(peak, high_water(running.pid))
        time.sleep(0.01)
    seconds = time.perf_counter() - began
    if running.returncode:
        raise SystemExit(f"{name} ended with status {running.returncode}")
    print(f"| {name} | {rows:,} | {seconds:.1f} | {rows / seconds:,.0f} | {peak:.0f} |", flush=True)
    return peak


def high_water(pid: int) -> float:
    """The process's most resident memory so far, in MB. Not what wait4 says: Linux counts the parent's into that."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:")), 0.0)


def write_model(path: Path) -> Path:
    random = np.random.default_rng(1)
    constants = {
        "a": random.normal(size=(FEATURES, HIDDEN)).astype(np.float32),
        "b": random.normal(size=(HIDDEN, CLASSES)).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "b"], ["s"]),
        helper.make_node("Softmax", ["s"], ["scores"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in (("x", FEATURES), ("scores", CLASSES))]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], [numpy_helper.from_array(value, name) for name, value in constants.items()])
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())
    return path


def write_rows(path: Path, count: int) -> None:
    random = np.random.default_rng(2)
    writer = None
    for start in range(0, count, 100_000):
        size = min(100_000, count - start)
        columns = {f"c{number}": random.normal(size=size).astype(np.float32) for number in range(FEATURES)}
        table = pa.table({"id": pa.array(np.arange(start, start + size)), **columns})
        writer = writer or pa_parquet.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def to_csv(source: Path, target: Path) -> None:
    import pyarrow.csv as pa_csv

    file = pa_parquet.ParquetFile(source)
    with pa_csv.CSVWriter(target, file.schema_arrow) as writer:
        for batch in file.iter_batches(100_000):
            writer.write_batch(batch)


if __name__ == "__main__":
    main()
