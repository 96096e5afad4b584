"""The queue of one server as a bulk-service queue, M/G[1,b]/1/K: who arrives while a call runs is served in the next one, together.

Takes arrivals per millisecond, what a call of k requests takes (equally likely times) and how many fit into it; gives the law of response
times, how busy the server is, how large calls become, and the share of requests that find the queue full. Pure; raises nothing.

Method: the chain of queue lengths at the beginnings of calls (N. T. J. Bailey, "On queueing processes with bulk service", JRSS B 16, 1954;
M. L. Chaudhry and J. G. C. Templeton, "A First Course in Bulk Queues", 1983, with a service that depends on the size of the batch) is
solved for its stationary law. Its step is the number of arrivals in a call: Poisson, or for bursts compound Poisson with geometric groups
(Polya-Aeppli), taken from the generating function by a discrete Fourier transform. A request that arrives during a call waits for the rest
of it (uniform, given the call's length), for the full calls of those before it, then for its own; sums of times are convolutions on a grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fairlead.core.interface import Array

# The representative lengths of a call: the middle in equal shares, the slow end finer.
_SHARES = np.array([0.125] * 7 + [0.085, 0.03, 0.007, 0.003])
_REST_COUNT = 8  # representative moments of arrival within a call
_BIN_COUNT = 512
_RARE = 1e-6
_TAIL = 6.0  # standard deviations of a number of arrivals that are looked at
_FIRST_SIZE = 24  # queue lengths that are looked at first; more only where they occur


@dataclass(frozen=True)
class BulkQueue:
    """`rate` requests per ms; at most `queue_limit` requests at once.

    `lengths`: for calls of 1, 2, ... requests a row of representative milliseconds (see `representatives`). `burst_ratio`: mean size of
    the groups in which requests come. `idle_hold_ms`: how long the first request after a pause waits for company before its call begins.
    `slot_count` calls may run at once: the wait is taken to be that of one server which is as much faster.
    """

    rate: float
    lengths: Array
    queue_limit: int
    burst_ratio: float = 1.0
    idle_hold_ms: float = 0.0
    slot_count: int = 1

    def solve(self) -> Steady:
        """Return how the server does under this load in the long run."""
        size = min(_FIRST_SIZE, self.queue_limit)
        while (steady := _Chain(self, size).solve()) is None:
            size = min(2 * size, self.queue_limit)
        return steady

    @property
    def batch_limit(self) -> int:
        """The most requests in a call."""
        return min(len(self.lengths), self.queue_limit)


@dataclass(frozen=True)
class Steady:
    """A queue in the long run. `times_ms` and `weights` (that add to 1) are the law of the response time of a request that was let in;
    `answered` requests per ms; `busy_ratio` the share of time in which a call runs; `batch_size` requests in a call; `loss_ratio` the share
    of requests that were refused.
    """

    times_ms: Array
    weights: Array
    answered: float
    busy_ratio: float
    batch_size: float
    loss_ratio: float

    def quantile_ms(self, share: float) -> float:
        """Return the time that `share` of the requests does not exceed."""
        cumulated = np.cumsum(self.weights)
        place = min(int(np.searchsorted(cumulated, share * cumulated[-1])), len(cumulated) - 1)
        if place == 0:
            return float(self.times_ms[0])
        before, after = cumulated[place - 1 : place + 1]
        part = (share * cumulated[-1] - before) / (after - before) if after > before else 1.0
        return float(self.times_ms[place - 1] + part * (self.times_ms[place] - self.times_ms[place - 1]))

    @property
    def mean_ms(self) -> float:
        """The mean response time."""
        return float(self.times_ms @ self.weights / self.weights.sum())


def mixed(parts: Sequence[Steady]) -> Steady:
    """Return the long run of a server that is in each of `parts` equally long, and long enough for each to settle."""
    shares = np.array([part.answered for part in parts])
    times = np.concatenate([part.times_ms for part in parts])
    weights = np.concatenate([part.weights * share for part, share in zip(parts, shares / shares.sum(), strict=True)])
    order = np.argsort(times, kind="stable")
    arrived = sum(part.answered / (1.0 - part.loss_ratio) for part in parts)
    calls = sum(part.answered / part.batch_size for part in parts)
    return Steady(
        times_ms=times[order],
        weights=weights[order],
        answered=float(shares.mean()),
        busy_ratio=sum(part.busy_ratio for part in parts) / len(parts),
        batch_size=float(shares.sum()) / calls,
        loss_ratio=max(1.0 - float(shares.sum()) / arrived, 0.0),
    )


def arrival_law(means: Array, size: int, burst_ratio: float = 1.0) -> Array:
    """Return, for each mean, the probabilities of 0, 1, ... size - 1 arrivals; what is left is the probability of more."""
    points = 2 * size + 64
    z = np.exp(-2j * np.pi * np.arange(points // 2 + 1) / points)
    group = z / (burst_ratio - (burst_ratio - 1.0) * z)  # generating function of a geometric law on 1, 2, ...
    transform = np.exp(np.multiply.outer(means / burst_ratio, group - 1.0))
    return np.clip(np.fft.irfft(transform, points, axis=-1)[..., :size], 0.0, 1.0)


def representatives(samples: Array) -> Array:
    """Return values for BulkQueue.lengths that stand for equally likely `samples`: the means of stretches of the sorted samples."""
    ordered = np.sort(samples)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    edges = np.concatenate([[0.0], np.cumsum(_SHARES)]) * len(ordered)
    edges[-1] = len(ordered)
    at = np.interp(edges, np.arange(len(sums)), sums)
    return np.asarray(np.diff(at) / np.diff(edges))


@dataclass(frozen=True)
class _Scenes:
    """Requests by what they wait for: `rest` ms of the call that runs, `full` full calls, then their own with `last` requests in it."""

    rest: Array
    full: Array
    last: Array
    weight: Array


class _Chain:
    """The chain of one queue. State n: requests in the server when a call begins, 1 to `size`, which may be less than the queue's limit."""

    def __init__(self, queue: BulkQueue, size: int) -> None:
        self._queue, self._size = queue, size
        self._limit = queue.batch_limit
        self._taken = np.minimum(np.arange(1, size + 1), self._limit)
        self._left = np.arange(1, size + 1) - self._taken
        self._own = np.vstack([queue.lengths[:1], queue.lengths[: self._limit]])  # by requests: how long a call takes for those in it
        self._spans = self._own / queue.slot_count  # ... and for those who wait
        self._after_pause = self._law_after_pause()

    def solve(self) -> Steady | None:
        """Return the long run; None where queues become longer than `size` though they may."""
        queue, law, idle = self._queue, *self._stationary()
        busy = float(law @ (self._spans[self._taken] @ _SHARES))  # mean ms of a call
        pause = idle * (queue.burst_ratio / queue.rate + queue.idle_hold_ms)
        batch = float(law @ self._taken)
        answered = batch / (busy + pause)
        loss = 1.0 - answered / queue.rate
        if self._size < queue.queue_limit and loss > _RARE:
            return None
        times, weights = self._responses(law, idle)
        return Steady(times, weights, answered, busy / (busy + pause), batch, loss if loss > _RARE else 0.0)

    @cached_property
    def _counts(self) -> Array:
        """The law of arrivals in a call, by requests in it and length: (requests + 1, lengths, size + 1)."""
        most = int(self._taken[-1]) + 1
        return arrival_law(self._queue.rate * self._spans[:most], self._size + 1, self._queue.burst_ratio)

    def _stationary(self) -> tuple[Array, float]:
        """Solve pi = pi P for the states at the beginnings of calls; the second figure is the share of calls after which nobody waits."""
        size = self._size
        arrived = np.einsum("klj,l->kj", self._counts, _SHARES)[self._taken]
        step = np.zeros((size, size + 1))
        for row, left in enumerate(self._left):
            room = size - row - 1  # who is answered makes room when the call is over
            step[row, left : left + room + 1] = arrived[row, : room + 1]
            step[row, left + room] += max(1.0 - float(arrived[row, : room + 1].sum()), 0.0)
        system = (step[:, 1:] + np.outer(step[:, 0], self._after_pause)).T - np.eye(size)
        system[-1] = 1.0
        law = np.clip(np.linalg.solve(system, np.eye(size)[-1]), 0.0, None)
        law /= law.sum()
        return law, float(law @ step[:, 0])

    def _law_after_pause(self) -> Array:
        """Return the law of the state in which the first call after a pause begins."""
        queue, size = self._queue, self._size
        more = arrival_law(np.array([queue.rate * queue.idle_hold_ms]), size, queue.burst_ratio)[0]
        law = np.convolve(_geometric(queue.burst_ratio, size), more)[:size]
        law[-1] += max(1.0 - law.sum(), 0.0)
        return np.asarray(law)

    def _responses(self, law: Array, idle: float) -> tuple[Array, Array]:
        """Return the law of the response time: grid points in ms, and weights that add to 1."""
        parts = (self._during_calls(law), self._after_pauses(idle))
        rest, full, last, weight = (np.concatenate([getattr(part, name) for part in parts]) for name in ("rest", "full", "last", "weight"))
        keep = weight > _RARE * weight.max() * 1e-2
        rest, full, last, weight = rest[keep], full[keep], last[keep], weight[keep]
        whole = self._spans[self._limit]
        horizon = float((rest + full * (whole @ _SHARES) + self._own[last, -1]).max()) + 3 * float(whole[-1])
        width, points = horizon / _BIN_COUNT, 2 * _BIN_COUNT
        keys, inverse = np.unique(full * (self._limit + 1) + last, return_inverse=True)
        rests = _spread(inverse, rest, weight, width, (len(keys), points))
        counts, sizes = np.divmod(keys, self._limit + 1)
        lasts = np.fft.rfft(_on_grid(self._own, width, points))[sizes]
        powers = np.fft.rfft(_on_grid(whole[None], width, points))[0][None, :] ** counts[:, None]
        masses = np.clip(np.fft.irfft((np.fft.rfft(rests) * powers * lasts).sum(0), points), 0.0, None)
        return np.arange(points) * width, masses / masses.sum()

    def _during_calls(self, law: Array) -> _Scenes:
        """Return the requests that arrive while a call runs."""
        queue = self._queue
        states = np.flatnonzero(law > _RARE)
        taken, left = self._taken[states], self._left[states]
        spans = self._spans[taken]  # (states, lengths)
        most = queue.rate * float(spans.max())
        reach = min(int(most + _TAIL * math.sqrt(most * (2 * queue.burst_ratio - 1))) + int(6 * queue.burst_ratio), self._size)
        others = self._counts[taken][:, :, : reach + 1]
        if queue.burst_ratio > 1:  # a request's group is larger than groups are on average: others before and behind it
            side = _geometric(queue.burst_ratio, reach + 1)
            mates = np.convolve(side, side)[: reach + 1]
            others = np.apply_along_axis(lambda row: np.convolve(row, mates)[: reach + 1], -1, others)
        moments = (np.arange(_REST_COUNT) + 0.5) / _REST_COUNT
        weight = (law[states][:, None] * queue.rate * spans * _SHARES)[..., None, None] * others[..., None] / _REST_COUNT
        count = np.arange(reach + 1)[:, None]
        place = left[:, None, None] + np.floor(count * moments + 0.5).astype(np.int64)  # requests before it: (states, others, moments)
        full = place // self._limit
        last = np.clip(left[:, None, None] + 1 + count - full * self._limit, 1, self._limit)
        is_in = place < self._size - taken[:, None, None]  # others find the queue full
        shape = (*spans.shape, reach + 1, _REST_COUNT)
        rest = np.broadcast_to(spans[:, :, None, None] * (1.0 - moments), shape)
        full, last, is_in = (np.broadcast_to(part[:, None], shape) for part in (full, last, is_in))
        keep = is_in & (weight > _RARE * 1e-3)
        return _Scenes(rest[keep], full[keep], last[keep], np.broadcast_to(weight, shape)[keep])

    def _after_pauses(self, idle: float) -> _Scenes:
        """Return the requests that end a pause, and those that come while the call is held for them."""
        queue = self._queue
        counts = np.flatnonzero(self._after_pause > _RARE) + 1
        place = np.concatenate([np.arange(count) for count in counts])
        total = np.repeat(counts, counts)
        full = place // self._limit
        rest = np.where(place == 0, 1.0, 0.5) * queue.idle_hold_ms
        return _Scenes(rest, full, np.clip(total - full * self._limit, 1, self._limit), idle * self._after_pause[total - 1])


def _geometric(mean: float, size: int) -> Array:
    """Return the probabilities of 1, 2, ... size of a geometric law; also those of 0, 1, ... others on one side in a group."""
    return np.asarray((1.0 / mean) * (1.0 - 1.0 / mean) ** np.arange(size))


def _on_grid(lengths: Array, width: float, points: int) -> Array:
    """Return a law on the grid for each row of representative lengths."""
    rows = np.repeat(np.arange(len(lengths)), lengths.shape[1])
    return _spread(rows, lengths.ravel(), np.tile(_SHARES, len(lengths)), width, (len(lengths), points))


def _spread(rows: Array, times: Array, weights: Array, width: float, shape: tuple[int, int]) -> Array:
    """Return the weights of each row divided among the two grid points beside each time, so that means are kept; beyond it: at its end."""
    at = np.minimum(times / width, shape[1] // 2 - 2)
    low = np.floor(at).astype(np.int64)
    above = at - low
    cells = rows * shape[1] + low
    law = np.bincount(cells, weights * (1.0 - above), shape[0] * shape[1])
    law += np.bincount(cells + 1, weights * above, shape[0] * shape[1])
    return np.asarray(law.reshape(shape))
