"""Fakes for the server: an engine that multiplies, a registry in memory."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from fairlead.core.dtype import DType
from fairlead.core.golden import Golden
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.ports import LoadedModel
from fairlead.core.version import Version
from fairlead.serve.batching import BatchPolicy
from fairlead.serve.engine_executor import EngineExecutor
from fairlead.serve.model_table import ServedVersion
from fairlead.serve.scheduler import Scheduler

PAIR = Interface(
    (TensorSpec("x", DType.FP32, (None, 2)),),
    (TensorSpec("y", DType.FP32, (None, 2)),),
    Task.CLASSIFICATION,
    Decision(DecisionKind.ARGMAX, "y"),
    ("no", "yes"),
)


def version(name: str = "m", number: int = 1) -> Version:
    return Version(name, number, Manifest((FileEntry("model.onnx", 1, f"{number:064x}"),)), 0.0)


class FakeEngine:
    """Answers y = factor * x; waits at `gate` where there is one."""

    description = "fake 1.0"

    def __init__(self, factor: float = 1.0, *, interface: Interface = PAIR, gate: threading.Event | None = None) -> None:
        self.interface, self.factor, self.gate = interface, factor, gate
        self.is_closed = False
        self.run_count = 0

    def run(self, inputs, outputs=()):
        self.run_count += 1
        if self.gate is not None:
            self.gate.wait(10)
        answer = {spec.name: next(iter(inputs.values())) * np.float32(self.factor) for spec in self.interface.outputs}
        return {name: answer[name] for name in outputs} if outputs else answer

    def close(self) -> None:
        self.is_closed = True


def served(wanted: Version, engine, *, element_ms: float = 0.001, policy: BatchPolicy | None = None, on_batch=None) -> ServedVersion:
    """A served version of `engine` in two threads, where calls shorter than a millisecond run in the event loop; it never batches unless
    a `policy` says so."""
    executor = EngineExecutor(engine, 2)
    scheduler = Scheduler(executor, policy or BatchPolicy(is_enabled=False), on_batch or (lambda *_: None))
    scheduler.expect(1, element_ms)
    return ServedVersion(wanted, executor, scheduler)


def assemble(wanted: Version, loaded: LoadedModel) -> ServedVersion:
    return served(wanted, loaded.engine)


class FakeSource:
    """A registry in memory. `engines` says what loading a version gives: an engine, or an exception to raise."""

    def __init__(self) -> None:
        self.pointers: dict[str, Version] = {}
        self.engines: dict[tuple[str, int], FakeEngine | Exception] = {}
        self.golden_factor: dict[tuple[str, int], float] = {}
        self.error: Exception | None = None
        self.changes = 0
        self.load_count = 0

    def point(self, name: str, number: int, engine: FakeEngine | Exception | None = None) -> None:
        self.engines.setdefault((name, number), engine if engine is not None else FakeEngine(number))
        self.pointers[name] = version(name, number)
        self.changes += 1

    def drop(self, name: str) -> None:
        del self.pointers[name]
        self.changes += 1

    def aspired(self) -> dict[str, Version]:
        if self.error is not None:
            raise self.error
        return dict(self.pointers)

    def sequence(self) -> int:
        if self.error is not None:
            raise self.error
        return self.changes

    def load(self, wanted: Version) -> LoadedModel:
        self.load_count += 1
        key = (wanted.name, wanted.number)
        engine = self.engines[key]
        if isinstance(engine, Exception):
            raise engine
        factor = self.golden_factor.get(key)
        if factor is None:
            return LoadedModel(engine)
        x = np.ones((3, 2), np.float32)
        return LoadedModel(engine, Golden({"x": x}, {"y": x * np.float32(factor)}))


class ListSink:
    """Keeps observations."""

    def __init__(self) -> None:
        self.seen = []
        self.batches = []

    def record(self, observation) -> None:
        self.seen.append(observation)

    def record_batch(self, batch) -> None:
        self.batches.append(batch)


def wait_until(condition, timeout_s: float = 10.0) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, "did not happen in time"
        time.sleep(0.01)


@pytest.fixture
def fakes() -> SimpleNamespace:
    return SimpleNamespace(
        Engine=FakeEngine,
        Source=FakeSource,
        Sink=ListSink,
        version=version,
        served=served,
        assemble=assemble,
        pair=PAIR,
        wait_until=wait_until,
        ones=np.ones((1, 2), np.float32),
    )
