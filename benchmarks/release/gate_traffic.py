"""Simulated requests for the gate: outcomes, late labels, pairs and latencies of two versions, drawn as a server would see them.

Latencies are lognormal with a tail: one answer in fifty takes up to twenty times as long (Pareto, as with a cold cache or a garbage
collection). With `drift` the whole server is slower and faster for a while: an AR(1) of the logarithm, common to both versions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead.core.evidence import ArmEvidence, LatencyHistogram, PairEvidence, ReleaseEvidence, StepEvidence
from fairlead.register.gate.latencies import bucket_of_each

MEDIAN_NS = 4e6
SPREAD = 0.35
TAIL_SHARE, TAIL_POWER = 0.02, 2.5
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
    """The requests of one step, in order: whose each was, whether it failed, its bucket."""

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


class Canary:
    """A release through several steps, counted by batches of requests: `evidence` is what the gate sees. What is drawn is what single
    requests would show: binomial and multinomial counts.
    """

    def __init__(self, seed: int, traffic: Traffic, chances: NDArray[np.float64]) -> None:
        self._draw, self._traffic, self._chances = np.random.default_rng(seed), traffic, chances
        self._counts: dict[tuple[int, str], NDArray[np.int64]] = {}
        self._pairs: dict[int, NDArray[np.int64]] = {}

    def more(self, step: int, count: int, share: float) -> None:
        """Let `count` more requests come."""
        mine = int(self._draw.binomial(count, share))
        for name, arm, number in (("live", self._traffic.live, count - mine), ("candidate", self._traffic.candidate, mine)):
            failed = self._draw.binomial(number, arm.error)
            labelled = self._draw.binomial(number - failed, self._traffic.labelled)
            right = self._draw.binomial(labelled, arm.accuracy)
            times = self._draw.multinomial(number - failed, self._chances)
            self._add(self._counts, (step, name), np.array([number, failed, labelled, right, *times]))
        paired = self._draw.binomial(count - mine, self._traffic.shadowed)
        self._add(self._pairs, step, np.array([paired, self._draw.binomial(paired, self._traffic.flips)]))

    def _add(self, held: dict[Any, NDArray[np.int64]], key: Any, counts: NDArray[np.int64]) -> None:
        held[key] = held.get(key, 0) + counts

    def evidence(self) -> ReleaseEvidence:
        """What all requests until now showed."""
        steps = []
        for number, (pairs, flips) in sorted(self._pairs.items()):
            arms = {name: _evidence(self._counts[number, name]) for name in ("live", "candidate")}
            steps.append(StepEvidence(number, arms, PairEvidence(pairs=int(pairs), flips=int(flips))))
        return ReleaseEvidence("simulated", tuple(steps))


def _evidence(counts: NDArray[np.int64]) -> ArmEvidence:
    requests, failed, labelled, right = (int(number) for number in counts[:4])
    used = np.flatnonzero(counts[4:])
    return ArmEvidence(requests, failed, 0, LatencyHistogram(tuple(used.tolist()), tuple(counts[4:][used].tolist())), labelled, right)


def bucket_chances(count: int = 1_000_000) -> NDArray[np.float64]:
    """The chance of each bucket, from a million draws: the latencies of whoever is drawn from it."""
    counts = np.bincount(bucket_of_each(np.floor(latencies(np.random.default_rng(98), count))))
    return np.asarray(counts / counts.sum())
