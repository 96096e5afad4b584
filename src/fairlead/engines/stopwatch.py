"""The only stopwatch: how long one call of an engine takes.

Takes engines and the rows to send; gives `Timing` values. Engines that are to be compared are timed together, round-robin, since a
machine's speed drifts between two runs one after the other. The garbage collector is off while the clock runs. Raises what an engine
raises. It never decides which one is faster.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from fairlead.core.interface import Tensors
from fairlead.core.ports import Clock, Engine

_SLICE = 10  # calls of one engine before the next one's turn: keeps its caches as warm as in use, and the drift shared
_QUICK_RATIO = 0.02  # slices only where one round of single calls took less than this share of the time


@dataclass(frozen=True)
class TimingLimits:
    """At most `call_count` timed calls and about `time_s` seconds per engine, after `warm_up_count` calls that do not count."""

    call_count: int = 1000
    time_s: float = 1.0
    warm_up_count: int = 5


@dataclass(frozen=True)
class Timing:
    """Milliseconds of each timed call, in the order in which they were made, at `batch` rows."""

    batch: int
    calls_ms: tuple[float, ...]

    @property
    def mean_ms(self) -> float:
        """The arithmetic mean."""
        return math.fsum(self.calls_ms) / len(self.calls_ms)

    @property
    def throughput_rps(self) -> float:
        """Rows per second with one call after the other."""
        return self.batch * 1000.0 / self.mean_ms

    def percentile_ms(self, percent: float) -> float:
        """Return the smallest measured time that at least `percent` % of the calls did not exceed."""
        return nearest_rank(self.calls_ms, percent)


def nearest_rank(values: Sequence[float], percent: float) -> float:
    """Return the `percent` percentile by the nearest-rank formula: value number ceil(percent/100 * n) of the n sorted values.

    It is always a value that occurred, and never smaller than an interpolated percentile's lower neighbour. Raises ValueError for no values
    or a percentage outside (0, 100].
    """
    if not values or not 0 < percent <= 100:
        raise ValueError("a percentile needs values and a percentage above 0, at most 100")
    return sorted(values)[max(math.ceil(percent * len(values) / 100 - 1e-9), 1) - 1]


def time_engine(engine: Engine, inputs: Tensors, limits: TimingLimits, *, clock: Clock = time.perf_counter) -> Timing:
    """Return the timing of `engine` on `inputs`, sent again and again."""
    return compare_engines({"engine": engine}, inputs, limits, clock=clock)["engine"]


def compare_engines(
    engines: Mapping[str, Engine], inputs: Tensors, limits: TimingLimits, *, clock: Clock = time.perf_counter
) -> dict[str, Timing]:
    """Return the timing of each engine on the same `inputs`, measured round-robin in slices; each gets the same number of calls."""
    batch = int(next(iter(inputs.values())).shape[0])
    for engine in engines.values():
        _warm_up(engine, inputs, limits, clock)
    calls: dict[str, list[float]] = {name: [] for name in engines}
    done, slice_count = 0, 1
    with collector_off():  # which collects first: in a large process that takes longer than a short measurement
        started = clock()
        deadline = started + limits.time_s * len(engines)
        while done < limits.call_count and (done == 0 or clock() < deadline):
            for name, engine in engines.items():
                calls[name] += time_calls(engine, inputs, slice_count, clock)
            done += slice_count
            is_quick = clock() - started < limits.time_s * len(engines) * _QUICK_RATIO
            slice_count = min(_SLICE if is_quick or slice_count > 1 else 1, limits.call_count - done)
    return {name: Timing(batch, tuple(times)) for name, times in calls.items()}


def _warm_up(engine: Engine, inputs: Tensors, limits: TimingLimits, clock: Clock) -> None:
    deadline = clock() + limits.time_s / 2
    for _ in range(limits.warm_up_count):
        engine.run(inputs)
        if clock() > deadline:
            return


def time_calls(engine: Engine, inputs: Tensors, count: int, clock: Clock) -> list[float]:
    """Return the milliseconds of each of `count` calls, one after the other."""
    times = []
    for _ in range(count):
        started = clock()
        engine.run(inputs)
        times.append((clock() - started) * 1000.0)
    return times


@contextmanager
def collector_off() -> Iterator[None]:
    """Keep the garbage collector from running while the clock runs."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
