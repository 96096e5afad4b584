"""A model in a process of its own, behind the event loop: nothing waits there, and a dead process is back ahead of the next request."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from loop_thread import LoopThread, left, wait_for_nothing_more, wait_until

sys.path.append(str(Path(__file__).parents[3] / "contract"))
from tiny_onnx import LINEAR, WEIGHTS, linear_model

from fairlead.engines.resident_engine import RESIDENT_LIMITS, ResidentEngine
from fairlead.engines.sandboxed_engine import Worker
from fairlead.errors import UnavailableError
from fairlead.security.sandbox import OneShotSandbox
from fairlead.serve.workers.resident_executor import ResidentExecutor

ROWS = np.eye(4, dtype=np.float32)


def open_engine(folder: Path) -> ResidentEngine:
    path = linear_model(folder / "model.onnx")
    arguments = {"path": str(path), "interface": msgspec.to_builtins(LINEAR)}
    worker = Worker("resident_entries:run_onnx", path, "onnxruntime in a process of its own", arguments, RESIDENT_LIMITS)
    contract = Path(__file__).parents[3] / "contract"
    return ResidentEngine(worker, LINEAR, OneShotSandbox(import_paths=(contract,)))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[ResidentEngine]:
    engine = open_engine(tmp_path)
    yield engine
    engine.close()


def test_a_process_that_died_is_back_before_anybody_asks(engine: ResidentEngine, loop: LoopThread) -> None:
    executor = ResidentExecutor(engine)
    np.testing.assert_allclose(loop.do(executor.run({"x": ROWS}, ()))["y"], WEIGHTS, rtol=1e-5)
    victim = engine.pid
    os.kill(victim, signal.SIGKILL)
    seen = []
    wait_until(lambda: seen.append(loop.call(lambda: executor.slot_count)) or engine.pid not in (0, victim))
    assert 0 in seen
    wait_until(lambda: loop.call(lambda: executor.slot_count) == 1)
    np.testing.assert_allclose(loop.do(executor.run({"x": ROWS}, ()))["y"], WEIGHTS, rtol=1e-5)
    loop.call(executor.close)


def test_closing_holds_nobody_and_leaves_nothing(loop: LoopThread, tmp_path: Path) -> None:
    before = left()
    engine = open_engine(tmp_path)
    executor = ResidentExecutor(engine)
    loop.do(executor.run({"x": ROWS}, ()))
    gate, closers = threading.Event(), []
    real = engine.close

    def slowly() -> None:
        closers.append(threading.current_thread().name)
        gate.wait(10)
        real()

    engine.close = slowly  # type: ignore[method-assign]
    began = time.monotonic()
    loop.call(executor.close)
    loop.call(executor.close)
    assert time.monotonic() - began < 5  # while the engine's own end waits for us
    with pytest.raises(UnavailableError):
        executor.run_now({"x": ROWS}, ())
    with pytest.raises(UnavailableError):
        loop.do(executor.run({"x": ROWS}, ()))
    assert loop.call(lambda: executor.slot_count) == 0
    gate.set()
    wait_for_nothing_more(before)
    assert closers == ["fairlead-resident-end"]
