"""What the way to a worker and back costs, by the size of the tensor: against a thread of this process, and against the event loop itself.

Run it with: python benchmarks/worker_channel.py
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import onnx
import uvloop
from onnx import TensorProto, helper

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.recipe import EngineRecipe
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.serve.engine_executor import EngineExecutor
from fairlead.serve.workers.fleet import WorkerJob
from fairlead.serve.workers.policy import WorkerPolicy
from fairlead.serve.workers.worker_executor import start_workers

ECHO = Interface((TensorSpec("x", DType.FP32, (None, None)),), (TensorSpec("y", DType.FP32, (None, None)),))
SIZES = (16, 4096, 65_536, 1 << 20, 1 << 24)


def echo(path: Path) -> Path:
    """Gives back what it gets."""
    ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "n"])] for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "echo", *ends)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


async def median_us(run: Callable[[], Awaitable[object]], count: int) -> float:
    """Return the median microseconds of a call."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        await run()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


async def measure(path: Path) -> None:
    """Print the table."""
    engine = EngineExecutor(OnnxRuntimeEngine(path, ECHO), 1)
    worker = await start_workers(WorkerJob(EngineRecipe("onnxruntime", path, ECHO, is_fork_safe=True), policy=WorkerPolicy(count=1)))
    print("| bytes in, and out again | in the event loop, us | in a thread, us | in a worker, us |\n|---|---|---|---|")
    try:
        for size in SIZES:
            rows = {"x": np.zeros((1, size // 4), np.float32)}
            count = 1000 if size < 1 << 20 else 30

            async def here(rows: dict[str, np.ndarray] = rows) -> object:
                return engine.run_now(rows, ())

            figures = [
                await median_us(here, count),
                await median_us(lambda rows=rows: engine.run(rows, ()), count),
                await median_us(lambda rows=rows: worker.run(rows, ()), count),
            ]
            print(f"| {size} | {' | '.join(f'{figure:.0f}' for figure in figures)} |")
    finally:
        worker.close()
        engine.close()


def main() -> None:
    """Measure in an event loop of the kind that the server has."""
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(measure(echo(Path(folder) / "echo.onnx")))


if __name__ == "__main__":
    main()
