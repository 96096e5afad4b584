"""When each request of one loaded version runs, and with whom: priorities, deadlines, cancellation, batches.

Takes tensors that were checked; gives Tickets. Raises OverloadedError and DeadlineError at once where a request has no hope; a ticket fails
with DeadlineError at its deadline, and with what the engine raises. Requests that arrive in the same round of the event loop are looked at
together at its end, so that an idle version begins at once and a busy one batches by itself. Laws: `created_count` is `released_count` plus
what waits and runs; a batch that an engine refuses runs again one by one, so that a bad request fails nobody else; nobody gets another
one's row. It belongs to the event loop's thread and takes no lock.
"""

from __future__ import annotations

import asyncio
import math
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from fairlead.core.interface import Array, Tensors
from fairlead.core.ports import Clock
from fairlead.errors import FairleadError, UnavailableError
from fairlead.serve.admission import DEFAULT_LEVEL, check_deadline, expected_wait_s, level_of, passed
from fairlead.serve.alarm import Alarm
from fairlead.serve.batching import LONG_MS, BatchPolicy, Caution, Moment, ServiceTimes, compose, hold_s
from fairlead.serve.call_limit import CallLimit
from fairlead.serve.executor import Executor
from fairlead.serve.joining import has_free_batch, join, key_of, part
from fairlead.serve.ticket import Release, Ticket

_INLINE_MS = 1.0  # a call that takes longer is made beside the event loop
_DOUBTFUL_MS = 4.0
_HELD_MS = 4.0  # how long one batch of shorter calls may hold the loop: it takes less than they would one by one
_SMOOTHING = 0.2  # weight of the newest in a running mean
_EXPLORE_EVERY = 32  # calls between two tries of a larger batch than has proved useful
# After so many looks that found one arrival the next ones are not put off, but for two in a row of twice as many: if the first of the two
# is the last of its round, the second is the first of the next, so one of them finds company where there is any.
_ALONE_COUNT = 8
_MANY_ELEMENTS = 2**13  # a request with more is counted by what calls of its size take
_LOOK_S = 0.05  # a slot that comes back unasked, a replaced worker's, is noticed within this


class Run(NamedTuple):
    """One call of the engine: its rows, requests and milliseconds, the code of its error or "", and what of the time went into joining the
    rows and into parting the answer.
    """

    rows: int
    requests: int
    call_ms: float
    error_code: str
    input_ms: float
    output_ms: float


OnBatch = Callable[[Run], None]


