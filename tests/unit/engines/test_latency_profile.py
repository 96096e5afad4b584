"""The profile of an engine, on a clock that tests set: what is measured in turns, what is left out, what the machine's mood is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from fairlead.core.interface import Array, Interface, Tensors
from fairlead.core.latency_profile import SAMPLE_COUNT, LatencyProfile, ProfilePoint
from fairlead.engines.latency_profile import ProfileJob, measure_profile
from fairlead.errors import SpecError

ROWS = {"x": np.arange(3, dtype=np.float32)[:, None]}


@dataclass
class FakeTime:
    now: float = 0.0

    def __call__(self) -> float:
        self.now += 1e-9  # looking takes time, too
        return self.now


@dataclass
class FakeEngine:
    """A call takes (1 + rows) ms over its threads; `mood` says how much slower the machine is at a time."""

    clock: FakeTime
    thread_count: int
    mood: object = lambda _now: 1.0
    seen: list[tuple[int, ...]] = field(default_factory=list)
    interface: Interface = field(default_factory=lambda: Interface((), ()))
    description: str = "fake"
    is_closed: bool = False

    def run(self, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, Array]:
        rows = inputs["x"].shape[0]
        self.seen.append((self.thread_count, rows))
        self.clock.now += (1 + rows) / 1000 / self.thread_count * self.mood(self.clock.now)
        return {}

    def close(self) -> None:
        self.is_closed = True


def profile(mood=lambda _now: 1.0, **options) -> tuple[LatencyProfile, list[FakeEngine]]:
    clock, made = FakeTime(), []

    def open_engine(threads: int) -> FakeEngine:
        made.append(FakeEngine(clock, threads, mood))
        return made[-1]

    return measure_profile(ProfileJob(open_engine, ROWS, **{"batches": (1, 4), "time_s": 2.0, **options}), clock=clock), made


def test_every_size_and_number_of_threads_is_timed_in_turns_and_engines_are_closed():
    found, engines = profile(thread_counts=(2, 1))
    assert [(point.thread_count, point.batch) for point in found.points] == [(1, 1), (1, 4), (2, 1), (2, 4)]
    assert found.mean_ms(1, 1) == pytest.approx(2.0, rel=1e-3)
    assert found.mean_ms(4, 2) == pytest.approx(2.5, rel=1e-3)
    assert all(engine.is_closed for engine in engines)
    order = [call for call in engines[0].seen if call[1] == 1]
    assert len(order) > 50
    changes = sum(one != two for one, two in zip(engines[0].seen, engines[0].seen[1:], strict=False))
    assert changes > 10, "one size after the other, again and again"


def test_rows_are_repeated_where_a_size_needs_more():
    found, engines = profile(batches=(1, 8))
    assert {rows for _, rows in engines[0].seen} == {1, 8}
    assert found.mean_ms(8, 1) == pytest.approx(9.0, rel=1e-3)


def test_a_size_whose_call_takes_too_much_of_the_time_is_left_out_and_named():
    found, _ = profile(batches=(1, 4, 200, 400))
    assert [point.batch for point in found.points] == [1, 4]
    assert found.notes == ("calls with 200, 400 rows on 1 threads take too long for this time and were not measured",)


def test_a_machine_that_is_slow_for_a_third_of_the_time_has_that_as_its_drift_and_not_in_the_calls():
    found, _ = profile(mood=lambda now: 2.0 if now % 12 < 4 else 1.0, time_s=24.0)
    assert found.drift[-1] / found.drift[0] == pytest.approx(2.0, rel=0.25)
    assert np.mean(found.drift) == pytest.approx(1.0)
    samples = found.samples_ms(1, 1)
    assert samples.mean() == pytest.approx(found.mean_ms(1, 1), rel=1e-6)
    assert np.percentile(samples, 90) / np.percentile(samples, 10) < 1.3


def test_a_steady_machine_has_no_drift():
    found, _ = profile()
    assert found.drift == pytest.approx((1.0, 1.0, 1.0), rel=1e-3)
    assert found.at(1)[0].cv == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("options", [{"batches": ()}, {"batches": (0,)}, {"thread_counts": (0,)}])
def test_sizes_that_make_no_sense_are_refused(options):
    with pytest.raises(SpecError):
        profile(**options)


def point(batch: int, mean: float, samples: tuple[float, ...]) -> ProfilePoint:
    return ProfilePoint(batch, 1, mean, mean, mean, mean, 0.0, len(samples), samples)


KNOWN = LatencyProfile((point(1, 2.0, (1.0, 3.0)), point(4, 5.0, (4.0, 6.0)), point(8, 7.0, (6.0, 8.0))))


def test_between_measured_sizes_a_call_is_affine_in_its_rows_and_beyond_goes_on():
    assert [KNOWN.mean_ms(rows, 1) for rows in (1, 2, 4, 6, 8, 16)] == pytest.approx([2.0, 3.0, 5.0, 6.0, 7.0, 11.0])
    samples = KNOWN.samples_ms(2, 1)
    assert len(samples) == SAMPLE_COUNT
    assert (samples.min(), samples.max()) == pytest.approx((2.0, 4.0))


def test_a_last_size_that_was_measured_too_fast_makes_no_larger_call_faster():
    odd = LatencyProfile((point(1, 2.0, (2.0,)), point(2, 1.5, (1.5,))))
    assert odd.mean_ms(64, 1) == pytest.approx(1.5)


def test_one_size_alone_grows_in_proportion():
    single = LatencyProfile((point(2, 3.0, (3.0,)),))
    assert [single.mean_ms(rows, 1) for rows in (1, 2, 8)] == pytest.approx([3.0, 3.0, 12.0])


def test_threads_that_were_not_measured_are_an_error():
    with pytest.raises(SpecError, match="3 threads"):
        KNOWN.mean_ms(1, 3)
