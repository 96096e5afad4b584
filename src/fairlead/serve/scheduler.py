"""When each request of one loaded version runs, and with whom: priorities, deadlines, cancellation, batches.

Takes tensors that were checked; gives Tickets. Raises OverloadedError and DeadlineError at once where a request has no hope; a ticket fails
with DeadlineError at its deadline, and with what the engine raises. Requests that arrive in the same round of the event loop are looked at
together at its end, so that an idle version begins at once and a busy one batches by itself. Laws: `created_count` is `released_count` plus
what waits and runs; a batch that an engine refuses runs again one by one, so that a bad request fails nobody else; nobody gets another
one's row; what is run beside callers' requests (LOWEST_PRIORITY: to compare, to explain) costs none of them anything: not its place among
the calls that a model may make at once, not its company in a batch, not the last of several slots. It belongs to the event loop's thread
and takes no lock.
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
from fairlead.serve.batching import LONG_MS, BatchPolicy
from fairlead.serve.call_limit import CallLimit
from fairlead.serve.executor import Executor
from fairlead.serve.joining import join, key_of, part
from fairlead.serve.pace import INLINE_MS, MANY_ELEMENTS, Pace
from fairlead.serve.ticket import Release, Ticket

# After so many looks that found one arrival the next ones are not put off, but for two in a row of twice as many: if the first of the two
# is the last of its round, the second is the first of the next, so one of them finds company where there is any.
_ALONE_COUNT = 8
_EFFORT_S = 0.005  # asking what was computed takes a microsecond
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
    """The queue of one loaded version. `on_batch` is told of every call of the engine; `limit` is shared by all versions of the model.
    `effort` gives the seconds that this process has computed.
    """

    def __init__(
        self,
        executor: Executor,
        policy: BatchPolicy,
        on_batch: OnBatch,
        *,
        limit: CallLimit | None = None,
        clock: Clock = time.monotonic,
        effort: Clock = time.process_time,
    ) -> None:
        self._executor = executor
        self._limit = limit
        self._policy = policy
        self._on_batch = on_batch
        self._clock, self._effort = clock, effort
        self._effort_at = self._effort_s = -math.inf  # what this process had computed a moment ago
        self._pace = Pace(executor.interface, policy)
        self._is_plain = all(size is not None for spec in executor.interface.inputs for size in spec.shape[1:])
        self._arrived_count = 0
        self._alone_count = 0  # looks in a row that found one arrival
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

    def is_running(self, ticket: Ticket) -> bool:
        """Whether a call that has begun beside the event loop, and has not ended, is for `ticket`, settled or not."""
        return any(ticket in batch for batch in self._running.values())

    def expect(self, elements: int, call_ms: float) -> None:
        """Learn from a call that was made elsewhere: warm-up."""
        self._pace.expect(elements, call_ms)

    @property
    def slot_count(self) -> int:
        """How many calls run at once."""
        count = self._executor_slots()
        return count if self._limit is None else min(count, self._limit.limit)

    def _executor_slots(self) -> int:
        """While dead workers are replaced, one may wait for the next of them."""
        return max(self._executor.slot_count, 1)

    def expected_wait_s(self) -> float:
        """Return how long a request that came now would wait, as far as can be known."""
        return expected_wait_s(self._open_elements, self._pace.element_ms, self.slot_count)

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
        if now + self._open_elements * self._pace.element_ms / 1e3 >= deadline:
            check_deadline(deadline, now, self.expected_wait_s())
        elements = 0
        for tensor in inputs.values():
            elements += tensor.size
        weight = elements if elements <= MANY_ELEMENTS else self._pace.weight(elements)
        level = DEFAULT_LEVEL
        loop = asyncio.get_running_loop()
        key = None if self._is_plain and not (outputs or parameters) else key_of(inputs, outputs, parameters)
        if priority:
            level = level_of(priority)
            if level > DEFAULT_LEVEL:  # it makes nobody's wait look longer, and shares nobody's call
                weight, key = 0, object()
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
        pace, hold, limit, is_in_line = self._pace, 0.0, self._limit, False
        while self._waiting and (free_count := self._executor_slots() - len(self._running)) > 0:
            now = self._clock()
            if now >= self._earliest:
                self._expire(now)
                continue
            if (now - began) * 1e3 > INLINE_MS:
                self._look_soon()  # others in the loop have their turn
                break
            place_count = free_count if limit is None else min(free_count, max(limit.limit - limit.taken, 1))
            batch, left, is_inline = pace.next_batch(self._waiting, place_count, may_hold_loop=not self._executor.is_blocking)
            is_aside = _is_aside(batch)
            if not is_inline:
                if is_aside and free_count == 1 < self._executor_slots():
                    break
                hold = 0.0 if is_aside else pace.hold_s(batch, now, has_spare_slot=place_count > 1)
                if hold:
                    break
            if limit is not None and not is_aside and not limit.take(self._look_soon):
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
            self._pace.note_arrivals(self._arrived_count, now)
            self._arrived_count = 0

    # Running.

    def _run_here(self, batch: list[Ticket]) -> None:
        began = self._clock()
        if began - self._effort_at > _EFFORT_S:
            self._effort_at, self._effort_s = began, self._effort()
        try:
            outputs = self._executor.run_now(join(batch, self._clock), batch[0].outputs)
        except Exception as error:  # noqa: BLE001 - whatever an engine raises belongs to those who asked it
            self._note_here(*self._note_call(batch, began, _code_of(error)))
            self._failed(batch, error)
        else:
            parts = part(batch, outputs, self._clock)
            self._note_here(*self._note_call(batch, began, ""))
            self._answered(batch, parts)
        self._give_place_back(batch)

    def _note_here(self, elements: int, call_ms: float) -> None:
        """Learn from a call in the loop. Where the system took the processor away for so long, that is no fault of the model's."""
        self._pace.note_here(elements, call_ms)
        if call_ms > LONG_MS and (self._effort() - self._effort_s) * 1e3 > LONG_MS:
            self._pace.note_hold()

    def _run_beside(self, batch: list[Ticket]) -> None:
        began = self._clock()
        task = asyncio.get_running_loop().create_task(self._run(batch))
        self._running[task] = batch
        task.add_done_callback(partial(self._ended, batch, began))

    async def _run(self, batch: list[Ticket]) -> dict[str, Array]:
        return await self._executor.run(join(batch, self._clock), batch[0].outputs)

    def _ended(self, batch: list[Ticket], began: float, task: asyncio.Task[dict[str, Array]]) -> None:
        del self._running[task]
        self._give_place_back(batch)
        error = UnavailableError("The call was cut off.") if task.cancelled() else task.exception()
        parts = [] if error is not None else part(batch, task.result(), self._clock)
        self._pace.note_beside(*self._note_call(batch, began, "" if error is None else _code_of(error)))
        if error is None:
            self._answered(batch, parts)
        else:
            self._failed(batch, error)
        if self._waiting:
            self._look()

    def _give_place_back(self, batch: list[Ticket]) -> None:
        if self._limit is not None and not _is_aside(batch):
            self._limit.give_back()

    def _answered(self, batch: list[Ticket], parts: list[dict[str, Array]]) -> None:
        if not parts:
            self._pace.row_limit = 1  # the answers cannot be told apart by rows: never ask like this again
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

    def _note_call(self, batch: list[Ticket], began: float, error_code: str) -> tuple[int, float]:
        """Tell of a call; returns its elements and milliseconds."""
        call_ms = (self._clock() - began) * 1e3
        rows = elements = 0
        for ticket in batch:
            rows += ticket.rows
            elements += ticket.elements
            ticket.queue_ms = (began - ticket.asked_at) * 1e3
            ticket.compute_ms = call_ms
        for ticket in batch:
            ticket.batch_rows = rows
        self._on_batch(Run(rows, len(batch), call_ms, error_code, batch[0].input_ms, batch[0].output_ms))
        return elements, call_ms

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


def _is_aside(batch: list[Ticket]) -> bool:
    """Whether the call is made beside those of callers, to be compared with one of them; such a request is alone in its batch."""
    return batch[0].level > DEFAULT_LEVEL
