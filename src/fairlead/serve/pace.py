"""How calls of one loaded version are made best, learned from those that were made: with how many rows, in the event loop or beside it, and
whether waiting for company pays.

Takes what calls took and when requests came; gives the next batch out of those that wait. Raises nothing. It holds no request and has no
clock: times are handed in.
"""

from __future__ import annotations

import math

from fairlead.core.interface import Interface
from fairlead.serve.batching import BatchPolicy, Caution, Moment, ServiceTimes, compose, hold_s
from fairlead.serve.joining import has_free_batch
from fairlead.serve.ticket import Ticket

INLINE_MS = 1.0  # a call that takes longer is made beside the event loop
_DOUBTFUL_MS = 4.0
_HELD_MS = 4.0  # how long one batch of shorter calls may hold the loop: it takes less than they would one by one
_SMOOTHING = 0.2  # weight of the newest in a running mean
_EXPLORE_EVERY = 32  # calls between two tries of a larger batch than has proved useful
MANY_ELEMENTS = 2**13  # a request with more is counted by what calls of its size take


class Pace:
    """What is known of one version's calls. `row_limit` is how many rows a batch may have, `element_ms` what an input element took lately,
    in batches as they came.
    """

    __slots__ = ("_arrived_at", "_beside", "_call_count", "_caution", "_gap_s", "_here", "_policy", "element_ms", "row_limit")

    def __init__(self, interface: Interface, policy: BatchPolicy) -> None:
        self._policy = policy
        self.row_limit = policy.max_rows if policy.is_enabled and has_free_batch(interface) else 1
        self.element_ms = 0.0
        self._here = ServiceTimes()  # of calls in the event loop
        self._beside = ServiceTimes()  # of those beside it, which wait for a thread, a process, a processor
        self._caution = Caution()
        self._gap_s = math.inf  # mean time between arrivals
        self._arrived_at = -math.inf
        self._call_count = 0

    def expect(self, elements: int, call_ms: float) -> None:
        """Learn from a call that was made elsewhere: warm-up."""
        self._here.note(elements, call_ms)
        self._beside.note(elements, call_ms)
        self.element_ms = self.element_ms or call_ms / elements

    def note_arrivals(self, count: int, now: float) -> None:
        """Learn that so many requests came since the last time."""
        newest = (now - self._arrived_at) / count
        self._gap_s = newest if self._gap_s == math.inf else self._gap_s + _SMOOTHING * (newest - self._gap_s)
        self._arrived_at = now

    def note_here(self, elements: int, call_ms: float) -> None:
        """Learn from a call in the event loop."""
        self._note(elements, call_ms, self._here)

    def note_hold(self) -> None:
        """A call in the event loop has held it for longer than LONG_MS, by its own work."""
        self._caution.held()

    def note_beside(self, elements: int, call_ms: float) -> None:
        """Learn from a call beside it."""
        self._note(elements, call_ms, self._beside)
        self._here.note_at_most(elements, call_ms)
        self._caution.ran_beside(call_ms)

    def _note(self, elements: int, call_ms: float, times: ServiceTimes) -> None:
        self._call_count += 1
        times.note(elements, call_ms)
        self.element_ms += (_SMOOTHING if self.element_ms else 1.0) * (call_ms / elements - self.element_ms)

    def weight(self, elements: int) -> int:
        """Return how many elements a large request counts for those who wait: its elements take less time than those of small ones. How
        much less is not known before calls of its size, and nobody is refused for want of knowledge: it counts as what smaller calls
        took, as one element where there was none.
        """
        expected = self._beside.at_least_ms(elements) or self._here.at_least_ms(elements)
        return 1 if not expected or not self.element_ms else min(elements, int(expected / self.element_ms) + 1)

    def next_batch(self, waiting: list[Ticket], free_count: int, *, may_hold_loop: bool) -> tuple[list[Ticket], list[Ticket], bool]:
        """Return the next batch of those that wait, what is left, and whether it is short enough to hold the event loop; `free_count` calls
        can be made beside it at the moment.
        """
        first = waiting[0]
        is_inline = may_hold_loop and not self._caution.is_on and self._is_short(first.elements)
        if len(waiting) == 1:
            return [first], [], is_inline
        limit = self.row_limit
        if limit > 1:
            row_elements, is_exploring = first.elements // first.rows, self._call_count % _EXPLORE_EVERY == 0
            if is_inline:  # each call costs the loop more than the engine's part, so the fewer the better
                limit = self._here.rows_within(row_elements, limit, _HELD_MS, is_exploring=is_exploring)
            else:  # what waits is shared by the slots that are free
                limit = self._beside.useful_rows(row_elements, limit, is_exploring=is_exploring)
                limit = min(limit, -(-sum(ticket.rows for ticket in waiting) // free_count))
        batch, left = compose(waiting, limit, self._policy.preferred_rows)
        return batch, left, is_inline

    def _is_short(self, elements: int) -> bool:
        """Whether a call may hold the event loop; one that seems a little too long is tried again now and then, since a burst of other
        work on the machine makes every call look long.
        """
        expected = self._here.expect_ms(elements)
        if expected is None:
            return False
        return expected < INLINE_MS or (expected < _DOUBTFUL_MS and self._call_count % _EXPLORE_EVERY == 0)

    def hold_s(self, batch: list[Ticket], now: float, *, has_spare_slot: bool) -> float:
        """Return how long the batch should wait for company."""
        if self.row_limit == 1 or self._policy.max_delay_ms <= 0:
            return 0.0
        elements = sum(ticket.elements for ticket in batch)
        rows = sum(ticket.rows for ticket in batch)
        if rows >= self._beside.useful_rows(elements // rows, self.row_limit) or rows in self._policy.preferred_rows:
            return 0.0
        service_s = (self._beside.expect_ms(elements) or 0.0) / 1e3
        gap_s = max(self._gap_s, now - self._arrived_at)
        return hold_s(self._policy, Moment(len(batch), now - batch[0].asked_at, gap_s, service_s, has_spare_slot))
