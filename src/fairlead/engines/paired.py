"""Times two engines in pairs until it is known which model is faster: both opened anew, short slices of calls, all in random order.

Takes two ways to open an engine and the rows to send; gives a core Comparison. Raises what opening and running raise; closes what it opens.
The decision, and when enough is known, is core.paired's; the clock is the stopwatch's.

Why anew: where a model comes to lie in memory makes it up to 5 % faster or slower for as long as it is open, and no number of calls tells
that from a difference between two models. So a pair is one opening of both, in random order: for equal models either is as likely to lie
better. Within a pair, slices of both take turns, and the pair counts with the median of their ratios.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fairlead.core.interface import Tensors
from fairlead.core.paired import CONFIDENCE, SMALLEST_EFFECT, Comparison, Outcome, PairedTest
from fairlead.core.ports import Clock, Engine
from fairlead.engines.stopwatch import collector_off, time_calls

Opener = Callable[[], Engine]
_SLICE_S = 0.0003  # long enough that reading the clock does not count, short enough that a burst spoils few slices
_SLICE_CALLS = 10
_FEW_PAIRS = 12  # say nothing yet, however clear they are: where opening is slow, they may take longer than the limit
_PATIENCE = 5.0
_TURNS = (3, 31)  # slices of each engine in a pair: as long as opening took, within these


@dataclass(frozen=True)
class PairLimits:
    """At most `pair_count` pairs, and about `time_s` seconds, or up to five times as long for the dozen pairs that can say anything; the
    decision's `confidence`, and the smallest difference that counts.
    """

    time_s: float = 3.0
    pair_count: int = 2000
    confidence: float = CONFIDENCE
    smallest_effect: float = SMALLEST_EFFECT
    seed: int = 0


def decide_faster(
    a: Opener, b: Opener, inputs: Tensors, limits: PairLimits | None = None, *, clock: Clock = time.perf_counter
) -> Comparison:
    """Return how fast what `a` opens is against what `b` opens on `inputs`; stops as soon as that is decided."""
    limits = limits or PairLimits()
    order = random.Random(limits.seed)  # noqa: S311 - the order of measurements, nothing secret
    test = PairedTest(confidence=limits.confidence, smallest_effect=limits.smallest_effect)
    started = clock()
    with collector_off():
        for number in range(1, limits.pair_count + 1):
            test.add(_pair(a, b, inputs, order, clock))
            if test.outcome is not Outcome.OPEN or _is_over(clock() - started, number, limits):
                break
    return test.comparison()


def _is_over(spent_s: float, pair_count: int, limits: PairLimits) -> bool:
    return spent_s > limits.time_s * (1 if pair_count >= _FEW_PAIRS else _PATIENCE)


def _pair(a: Opener, b: Opener, inputs: Tensors, order: random.Random, clock: Clock) -> float:
    """Open both, take turns; return the median of log(time of a / time of b)."""
    is_swapped = order.random() < 0.5
    opened: list[Engine] = []
    started = clock()
    try:
        opened.extend(opener() for opener in ((b, a) if is_swapped else (a, b)))
        quickest = max(_warm_up(engine, inputs, clock) for engine in opened)
        call_count = min(max(math.ceil(_SLICE_S / quickest), 1), _SLICE_CALLS)
        slice_s = quickest * (call_count + 1) * len(opened)
        turn_count = min(max(int((clock() - started) / slice_s), _TURNS[0]), _TURNS[1])
        ratios = [_turn(opened, inputs, call_count, order, clock) for _ in range(turn_count)]
    finally:
        for engine in opened:
            engine.close()
    ratio = statistics.median(ratios)
    return -ratio if is_swapped else ratio


def _turn(opened: Sequence[Engine], inputs: Tensors, call_count: int, order: random.Random, clock: Clock) -> float:
    """A slice of each engine, in random order; return log(time of the first / time of the second)."""
    times = [0.0, 0.0]
    for place in (1, 0) if order.random() < 0.5 else (0, 1):
        times[place] = _slice_ms(opened[place], inputs, call_count, clock)
    return math.log(times[0] / times[1])


def _warm_up(engine: Engine, inputs: Tensors, clock: Clock) -> float:
    """Return the seconds of a call once the first ones are over; a slow model gets two only."""
    return max(min(time_calls(engine, inputs, 2, clock)), 1e-6) / 1000.0


def _slice_ms(engine: Engine, inputs: Tensors, count: int, clock: Clock) -> float:
    """The median call of a slice; the first of several only brings the model back into the processor's caches."""
    times = time_calls(engine, inputs, count + (count > 1), clock)
    return max(statistics.median(times[1:] if count > 1 else times), 1e-9)
