"""Which waiting requests an engine takes in one call, and whether to wait for more: decisions, all of them pure.

Takes requests that wait, in the order in which they should be served, and what calls took so far; gives a batch and what is left.
Laws: no request is lost, none is taken twice, the first one is always taken, only requests with one key share a batch, a batch exceeds its
limit only where its first request does alone, and among requests with one key the order stays. Nothing here has a clock or a tensor.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

_RISING, _FALLING = 0.1, 0.3  # weight of the newest call in a running mean: calls are disturbed towards the slow side
_FIRST_CALLS = 4
_OUTLIER = 10  # a call that took longer than this many times the mean counts as that: the system took the processor away
_FRUGAL = 1.1  # a larger batch has to make a row cheaper by this factor: else it only makes the first ones wait for the last
_TIMER_S = 0.001  # what an event loop's timers can tell apart


@dataclass(frozen=True)
class BatchPolicy:
    """At most `max_rows` in one call; `preferred_rows` are sizes that the model likes. `max_delay_ms` bounds how long a request waits
    for company though it could run: only where `hold_s` finds that it pays.
    """

    max_rows: int = 64
    max_delay_ms: float = 2.0
    preferred_rows: tuple[int, ...] = ()
    is_enabled: bool = True


class Waiting(Protocol):
    """A request that waits. Requests with equal keys may share a call."""

    @property
    def key(self) -> Hashable:
        """What has to be equal: shapes beyond the batch, outputs, parameters."""
        ...

    @property
    def rows(self) -> int:
        """How many rows it brings."""
        ...


W = TypeVar("W", bound=Waiting)


def compose(waiting: Sequence[W], limit: int, preferred: Sequence[int] = ()) -> tuple[list[W], list[W]]:
    """Return the next batch of at most `limit` rows, and what is left, in its order; both empty where nothing waits.

    Where some of the batch reaches a preferred size and the whole does not, the largest such part is taken.
    """
    if not waiting:
        return [], []
    first = waiting[0]
    key, rows, taken, left = first.key, first.rows, [first], []
    is_full = False
    for item in waiting[1:]:
        if is_full or item.key != key:
            left.append(item)
        elif rows + item.rows > limit:
            is_full = True  # a smaller one behind it must not overtake it for ever
            left.append(item)
        else:
            taken.append(item)
            rows += item.rows
    if preferred and rows not in preferred:
        count = _preferred_count(taken, preferred)
        if count < len(taken):
            kept = {id(item) for item in taken[:count]}
            return taken[:count], [item for item in waiting if id(item) not in kept]
    return taken, left


def _preferred_count(taken: Sequence[Waiting], preferred: Sequence[int]) -> int:
    """Return how many of the first ones make the largest preferred size, or all where none of these is met."""
    rows, found = 0, len(taken)
    for count, item in enumerate(taken, 1):
        rows += item.rows
        if rows in preferred:
            found = count
    return found


@dataclass(frozen=True)
class Moment:
    """What is known when a batch could begin: requests that would wait longer, how long the first has waited, the mean time between
    arrivals, what the call is expected to take (all seconds), and whether another slot would be free for who comes next.
    """

    request_count: int
    waited_s: float
    gap_s: float
    service_s: float
    has_spare_slot: bool


def hold_s(policy: BatchPolicy, moment: Moment) -> float:
    """Return how long to wait for the next request before the batch begins; 0 where it should begin now.

    Waiting costs every request of the batch one gap; it spares the next one a whole call. An idle server has gaps longer than calls, so
    it never waits.
    """
    remaining_s = policy.max_delay_ms / 1e3 - moment.waited_s
    pays = moment.request_count * moment.gap_s < moment.service_s and moment.service_s > 2 * _TIMER_S
    if moment.has_spare_slot or not pays or moment.gap_s > remaining_s:
        return 0.0
    return min(max(2 * moment.gap_s, _TIMER_S), remaining_s)


LONG_MS = 20.0  # a call that held the event loop for longer was a mistake
_QUICK_MS = 4.0
_CAUTION_COUNTS = (32, 4096)


class Caution:
    """Whether calls must not be made in the event loop although they should be short: one was not. What takes long may lie in the values,
    which no time that was measured before tells. It is on until so many quick calls were made beside the loop; each time twice as many.
    """

    __slots__ = ("_left", "_span")

    def __init__(self) -> None:
        self._left, self._span = 0, _CAUTION_COUNTS[0]

    @property
    def is_on(self) -> bool:
        """Whether calls must be made beside the loop."""
        return self._left > 0

    def held(self) -> None:
        """A call has held the loop for longer than LONG_MS."""
        self._left, self._span = self._span, min(2 * self._span, _CAUTION_COUNTS[1])

    def ran_beside(self, call_ms: float) -> None:
        """A call was made beside the loop."""
        if self._left:
            self._left = self._left - 1 if call_ms <= _QUICK_MS else max(self._left, _CAUTION_COUNTS[0])


class ServiceTimes:
    """What calls take, learned by size: milliseconds per input element, for each power of two of elements.

    The first calls of a size are slow, since they allocate, so the fastest of the first few is taken, and a running mean from then on.
    """

    __slots__ = ("_by_size", "_counts")

    def __init__(self) -> None:
        self._by_size: dict[int, float] = {}
        self._counts: dict[int, int] = {}

    def note(self, elements: int, call_ms: float) -> None:
        """Learn from one call."""
        size, newest = elements.bit_length(), call_ms / elements
        known = self._by_size.get(size)
        if known is None:
            self._by_size[size], self._counts[size] = newest, 1
        elif self._counts[size] < _FIRST_CALLS:
            self._by_size[size] = min(known, newest)
            self._counts[size] += 1
        else:
            newest = min(newest, _OUTLIER * known)
            self._by_size[size] = known + (_FALLING if newest < known else _RISING) * (newest - known)

    def note_at_most(self, elements: int, call_ms: float) -> None:
        """Learn from a call that was disturbed: it would have taken no longer undisturbed."""
        size = elements.bit_length()
        if size in self._by_size:
            self._by_size[size] = min(self._by_size[size], call_ms / elements)

    def expect_ms(self, elements: int) -> float | None:
        """Return what a call with that many elements takes, never too little for want of knowledge; None before the first call.

        A larger call than any so far is expected to take in proportion, a smaller one as long as the next larger.
        """
        size = elements.bit_length()
        known = self._by_size.get(size)
        if known is not None:
            return known * elements
        smaller = [other for other in self._by_size if other < size]
        if smaller:
            return self._by_size[max(smaller)] * elements
        larger = min(self._by_size, default=0)
        return self._by_size[larger] * (1 << larger - 1) if larger else None

    def at_least_ms(self, elements: int) -> float | None:
        """Return what such a call takes at least, as far as smaller ones tell; None before the first that is not larger."""
        size = elements.bit_length()
        known = max((other for other in self._by_size if other <= size), default=0)
        return self._by_size[known] * min(elements, (1 << known) - 1) if known else None

    def useful_rows(self, row_elements: int, limit: int, *, is_exploring: bool = False) -> int:
        """Return the number of rows, at most `limit`, up to which a larger call makes a row cheaper.

        The next larger size is tried where it is not known, or `is_exploring`.
        """
        rows, useful, best, is_trying = 1, 1, math.inf, False
        while rows <= limit:
            per_element = self._by_size.get((rows * row_elements).bit_length())
            if per_element is None:
                if not is_trying and rows == 2 * useful:
                    useful, is_trying = rows, True
            elif per_element * _FRUGAL < best:
                best, useful = per_element, rows
            rows *= 2
        return min(limit, 2 * useful if is_exploring else 2 * useful - 1)

    def rows_within(self, row_elements: int, limit: int, limit_ms: float, *, is_exploring: bool = False) -> int:
        """Return a number of rows, at most `limit`, that a call is expected to take at most `limit_ms` for; at least 1.

        Twice as many are tried where it `is_exploring`: the one call of a size that was made so far may have been disturbed, and nobody
        would ever find out.
        """
        rows = limit
        while rows > 1 and (self.expect_ms(rows * row_elements) or 0.0) > limit_ms:
            rows //= 2
        return max(min(2 * rows if is_exploring else rows, limit), 1)
