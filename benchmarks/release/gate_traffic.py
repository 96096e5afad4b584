"""Simulated requests for the gate: outcomes, late labels, pairs and latencies of two versions, drawn as a server would see them.

Latencies are lognormal with a tail: one answer in fifty takes up to twenty times as long (Pareto, as with a cold cache or a garbage
collection). With `drift` the whole server is slower and faster for a while: an AR(1) of the logarithm, common to both versions.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fairlead.core.evidence import ArmEvidence, LatencyHistogram, PairEvidence, ReleaseEvidence, StepEvidence
from fairlead.register.gate.latencies import bucket_of_each

MEDIAN_NS = 4e6
SPREAD = 0.35
TAIL_SHARE, TAIL_POWER = 0.02, 2.5
BUCKETS = 3000
Draw = np.random.Generator


@dataclass(frozen=True)
class Arm:
    """How a version answers: shares of failed answers, of right decisions, and how many times as slow as the plain one it is."""

    error: float = 0.005
    accuracy: float = 0.95
    slower: float = 1.0


@dataclass(frozen=True)
class Traffic:
    """What a canary meets: `flips` is the share of pairs that are decided otherwise, `drift` the AR(1) coefficient from one request to the
    next with the standard deviation `drift_size` of the log latency, `batch` how many requests of one version share one latency.
    """

    live: Arm = field(default_factory=Arm)
    candidate: Arm = field(default_factory=Arm)
    flips: float = 0.02
    labelled: float = 0.5
    shadowed: float = 0.1
    drift: float = 0.0
    drift_size: float = 0.3
    batch: int = 1


def latencies(draw: Draw, count: int, slower: float = 1.0) -> NDArray[np.float64]:
    """Nanoseconds of `count` answers."""
    times = MEDIAN_NS * slower * np.exp(SPREAD * draw.standard_normal(count))
    slow = np.flatnonzero(draw.random(count) < TAIL_SHARE)
    times[slow] *= np.minimum(2.0 * draw.random(len(slow)) ** (-1 / TAIL_POWER), 20.0)
    return times


def later_than(slower: float = 1.0, count: int = 4_000_000) -> object:
    """The chance that an answer takes longer than so many nanoseconds, from four million draws."""
    times = np.sort(latencies(np.random.default_rng(99), count, slower))
    return lambda time_ns: float(len(times) - np.searchsorted(times, time_ns, side="right")) / len(times)


def drifting(draw: Draw, count: int, coefficient: float, size: float) -> NDArray[np.float64]:
    """An AR(1) with standard deviation `size`."""
    from scipy.signal import lfilter

    steps = draw.standard_normal(count) * size * np.sqrt(1 - coefficient**2)
    steps[0] = draw.standard_normal() * size
    return np.asarray(lfilter([1.0], [1.0, -coefficient], steps))


class Step:
    """The requests of one step, in order: whose each was, whether it failed, its bucket, whether it was labelled and right."""

    def __init__(self, draw: Draw, traffic: Traffic, count: int, share: float) -> None:
        self.share, self.count = share, count
        self.is_candidate = draw.random(count) < share
        mine = self.is_candidate
        self.failed = draw.random(count) < np.where(mine, traffic.candidate.error, traffic.live.error)
        times = latencies(draw, count) * np.where(mine, traffic.candidate.slower, traffic.live.slower)
        if traffic.drift:
            times *= np.exp(drifting(draw, count, traffic.drift, traffic.drift_size))
        if traffic.batch > 1:
            for arm in (np.flatnonzero(mine), np.flatnonzero(~mine)):
                times[arm] = times[arm[np.arange(len(arm)) // traffic.batch * traffic.batch]]
        self.buckets = bucket_of_each(np.floor(times))
        self.labelled = ~self.failed & (draw.random(count) < traffic.labelled)
        self.right = self.labelled & (draw.random(count) < np.where(mine, traffic.candidate.accuracy, traffic.live.accuracy))
        self.paired = ~mine & (draw.random(count) < traffic.shadowed)
        self.flipped = self.paired & (draw.random(count) < traffic.flips)

    def evidence(self, number: int, until: int) -> StepEvidence:
        """What the first `until` requests showed."""
        seen = slice(0, until)
        arms = {"live": self._arm(~self.is_candidate[seen], seen), "candidate": self._arm(self.is_candidate[seen], seen)}
        pairs = PairEvidence(pairs=int(self.paired[seen].sum()), flips=int(self.flipped[seen].sum()))
        return StepEvidence(number, arms, pairs)

    def _arm(self, mine: NDArray[np.bool_], seen: slice) -> ArmEvidence:
        failed, labelled, right = (int((part[seen] & mine).sum()) for part in (self.failed, self.labelled, self.right))
        counts = np.bincount(self.buckets[seen][mine & ~self.failed[seen]])
        used = np.flatnonzero(counts)
        histogram = LatencyHistogram(tuple(used.tolist()), tuple(counts[used].tolist()))
        return ArmEvidence(int(mine.sum()), failed, 0, histogram, labelled, right)


class Canary:
    """A release through several steps; `evidence(step, until)` is what the gate sees while it is in that step."""

    def __init__(self, seed: int, traffic: Traffic, counts: tuple[int, ...], shares: tuple[float, ...]) -> None:
        draw = np.random.default_rng(seed)
        self.shares = shares
        self.steps = [Step(draw, traffic, count, share) for count, share in zip(counts, shares, strict=True)]
        self._over: list[StepEvidence] = []

    def evidence(self, step: int, until: int) -> ReleaseEvidence:
        """Steps before `step` are over."""
        while len(self._over) < step:
            number = len(self._over)
            self._over.append(self.steps[number].evidence(number, self.steps[number].count))
        return ReleaseEvidence("simulated", (*self._over[:step], self.steps[step].evidence(step, until)))
