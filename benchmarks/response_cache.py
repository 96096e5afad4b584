"""What an answer from the response cache costs against computing it, and from which share of repeated requests on it pays.

    python benchmarks/response_cache.py

Through the data plane (checks, queue and observation included), one request after the other, one row each, single-threaded. `hit` and
`miss` are medians with the cache on, `off` without one, each the best of a few rounds taken in turns. The share at which it pays solves
share * hit + (1 - share) * miss = off.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import uvloop
from onnx import TensorProto, helper, numpy_helper

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.observation import BatchObservation, Observation
from fairlead.core.ports import LoadedModel
from fairlead.core.version import Version
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.serve.assembly import Assembly
from fairlead.serve.batching import BatchPolicy
from fairlead.serve.data_plane import DataPlane, InferRequest
from fairlead.serve.model_table import ModelTable
from fairlead.serve.response_cache import ResponseCache

CALLS, ROUNDS = 3000, 5


class NoSink:
    """Nobody watches."""

    def record(self, observation: Observation) -> None:
        """Take a request."""

    def record_batch(self, batch: BatchObservation) -> None:
        """Take a call."""


def table_model(path: Path) -> tuple[Path, Interface]:
    """20 numbers through a layer of 64."""
    return write(path, [dense("x", "a"), node("Relu", "a_", "r"), dense("r", "b", "y")], (20,), {"a": (20, 64), "b": (64, 3)})


def picture_model(path: Path) -> tuple[Path, Interface]:
    """28 x 28 through two convolutions of 16 and 32 channels."""
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["c"]),
        node("Relu", "c", "r"),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p", "b"], ["d"]),
        node("Relu", "d", "s"),
        helper.make_node("Flatten", ["s"], ["f"]),
        dense("f", "w", "y"),
    ]
    return write(path, nodes, (1, 28, 28), {"a": (16, 1, 3, 3), "b": (32, 16, 3, 3), "w": (32 * 11 * 11, 10)})


def node(kind: str, takes: str, gives: str):
    return helper.make_node(kind, [takes], [gives])


def dense(takes: str, weights: str, gives: str = ""):
    return helper.make_node("MatMul", [takes, weights], [gives or f"{weights}_"])


def write(path: Path, nodes: list, shape: tuple[int, ...], constants: dict[str, tuple[int, ...]]) -> tuple[Path, Interface]:
    random = np.random.default_rng(0)
    tensors = [numpy_helper.from_array(random.normal(size=size).astype(np.float32), name) for name, size in constants.items()]
    width = list(constants.values())[-1][-1]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *size]) for name, size in (("x", shape), ("y", (width,)))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())
    return path, Interface((TensorSpec("x", DType.FP32, (None, *shape)),), (TensorSpec("y", DType.FP32, (None, width)),))


async def measure(model: tuple[Path, Interface], *, cache_bytes: int, is_repeated: bool) -> float:
    """Return the median of a request, in microseconds of processor time: waiting for other processes does not count."""
    cache = ResponseCache(cache_bytes) if cache_bytes else None
    table = ModelTable()
    version = Version("m", 1, Manifest((FileEntry("model.onnx", 1, "0" * 64),)), 0.0)
    loaded = LoadedModel(OnnxRuntimeEngine(*model), is_deterministic=True, is_batch_invariant=True)
    served = Assembly(NoSink(), 1, BatchPolicy()).assemble(version, loaded)
    table.switch(served, "production")
    plane = DataPlane(table, NoSink(), queue_limit=128, cache=cache)
    shape = model[1].inputs[0].shape[1:]
    rows = np.random.default_rng(1).normal(size=(CALLS, 1, *shape)).astype(np.float32)
    took = []
    for number in range(CALLS):
        request = InferRequest("m", {"x": rows[0 if is_repeated else number]})
        began = time.thread_time()
        await plane.infer(request)
        took.append((time.thread_time() - began) * 1e6)
    table.remove("m")
    return statistics.median(took[CALLS // 10 :])


def main() -> None:
    print("| model | off, us | miss, us | hit, us | pays from a share of repeated requests of |")
    print("|---|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for name, make in (("20 numbers, one hidden layer", table_model), ("28 x 28 picture, two convolutions", picture_model)):
            model = make(Path(folder) / "m.onnx")
            rounds = []
            for _ in range(ROUNDS):
                runs = ((0, False), (2**26, False), (2**26, True))
                rounds.append([uvloop.run(measure(model, cache_bytes=size, is_repeated=again)) for size, again in runs])
            off, miss, hit = (min(column) for column in zip(*rounds, strict=True))
            share = (miss - off) / (miss - hit)
            print(f"| {name} | {off:.1f} | {miss:.1f} | {hit:.1f} | {share:.0%} |")


if __name__ == "__main__":
    sys.exit(main())
