"""Explanations beside inference: a few at a time, in threads that ask the model behind everybody else.

Takes a served version, rows and what is asked; gives what the explainer says, as JSON values. Raises OverloadedError where as many as
allowed are under way, DeadlineError where the time is over, and what the explainer raises. Predictions never wait for more than the one
call of at most 32 rows that has begun: an explanation waits in the version's own queue with the lowest priority. What it computes besides
is the explainer's, whose threads here should do nothing but wait.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from concurrent.futures import TimeoutError as LateError
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fairlead.core.interface import Array, Interface, Tensors
from fairlead.core.ports import Engine
from fairlead.core.version import Version
from fairlead.errors import DeadlineError, OverloadedError, UnavailableError
from fairlead.serve.admission import LOWEST_PRIORITY
from fairlead.serve.model_table import ModelTable, ServedVersion

PIECE_ROWS = 32  # of one call
ROW_LIMIT = 64  # of one request
_GRACE_S = 0.5  # beyond the budget, for what has begun


class AnswerExplainer(Protocol):
    """Explains answers of registered versions. Called in threads, several at once."""

    def prepare(self) -> None:
        """Start what takes long to start. Called before each explanation, whose time begins when it returns. Raises UnavailableError."""
        ...

    def explain(self, version: Version, engine: Engine, rows: Tensors, wish: Mapping[str, Any], budget_s: float) -> dict[str, Any]:
        """Return JSON values. `engine` asks the version; `wish` is what the client said, still to be checked.

        Raises RequestError for a wish that makes no sense, UnsupportedError for a model that cannot be explained so, DeadlineError.
        """
        ...

    def close(self) -> None:
        """End what was started; explanations under way fail. Idempotent."""
        ...


@dataclass(frozen=True)
class ExplainLimits:
    """How many explanations are worked on at once (0: none are offered), and how long one may take."""

    concurrency: int = 1
    budget_s: float = 2.0


class Explaining:
    """Belongs to the event loop's thread. Threads are started with the first explanation."""

    def __init__(self, table: ModelTable, explainer: AnswerExplainer, limits: ExplainLimits) -> None:
        self._table, self._explainer, self._limits = table, explainer, limits
        self._pool: ThreadPoolExecutor | None = None
        self._running = 0

    async def explain(self, served: ServedVersion, rows: Tensors, wish: Mapping[str, Any], budget_s: float | None) -> dict[str, Any]:
        """Return what the explainer says of `rows`, which fit the interface. `budget_s` can only shorten the limit."""
        limit = self._limits.concurrency
        if self._running >= limit:
            raise OverloadedError(
                f"As many explanations as are allowed at once ({limit}) are under way here.",
                hint="Ask again later.",
                retry_after_s=max(round(self._limits.budget_s), 1),
            )
        budget = self._limits.budget_s if budget_s is None else min(budget_s, self._limits.budget_s)
        loop = asyncio.get_running_loop()
        self._running += 1
        self._table.begin_request(served)  # it stays loaded meanwhile
        is_cancelled = threading.Event()
        try:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(limit, "fairlead-explain")
            await asyncio.shield(loop.run_in_executor(self._pool, self._explainer.prepare))
            until = time.monotonic() + budget
            if served.is_asleep:
                await self._table.wake(served, until)
            engine = _QueuedEngine(served, loop, until, is_cancelled)
            work = loop.run_in_executor(self._pool, self._explainer.explain, served.version, engine, rows, wish, until - time.monotonic())
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            is_cancelled.set()  # the client is gone: the thread stops at its next question
            raise
        finally:
            self._running -= 1
            self._table.end_request(served)

    def close(self) -> None:
        """Let threads end; what they still ask fails. Idempotent."""
        if self._pool is not None:
            self._explainer.close()
            self._pool.shutdown(wait=False, cancel_futures=True)


class _QueuedEngine:
    """An Engine for the explainer's thread: every question takes its place in the version's queue, behind everybody."""

    def __init__(self, served: ServedVersion, loop: asyncio.AbstractEventLoop, until: float, is_cancelled: threading.Event) -> None:
        self._served, self._loop, self._until, self._is_cancelled = served, loop, until, is_cancelled

    @property
    def interface(self) -> Interface:
        """What the model takes and gives."""
        return self._served.interface

    @property
    def description(self) -> str:
        """What runs it."""
        return self._served.executor.description

    def run(self, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, Array]:
        """Return the named outputs; raises DeadlineError where the explanation's time is over."""
        count = self.interface.check_inputs(inputs)
        answers = [
            self._run({name: tensor[place : place + PIECE_ROWS] for name, tensor in inputs.items()}, tuple(outputs))
            for place in range(0, count, PIECE_ROWS)
        ]
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}

    def _run(self, inputs: Tensors, outputs: tuple[str, ...]) -> dict[str, Array]:
        left = self._until - time.monotonic()
        if self._is_cancelled.is_set() or left <= 0 or self._loop.is_closed():
            raise _late()
        asked = asyncio.run_coroutine_threadsafe(self._ask(inputs, outputs), self._loop)
        try:
            return asked.result(left + _GRACE_S)
        except LateError:
            asked.cancel()
            raise _late() from None
        except CancelledError:
            raise UnavailableError("The server is stopping.") from None

    def close(self) -> None:
        """The version is the server's."""

    async def _ask(self, inputs: Tensors, outputs: tuple[str, ...]) -> dict[str, Array]:
        rows = len(next(iter(inputs.values())))
        ticket = self._served.scheduler.submit(inputs, outputs, rows, priority=LOWEST_PRIORITY, deadline=self._until)
        try:
            return await ticket
        finally:
            ticket.cancel()  # nothing where it is settled


def _late() -> DeadlineError:
    return DeadlineError("There was no time to explain the answer.", hint="Ask again later, or explain it with: fairlead explain.")
