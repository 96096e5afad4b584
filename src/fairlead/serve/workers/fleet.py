"""Keeps the workers of one version alive: a zygote, the workers that are its copies, and new ones for those that die or hang.

Takes a WorkerJob and a listener, which is called in the event loop; gives the workers that are ready. A dead worker is another fork; a dead
zygote takes its workers with it (the kernel sees to that) and is started anew. What does not stay alive is started ever later, and in the
end not any more: then the listener hears why. Never waits; every count is exact, since one thread touches it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from typing import Protocol

from fairlead.core.golden import Golden
from fairlead.core.recipe import EngineRecipe
from fairlead.errors import FairleadError, UnavailableError
from fairlead.serve.workers.control import Ended, Failed, Forked, Message, Opened, ZygoteJob, pack_golden
from fairlead.serve.workers.frames import error_of
from fairlead.serve.workers.policy import SILENT_TICKS, TICK_S, Restarts, WorkerPolicy
from fairlead.serve.workers.worker import Call, Worker
from fairlead.serve.workers.zygote_process import ZygoteProcess


def silent(_: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class WorkerJob:
    """What the workers open, the golden requests that they answer before they are asked anything else, and how many they are.

    `label` is the version in words; `report` takes sentences for the log.
    """

    recipe: EngineRecipe
    golden: Golden | None = None
    label: str = "The model"
    policy: WorkerPolicy = field(default_factory=WorkerPolicy)
    report: Callable[[str], None] = silent


class FleetListener(Protocol):
    """Hears of the workers, in the event loop."""

    def worker_ready(self, worker: Worker, opened: Opened) -> None:
        """A worker may be asked."""
        ...

    def worker_answered(self, worker: Worker, call: Call) -> None:
        """It has answered, and may be asked again."""
        ...

    def worker_lost(self, worker: Worker, reason: str) -> None:
        """It is gone; its call, if it has one, is not settled yet."""
        ...

    def fleet_failed(self, error: FairleadError) -> None:
        """There will be no more workers."""
        ...

    def ticked(self) -> None:
        """Another TICK_S has passed."""
        ...


class Fleet:
    """The processes of one version. Starts with `start`, ends with `close`; `ready_count` is how many workers may be asked, or are;
    `lost_count` how many died or hung until now.
    """

    def __init__(self, job: WorkerJob, listener: FleetListener, loop: asyncio.AbstractEventLoop) -> None:
        self._job, self._listener, self._loop = job, listener, loop
        self._is_fork_safe = job.recipe.is_fork_safe
        self._workers: list[Worker] = []
        self._asked_for: deque[Worker] = deque()  # in the order in which the zygote forks them
        self._zygote: ZygoteProcess | None = None
        self._is_open_model = False
        self._age = 0
        self._zygote_restarts, self._worker_restarts = Restarts(1, loop.time), Restarts(job.policy.count, loop.time)
        self._timers: list[asyncio.TimerHandle] = []
        self._unexplained: set[int] = set()
        self.ready_count = self.lost_count = 0
        self._is_closed = self._has_started = False
        self._last_error: FairleadError | None = None

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes of the version: the zygote's first, then its workers'."""
        first = [self._zygote.pid] if self._zygote is not None else []
        return tuple(pid for pid in (*first, *(worker.pid for worker in self._workers)) if pid)

    def start(self) -> None:
        """Start the zygote; workers follow when it has opened the model."""
        self._start_zygote()
        self._later(TICK_S, self._tick)

    def close(self) -> None:
        """End every process; returns at once. Idempotent."""
        self._is_closed = True
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        workers, self._workers, self.ready_count = self._workers, [], 0
        for worker in workers:
            worker.close()
        if self._zygote is not None:
            self._zygote.end()
            self._zygote = None

    def zygote_said(self, zygote: ZygoteProcess, message: Message, handles: list[int]) -> None:
        """Take note of what the zygote says; see ZygoteListener."""
        if isinstance(message, Forked) and len(handles) == 1 and self._asked_for and zygote is self._zygote:
            self._asked_for.popleft().started(message.pid, handles.pop())
        elif isinstance(message, Opened):
            self._take_opened(zygote, message)
        elif isinstance(message, Ended):
            self._explain(message)
        elif isinstance(message, Failed):
            self._last_error = error_of(message.fault)
            zygote.lose()
        else:
            zygote.lose()
        for handle in handles:
            os.close(handle)

    def zygote_ended(self, zygote: ZygoteProcess) -> None:
        """Its workers ended with it: start anew."""
        if zygote is not self._zygote or self._is_closed:
            return
        self._zygote, self._is_open_model = None, False
        workers = tuple(self._workers)
        was_asked = any(worker.was_asked for worker in workers)
        self._job.report(f"{self._job.label}: the process that its workers are copies of ended, and they with it.")
        for worker in workers:
            self._drop(worker, "ended with the process that it is a copy of")
        self._asked_for.clear()
        self._again(self._zygote_restarts.delay_s(was_asked=was_asked), self._start_zygote)

    def worker_ready(self, worker: Worker, opened: Opened) -> None:
        """See WorkerListener."""
        self.ready_count += 1
        self._has_started = self._has_started or self.ready_count == self._job.policy.count
        self._listener.worker_ready(worker, opened)

    def worker_answered(self, worker: Worker, call: Call) -> None:
        """See WorkerListener."""
        self._worker_restarts.succeed()
        self._zygote_restarts.succeed()
        self._listener.worker_answered(worker, call)

    def worker_lost(self, worker: Worker, reason: str, error: FairleadError | None) -> None:
        """Replace it."""
        self.lost_count += 1
        if reason:
            self._job.report(f"{self._job.label}: worker {worker.pid} {reason} and was ended.")
        elif worker.pid:
            self._unexplained.add(worker.pid)
        self._last_error = error or self._last_error
        self._drop(worker, reason)
        self._again(self._worker_restarts.delay_s(was_asked=worker.was_asked), self._refill)

    def _drop(self, worker: Worker, reason: str) -> None:
        self._workers.remove(worker)
        self.ready_count -= worker.is_ready
        self._listener.worker_lost(worker, reason)
        worker.call = None  # settled, or another's now
        worker.close()

    def _take_opened(self, zygote: ZygoteProcess, opened: Opened) -> None:
        if self._is_fork_safe and not opened.is_shared:  # its engine started threads: another one, which leaves opening to the workers
            self._is_fork_safe = False
            zygote.end()
            self._start_zygote()
            return
        self._is_open_model = True
        self._refill()

    def _start_zygote(self) -> None:
        job, recipe, policy = self._job, self._job.recipe, self._job.policy
        golden = pack_golden(job.golden, recipe.interface) if job.golden is not None else None
        described = ZygoteJob(
            job.label,
            recipe.engine,
            str(recipe.path.resolve()),
            recipe.interface,
            self._is_fork_safe,
            golden,
            os.getpid(),
            policy.memory_bytes,
            recipe.session,
        )
        self._is_open_model = False
        self._age = 0
        try:
            self._zygote = ZygoteProcess(described, self, self._loop)
        except OSError as error:
            self._last_error = UnavailableError(f"{job.label}: no process can be started: {error.strerror}.", hint="See `fairlead doctor`.")
            self._again(self._zygote_restarts.delay_s(was_asked=False), self._start_zygote)

    def _refill(self) -> None:
        """Ask for as many workers as are missing."""
        policy = self._job.policy
        while self._zygote is not None and self._is_open_model and len(self._workers) < policy.count:
            try:
                worker = Worker(self, self._loop, limit_bytes=policy.answer_limit_bytes, open_ticks=ceil(policy.open_limit_s / TICK_S))
            except OSError:  # no more descriptors
                self._again(self._worker_restarts.delay_s(was_asked=False), self._refill)
                return
            self._workers.append(worker)
            self._asked_for.append(worker)
            self._zygote.fork(*worker.inherited())
            worker.let_go()

    def _again(self, delay_s: float | None, step: Callable[[], None]) -> None:
        """Do `step` after `delay_s`; None means that it has failed too often. What fails the first time fails for good."""
        if self._is_closed:
            return
        if delay_s is None or not self._has_started:
            error = self._last_error or UnavailableError(
                f"{self._job.label}: its processes do not stay alive.", hint="See the server's log."
            )
            self._job.report(f"{self._job.label}: its processes die before they can answer; none is started any more.")
            self.close()
            self._listener.fleet_failed(error)
        elif delay_s <= 0:
            step()
        else:
            self._later(delay_s, step)

    def _later(self, delay_s: float, step: Callable[[], None]) -> None:
        self._timers = [timer for timer in self._timers if timer.when() > self._loop.time()]
        self._timers.append(self._loop.call_later(delay_s, step))

    def _explain(self, message: Ended) -> None:
        if message.pid in self._unexplained:
            self._unexplained.discard(message.pid)
            self._job.report(f"{self._job.label}: worker {message.pid} ended ({_how(message.code)}).")

    def _tick(self) -> None:
        self._later(TICK_S, self._tick)
        self._look_at_zygote()
        for worker in tuple(self._workers):
            reason = worker.tick()
            if reason and worker in self._workers:
                self.worker_lost(worker, reason, None)
        self._listener.ticked()

    def _look_at_zygote(self) -> None:
        zygote = self._zygote
        if zygote is None:
            return
        if self._is_open_model:
            if zygote.pulse.look() >= SILENT_TICKS:
                zygote.lose()
        else:
            self._age += 1
            if self._age * TICK_S > self._job.policy.open_limit_s:
                self._last_error = UnavailableError(f"{self._job.label} took longer than {self._job.policy.open_limit_s:g} s to open.")
                zygote.lose()


def _how(code: int) -> str:
    try:
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
    except ValueError:  # most real-time signals have no name
        return f"signal {-code}"
