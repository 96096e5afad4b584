"""Runs batches of one version in worker processes: an Executor whose slots are processes.

Takes tensors that fit the interface, hands each call to a worker that has none, and gives its answer. Raises what the engine raised, and
UnavailableError where the worker died or hung, or none is left. A call that the engine had begun is never sent again: it may be what
the worker died of; one that it had not begun goes to another worker, once. Never computes in this process, never waits without an end.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from math import ceil

from fairlead.core.interface import Array, Interface, Tensors, TensorSpec
from fairlead.errors import FairleadError, UnavailableError
from fairlead.serve.resident_memory import share_bytes
from fairlead.serve.workers.control import Opened
from fairlead.serve.workers.fleet import Fleet, WorkerJob
from fairlead.serve.workers.frames import pack_ask
from fairlead.serve.workers.policy import TICK_S, CallLimits
from fairlead.serve.workers.worker import Call, Worker

_LAST_SEQUENCE = 2**32 - 1
_HINT = "Ask again; the process has been replaced."


async def start_workers(job: WorkerJob) -> WorkerExecutor:
    """Return an executor whose workers have all opened the model and answered its golden requests.

    Raises what opening or answering raises. Cancelled, it leaves nothing running.
    """
    executor = WorkerExecutor(job, asyncio.get_running_loop())
    try:
        await executor.started()
    except BaseException:
        executor.close()
        raise
    return executor


class WorkerExecutor:
    """See serve.executor.Executor. Made by `start_workers`; belongs to the event loop that made it."""

    is_blocking = True

    def __init__(self, job: WorkerJob, loop: asyncio.AbstractEventLoop) -> None:
        self._job, self._loop = job, loop
        self._interface = job.recipe.interface
        self._all = tuple(range(len(self._interface.outputs)))
        self._numbers = {spec.name: index for index, spec in enumerate(self._interface.outputs)}
        self._limits = CallLimits(job.policy.call_limit_s)
        self._idle: list[Worker] = []
        self._waiting: deque[Call] = deque()
        self._sequence = 0
        self._starved_ticks = 0
        self._refusal: tuple[str, str] | None = None  # why nothing is answered any more, and what to do
        self._start: asyncio.Future[None] = loop.create_future()
        self._fleet = Fleet(job, self, loop)
        self.description = ""
        self.element_ms = 0.0
        self._fleet.start()

    @property
    def interface(self) -> Interface:
        """What the version takes and gives."""
        return self._interface

    @property
    def slot_count(self) -> int:
        """How many workers live and have opened the model."""
        return self._fleet.ready_count

    @property
    def worker_count(self) -> int:
        """How many workers there should be."""
        return self._job.policy.count

    @property
    def lost_count(self) -> int:
        """How many workers died or hung until now, each of which is replaced."""
        return self._fleet.lost_count

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes of the version: the zygote's first, then its workers'."""
        return self._fleet.pids

    @property
    def memory_bytes(self) -> int:
        """What those processes take together: shared pages count once (PSS, proc(5)). Reads files: for once in a while."""
        return sum(map(share_bytes, self.pids))

    async def started(self) -> None:
        """Return when all workers are ready for the first time."""
        await self._start

    def run_now(self, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Array]:  # noqa: ARG002 - as the protocol says
        """Refuse: nothing runs in this process."""
        raise UnavailableError("This version runs in other processes, and cannot answer at once.")

    async def run(self, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Array]:
        """Return the outputs (all where none are named), computed by a worker that has nothing else to do."""
        if self._refusal is not None:
            raise UnavailableError(self._refusal[0], hint=self._refusal[1])
        call = self._call(inputs, outputs)
        if self._idle:
            self._ask(self._idle.pop(), call)
        else:
            self._waiting.append(call)
        return await call.future

    def close(self) -> None:
        """End every process of the version; returns at once. Idempotent."""
        if self._refusal is None:
            self._refuse(UnavailableError("The model was unloaded.", hint="Ask again; a newer version may be serving."))
        self._fleet.close()

    def worker_ready(self, worker: Worker, opened: Opened) -> None:
        """Give it work."""
        if not self._start.done():
            self.description, self.element_ms = opened.description, opened.element_ms
            self._limits = self._learned(opened.element_ms)
            if self.slot_count == self._job.policy.count:
                self._start.set_result(None)
        self._next(worker)

    def worker_answered(self, worker: Worker, call: Call) -> None:
        """Give it more work."""
        self._limits.learn(call.size_bytes, call.rows, (self._loop.time() - call.began) * 1e3)
        self._next(worker)

    def worker_lost(self, worker: Worker, reason: str) -> None:
        """Answer the one who waits for it: by another worker where the engine had not begun, else with an error."""
        if worker in self._idle:
            self._idle.remove(worker)
        call = worker.call
        if call is None or call.future.done():
            return
        if worker.has_begun(call) or call.is_second:
            call.future.set_exception(UnavailableError(f"The process that ran the model {reason or 'died'}.", hint=_HINT))
            return
        call.is_second, call.ticks = True, 0
        if self._idle:
            self._ask(self._idle.pop(), call)
        else:
            self._waiting.appendleft(call)

    def fleet_failed(self, error: FairleadError) -> None:
        """Answer everybody, now and from now on, with what went wrong."""
        if self._start.done():
            error = UnavailableError(f"The model's processes do not stay alive: {error.message}", hint="Load the version again.")
        self._refuse(error)

    def ticked(self) -> None:
        """Answer those who wait for a worker while there is none."""
        self._starved_ticks = 0 if self._fleet.ready_count else self._starved_ticks + 1
        if self._starved_ticks * TICK_S >= self._job.policy.wait_limit_s:
            self._refuse_waiting("No process of the model is alive at the moment.", "Ask again in a moment.")

    def _next(self, worker: Worker) -> None:
        while self._waiting:
            call = self._waiting.popleft()
            if not call.future.done():  # else the one who asked is gone
                self._ask(worker, call)
                return
        self._idle.append(worker)

    def _ask(self, worker: Worker, call: Call) -> None:
        call.began = self._loop.time()
        worker.ask(call)

    def _call(self, inputs: Tensors, outputs: Sequence[str]) -> Call:
        specs = self._interface.inputs
        numbers = tuple(self._numbers[name] for name in outputs) if outputs else self._all
        self._sequence = sequence = self._sequence % _LAST_SEQUENCE + 1
        buffers = pack_ask(sequence, specs, inputs, numbers)
        wanted: tuple[TensorSpec, ...] = tuple(self._interface.outputs[number] for number in numbers)
        rows, size = _rows(inputs[specs[0].name]), sum(map(len, buffers))
        limit = ceil(self._limits.seconds(size, rows) / TICK_S)
        return Call(sequence, buffers, wanted, self._loop.create_future(), rows, size, limit)

    def _learned(self, element_ms: float) -> CallLimits:
        golden = self._job.golden
        if golden is None:
            return self._limits
        row = {name: tensor[:1] for name, tensor in golden.inputs.items()}
        size = sum(map(len, pack_ask(1, self._interface.inputs, row, ())))
        row_ms = element_ms * sum(tensor.size for tensor in row.values())
        return CallLimits(self._job.policy.call_limit_s, row_ms, size)

    def _refuse(self, error: FairleadError) -> None:
        self._refusal = (error.message, error.hint)
        self._idle.clear()
        if not self._start.done():
            self._start.set_exception(error)
        self._refuse_waiting(*self._refusal)

    def _refuse_waiting(self, message: str, hint: str) -> None:
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            if not call.future.done():
                call.future.set_exception(UnavailableError(message, hint=hint))


def _rows(tensor: Array) -> int:
    return int(tensor.shape[0]) if tensor.ndim else 1
