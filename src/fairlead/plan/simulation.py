"""Servers under load, request by request: what the queueing formula is checked against, and what answers where it does not reach.

Takes a ReplicaModel, a load and a seed; gives what each request waited. Pure: no clock, no thread; equal seeds give equal answers. Raises
nothing. It follows the server's own rules more closely than the formula does (rounds of the event loop that end after a millisecond,
waiting for company, several calls at once) and shares its one simplification: the loop's work for a request is added to the call.
"""

from __future__ import annotations

import enum
import heapq
import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from fairlead.core.interface import Array
from fairlead.plan.capacity import INLINE_MS, ReplicaModel

_TIMER_MS = 1.0
_SMOOTHING = 0.2
_WARM_SHARE = 0.1  # of the requests do not count: the queue begins empty
_LONGER_CALLS = 2.0  # in timers: a call has to be longer for waiting to pay


class Balancing(enum.StrEnum):
    """How requests are shared among replicas."""

    RANDOM = "random"
    TURNS = "turns"


@dataclass(frozen=True)
class Simulated:
    """`latency_ms` of the answered requests in the order of arrival, `lost_count` refused since a queue was full, `call_rows` rows of each
    call.
    """

    latency_ms: Array
    lost_count: int
    call_rows: Array

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile of the latencies."""
        return float(np.percentile(self.latency_ms, percent))

    @property
    def loss_ratio(self) -> float:
        """The share of requests that were refused."""
        return self.lost_count / (self.lost_count + len(self.latency_ms))


def draw_arrivals(rate_rps: float, count: int, *, seed: int, burst_ratio: float = 1.0) -> Array:
    """Return milliseconds at which `count` requests arrive: Poisson, or in groups whose sizes are geometric with mean `burst_ratio`."""
    random = np.random.default_rng(seed)
    sizes = random.geometric(1.0 / burst_ratio, count)
    sizes = sizes[: int(np.searchsorted(np.cumsum(sizes), count)) + 1]
    starts = np.cumsum(random.exponential(1e3 * burst_ratio / rate_rps, len(sizes)))
    return np.repeat(starts, sizes)[:count]


def simulate(
    model: ReplicaModel,
    rate_rps: float,
    *,
    seed: int,
    request_count: int = 30_000,
    replica_count: int = 1,
    balancing: Balancing = Balancing.RANDOM,
) -> Simulated:
    """Return what `request_count` requests at `rate_rps` see, shared by `replica_count` servers; each speed of the machine in its turn."""
    speeds = model.profile.drift
    parts = []
    for turn, speed in enumerate(speeds):
        count = request_count // len(speeds)
        arrivals = draw_arrivals(rate_rps, count, seed=seed * len(speeds) + turn, burst_ratio=model.burst_ratio)
        random = np.random.default_rng((seed, turn))
        chosen = random.integers(replica_count, size=count) if balancing is Balancing.RANDOM else np.arange(count) % replica_count
        parts += [_Server(model, speed, random).run(arrivals[chosen == replica]) for replica in range(replica_count)]
    return Simulated(
        latency_ms=np.concatenate([part.latency_ms for part in parts]),
        lost_count=sum(part.lost_count for part in parts),
        call_rows=np.concatenate([part.call_rows for part in parts]),
    )


class _Server:
    """One server at one speed."""

    def __init__(self, model: ReplicaModel, speed: float, random: np.random.Generator) -> None:
        self._model, self._speed, self._random = model, speed, random
        self._samples: dict[int, Array] = {}
        self._limit, self._slots = model.batch_limit, model.slot_count
        self._places, self._delay_ms = model.shape.queue_limit, model.shape.batch_delay_ms
        self._alone_ms = float(model.call_ms(1, speed).mean())

    def run(self, arrivals: Array) -> Simulated:
        """Answer requests that arrive at these milliseconds."""
        times = arrivals.tolist()
        latency, lost, sizes = (self._inline if self._model.is_inline else self._beside)(times)
        skipped = int(len(times) * _WARM_SHARE)
        counted = np.array(latency[skipped:])
        answered = counted[~np.isnan(counted)] + self._model.costs.path_ms
        return Simulated(answered, sum(1 for place in lost if place >= skipped), np.array(sizes) * self._model.rows)

    def _call_ms(self, count: int) -> float:
        samples = self._samples.get(count)
        if samples is None:
            samples = self._samples[count] = self._model.call_ms(count, self._speed)
        return float(samples[int(self._random.random() * len(samples))])

    def _inline(self, times: list[float]) -> tuple[list[float], list[int], list[int]]:
        """Rounds of the event loop: read what has come, then call after call until a millisecond is over."""
        latency, lost, sizes = [math.nan] * len(times), [], []
        waiting: deque[int] = deque()
        now, place = 0.0, 0
        while place < len(times) or waiting:
            if not waiting and times[place] > now:
                now = times[place]
            while place < len(times) and times[place] <= now:
                if len(waiting) < self._places:
                    waiting.append(place)
                else:
                    lost.append(place)
                place += 1
            began = now
            while waiting and now - began <= INLINE_MS * self._speed:
                batch = [waiting.popleft() for _ in range(min(self._limit, len(waiting)))]
                now += self._call_ms(len(batch))
                sizes.append(len(batch))
                for number in batch:
                    latency[number] = now - times[number]
        return latency, lost, sizes

    def _beside(self, times: list[float]) -> tuple[list[float], list[int], list[int]]:
        """Calls in `slot_count` slots; a batch waits for company as serve/batching.py says."""
        latency, lost, sizes = [math.nan] * len(times), list[int](), list[int]()
        waiting: deque[int] = deque()
        slots: list[tuple[float, int]] = []  # (when the call ends, its requests)
        gap_ms, last, place, look_at, running = math.inf, -math.inf, 0, math.inf, 0
        while place < len(times) or waiting:
            now = min(times[place] if place < len(times) else math.inf, slots[0][0] if slots else math.inf, look_at)
            look_at = math.inf
            while slots and slots[0][0] <= now:
                running -= heapq.heappop(slots)[1]
            while place < len(times) and times[place] <= now:
                gap = times[place] - last
                gap_ms = gap if gap_ms == math.inf else gap_ms + _SMOOTHING * (gap - gap_ms)
                last = times[place]
                (waiting if len(waiting) + running < self._places else lost).append(place)
                place += 1
            while waiting and len(slots) < self._slots:
                free = self._slots - len(slots)
                count = min(self._limit, len(waiting), -(-len(waiting) // free))
                hold = self._hold_ms(count, now - times[waiting[0]], max(gap_ms, now - last), is_last=free == 1)
                if hold:
                    look_at = now + hold
                    break
                batch = [waiting.popleft() for _ in range(count)]
                end = now + self._call_ms(count)
                heapq.heappush(slots, (end, count))
                running += count
                sizes.append(count)
                for number in batch:
                    latency[number] = end - times[number]
        return latency, lost, sizes

    def _hold_ms(self, count: int, waited_ms: float, gap_ms: float, *, is_last: bool) -> float:
        """Return how long a batch of `count` waits for the next request: serve/batching.py, hold_s."""
        left = self._delay_ms - waited_ms
        pays = count * gap_ms < self._alone_ms and self._alone_ms > _LONGER_CALLS * _TIMER_MS
        if count >= self._limit or not is_last or not pays or gap_ms > left or left <= 0:
            return 0.0
        return min(max(2 * gap_ms, _TIMER_MS), left)
