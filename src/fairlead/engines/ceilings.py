"""Measures what this machine can do at most: arithmetic, trees, memory, and the cost of a call. In a second or two.

Takes how long it may take; gives core Ceilings. Arithmetic is that of ONNX Runtime's own kernels, since nothing here computes faster than
they do: a product of two square matrices, the fastest of some calls. Memory is copied by numpy in blocks that fit into a cache, and in
larger ones. Raises what the runtime raises. The stopwatch is engines/stopwatch.py's; nothing is kept on the disk.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fairlead.core.dtype import DType
from fairlead.core.facts import ArithmeticCeiling, Ceilings, MemoryCeiling
from fairlead.core.interface import Array, Interface, Tensors, TensorSpec
from fairlead.core.ports import Clock
from fairlead.engines.machine import describe_machine, usable_cores
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.engines.stopwatch import TimingLimits, time_engine

_SIDE = 512  # rows and columns of the matrices
_TREES, _DEPTH, _FEATURES = 1024, 6, 16
_CHAIN = 64  # operators of the model that tells what an operator costs
_LARGE_BYTES, _DEFAULT_CACHE = 128 * 2**20, 2**20
_ROW = {"x": np.ones((1, _FEATURES), np.float32)}
_OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]


@dataclass(frozen=True)
class _Task:
    """A model to time, what it is asked, and how many operations that is."""

    model: onnx.ModelProto
    inputs: Tensors
    work: float


def measure_ceilings(time_s: float = 1.5, *, clock: Clock = time.perf_counter) -> Ceilings:
    """Return the ceilings of this machine, measured for 1 thread and for as many as there are cores, in about `time_s`."""
    machine, caches = describe_machine(), cache_sizes()
    threads = sorted({1, usable_cores()})
    cache = caches.get("L2", _DEFAULT_CACHE)
    blocks = sorted({cache // 4, cache, 8 * cache, _LARGE_BYTES})
    share_s = time_s / (len(threads) * (3 + len(blocks)) + 2)
    tasks = {"FP32": _matrix_task(), "INT8": _integer_task(), "TREES": _tree_task()}
    with tempfile.TemporaryDirectory(prefix="fairlead-ceilings-") as folder:

        def fastest_ms(task: _Task, count: int) -> float:
            return _fastest_ms(task, count, Path(folder) / "model.onnx", share_s, clock)

        arithmetic = tuple(
            ArithmeticCeiling(dtype, count, task.work / fastest_ms(task, count) * 1e3) for dtype, task in tasks.items() for count in threads
        )
        call_ms = fastest_ms(_chain_task(1), 1)
        chain_ms = fastest_ms(_chain_task(_CHAIN), 1)
    memory = tuple(MemoryCeiling(count, block, _copy_rate(block, count, share_s, clock)) for count in threads for block in blocks)
    return Ceilings(
        processor=machine.processor,
        arithmetic=arithmetic,
        memory=memory,
        call_ms=call_ms,
        operator_ms=max(chain_ms - call_ms, 0.0) / (_CHAIN - 1),
        cache_bytes=caches,
        measured_at=time.time(),
        versions=machine.versions,
    )


def measure_call_ms(time_s: float = 0.1, *, clock: Clock = time.perf_counter) -> float:
    """Return the milliseconds of a call that computes nothing: no model answers faster here."""
    with tempfile.TemporaryDirectory(prefix="fairlead-ceilings-") as folder:
        return _fastest_ms(_chain_task(1), 1, Path(folder) / "model.onnx", time_s, clock)


def cache_sizes(root: Path = Path("/")) -> dict[str, int]:
    """Return the bytes of the first core's caches by level, as the system tells; the instruction cache is left out."""
    found = {}
    for index in sorted((root / "sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = (((index / name).read_text().strip()) for name in ("level", "type", "size"))
        except OSError:
            continue
        if kind != "Instruction" and size.endswith("K") and size[:-1].isdigit():
            found[f"L{level}{'d' if kind == 'Data' else ''}"] = int(size[:-1]) * 1024
    return found


def _fastest_ms(task: _Task, thread_count: int, path: Path, time_s: float, clock: Clock) -> float:
    path.write_bytes(task.model.SerializeToString())
    takes = tuple(TensorSpec(name, DType.FP32, (None, *array.shape[1:])) for name, array in task.inputs.items())
    interface = Interface(takes, (TensorSpec("y", DType.INT32 if _is_integer(task) else DType.FP32, (None, None)),))
    with closing(OnnxRuntimeEngine(path, interface, thread_count=thread_count)) as engine:
        return min(time_engine(engine, task.inputs, TimingLimits(time_s=time_s, warm_up_count=2), clock=clock).calls_ms)


def _is_integer(task: _Task) -> bool:
    return bool(task.model.graph.output[0].type.tensor_type.elem_type == TensorProto.INT32)


def _task(nodes: Sequence[onnx.NodeProto], weights: Sequence[onnx.TensorProto], columns: int, work: float, gives: int) -> _Task:
    rows = _SIDE if columns == _SIDE else 1
    takes = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", columns])
    graph = helper.make_graph(list(nodes), "ceiling", [takes], [helper.make_tensor_value_info("y", gives, None)], list(weights))
    model = helper.make_model(graph, opset_imports=_OPSETS, ir_version=8)
    return _Task(model, {"x": np.ones((rows, columns), np.float32)}, work)


def _matrix_task() -> _Task:
    weights = numpy_helper.from_array(np.full((_SIDE, _SIDE), 0.5, np.float32), "w")
    return _task([helper.make_node("MatMul", ["x", "w"], ["y"])], [weights], _SIDE, 2.0 * _SIDE**3, TensorProto.FLOAT)


def _integer_task() -> _Task:
    """The product of bytes; casting the input costs 1 operation in 2 x _SIDE."""
    weights = numpy_helper.from_array(np.ones((_SIDE, _SIDE), np.int8), "w")
    nodes = [helper.make_node("Cast", ["x"], ["q"], to=TensorProto.UINT8), helper.make_node("MatMulInteger", ["q", "w"], ["y"])]
    return _task(nodes, [weights], _SIDE, 2.0 * _SIDE**3, TensorProto.INT32)


def _chain_task(count: int) -> _Task:
    """Operators that cannot be fused or folded."""
    names = ["x", *(f"v{number}" for number in range(count - 1)), "y"]
    nodes = [helper.make_node("Softsign", [before], [after]) for before, after in pairwise(names)]
    return _task(nodes, [], _FEATURES, 1.0, TensorProto.FLOAT)


def _tree_task() -> _Task:
    """Full trees with drawn features and thresholds; a row goes down _DEPTH splits in each."""
    random = np.random.default_rng(0)
    splits, leaves = 2**_DEPTH - 1, 2**_DEPTH
    size = splits + leaves
    numbers = np.arange(size)
    inner = numbers < splits
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        n_targets=1,
        nodes_treeids=np.repeat(np.arange(_TREES), size).tolist(),
        nodes_nodeids=np.tile(numbers, _TREES).tolist(),
        nodes_featureids=random.integers(_FEATURES, size=_TREES * size).tolist(),
        nodes_modes=["BRANCH_LEQ" if is_inner else "LEAF" for is_inner in inner] * _TREES,
        nodes_values=random.uniform(0, 2, _TREES * size).tolist(),
        nodes_truenodeids=np.tile(np.where(inner, 2 * numbers + 1, 0), _TREES).tolist(),
        nodes_falsenodeids=np.tile(np.where(inner, 2 * numbers + 2, 0), _TREES).tolist(),
        target_treeids=np.repeat(np.arange(_TREES), leaves).tolist(),
        target_nodeids=np.tile(numbers[splits:], _TREES).tolist(),
        target_ids=[0] * (_TREES * leaves),
        target_weights=[1.0] * (_TREES * leaves),
    )
    return _task([node], [], _FEATURES, float(_TREES * _DEPTH), TensorProto.FLOAT)


class _Copier:
    """An engine that copies a block on several threads at once."""

    interface = Interface((), ())
    description = "numpy"

    def __init__(self, block_bytes: int, thread_count: int) -> None:
        size = max(block_bytes // 8, 1)
        self._pairs = [(np.zeros(size, np.float64), np.ones(size, np.float64)) for _ in range(thread_count)]
        self._repeat = max(2**25 // block_bytes, 1)  # a small block many times, so that starting threads does not count
        self.byte_count = 2.0 * size * 8 * thread_count * self._repeat

    def run(self, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, Array]:
        """Copy."""
        del inputs, outputs
        jobs: list[Callable[[], None]] = [lambda pair=pair: self._copy(*pair) for pair in self._pairs]  # type: ignore[misc]
        threads = [threading.Thread(target=job) for job in jobs[1:]]
        for thread in threads:
            thread.start()
        jobs[0]()
        for thread in threads:
            thread.join()
        return {}

    def close(self) -> None:
        """Nothing."""

    def _copy(self, to: Array, source: Array) -> None:
        for _ in range(self._repeat):
            np.copyto(to, source)


def _copy_rate(block_bytes: int, thread_count: int, time_s: float, clock: Clock) -> float:
    engine = _Copier(block_bytes // 2, thread_count)
    return engine.byte_count / min(time_engine(engine, _ROW, TimingLimits(time_s=time_s, warm_up_count=1), clock=clock).calls_ms) * 1e3
