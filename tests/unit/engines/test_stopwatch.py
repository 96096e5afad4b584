"""The stopwatch: on a clock that tests set, it counts what it says it counts."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.interface import Array, Interface, Tensors
from fairlead.engines.stopwatch import Timing, TimingLimits, compare_engines, nearest_rank, time_engine

ROWS = {"x": np.zeros((4, 1), np.float32)}


@dataclass
class FakeTime:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeEngine:
    """Takes `cost_s` of the fake time; writes its name into a shared diary."""

    clock: FakeTime
    cost_s: float
    name: str = "a"
    diary: list[str] = field(default_factory=list)
    interface: Interface = field(default_factory=lambda: Interface((), ()))
    description: str = "fake"

    def run(self, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, Array]:
        self.clock.now += self.cost_s
        self.diary.append(self.name)
        return {}

    def close(self) -> None:
        return


def test_each_call_is_timed_and_warm_up_does_not_count() -> None:
    clock = FakeTime()
    engine = FakeEngine(clock, 0.002)
    timing = time_engine(engine, ROWS, TimingLimits(call_count=50, time_s=10, warm_up_count=5), clock=clock)
    assert len(engine.diary) == 55
    assert timing.calls_ms == pytest.approx([2.0] * 50)
    assert timing.throughput_rps == pytest.approx(4 / 0.002)


def test_time_runs_out_before_the_calls_do() -> None:
    clock = FakeTime()
    timing = time_engine(FakeEngine(clock, 0.1), ROWS, TimingLimits(call_count=1000, time_s=1.0, warm_up_count=1), clock=clock)
    assert 9 <= len(timing.calls_ms) <= 11


def test_an_engine_slower_than_the_limit_is_timed_once() -> None:
    clock = FakeTime()
    engine = FakeEngine(clock, 60.0)
    timing = time_engine(engine, ROWS, TimingLimits(call_count=1000, time_s=1.0, warm_up_count=5), clock=clock)
    assert len(timing.calls_ms) == 1
    assert len(engine.diary) == 2


def test_engines_take_turns_and_get_the_same_number_of_calls() -> None:
    clock, diary = FakeTime(), []
    engines = {"a": FakeEngine(clock, 0.001, "a", diary), "b": FakeEngine(clock, 0.003, "b", diary)}
    timings = compare_engines(engines, ROWS, TimingLimits(call_count=35, time_s=10, warm_up_count=0), clock=clock)
    assert "".join(diary[:24]) == "ab" + "a" * 10 + "b" * 10 + "aa"
    assert len(timings["a"].calls_ms) == len(timings["b"].calls_ms) == 35


def test_no_garbage_is_collected_while_the_clock_runs() -> None:
    seen = []

    class Watching(FakeEngine):
        def run(self, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, Array]:
            seen.append(gc.isenabled())
            return super().run(inputs, outputs)

    clock = FakeTime()
    time_engine(Watching(clock, 0.001), ROWS, TimingLimits(call_count=3, time_s=1, warm_up_count=1), clock=clock)
    assert seen == [True, False, False, False]
    assert gc.isenabled()


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200), st.floats(0.1, 100))
def test_a_percentile_is_the_smallest_value_that_enough_calls_did_not_exceed(values: list[float], percent: float) -> None:
    found = nearest_rank(values, percent)
    needed = percent / 100 * len(values) - 1e-9
    assert found in values
    assert sum(value <= found for value in values) >= needed
    smaller = [value for value in values if value < found]
    assert len(smaller) < needed or not smaller


@pytest.mark.parametrize(
    ("count", "percent", "rank"), [(100, 99, 99), (100, 95, 95), (1000, 99.9, 999), (20, 95, 19), (1, 50, 1), (10, 99, 10)]
)
def test_ranks_are_exact_where_percent_times_count_is_whole(count: int, percent: float, rank: int) -> None:
    assert Timing(1, tuple(float(number) for number in range(1, count + 1))).percentile_ms(percent) == rank


@pytest.mark.parametrize(("values", "percent"), [([], 50), ([1.0], 0), ([1.0], 101)])
def test_a_percentile_of_nothing_is_refused(values: list[float], percent: float) -> None:
    with pytest.raises(ValueError, match="percentile"):
        nearest_rank(values, percent)
