"""How fast and how large the candidate is on this machine. Measures with the stopwatch and the memory probe; raises what they raise."""

from __future__ import annotations

from collections.abc import Iterable

from fairlead.core.interface import Tensors
from fairlead.core.ports import Engine
from fairlead.core.requirement import MetricKind, Requirement
from fairlead.core.verdict import Speed
from fairlead.engines.stopwatch import Timing, TimingLimits, time_engine
from fairlead.verify.run_rows import repeat_rows

_TIMED = (MetricKind.LATENCY, MetricKind.THROUGHPUT)


def timed_batches(requirements: Iterable[Requirement]) -> tuple[int, ...]:
    """Return the batch sizes to time: 1, and every one that a requirement names."""
    return tuple(sorted({1, *(item.batch for item in requirements if item.kind in _TIMED)}))


def measure_speed(engine: Engine, inputs: Tensors, batches: Iterable[int], limits: TimingLimits, *, thread_count: int) -> tuple[Speed, ...]:
    """Return the timing at each batch size, on rows of `inputs` (repeated where there are fewer)."""
    return tuple(to_speed(time_engine(engine, repeat_rows(inputs, batch), limits), thread_count) for batch in batches)


def to_speed(timing: Timing, thread_count: int) -> Speed:
    """Return the figures of a timing; percentiles by nearest rank."""
    return Speed(
        batch=timing.batch,
        p50_ms=timing.percentile_ms(50),
        p95_ms=timing.percentile_ms(95),
        p99_ms=timing.percentile_ms(99),
        mean_ms=timing.mean_ms,
        throughput_rps=timing.throughput_rps,
        call_count=len(timing.calls_ms),
        thread_count=thread_count,
    )
