"""Times two engines in pairs until it is known which is faster: short slices of calls, in random order within each pair.

Takes two engines and the rows to send; gives a core Comparison. Raises what an engine raises. The decision, and when enough is known, is
core.paired's; the clock is the stopwatch's.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from dataclasses import dataclass

from fairlead.core.interface import Tensors
from fairlead.core.paired import CONFIDENCE, SMALLEST_EFFECT, Comparison, Outcome, PairedTest
from fairlead.core.ports import Clock, Engine
from fairlead.engines.stopwatch import collector_off, time_calls

_SLICE_S = 0.0005  # long enough that the clock's own reading does not count, short enough that a burst spoils few pairs
_SLICE_CALLS = 16


@dataclass(frozen=True)
class PairLimits:
    """At most about `time_s` seconds and `pair_count` pairs; the decision's `confidence`, and the smallest difference that counts."""

    time_s: float = 2.0
    pair_count: int = 2000
    confidence: float = CONFIDENCE
    smallest_effect: float = SMALLEST_EFFECT
    warm_up_count: int = 5
    seed: int = 0


def decide_faster(
    a: Engine, b: Engine, inputs: Tensors, limits: PairLimits | None = None, *, clock: Clock = time.perf_counter
) -> Comparison:
    """Return how fast `a` is against `b` on `inputs`, sent again and again; stops as soon as that is decided."""
    limits = limits or PairLimits()
    order = random.Random(limits.seed)  # noqa: S311 - the order of measurements, nothing secret
    test = PairedTest(confidence=limits.confidence, smallest_effect=limits.smallest_effect)
    started = clock()
    count = min(_slice_calls(engine, inputs, limits, clock) for engine in (a, b))
    with collector_off():
        for _ in range(limits.pair_count):
            is_swapped = order.random() < 0.5
            first, second = (b, a) if is_swapped else (a, b)
            times = [_slice_ms(engine, inputs, count, clock) for engine in (first, second)]
            log_ratio = math.log(times[0] / times[1])
            test.add(-log_ratio if is_swapped else log_ratio)
            if test.outcome is not Outcome.OPEN or clock() - started > limits.time_s:
                break
    return test.comparison()


def _slice_calls(engine: Engine, inputs: Tensors, limits: PairLimits, clock: Clock) -> int:
    """Warm the engine up; return how many of its calls make a slice."""
    quickest = math.inf
    deadline = clock() + limits.time_s / 4
    for _ in range(max(limits.warm_up_count, 1)):
        quickest = min(quickest, time_calls(engine, inputs, 1, clock)[0] / 1000.0)
        if clock() > deadline:
            break
    return min(max(math.ceil(_SLICE_S / max(quickest, 1e-9)), 1), _SLICE_CALLS)


def _slice_ms(engine: Engine, inputs: Tensors, count: int, clock: Clock) -> float:
    """The median call of a slice; the first of several only brings the model back into the processor's caches."""
    times = time_calls(engine, inputs, count + (count > 1), clock)
    return max(statistics.median(times[1:] if count > 1 else times), 1e-9)
