"""What the requests of a release showed: counts by step and arm that servers add up, and the counters that gather them.

A counter (mutable, one thread) takes single answers and gives values by `read`; values (frozen) merge. Nothing here raises but `merge`
(ValueError for evidence of two releases), does I/O or reads a clock. Laws: merging is associative and commutative, exactly: everything is
an integer or a largest value; what a server counts only grows, and a server that starts anew counts under another server id, so that the
sum over all server ids loses nothing and counts nothing twice.

Only requests that the plan split by chance belong in an arm: one that was pinned to a version, or sent to an arm by a segment, is no fair
comparison.

A time lies in one of 64 buckets per power of two, so a bucket is 1.6 % wide at most; the idea is HdrHistogram's (hdrhistogram.org). Below
128 ns a bucket is 1 ns wide.
"""

from __future__ import annotations

import bisect
import enum
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

_SUB_BITS = 6
_DIRECT_BITS = _SUB_BITS + 1  # times of so many bits are their own bucket
_DIRECT_NS = 1 << _DIRECT_BITS
_LARGEST_NS = (1 << 42) - 1  # 73 minutes; longer times count as this one
_BUCKET_COUNT = ((_LARGEST_NS.bit_length() - _DIRECT_BITS) << _SUB_BITS) + (1 << _DIRECT_BITS)
_NO_DIFFERENCE = -1075  # the exponent below that of the smallest double


class Outcome(enum.StrEnum):
    """How a request ended."""

    OK = "ok"
    CLIENT = "client"  # refused: the client's fault
    SERVER = "server"  # failed: ours


_OK, _SERVER = Outcome.OK, Outcome.SERVER  # looking them up at each request takes as long as counting it


def bucket_of(time_ns: int) -> int:
    """Return the bucket that holds a time."""
    shift = time_ns.bit_length() - _DIRECT_BITS
    return (shift << _SUB_BITS) + (time_ns >> shift) if shift > 0 else time_ns


def bucket_start_ns(bucket: int) -> int:
    """Return the smallest time in a bucket; that of the next bucket is the first above it."""
    if bucket < 1 << _DIRECT_BITS:
        return bucket
    shift = (bucket >> _SUB_BITS) - 1
    return (bucket - (shift << _SUB_BITS)) << shift


@dataclass(frozen=True)
class Sparse:
    """Counts by bucket: `buckets` ascend, `counts` are positive and as many."""

    buckets: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        """How many were counted."""
        return sum(self.counts)

    def above(self, bucket: int) -> int:
        """How many lie in higher buckets than `bucket`."""
        return sum(self.counts[bisect.bisect_right(self.buckets, bucket) :])

    def bucket_at(self, quantile: float) -> int | None:
        """Return the lowest bucket up to which at least that share (0..1) lies; None where nothing was counted."""
        if not self.counts:
            return None
        rank = max(math.ceil(quantile * self.count - 1e-9), 1)
        place = bisect.bisect_left(list(itertools.accumulate(self.counts)), rank)
        return self.buckets[min(place, len(self.buckets) - 1)]


AnySparse = TypeVar("AnySparse", bound=Sparse)


def _sum(parts: Sequence[AnySparse]) -> AnySparse:
    """Return all of them together; there is one at least."""
    filled = [part for part in parts if part.counts]
    if len(filled) < 2:
        return filled[0] if filled else parts[0]
    total: dict[int, int] = {}
    for part in filled:
        for bucket, count in zip(part.buckets, part.counts, strict=True):
            total[bucket] = total.get(bucket, 0) + count
    buckets = tuple(sorted(total))
    return type(parts[0])(buckets, tuple(map(total.__getitem__, buckets)))


@dataclass(frozen=True)
class LatencyHistogram(Sparse):
    """Times in nanoseconds, counted by `bucket_of`."""

    def quantile_ms(self, quantile: float) -> float | None:
        """Return the upper edge of the bucket that holds the quantile (0..1): at most 1.6 % above it. None where nothing was counted."""
        bucket = self.bucket_at(quantile)
        return None if bucket is None else bucket_start_ns(bucket + 1) / 1e6


@dataclass(frozen=True)
class DifferenceHistogram(Sparse):
    """Absolute differences of numbers, counted by power of two: bucket b holds those from 2^(b-1) to 2^b, the lowest the zeros."""

    def quantile(self, quantile: float) -> float | None:
        """Return the power of two that the quantile (0..1) lies below, 0.0 where it is no difference; None where nothing was counted."""
        bucket = self.bucket_at(quantile)
        if bucket is None or bucket == _NO_DIFFERENCE:
            return None if bucket is None else 0.0
        return 2.0**bucket if bucket < 1024 else math.inf


