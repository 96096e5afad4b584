"""Ranking engines: the fastest first, the plan's order within the noise, and nothing lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.engine_choice import NOISE_RATIO, EngineTiming, rank

TIMES = st.dictionaries(st.sampled_from("abcdef"), st.floats(1e-3, 1e3), min_size=1)


def timing(name: str, p50_ms: float, batch: int = 1) -> EngineTiming:
    return EngineTiming(name, f"engine {name}", batch, p50_ms, 100)


@given(TIMES)
def test_every_engine_is_ranked_once_and_none_comes_before_one_that_is_clearly_faster(times: dict[str, float]) -> None:
    order = rank([timing(name, value) for name, value in times.items()])
    assert sorted(order) == sorted(times)
    for place, name in enumerate(order):
        assert times[name] <= min(times[other] for other in order[place:]) * NOISE_RATIO * (1 + 1e-9)


def test_within_the_noise_the_first_of_the_plan_stays_first() -> None:
    assert rank([timing("onnxruntime", 1.02), timing("openvino", 1.0)]) == ("onnxruntime", "openvino")
    assert rank([timing("onnxruntime", 1.05), timing("openvino", 1.0)]) == ("openvino", "onnxruntime")


def test_several_batch_sizes_count_alike_whatever_their_times_are() -> None:
    fast_alone = [timing("a", 0.1), timing("a", 10.0, 32)]
    fast_together = [timing("b", 0.2), timing("b", 4.0, 32)]
    assert rank([*fast_alone, *fast_together]) == ("b", "a")  # 1 * 2.5 against 2 * 1
