"""Runs requests a second time after they were answered: on the candidate (shadow), or on a version's uncompressed original (twin).

Takes answered requests; tells a witness how the two answers compare. Raises nothing. Laws: the answer that the caller gets is never waited
for, changed or failed by any of this; what waits is bounded in number and bytes, and what finds no room, or waits too long, is dropped and
counted: that is no failure of the version. One runs at a time, in the candidate's queue behind everybody else, and while callers wait, only
in a fifth of the time.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

import msgspec

from fairlead.core.answer_pair import is_flip, largest_difference
from fairlead.core.interface import Array, Tensors
from fairlead.core.ports import Clock, TrafficWitness
from fairlead.core.traffic_event import Compared, ComparisonKind, Gap, Missed
from fairlead.errors import DeadlineError, FairleadError, OverloadedError
from fairlead.serve.admission import LOWEST_PRIORITY
from fairlead.serve.model_table import ModelTable, ServedVersion
from fairlead.serve.twin import Twin

_COUNT_LIMIT = 128
_BYTES_LIMIT = 64 * 2**20
_LATE_S = 5.0
_REST_FACTOR = 4.0  # while callers wait, a comparison that took a millisecond is followed by four without one
_LOOK_S = 0.002


class Job(msgspec.Struct, eq=False):
    """A request that `live` has answered with `answer` in `live_ns`, to be run again: on `target`, or on its twin."""

    kind: ComparisonKind
    release: str
    step: int
    arm: str
    target: ServedVersion
    live: ServedVersion
    inputs: Tensors
    outputs: tuple[str, ...]
    rows: int
    answer: Tensors
    live_ns: int
    is_evidence: bool = True
    at: float = 0.0
    size_bytes: int = 0


OpenTwin = Callable[[ServedVersion], Awaitable[None]]


class Mirror:
    """`is_calm` says that no caller waits; `open_twin` brings a version's original into memory; `report` takes sentences for the log."""

    def __init__(
        self,
        table: ModelTable,
        witness: TrafficWitness,
        *,
        is_calm: Callable[[], bool],
        open_twin: OpenTwin,
        report: Callable[[str], None],
        clock: Clock = time.monotonic,
    ) -> None:
        self._table, self._witness, self._is_calm, self._open_twin = table, witness, is_calm, open_twin
        self._report, self._clock = report, clock
        self._jobs: deque[Job] = deque()
        self._held_bytes = 0
        self._rest_until = 0.0
        self._task: asyncio.Task[None] | None = None
        self._openings: set[asyncio.Task[None]] = set()

    def offer(self, job: Job) -> None:
        """Take a request that has been answered, if there is room for it; returns at once."""
        job.size_bytes = sum(tensor.nbytes for tensors in (job.inputs, job.answer) for tensor in tensors.values())
        if len(self._jobs) >= _COUNT_LIMIT or self._held_bytes + job.size_bytes > _BYTES_LIMIT:
            self._miss(job, Gap.BUSY)
            return
        job.at = self._clock()
        self._jobs.append(job)
        self._held_bytes += job.size_bytes
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def stop(self) -> None:
        """Drop what waits, and return when nothing runs any more."""
        self._jobs.clear()
        tasks = [task for task in (self._task, *self._openings) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _work(self) -> None:
        """Run what waits, one after the other; ends when nothing does."""
        try:
            await asyncio.sleep(_LOOK_S)  # the answer that this was begun with is on its way
            while self._jobs:
                await self._moment()
                job = self._jobs.popleft()
                self._held_bytes -= job.size_bytes
                began = self._clock()
                if began - job.at > _LATE_S:
                    self._miss(job, Gap.LATE)
                    continue
                await self._compare(job)
                self._rest_until = self._clock() + _REST_FACTOR * (self._clock() - began)
        finally:
            self._task = None

    async def _moment(self) -> None:
        """Return when no caller waits, or the rest that they are owed is over; others in the loop have their turn in any case."""
        await asyncio.sleep(0)
        while not self._is_calm() and (left := self._rest_until - self._clock()) > 0.0:  # noqa: ASYNC110 - every request would set it
            await asyncio.sleep(min(left, _LOOK_S))

    async def _compare(self, job: Job) -> None:
        target = job.target
        if target.is_retired or target.is_asleep:
            self._miss(job, Gap.LATE if target.is_retired else Gap.ASLEEP)
            return
        self._table.begin_request(target)  # it stays loaded meanwhile
        try:
            found = await (self._run_shadow(job) if job.kind is ComparisonKind.SHADOW else self._run_twin(job))
            if found is not None:
                self._tell(job, *found)
        except OverloadedError:  # the queue's: callers of the candidate were in the way
            self._miss(job, Gap.BUSY)
        except Exception as error:  # noqa: BLE001 - whatever the second version raises is its own, and no caller's
            self._miss(job, Gap.FAILED)
            if not isinstance(error, FairleadError):
                self._report(f"{target.version.label} failed on a request that it was shown ({type(error).__name__}).")
        finally:
            self._table.end_request(target)

    async def _run_shadow(self, job: Job) -> tuple[dict[str, Array], int]:
        scheduler = job.target.scheduler
        ticket = scheduler.submit(job.inputs, job.outputs, job.rows, priority=LOWEST_PRIORITY, timeout_s=_LATE_S)
        try:
            outputs = await ticket
        except DeadlineError as error:
            if scheduler.is_running(ticket):
                raise
            raise OverloadedError("No call was free for it in time.") from error
        finally:
            ticket.cancel()
        return outputs, int(ticket.compute_ms * 1e6)

    async def _run_twin(self, job: Job) -> tuple[dict[str, Array], int] | None:
        twin = job.target.twin
        if twin is None or not twin.is_open:
            self._miss(job, Gap.FAILED if twin is None or twin.has_failed else Gap.LOADING)
            if twin is not None:
                self._begin_opening(job.target, twin)
            return None
        return await twin.run(job.inputs, job.outputs)

    def _begin_opening(self, served: ServedVersion, twin: Twin) -> None:
        if not (twin.is_opening or twin.has_failed):
            twin.is_opening = True
            task = asyncio.get_running_loop().create_task(self._open(served, twin))
            self._openings.add(task)
            task.add_done_callback(self._openings.discard)

    async def _open(self, served: ServedVersion, twin: Twin) -> None:
        try:
            await self._open_twin(served)
        except FairleadError as error:
            twin.has_failed = True
            label = served.version.label
            self._report(f"The original of {label} cannot be opened ({error.code}): {error} Requests are not compared with it.")
        finally:
            twin.is_opening = False

    def _tell(self, job: Job, outputs: dict[str, Array], took_ns: int) -> None:
        live, target = job.live.interface, job.target.interface
        self._witness.compared(
            Compared(
                job.target.version.name,
                job.release,
                job.step,
                job.arm,
                job.target.version.number,
                job.kind,
                is_flip(live, job.answer, target, outputs),
                largest_difference(job.answer, outputs),
                took_ns,
                job.live_ns,
                job.is_evidence,
            )
        )

    def _miss(self, job: Job, gap: Gap) -> None:
        version = job.target.version
        self._witness.missed(
            Missed(version.name, job.release, job.step, job.arm, version.number, gap, job.kind, is_evidence=job.is_evidence)
        )