@dataclass(frozen=True)
class ArmEvidence:
    """What one arm answered in one step. `latency` holds answers that are OK; `right` of `labelled` ones agreed with a late label."""

    requests: int = 0
    server_errors: int = 0
    client_errors: int = 0
    latency: LatencyHistogram = LatencyHistogram()
    labelled: int = 0
    right: int = 0


@dataclass(frozen=True)
class PairEvidence:
    """The same requests answered twice. `flips` of `pairs` were decided otherwise; `failures` are second answers that never came although
    the first did, `dropped` those that were not tried because the server was busy. Neither is among `pairs`.
    """

    pairs: int = 0
    flips: int = 0
    failures: int = 0
    dropped: int = 0
    largest_difference: float = 0.0
    differences: DifferenceHistogram = DifferenceHistogram()
    latency: LatencyHistogram = LatencyHistogram()
    live_latency: LatencyHistogram = LatencyHistogram()


@dataclass(frozen=True)
class StepEvidence:
    """What a step of a release showed: `arms` by name, `shadow` against the live version, `twin` the candidate against its original."""

    step: int
    arms: Mapping[str, ArmEvidence] = field(default_factory=dict)
    shadow: PairEvidence = PairEvidence()
    twin: PairEvidence = PairEvidence()

    def arm(self, name: str) -> ArmEvidence:
        """Return an arm's evidence, empty where it had no request."""
        return self.arms.get(name, ArmEvidence())


@dataclass(frozen=True)
class ReleaseEvidence:
    """What a release showed in every step so far; `steps` ascend by number."""

    release: str
    steps: tuple[StepEvidence, ...] = ()

    def step(self, number: int) -> StepEvidence:
        """Return a step's evidence, empty where there is none."""
        return next((step for step in self.steps if step.step == number), StepEvidence(number))


def merge(release: str, parts: Iterable[ReleaseEvidence]) -> ReleaseEvidence:
    """Return the evidence of all servers together, in whatever order they come; raises ValueError for evidence of another release."""
    steps: dict[int, list[StepEvidence]] = {}
    for part in parts:
        if part.release != release:
            raise ValueError(f"evidence of release '{part.release}' is none of release '{release}'")
        for step in part.steps:
            steps.setdefault(step.step, []).append(step)
    return ReleaseEvidence(release, tuple(_step(number, steps[number]) for number in sorted(steps)))


def _step(number: int, parts: Sequence[StepEvidence]) -> StepEvidence:
    names = sorted({name for part in parts for name in part.arms})
    arms = {name: _arm([part.arm(name) for part in parts]) for name in names}
    return StepEvidence(number, arms, _pair([part.shadow for part in parts]), _pair([part.twin for part in parts]))


def _arm(parts: Sequence[ArmEvidence]) -> ArmEvidence:
    return ArmEvidence(
        sum(part.requests for part in parts),
        sum(part.server_errors for part in parts),
        sum(part.client_errors for part in parts),
        _sum([part.latency for part in parts]),
        sum(part.labelled for part in parts),
        sum(part.right for part in parts),
    )


def _pair(parts: Sequence[PairEvidence]) -> PairEvidence:
    return PairEvidence(
        sum(part.pairs for part in parts),
        sum(part.flips for part in parts),
        sum(part.failures for part in parts),
        sum(part.dropped for part in parts),
        max(part.largest_difference for part in parts),
        _sum([part.differences for part in parts]),
        _sum([part.latency for part in parts]),
        _sum([part.live_latency for part in parts]),
    )


