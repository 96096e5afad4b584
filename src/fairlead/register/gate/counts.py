"""What a metric of the gate counts, step by step: bad answers among all, of both arms. Pure.

Takes ReleaseEvidence; gives RateStep and TailStep values. A bad answer is a failed, refused, wrong or flipped one. For latencies a failed
answer came later than any time: failing fast makes nothing faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairlead.core.evidence import ArmEvidence, PairEvidence, ReleaseEvidence, StepEvidence, bucket_start_ns
from fairlead.core.gate import Source, StepFacts

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
TOP = 1 << 20  # a bucket above all others


@dataclass(frozen=True)
class RateStep:
    """`bad` of `count` answers of the candidate and `live_bad` of `live_count` of the live version, in a step that gave the candidate
    `share` of both together.
    """

    number: int
    share: float
    count: float
    bad: float
    live_count: float = 0.0
    live_bad: float = 0.0

    @property
    def most(self) -> float:
        """The chance that a bad answer is the candidate's where both are alike: as planned, or as it came out if that is more."""
        return max(self.share, self.count / max(self.count + self.live_count, 1e-9))

    @property
    def least(self) -> float:
        """As planned, or as it came out if that is less."""
        return min(self.share, self.count / max(self.count + self.live_count, 1e-9))


class Tail:
    """How many of an arm's answers came later than a bucket; `failures` came later than all. `buckets` ascend; `counts` are as many, and
    the failures last.
    """

    __slots__ = ("buckets", "count", "counts", "later")

    def __init__(self, buckets: Sequence[int] | Ints, counts: Sequence[float] | Floats) -> None:
        self.buckets: Ints = np.array(buckets, dtype=np.int64)
        self.counts: Floats = np.array(counts, dtype=np.float64)
        self.later: Floats = self.counts[::-1].cumsum()[::-1]  # later[i]: in the i-th bucket or above
        self.count = float(self.later[0])

    @classmethod
    def together(cls, tails: Sequence[Tail]) -> Tail:
        """Return the answers of all of them."""
        buckets = sorted({int(bucket) for tail in tails for bucket in tail.buckets})
        counts = np.zeros(len(buckets) + 1)
        for tail in tails:
            counts[np.searchsorted(buckets, tail.buckets)] += tail.counts[:-1]
            counts[-1] += tail.counts[-1]
        return cls(buckets, counts)

    def above(self, buckets: Ints) -> Floats:
        """Return how many lie above each of these buckets."""
        return self.later[np.searchsorted(self.buckets, buckets, side="right")]

    def quantile_ms(self, quantile: float) -> float | None:
        """Return the upper edge of the bucket that holds the quantile; None where it lies among the failures, or nothing was counted."""
        if not self.count:
            return None
        place = int(np.argmax(self.later[1:] <= (1.0 - quantile) * self.count + 1e-9)) if len(self.buckets) else 0
        if not len(self.buckets) or self.later[place + 1] > (1.0 - quantile) * self.count + 1e-9:
            return None
        return bucket_start_ns(int(self.buckets[place]) + 1) / 1e6


@dataclass(frozen=True)
class TailStep:
    """The latencies of both arms in a step that gave the candidate `share` of both together."""

    number: int
    share: float
    candidate: Tail
    live: Tail

    @property
    def most(self) -> float:
        """See RateStep."""
        return max(self.share, self.candidate.count / max(self.candidate.count + self.live.count, 1e-9))

    @property
    def least(self) -> float:
        """See RateStep."""
        return min(self.share, self.candidate.count / max(self.candidate.count + self.live.count, 1e-9))


def rate_steps(metric: str, evidence: ReleaseEvidence, live: str, candidate: str, facts: StepFacts, cluster: float) -> tuple[RateStep, ...]:
    """Return what an arm metric that counts bad answers counted; steps without any answer are left out."""
    found = []
    for step in evidence.steps:
        count, bad = _bad(metric, step.arm(candidate))
        live_count, live_bad = _bad(metric, step.arm(live))
        if count or live_count:
            share = _share(step.step, facts, count, live_count)
            parts = (part / cluster for part in (count, bad, live_count, live_bad))
            found.append(RateStep(step.step, share, *parts))
    return tuple(found)


def pair_steps(source: Source, evidence: ReleaseEvidence) -> tuple[RateStep, ...]:
    """Return how many pairs were decided otherwise. A shadow answer that never came is one; a twin's is not the candidate's fault."""
    found = []
    for step in evidence.steps:
        pair = step.shadow if source is Source.SHADOW else step.twin
        lost = pair.failures if source is Source.SHADOW else 0
        if pair.pairs + lost:
            found.append(RateStep(step.step, 1.0, pair.pairs + lost, pair.flips + lost))
    return tuple(found)


def tail_steps(evidence: ReleaseEvidence, live: str, candidate: str, facts: StepFacts, cluster: float) -> tuple[TailStep, ...]:
    """Return the latencies of both arms; steps without any answer are left out."""
    found = []
    for step in evidence.steps:
        mine, theirs = (_tail(step, arm, cluster) for arm in (candidate, live))
        if mine.count or theirs.count:
            found.append(TailStep(step.step, _share(step.step, facts, mine.count, theirs.count), mine, theirs))
    return tuple(found)


def seen(source: Source, evidence: ReleaseEvidence, candidate: str, steps: Sequence[int]) -> int:
    """Return how many answers, labels or pairs of the candidate were counted in these steps."""
    chosen = [step for step in evidence.steps if step.step in steps]
    return sum(_seen(source, step.arm(candidate), step.shadow, step.twin) for step in chosen)


def _seen(source: Source, arm: ArmEvidence, shadow: PairEvidence, twin: PairEvidence) -> int:
    counted = {
        Source.SPLIT: arm.requests,
        Source.LABELS: arm.labelled,
        Source.SHADOW: shadow.pairs + shadow.failures,
        Source.TWIN: twin.pairs,
    }
    return counted[source]


def _bad(metric: str, arm: ArmEvidence) -> tuple[int, int]:
    if metric == "accuracy":
        return arm.labelled, arm.labelled - arm.right
    return arm.requests, arm.server_errors if metric == "error_rate" else arm.client_errors


def _tail(step: StepEvidence, arm: str, cluster: float) -> Tail:
    found = step.arm(arm)
    counts = np.array([*found.latency.counts, found.server_errors], dtype=np.float64)
    return Tail(found.latency.buckets, counts / cluster)


def _share(number: int, facts: StepFacts, count: float, live_count: float) -> float:
    if 0 <= number < len(facts.shares):
        return facts.shares[number]
    return count / (count + live_count)
