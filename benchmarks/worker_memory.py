"""What workers of a 100 MB model take together, by the way in which they share it: PSS of all processes after each has answered.

Prints a table and a line that says whether four workers take at most 1.5 times one. Run it with: python benchmarks/worker_memory.py
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx

from fairlead.core.recipe import EngineRecipe
from fairlead.serve.workers.fleet import WorkerJob
from fairlead.serve.workers.policy import WorkerPolicy
from fairlead.serve.workers.worker_executor import start_workers
from worker_models import LARGE, WIDTH, large

LIMIT = 1.5
ROWS = np.random.default_rng(0).normal(size=(4, WIDTH)).astype(np.float32)
# Another way to share: the weights in a file of their own, which each process maps. With packing they are copied into a layout of the
# processor's; without, calls take longer.
MAPPING = """
import sys, numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
options.add_session_config_entry("session.disable_prepacking", sys.argv[2])
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
rows = numpy.random.default_rng(0).normal(size=(4, 1600)).astype(numpy.float32)
import time
times = []
for _ in range(20):
    began = time.perf_counter()
    session.run(None, {"x": rows})
    times.append(time.perf_counter() - began)
print(min(times) * 1e3, flush=True)
sys.stdin.read()
"""


def share_bytes(pid: int) -> int:
    """Return a process's proportional share of memory (PSS, proc(5))."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


async def workers(path: Path, count: int, *, is_shared: bool) -> tuple[float, float]:
    """Return MB of all processes of the version, and the milliseconds that a call took at best."""
    recipe = EngineRecipe("onnxruntime", path, LARGE, is_fork_safe=is_shared)
    executor = await start_workers(WorkerJob(recipe, policy=WorkerPolicy(count=count)))
    try:
        for _ in range(25):
            await asyncio.gather(*(executor.run({"x": ROWS}, ()) for _ in range(2 * count)))
        times = []
        for _ in range(20):
            began = time.perf_counter()
            await executor.run({"x": ROWS}, ())
            times.append(time.perf_counter() - began)
        return sum(map(share_bytes, executor.pids)) / 1e6, min(times) * 1e3
    finally:
        executor.close()


def mapping(path: Path, count: int, *, is_packed: bool) -> tuple[float, float]:
    """Return the same for processes that map the weights."""
    argv = [sys.executable, "-c", MAPPING, str(path), "0" if is_packed else "1"]
    environment = {"ORT_DISABLE_TELEMETRY": "1", "OPENBLAS_NUM_THREADS": "1"}
    processes = [subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) for _ in range(count)]
    try:
        times = [float(process.stdout.readline()) for process in processes if process.stdout is not None]
        return sum(share_bytes(process.pid) for process in processes) / 1e6, min(times)
    finally:
        for process in processes:
            process.communicate()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=4)
    count = parser.parse_args().workers
    with tempfile.TemporaryDirectory() as folder:
        path = large(Path(folder) / "large.onnx")
        outside = Path(folder) / "outside.onnx"
        onnx.save(onnx.load(path), outside, save_as_external_data=True, location="outside.data")
        rows = {
            "copies of one process (Fairlead)": [asyncio.run(workers(path, n, is_shared=True)) for n in (1, count)],
            "each opens the file": [asyncio.run(workers(path, n, is_shared=False)) for n in (1, count)],
            "each maps the weights, packed": [mapping(outside, n, is_packed=True) for n in (1, count)],
            "each maps the weights, not packed": [mapping(outside, n, is_packed=False) for n in (1, count)],
        }
    print(f"| how workers share a {WIDTH * WIDTH * 40 / 1e6:.0f} MB model | 1 worker, MB | {count} workers, MB | ratio | one call, ms |")
    print("|---|---|---|---|---|")
    for name, ((one, call_ms), (many, _)) in rows.items():
        print(f"| {name} | {one:.0f} | {many:.0f} | {many / one:.2f} | {call_ms:.1f} |")
    (one, _), (many, _) = rows["copies of one process (Fairlead)"]
    print(f"\n{count} workers take {many / one:.2f} times one; the line is {LIMIT}: {'kept' if many <= LIMIT * one else 'MISSED'}.")
    sys.exit(many > LIMIT * one)


if __name__ == "__main__":
    main()
