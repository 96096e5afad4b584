"""Which findings are worth keeping."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.pass_use import PassUse
from fairlead.core.search import Objective
from fairlead.optimize.search.front import Finding, pareto, ranked


def finding(name: str, *, size: int = 1000, time: float = 1.0, loss: float = 0.0, **more) -> Finding:
    return Finding((PassUse(name),), more.pop("holds_floor", True), size, time, loss=loss, **more)


def names(findings) -> list[str]:
    return [one.recipe[0].name for one in findings]


def test_the_fastest_is_first_and_of_equals_the_smallest() -> None:
    found = [finding("slow", time=0.9), finding("fast", time=0.5, size=900), finding("as_fast", time=0.51, size=300)]

    assert names(ranked(found, Objective.LATENCY)) == ["as_fast", "fast", "slow"]


def test_the_smallest_is_first_where_size_is_wanted() -> None:
    found = [finding("fast", time=0.5, size=900), finding("small", time=0.99, size=300)]

    assert names(ranked(found, Objective.SIZE)) == ["small", "fast"]


def test_what_is_slower_than_the_baseline_comes_last() -> None:
    found = [finding("small", time=1.4, size=10, is_slower=True), finding("plain")]

    assert names(ranked(found, Objective.SIZE)) == ["plain", "small"]


def test_a_bound_comes_before_the_objective() -> None:
    found = [finding("fast", time=0.1, shortfall=0.7), finding("keeps", time=0.9)]

    assert names(ranked(found, Objective.LATENCY)) == ["keeps", "fast"]


def test_what_breaks_the_floor_is_no_rival() -> None:
    assert not ranked([finding("bad", time=0.01, holds_floor=False)], Objective.LATENCY)
    assert not pareto([finding("bad", time=0.01, holds_floor=False)])


points = st.builds(
    lambda size, time, loss, number: finding(f"p{number}", size=size, time=time / 8, loss=loss / 8),
    st.integers(1, 9), st.integers(1, 9), st.integers(0, 3), st.integers(0, 10**6),
)  # fmt: skip


@given(st.lists(points, max_size=30))
def test_nothing_on_the_front_is_beaten_and_everything_else_is(found: list[Finding]) -> None:
    front = pareto(found)
    values = [(one.time_ratio, one.size_bytes, one.loss) for one in front]

    assert len(set(values)) == len(values)
    for one in found:
        mine = (one.time_ratio, one.size_bytes, one.loss)
        assert any(all(left <= right for left, right in zip(other, mine, strict=True)) for other in values)
    for mine in values:
        assert not any(other != mine and all(left <= right for left, right in zip(other, mine, strict=True)) for other in values)


def test_a_lucky_model_stands_behind_one_that_is_nearly_as_fast_and_sure_to_hold() -> None:
    found = [finding("lucky", time=0.5, chance=0.5), finding("sure", time=0.6, chance=0.95)]
    assert names(ranked(found, Objective.LATENCY)) == ["sure", "lucky"]
    assert names(ranked(found, Objective.SIZE)) == ["sure", "lucky"]


def test_a_model_that_is_far_better_is_not_thrown_away_for_being_less_sure() -> None:
    found = [finding("plain", chance=1.0), finding("far_better", time=0.3, chance=0.6)]
    assert names(ranked(found, Objective.LATENCY)) == ["far_better", "plain"]


def test_of_equals_the_smaller_is_taken_only_where_it_is_as_sure() -> None:
    assert names(ranked([finding("a", time=0.5), finding("b", time=0.5, size=10, chance=0.6)], Objective.LATENCY)) == ["a", "b"]
    assert names(ranked([finding("a", time=0.5), finding("b", time=0.5, size=10, chance=0.98)], Objective.LATENCY)) == ["b", "a"]


def test_a_smaller_model_that_is_as_good_as_certain_is_taken_before_one_that_loses_nothing() -> None:
    assert names(ranked([finding("as-converted"), finding("stored", size=10, chance=0.92)], Objective.LATENCY))[0] == "stored"
    assert names(ranked([finding("as-converted"), finding("stored", size=10, chance=0.8)], Objective.LATENCY))[0] == "as-converted"


@given(st.floats(0.1, 2), st.floats(0, 1), st.floats(0, 1))
def test_being_surer_never_makes_a_model_worse(time: float, chance: float, other: float) -> None:
    low, high = sorted((chance, other))
    found = [finding("low", time=time, chance=low), finding("high", time=time, chance=high)]
    assert low == high or names(ranked(found, Objective.LATENCY))[0] == "high"
