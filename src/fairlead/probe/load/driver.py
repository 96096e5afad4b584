"""Drives one process's load: who sends what when, what came back, and whether it was right.

Takes a LoadJob; gives a Tally. In an open loop a request's time counts from when it was to be sent: a server that stops for a moment, or a
client without a free connection, makes every request late that fell into that moment (no coordinated omission). Raises UnavailableError
where no connection can be made. It runs in the thread's own event loop and uses one thread more, which only wakes it.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from fairlead.errors import UnavailableError
from fairlead.probe.load.answers import Judge, Judgement
from fairlead.probe.load.grpc_link import GrpcLink
from fairlead.probe.load.http_link import HttpLink
from fairlead.probe.load.job import LoadJob, Tally
from fairlead.probe.load.link import Link, Waiting
from fairlead.probe.load.schedule import schedule

_SWEEP_S = 0.25
_RETRY_S = 0.1
_TICK_S = 100e-6  # wake-ups closer than this are one
_FIRST_LINKS = 8
Progress = Callable[[float, Tally], None]


class LoadDriver:
    """One load in the running event loop. `progress` is told the seconds since the warm-up and the tally so far, about once a second."""

    def __init__(self, job: LoadJob, progress: Progress) -> None:
        self._job, self._progress = job, progress
        self.tally = Tally()
        self._judge = Judge(job)
        self._numbers = itertools.cycle(range(len(job.requests)))
        self._links: set[Link] = set()
        self._free: list[Link] = []
        self._backlog: deque[Waiting] = deque()
        self._opening = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_over = self._is_closed = False
        self._next_at = float("inf")
        self._start = 0.0
        self._times: Iterator[float] = iter(())
        self._begin = self._end = 0.0
        self._stopped = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def run(self) -> Tally:
        """Warm up, measure, and wait for what is still under way."""
        was_enabled, interval = gc.isenabled(), sys.getswitchinterval()
        gc.disable()
        sys.setswitchinterval(0.0005)  # the thread that wakes the loop must not wait its turn for long
        try:
            await self._open_first()
            return await self._measure()
        finally:
            sys.setswitchinterval(interval)
            if was_enabled:
                gc.enable()
            self._is_over = self._is_closed = True
            for task in tuple(self._tasks):
                task.cancel()
            for link in tuple(self._links):
                link.abort()
            await asyncio.sleep(0)

    def stop(self) -> None:
        """End now; what was counted stays."""
        self._stopped.set()

    async def _measure(self) -> Tally:
        job, start = self._job, time.perf_counter()
        self._begin = start + job.warm_up_s
        self._end = self._begin + job.duration_s
        if job.is_open:
            self._follow_schedule(start)
        else:
            for link in tuple(self._free):
                self._send(link, time.perf_counter())
            self._free.clear()
        await self._until(self._begin)
        cpu_before = time.process_time()
        while not self._stopped.is_set() and time.perf_counter() < self._end:
            await self._until(min(time.perf_counter() + 1.0, self._end))
            self._progress(time.perf_counter() - self._begin, self.tally)
        self._dispatch()
        self._end = min(self._end, max(time.perf_counter(), self._begin))
        self._is_over = True
        tally = self.tally
        tally.measured_s = self._end - self._begin
        tally.cpu_s = time.process_time() - cpu_before
        tally.cpu_shares = [tally.cpu_s / tally.measured_s if tally.measured_s else 0.0]
        tally.connection_count = len(self._links)
        await self._drain()
        return tally

    async def _until(self, at: float) -> None:
        """Return at `at`, or when somebody asked to stop; look after what takes too long meanwhile."""
        while not self._stopped.is_set() and (left := at - time.perf_counter()) > 0:
            try:
                await asyncio.wait_for(self._stopped.wait(), min(left, _SWEEP_S))
            except TimeoutError:
                self._sweep()

    async def _drain(self) -> None:
        """Wait for the answers to what was sent; those that were to be sent before the end still go out."""
        until = time.perf_counter() + (0.5 if self._stopped.is_set() else self._job.timeout_s)
        while time.perf_counter() < until and (self._backlog or any(link.waiting() for link in self._links)):
            await asyncio.sleep(0.01)
            self._sweep()
        if self._stopped.is_set():
            return
        for link in self._links:
            for waiting in link.waiting():
                self._give_up(waiting, "timeout")
        while self._backlog:
            self._give_up(self._backlog.popleft(), "timeout")

    # -- when

    def _follow_schedule(self, start: float) -> None:
        """A thread sleeps until each time of the schedule (finer than the loop's own timers) and wakes the loop."""
        self._times, self._start = self._schedule(), start
        self._next_at = start + next(self._times)
        threading.Thread(target=self._wake, args=(self._schedule(), start), name="fairlead-ticks", daemon=True).start()

    def _schedule(self) -> Iterator[float]:
        job = self._job
        return schedule(job.arrivals, job.rate, seed=job.seed, part=job.part, part_count=job.part_count)

    def _wake(self, times: Iterator[float], start: float) -> None:
        last = 0.0
        for offset in times:
            at = start + offset
            if at - last < _TICK_S:
                continue
            while (left := at - time.perf_counter()) > 0:
                if self._is_over:
                    return
                time.sleep(min(left, 0.1))
            if self._is_over:
                return
            last = at
            try:
                self._loop.call_soon_threadsafe(self._dispatch)
            except RuntimeError:  # the loop has ended
                return

    def _dispatch(self) -> None:
        """Send what is due, or queue it where no connection is free."""
        now = time.perf_counter()
        while self._next_at <= now and self._next_at < self._end and not self._is_over:
            intended = self._next_at
            if self._begin <= intended:
                self.tally.lags.add(now - intended)
            if self._free:
                self._send(self._free.pop(), intended)
            else:
                self._backlog.append((next(self._numbers), intended))
                self._grow()
            self._next_at = self._start + next(self._times)

    def _send(self, link: Link, intended: float) -> None:
        link.send(next(self._numbers), intended)

    # -- what links tell

    def opened(self, link: Link) -> None:
        """A connection stands: put its slots to use."""
        self._links.add(link)
        for _ in range(min(link.slot_count, self._job.concurrency)):
            self._use(link)

    def answered(self, link: Link, number: int, intended: float, status: int, head: bytes, body: bytes) -> None:
        """Count the answer, then use the link again."""
        now = time.perf_counter()
        if self._is_counted(intended, now):
            tally = self.tally
            tally.sent_count += 1
            tally.sent_bytes += len(self._job.requests[number])
            tally.received_bytes += len(head) + len(body)
            if status != 200:
                tally.fail(str(status) if status < 1000 else f"gRPC {status - 1000}")
            else:
                judgement = self._judge.judge(number, head, body)
                if judgement is Judgement.WRONG:
                    tally.wrong_count += 1
                    tally.wrong_example = tally.wrong_example or body[:300].decode("utf-8", "replace")
                else:
                    tally.right_count += 1
                    tally.alike_count += judgement is Judgement.ALIKE
                    tally.times.add(now - intended)
        if b"\r\nconnection: close" not in head:
            self._use(link)
        if self._next_at <= now:
            self._dispatch()

    def lost(self, link: Link, waiting: Sequence[Waiting], reason: str) -> None:
        """Count what has no answer; open another connection instead."""
        self._links.discard(link)
        if self._is_closed:
            return
        if link in self._free:
            self._free = [other for other in self._free if other is not link]
        for item in waiting:
            self._give_up(item, reason or "closed by the server")
        if not self._is_over:
            self._spawn()

    def _use(self, link: Link) -> None:
        if self._backlog:
            number, intended = self._backlog.popleft()
            link.send(number, intended)
        elif self._job.is_open or self._begin == 0.0:
            self._free.append(link)
        elif not self._is_over:
            self._send(link, time.perf_counter())

    def _is_counted(self, intended: float, now: float) -> bool:
        """In an open loop by when it was to be sent, in a closed loop by when it was answered."""
        at = intended if self._job.is_open else now
        return self._begin <= at < self._end

    def _give_up(self, waiting: Waiting, reason: str) -> None:
        """A request without an answer: the time that was waited counts, since it would have taken at least as long."""
        _, intended = waiting
        now = time.perf_counter()
        if self._is_counted(intended, min(now, self._end - 1e-9)):
            self.tally.sent_count += 1
            self.tally.fail(reason)
            self.tally.times.add(now - intended)

    def _sweep(self) -> None:
        """Cut connections whose request takes too long."""
        oldest = time.perf_counter() - self._job.timeout_s
        for link in tuple(self._links):
            if any(intended < oldest for _, intended in link.waiting()):
                link.abort()
        while self._backlog and self._backlog[0][1] < oldest:
            self._give_up(self._backlog.popleft(), "timeout")

    # -- connections

    async def _open_first(self) -> None:
        job = self._job
        count = job.connection_count if job.protocol == "grpc" else min(job.concurrency, _FIRST_LINKS) if job.is_open else job.concurrency
        try:
            await asyncio.wait_for(asyncio.gather(*(self._connect() for _ in range(count))), job.timeout_s)
        except (OSError, TimeoutError) as error:
            raise UnavailableError(f"No connection to {job.host}, port {job.port}: {error or 'timeout'}.") from error

    def _grow(self) -> None:
        """Open one more connection for an open loop, up to the limit."""
        limit = self._job.connection_count if self._job.protocol == "grpc" else self._job.concurrency
        if len(self._links) + self._opening < limit:
            self._spawn()

    def _spawn(self) -> None:
        self._opening += 1
        task = self._loop.create_task(self._reconnect())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reconnect(self) -> None:
        """Try until it works or the load is over; each refusal is an error of its own, as a user would have met it."""
        try:
            while not self._is_over:
                try:
                    await self._connect()
                except OSError as error:
                    if self._is_counted(time.perf_counter(), time.perf_counter()):
                        self.tally.fail("connection refused" if isinstance(error, ConnectionRefusedError) else type(error).__name__)
                    await asyncio.sleep(_RETRY_S)
                else:
                    return
        finally:
            self._opening -= 1

    async def _connect(self) -> None:
        job = self._job
        secure = ssl.create_default_context() if job.is_secure else None
        if job.protocol == "grpc":
            slots = -(-job.concurrency // job.connection_count)
            await self._loop.create_connection(lambda: GrpcLink(self, job.requests, job.host, job.port, slots), job.host, job.port)
        else:
            await self._loop.create_connection(lambda: HttpLink(self, job.requests), job.host, job.port, ssl=secure)