class LatencyCounter:
    """Counts times for a LatencyHistogram, in 0.2 us each."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts = [0] * _BUCKET_COUNT

    def add(self, time_ns: int) -> None:
        """Count one time; one below zero, of a clock that was set back, counts as none."""
        if _DIRECT_NS <= time_ns <= _LARGEST_NS:
            shift = time_ns.bit_length() - _DIRECT_BITS
            self._counts[(shift << _SUB_BITS) + (time_ns >> shift)] += 1
        else:
            self._counts[bucket_of(min(max(time_ns, 0), _LARGEST_NS))] += 1

    def read(self) -> LatencyHistogram:
        """Return what was counted until now."""
        used = [(bucket, count) for bucket, count in enumerate(self._counts) if count]
        return LatencyHistogram(tuple(bucket for bucket, _ in used), tuple(count for _, count in used))


class ArmCounter:
    """Counts the answers of one arm in one step."""

    __slots__ = ("_client", "_labelled", "_latency", "_requests", "_right", "_server")

    def __init__(self) -> None:
        self._latency = LatencyCounter()
        self._requests = self._server = self._client = self._labelled = self._right = 0

    def answered(self, latency_ns: int, outcome: Outcome) -> None:
        """Count one request that the split sent here."""
        self._requests += 1
        if outcome is _OK:
            self._latency.add(latency_ns)
        elif outcome is _SERVER:
            self._server += 1
        else:
            self._client += 1

    def labelled(self, *, is_right: bool) -> None:
        """Count one late label."""
        self._labelled += 1
        self._right += is_right

    def read(self) -> ArmEvidence:
        """Return what was counted until now."""
        return ArmEvidence(self._requests, self._server, self._client, self._latency.read(), self._labelled, self._right)


class PairCounter:
    """Counts requests that were answered twice."""

    __slots__ = ("_differences", "_dropped", "_failures", "_flips", "_largest", "_latency", "_live_latency", "_pairs")

    def __init__(self) -> None:
        self._pairs = self._flips = self._failures = self._dropped = 0
        self._largest = 0.0
        self._differences: dict[int, int] = {}
        self._latency, self._live_latency = LatencyCounter(), LatencyCounter()

    def compared(self, *, is_flip: bool, difference: float, latency_ns: int, live_latency_ns: int) -> None:
        """Count one pair; `difference` is the largest absolute one among the answer's numbers, NaN counts as infinite."""
        size = math.inf if math.isnan(difference) else abs(difference)
        exponent = _NO_DIFFERENCE if size == 0 else math.frexp(size)[1] if size < math.inf else 1025
        self._pairs += 1
        self._flips += is_flip
        self._largest = max(self._largest, size)
        self._differences[exponent] = self._differences.get(exponent, 0) + 1
        self._latency.add(latency_ns)
        self._live_latency.add(live_latency_ns)

    def failed(self) -> None:
        """Count a second answer that never came."""
        self._failures += 1

    def dropped(self) -> None:
        """Count a second answer that was not tried."""
        self._dropped += 1

    def read(self) -> PairEvidence:
        """Return what was counted until now."""
        exponents = tuple(sorted(self._differences))
        differences = DifferenceHistogram(exponents, tuple(self._differences[exponent] for exponent in exponents))
        latency, live_latency = self._latency.read(), self._live_latency.read()
        return PairEvidence(self._pairs, self._flips, self._failures, self._dropped, self._largest, differences, latency, live_latency)


class ReleaseCounter:
    """Counts what one server process sees of a release: a counter for every step and arm that had a request."""

    __slots__ = ("_arms", "_release", "_shadows", "_twins")

    def __init__(self, release: str) -> None:
        self._release = release
        self._arms: dict[tuple[int, str], ArmCounter] = {}
        self._shadows: dict[int, PairCounter] = {}
        self._twins: dict[int, PairCounter] = {}

    def arm(self, step: int, name: str) -> ArmCounter:
        """Return the counter of an arm in a step; the same one each time."""
        return self._arms.get((step, name)) or self._arms.setdefault((step, name), ArmCounter())

    def shadow(self, step: int) -> PairCounter:
        """Return the counter of the candidate's shadow answers against the live version's."""
        return self._shadows.get(step) or self._shadows.setdefault(step, PairCounter())

    def twin(self, step: int) -> PairCounter:
        """Return the counter of the candidate's answers against its own uncompressed original's."""
        return self._twins.get(step) or self._twins.setdefault(step, PairCounter())

    def read(self) -> ReleaseEvidence:
        """Return what was counted until now."""
        numbers = sorted({step for step, _ in self._arms} | self._shadows.keys() | self._twins.keys())
        return ReleaseEvidence(self._release, tuple(self._step(number) for number in numbers))

    def _step(self, number: int) -> StepEvidence:
        arms = {name: counter.read() for (step, name), counter in sorted(self._arms.items()) if step == number}
        shadow, twin = (held.get(number) for held in (self._shadows, self._twins))
        return StepEvidence(number, arms, shadow.read() if shadow else PairEvidence(), twin.read() if twin else PairEvidence())
