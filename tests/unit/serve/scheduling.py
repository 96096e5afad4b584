"""A scheduler over an executor that answers when it is told to."""

from __future__ import annotations

import asyncio

import numpy as np

from fairlead.core.interface import Interface
from fairlead.errors import RequestError
from fairlead.serve.batching import BatchPolicy
from fairlead.serve.scheduler import Scheduler

BATCHES = BatchPolicy(max_rows=8, max_delay_ms=0)
SINGLES = BatchPolicy(is_enabled=False)


class FakeExecutor:
    """Answers y = x. Each call notes its rows' first numbers; `gate` holds calls that run beside the loop, `poison` is refused."""

    description = "fake 1"

    def __init__(self, interface: Interface, slot_count: int = 1, *, is_blocking: bool = False) -> None:
        self.interface, self.slot_count, self.is_blocking = interface, slot_count, is_blocking
        self.calls: list[list[float]] = []
        self.now_count = 0
        self.gate = asyncio.Event()
        self.poison: float | None = None
        self.error: Exception = RequestError("The model cannot compute that.")
        self.is_closed = False
        self.running = self.most_running = 0

    def _answer(self, inputs, outputs):
        x = inputs["x"]
        self.calls.append([float(row[0]) for row in x])
        if self.poison is not None and self.poison in x:
            raise self.error
        return {name: x.copy() for name in outputs or ("y",)}

    def run_now(self, inputs, outputs):
        self.now_count += 1
        return self._answer(inputs, outputs)

    async def run(self, inputs, outputs):
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.gate.wait()
            return self._answer(inputs, outputs)
        finally:
            self.running -= 1

    def close(self) -> None:
        self.is_closed = True


def flat(calls: list[list[float]]) -> list[float]:
    return [number for call in calls for number in call]


class Bench:
    """A scheduler over a FakeExecutor, and what it told of calls."""

    def __init__(self, fakes, policy=BATCHES, *, interface=None, row_ms=0.001, **options) -> None:
        self.executor = FakeExecutor(interface or fakes.pair, **options)
        self.told: list[tuple[int, int, str]] = []
        self.computed_s = 0.0  # what the process has computed
        self.scheduler = Scheduler(
            self.executor,
            policy,
            lambda run: self.told.append((run.rows, run.requests, run.error_code)),
            effort=lambda: self.computed_s,
        )
        for rows in (1, 2, 4, 8):  # rows become cheaper up to the largest batch
            for _ in range(6):
                self.scheduler.expect(rows * 2, row_ms * rows**0.5)

    def ask(self, number: float, rows: int = 1, **options):
        return self.scheduler.submit({"x": np.full((rows, 2), number, np.float32)}, options.pop("outputs", ()), rows, **options)

    def is_balanced(self) -> bool:
        scheduler = self.scheduler
        return scheduler.created_count == scheduler.released_count and scheduler.waiting_count == scheduler.running_count == 0
