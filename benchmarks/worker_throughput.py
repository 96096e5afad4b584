"""Rows per second of a model that computes for ten milliseconds, on all cores: in this process as well as it can, and in workers.

Everything goes through a Scheduler with a closed loop of callers, batching off and on; the bare runtime, without any of ours, is the
limit. Prints a table and whether workers reach 0.9 of the best figure in process. Run it on an idle machine:
python benchmarks/worker_throughput.py
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import uvloop

from fairlead.core.golden import Golden
from fairlead.core.recipe import EngineRecipe
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine, open_session
from fairlead.serve.batching import BatchPolicy
from fairlead.serve.engine_executor import EngineExecutor
from fairlead.serve.executor import Executor
from fairlead.serve.scheduler import Scheduler
from fairlead.serve.workers.fleet import WorkerJob
from fairlead.serve.workers.policy import WorkerPolicy
from fairlead.serve.workers.worker_executor import start_workers
from worker_models import MOBILE, SIDE, mobile

LINE = 0.9
ROW = np.random.default_rng(0).normal(size=(1, 3, SIDE, SIDE)).astype(np.float32)
Opener = Callable[[Path], Awaitable[Executor]]


def raw(path: Path, cores: int, seconds: float, *, threads_of_session: int) -> float:
    """Return calls per second of the bare runtime: sessions of so many threads, as many as fill the cores."""
    callers = cores // threads_of_session
    session = open_session(path, thread_count=threads_of_session, optimization="all")
    counts, until = [0] * callers, time.perf_counter() + seconds

    def call(index: int) -> None:
        while time.perf_counter() < until:
            session.run(None, {"x": ROW})
            counts[index] += 1

    threads = [threading.Thread(target=call, args=(index,)) for index in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


async def measure(path: Path, opener: Opener, seconds: float, *, max_rows: int, callers: int) -> float:
    """Return rows per second of a closed loop of `callers`."""
    executor = await opener(path)
    scheduler = Scheduler(executor, BatchPolicy(max_rows=max_rows, is_enabled=max_rows > 1), lambda *_: None)
    count = 0
    until = time.perf_counter() + seconds

    async def call() -> None:
        nonlocal count
        while time.perf_counter() < until:
            await scheduler.submit({"x": ROW}, (), 1)
            count += 1

    try:
        await scheduler.submit({"x": ROW}, (), 1)
        await asyncio.gather(*(call() for _ in range(callers)))
        return count / seconds
    finally:
        scheduler.close()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))

    async def threads(path: Path) -> Executor:
        return EngineExecutor(OnnxRuntimeEngine(path, MOBILE), cores)

    async def wide(path: Path) -> Executor:
        return EngineExecutor(OnnxRuntimeEngine(path, MOBILE, thread_count=cores), 1)

    async def workers(path: Path) -> Executor:
        answer = OnnxRuntimeEngine(path, MOBILE).run({"x": ROW})
        recipe = EngineRecipe("onnxruntime", path, MOBILE, is_fork_safe=True)
        return await start_workers(WorkerJob(recipe, Golden({"x": ROW}, answer), policy=WorkerPolicy(count=cores)))

    figures: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = mobile(Path(folder) / "mobile.onnx")
        for _ in range(arguments.rounds):  # in turns: what the machine does besides is shared
            for width in (1, cores):
                figures.setdefault(f"the bare runtime, {cores // width} x {width} threads", []).append(
                    raw(path, cores, arguments.seconds, threads_of_session=width)
                )
            for name, opener in (("in threads", threads), ("one wide session", wide), (f"{cores} workers", workers)):
                for max_rows in (1, 8):
                    rate = uvloop.run(measure(path, opener, arguments.seconds, max_rows=max_rows, callers=8))
                    figures.setdefault(f"{name}, batches of up to {max_rows}", []).append(rate)
    print(f"| on {cores} cores | rows/s |\n|---|---|")
    for name, rates in figures.items():
        print(f"| {name} | {statistics.median(rates):.1f} |")
    medians = {name: statistics.median(rates) for name, rates in figures.items()}
    best = max(rate for name, rate in medians.items() if "workers" not in name)
    ours = max(rate for name, rate in medians.items() if "workers" in name)
    print(f"\nworkers reach {ours / best:.2f} of the best in process; the line is {LINE}: {'kept' if ours >= LINE * best else 'MISSED'}.")
    sys.exit(ours < LINE * best)


if __name__ == "__main__":
    main()
