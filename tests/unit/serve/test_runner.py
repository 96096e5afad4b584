"""Where a call runs: inline where it is short, in a thread where it is long, and never inline where the engine may hang."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

from fairlead.serve.model_table import ServedVersion
from fairlead.serve.runner import DirectRunner


class Watching:
    """Says in which thread it was called."""

    def __init__(self) -> None:
        self.threads: list[int] = []
        self.gate: threading.Event | None = None

    def run(self, inputs, outputs=()):
        self.threads.append(threading.get_ident())
        if self.gate is not None:
            self.gate.wait(10)
        return {"y": inputs["x"]}


ROWS = {"x": np.ones((1, 2), np.float32)}


@pytest.mark.parametrize(("element_ms", "may_block", "is_inline"), [(0.0, False, True), (10.0, False, False), (0.0, True, False)])
async def test_short_calls_run_inline_and_long_or_uncertain_ones_in_threads(fakes, element_ms, may_block, is_inline) -> None:
    engine, runner = Watching(), DirectRunner(1)
    await runner.run(ServedVersion(fakes.version(), engine, element_ms, may_block=may_block), ROWS, ())
    assert (engine.threads == [threading.get_ident()]) == is_inline
    runner.close()


async def test_an_engine_that_hangs_does_not_hold_the_event_loop(fakes) -> None:
    engine, runner = Watching(), DirectRunner(1)
    engine.gate = threading.Event()
    hanging = asyncio.create_task(runner.run(ServedVersion(fakes.version(), engine, 1e-9, may_block=True), ROWS, ()))
    for _ in range(3):
        await asyncio.sleep(0.01)  # the loop goes round though the engine waits
    assert not hanging.done()
    engine.gate.set()
    assert (await hanging).outputs["y"].tolist() == [[1.0, 1.0]]
    runner.close()