class Scheduler:
    """The queue of one loaded version. `on_batch` is told of every call of the engine; `limit` is shared by all versions of the model."""

    def __init__(
        self, executor: Executor, policy: BatchPolicy, on_batch: OnBatch, *, limit: CallLimit | None = None, clock: Clock = time.monotonic
    ) -> None:
        self._executor = executor
        self._limit = limit
        self._policy = policy
        self._on_batch = on_batch
        self._clock = clock
        self._row_limit = policy.max_rows if policy.is_enabled and has_free_batch(executor.interface) else 1
        self._is_plain = all(size is not None for spec in executor.interface.inputs for size in spec.shape[1:])
        self._here = ServiceTimes()  # of calls in the event loop
        self._beside = ServiceTimes()  # of those beside it, which wait for a thread, a process, a processor
        self._caution = Caution()
        self._element_ms = 0.0  # what an input element took lately, in batches as they came
        self._gap_s = math.inf  # mean time between arrivals
        self._arrived_at = -math.inf
        self._arrived_count = 0
        self._alone_count = 0  # looks in a row that found one arrival
        self._call_count = 0
        self._waiting: list[Ticket] = []
        self._running: dict[asyncio.Task[dict[str, Array]], list[Ticket]] = {}
        self._open_elements = 0
        self._is_due = False  # a look at the queue is scheduled
        self._is_looking = False  # whoever is answered may ask again at once
        self._alarm = Alarm(self._wake)
        self._earliest = math.inf  # no ticket that waits has an earlier deadline
        self.created_count = self.released_count = 0

    @property
    def policy(self) -> BatchPolicy:
        """How batches are made."""
        return self._policy

    @property
    def waiting_count(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    @property
    def running_count(self) -> int:
        """How many calls are under way beside the event loop."""
        return len(self._running)

    def expect(self, elements: int, call_ms: float) -> None:
        """Learn from a call that was made elsewhere: warm-up."""
        self._here.note(elements, call_ms)
        self._beside.note(elements, call_ms)
        self._element_ms = self._element_ms or call_ms / elements

    @property
    def slot_count(self) -> int:
        """How many calls run at once; while dead workers are replaced, one may wait for the next of them."""
        count = max(self._executor.slot_count, 1)
        return count if self._limit is None else min(count, self._limit.limit)

    def expected_wait_s(self) -> float:
        """Return how long a request that came now would wait, as far as can be known."""
        return expected_wait_s(self._open_elements, self._element_ms, self.slot_count)

    def submit(
        self,
        inputs: Tensors,
        outputs: tuple[str, ...],
        rows: int,
        *,
        priority: int = 0,
        deadline: float = math.inf,
        timeout_s: float = math.inf,
        parameters: Mapping[str, object] | None = None,
        on_ended: Release | None = None,
    ) -> Ticket:
        """Return a ticket for inputs that fit the interface, `rows` of them; see the module for the errors.

        It is not begun after `deadline`, nor later than `timeout_s` from now. `on_ended` is told when it is settled, which may be at once:
        where nobody else has come for a while, nobody is waited for.
        """
        now = self._clock()
        if now + timeout_s < deadline:  # noqa: PLR1730 - min() takes three times as long
            deadline = now + timeout_s
        if now + self._open_elements * self._element_ms / 1e3 >= deadline:
            check_deadline(deadline, now, self.expected_wait_s())
        elements = 0
        for tensor in inputs.values():
            elements += tensor.size
        weight = elements if elements <= _MANY_ELEMENTS else self._weight(elements)
        loop = asyncio.get_running_loop()
        key = None if self._is_plain and not (outputs or parameters) else key_of(inputs, outputs, parameters)
        level = level_of(priority) if priority else DEFAULT_LEVEL
        ticket = Ticket(self._release, loop, inputs, outputs, key, rows, elements, level, deadline, now, weight, on_ended=on_ended)
        self.created_count += 1
        self._open_elements += weight
        self._arrived_count += 1
        waiting = self._waiting
        if not waiting or waiting[-1].level <= level:
            waiting.append(ticket)
        else:
            waiting.insert(bisect_right(waiting, level, key=_level), ticket)
        if deadline < self._earliest:  # noqa: PLR1730 - min() takes three times as long
            self._earliest = deadline
        if not self._is_due:
            self._is_due = True
            if self._alone_count >= _ALONE_COUNT and self._alone_count % (2 * _ALONE_COUNT) > 1 and not self._is_looking:
                self._look()
            else:
                loop.call_soon(self._look)
        return ticket

    def close(self) -> None:
        """Fail what still waits, and let the executor go. Idempotent."""
        self._alarm.cancel()
        for ticket in tuple(self._waiting):
            ticket.fail(UnavailableError("The model was unloaded.", hint="Ask again; a newer version may be serving."))
        if self._limit is not None:
            self._limit.leave(self._look_soon)
        self._executor.close()

    def _weight(self, elements: int) -> int:
        """Return what a large request counts for those who wait: its elements take less time than those of small ones. How much less is not
        known before the first, and nobody is refused for want of knowledge.
        """
        expected = self._beside.at_least_ms(elements)
        return elements if expected is None or not self._element_ms else min(elements, int(expected / self._element_ms) + 1)

    def _release(self, ticket: Ticket) -> None:
        self.released_count += 1
        self._open_elements -= ticket.weight
        if ticket.is_waiting:
            ticket.is_waiting = False
            self._waiting.remove(ticket)

    # Looking at the queue.

    def _look(self) -> None:
        """Begin what can begin."""
        self._is_due, self._is_looking = False, True
        try:
            self._begin_calls()
        finally:
            self._is_looking = False

    def _begin_calls(self) -> None:
        began = self._clock()
        self._note_arrivals(began)
        hold, limit, is_in_line = 0.0, self._limit, False
        while self._waiting and len(self._running) < self.slot_count:
            now = self._clock()
            if now >= self._earliest:
                self._expire(now)
                continue
            if (now - began) * 1e3 > _INLINE_MS:
                self._look_soon()  # others in the loop have their turn
                break
            batch, left, is_inline = self._next_batch()
            if not is_inline:
                hold = self._hold_s(batch, now)
                if hold:
                    break
            if limit is not None and not limit.take(self._look_soon):
                is_in_line = True
                break
            self._waiting = left
            if not left:
                self._earliest = math.inf
            for ticket in batch:
                ticket.is_waiting = False
            (self._run_here if is_inline else self._run_beside)(batch)
        if limit is not None and not is_in_line:
            limit.leave(self._look_soon)
        if self._waiting or self._running:
            self._watch(hold)

    def _look_soon(self) -> None:
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._look)

    def _note_arrivals(self, now: float) -> None:
        if self._arrived_count:
            self._alone_count = self._alone_count + 1 if self._arrived_count == 1 else 0
            newest = (now - self._arrived_at) / self._arrived_count
            self._gap_s = newest if self._gap_s == math.inf else self._gap_s + _SMOOTHING * (newest - self._gap_s)
            self._arrived_at, self._arrived_count = now, 0

    def _next_batch(self) -> tuple[list[Ticket], list[Ticket], bool]:
        """Return the next batch, what is left, and whether it is short enough to hold the event loop."""
        first = self._waiting[0]
        is_inline = not (self._executor.is_blocking or self._caution.is_on) and self._is_short(first.elements)
        if len(self._waiting) == 1:
            return [first], [], is_inline
        limit = self._row_limit
        if limit > 1:
            row_elements = first.elements // first.rows
            if is_inline:  # each call costs the loop more than the engine's part, so the fewer the better
                limit = self._here.rows_within(row_elements, limit, _HELD_MS)
            else:  # what waits is shared by the slots that are free
                limit = self._beside.useful_rows(row_elements, limit, is_exploring=self._call_count % _EXPLORE_EVERY == 0)
                free = self.slot_count - len(self._running)
                limit = min(limit, -(-sum(ticket.rows for ticket in self._waiting) // free))
        batch, left = compose(self._waiting, limit, self._policy.preferred_rows)
        return batch, left, is_inline

    def _is_short(self, elements: int) -> bool:
        """Whether a call may hold the event loop; one that seems a little too long is tried again now and then, since a burst of other
        work on the machine makes every call look long.
        """
        expected = self._here.expect_ms(elements)
        if expected is None:
            return False
        return expected < _INLINE_MS or (expected < _DOUBTFUL_MS and self._call_count % _EXPLORE_EVERY == 0)

    def _hold_s(self, batch: list[Ticket], now: float) -> float:
        """Return how long the batch should wait for company."""
        if self._row_limit == 1 or self._policy.max_delay_ms <= 0:
            return 0.0
        elements = sum(ticket.elements for ticket in batch)
        rows = sum(ticket.rows for ticket in batch)
        if rows >= self._beside.useful_rows(elements // rows, self._row_limit) or rows in self._policy.preferred_rows:
            return 0.0
        has_spare = self.slot_count - len(self._running) > 1
        service_s = (self._beside.expect_ms(elements) or 0.0) / 1e3
        gap_s = max(self._gap_s, now - self._arrived_at)
        return hold_s(self._policy, Moment(len(batch), now - batch[0].asked_at, gap_s, service_s, has_spare))

    # Running.

    def _run_here(self, batch: list[Ticket]) -> None:
        began = self._clock()
        try:
            outputs = self._executor.run_now(join(batch, self._clock), batch[0].outputs)
        except Exception as error:  # noqa: BLE001 - whatever an engine raises belongs to those who asked it
            call_ms, _ = self._note_call(batch, began, _code_of(error), self._here)
            self._failed(batch, error)
        else:
            parts = part(batch, outputs, self._clock)
            call_ms, _ = self._note_call(batch, began, "", self._here)
            self._answered(batch, parts)
        if self._limit is not None:
            self._limit.give_back()
        if call_ms > LONG_MS:
            self._caution.held()

    def _run_beside(self, batch: list[Ticket]) -> None:
        began = self._clock()
        task = asyncio.get_running_loop().create_task(self._run(batch))
        self._running[task] = batch
        task.add_done_callback(partial(self._ended, batch, began))

    async def _run(self, batch: list[Ticket]) -> dict[str, Array]:
        return await self._executor.run(join(batch, self._clock), batch[0].outputs)

    def _ended(self, batch: list[Ticket], began: float, task: asyncio.Task[dict[str, Array]]) -> None:
        del self._running[task]
        if self._limit is not None:
            self._limit.give_back()
        error = UnavailableError("The call was cut off.") if task.cancelled() else task.exception()
        parts = [] if error is not None else part(batch, task.result(), self._clock)
        call_ms, elements = self._note_call(batch, began, "" if error is None else _code_of(error), self._beside)
        self._here.note_at_most(elements, call_ms)
        self._caution.ran_beside(call_ms)
        if error is None:
            self._answered(batch, parts)
        else:
            self._failed(batch, error)
        if self._waiting:
            self._look()

    def _answered(self, batch: list[Ticket], parts: list[dict[str, Array]]) -> None:
        if not parts:
            self._row_limit = 1  # the answers cannot be told apart by rows: never ask like this again
            self._run_alone(batch)
        for ticket, outputs in zip(batch, parts, strict=False):
            ticket.answer(outputs)

    def _failed(self, batch: list[Ticket], error: BaseException) -> None:
        if len(batch) == 1 or isinstance(error, UnavailableError):
            for ticket in batch:
                ticket.fail(error)
        else:
            self._run_alone(batch)

    def _run_alone(self, batch: list[Ticket]) -> None:
        """Put a batch back in front of its level, each request for itself."""
        for ticket in reversed(batch):
            if not ticket.is_settled:
                ticket.key, ticket.is_waiting = object(), True
                place = next((place for place, other in enumerate(self._waiting) if other.level >= ticket.level), len(self._waiting))
                self._waiting.insert(place, ticket)
                self._earliest = min(self._earliest, ticket.deadline)
        self._look_soon()

    def _note_call(self, batch: list[Ticket], began: float, error_code: str, times: ServiceTimes) -> tuple[float, int]:
        """Learn from a call and tell of it; returns its milliseconds and elements."""
        call_ms = (self._clock() - began) * 1e3
        rows = elements = 0
        for ticket in batch:
            rows += ticket.rows
            elements += ticket.elements
            ticket.queue_ms = (began - ticket.asked_at) * 1e3
            ticket.compute_ms = call_ms
        for ticket in batch:
            ticket.batch_rows = rows
        self._call_count += 1
        times.note(elements, call_ms)
        self._element_ms += (_SMOOTHING if self._element_ms else 1.0) * (call_ms / elements - self._element_ms)
        self._on_batch(Run(rows, len(batch), call_ms, error_code, batch[0].input_ms, batch[0].output_ms))
        return call_ms, elements

    # Deadlines.

    def _expire(self, now: float) -> None:
        """Answer those whose time is over, whether they wait or run; a call that runs keeps its slot until it ends."""
        late = [ticket for ticket in self._waiting if ticket.deadline <= now]
        late += [ticket for batch in self._running.values() for ticket in batch if ticket.deadline <= now and not ticket.is_settled]
        for ticket in late:
            ticket.fail(passed())
        self._earliest = min((ticket.deadline for ticket in self._waiting), default=math.inf)

    def _watch(self, hold: float) -> None:
        """Look again when something is due: the earliest deadline, the end of a wait for company, a slot that may be back."""
        now = self._clock()
        at = min((t.deadline for batch in self._running.values() for t in batch if not t.is_settled), default=math.inf)
        if self._waiting:
            at = min(at, self._earliest, now + (hold or _LOOK_S))
        self._alarm.set(at, now)

    def _wake(self) -> None:
        self._expire(self._clock())
        if not self._is_due:
            self._look()


def _code_of(error: BaseException) -> str:
    return error.code if isinstance(error, FairleadError) else "internal"


def _level(ticket: Ticket) -> int:
    return ticket.level
