"""Canaries with given counts, for the tests of the gate."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from fairlead.core.evidence import ArmEvidence, LatencyHistogram, PairEvidence, ReleaseEvidence, StepEvidence
from fairlead.core.gate import GateDecision, StepFacts, parse_gate
from fairlead.register.gate.decide import decide
from fairlead.register.gate.latencies import bucket_of_each

SHARES = (0.01, 0.1, 0.5)
USUAL = "error_rate, p99_ms, disagreement, accuracy"


def times(count: int, *, median_ms: float = 4.0, seed: int = 0) -> LatencyHistogram:
    """Lognormal latencies."""
    drawn = np.random.default_rng(seed).lognormal(0, 0.4, count) * median_ms * 1e6
    counts = np.bincount(bucket_of_each(np.floor(drawn)))
    used = np.flatnonzero(counts)
    return LatencyHistogram(tuple(used.tolist()), tuple(counts[used].tolist()))


def arm(requests: int, *, bad: int = 0, labelled: int = 0, right: int = 0, latency: LatencyHistogram | None = None) -> ArmEvidence:
    """An arm of which `bad` requests failed."""
    return ArmEvidence(
        requests, bad, 0, latency if latency is not None else LatencyHistogram((1400,), (max(requests - bad, 1),)), labelled, right
    )


def step(number: int, live: ArmEvidence, candidate: ArmEvidence, *, pairs: int = 0, flips: int = 0) -> StepEvidence:
    """A step of a canary."""
    return StepEvidence(number, {"live": live, "candidate": candidate}, PairEvidence(pairs, flips))


def decided(
    gate: str,
    *steps: StepEvidence,
    at: int | None = None,
    elapsed_s: float = 100.0,
    planned_s: float = 60.0,
    alpha: float = 0.01,
    **said: float,
) -> GateDecision:
    """What the gate decides in the last of these steps (or in step `at`)."""
    spec = parse_gate(gate, alpha, **said)  # type: ignore[arg-type]
    number = at if at is not None else steps[-1].step if steps else 0
    return decide(spec, ReleaseEvidence("r", tuple(steps)), "live", "candidate", StepFacts(number, SHARES, elapsed_s, planned_s))


def shuffled(parts: Sequence[ReleaseEvidence], seed: int) -> list[ReleaseEvidence]:
    """The same reports in another order."""
    mixed = list(parts)
    random.Random(seed).shuffle(mixed)
    return mixed
