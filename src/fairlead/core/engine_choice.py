"""Which engine runs a model fastest on a machine: what was timed side by side, what was not there, and the order that follows. Pure.

Law: the order depends on the timings alone; within the margin of noise, the candidate that stood first in the plan stays first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

NOISE_RATIO = 1.03  # engines timed in turns differ by this much though they are the same


@dataclass(frozen=True)
class EngineTiming:
    """Median milliseconds of one call of `candidate` at a batch size, taken in turns with the others in the same run."""

    candidate: str
    engine: str
    batch: int
    p50_ms: float
    call_count: int


@dataclass(frozen=True)
class EngineChoice:
    """`timings` of every candidate that could be built, `absent` (candidate, reason) of the others, and `order`, the fastest first."""

    timings: tuple[EngineTiming, ...]
    absent: tuple[tuple[str, str], ...] = ()
    order: tuple[str, ...] = ()


def rank(timings: Sequence[EngineTiming]) -> tuple[str, ...]:
    """Return the candidates' names, fastest first: by the geometric mean, over the batch sizes, of a candidate's time relative to the best.

    Candidates within NOISE_RATIO of the fastest that is left keep the order in which they were timed.
    """
    names = list(dict.fromkeys(timing.candidate for timing in timings))
    best = {batch: min(timing.p50_ms for timing in timings if timing.batch == batch) for batch in {timing.batch for timing in timings}}
    scores = {name: _score([timing.p50_ms / best[timing.batch] for timing in timings if timing.candidate == name]) for name in names}
    order: list[str] = []
    while names:
        fastest = min(scores[name] for name in names)
        chosen = next(name for name in names if scores[name] <= fastest * NOISE_RATIO)
        order.append(chosen)
        names.remove(chosen)
    return tuple(order)


def _score(ratios: Sequence[float]) -> float:
    product = 1.0
    for ratio in ratios:
        product *= ratio
    return float(product ** (1.0 / len(ratios)))
