"""The grammar of requirements: what is meant is kept, nonsense is refused with what would have been right."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.requirement import METRICS, Direction, MetricKind, Requirement, loss, parse_requirement, parse_requirements
from fairlead.errors import RequirementError

QUALITY = [name for name, spec in METRICS.items() if spec.kind is MetricKind.QUALITY]
BATCHED = [name for name, spec in METRICS.items() if spec.kind in (MetricKind.LATENCY, MetricKind.THROUGHPUT)]


@st.composite
def sound_requirements(draw: st.DrawFn) -> Requirement:
    """Any requirement that has a meaning."""
    name = draw(st.sampled_from([*METRICS, "shop.metrics:profit"]))
    spec = METRICS.get(name)
    is_relative = draw(st.booleans()) if spec is None or spec.kind is MetricKind.QUALITY else False
    high = spec.high if spec is not None and math.isfinite(spec.high) else 1e12
    exclude_max = spec is not None and spec.high == high  # everything keeps it
    whole = st.integers(1, 10**9).map(float)
    bound = draw(whole if name in ("decision_flips", "cores") else st.floats(min_value=1e-9, max_value=high, exclude_max=exclude_max))
    batch = draw(st.integers(1, 65536)) if name in BATCHED else 1
    is_rise = is_relative and (draw(st.booleans()) if spec is None else spec.better is Direction.LOWER)
    is_minimum = not is_relative and (draw(st.booleans()) if spec is None else spec.better is Direction.HIGHER)
    return Requirement(name, bound, is_minimum, is_relative, batch, is_rise)


@given(sound_requirements())
def test_what_is_written_is_read_as_the_same_value(requirement: Requirement) -> None:
    assert parse_requirement(str(requirement)) == requirement


@given(sound_requirements(), st.floats(allow_nan=False))
def test_a_bound_is_met_on_its_own_side_only(requirement: Requirement, measured: float) -> None:
    assert requirement.is_met(measured) == (measured >= requirement.bound if requirement.is_minimum else measured <= requirement.bound)
    assert requirement.is_met(requirement.bound)


@given(sound_requirements())
def test_what_is_not_a_number_meets_nothing(requirement: Requirement) -> None:
    assert not requirement.is_met(math.nan)


@given(st.text(max_size=60))
def test_any_text_is_a_requirement_or_a_clear_refusal(text: str) -> None:
    try:
        requirement = parse_requirement(text)
    except RequirementError:
        return
    assert parse_requirement(str(requirement)) == requirement


@given(st.text(alphabet="accuracy_drop99ms@<>=.0123456789%:e- ", max_size=30))
def test_near_misses_never_raise_anything_else(text: str) -> None:
    try:
        parse_requirement(text)
    except RequirementError:
        return


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("accuracy>=0.95", Requirement("accuracy", 0.95, is_minimum=True)),
        (" accuracy >= 95% ", Requirement("accuracy", 0.95, is_minimum=True)),
        ("accuracy_drop<=0.005", Requirement("accuracy", 0.005, is_minimum=False, is_relative=True)),
        ("rmse_rise<=0.1", Requirement("rmse", 0.1, is_minimum=False, is_relative=True, is_rise=True)),
        ("p99_ms@32<=40", Requirement("p99_ms", 40.0, is_minimum=False, batch=32)),
        ("throughput>=500", Requirement("throughput_rps", 500.0, is_minimum=True)),
        ("shop.metrics:profit>=10", Requirement("shop.metrics:profit", 10.0, is_minimum=True)),
        ("shop:cost_rise<=1", Requirement("shop:cost", 1.0, is_minimum=False, is_relative=True, is_rise=True)),
    ],
)
def test_the_grammar_means_what_the_manual_says(text: str, expected: Requirement) -> None:
    assert parse_requirement(text) == expected


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("accuracy", "accuracy>=0.95"),
        ("acuracy>=0.9", "Did you mean 'accuracy'?"),
        ("accuracy<=0.9", "Use accuracy>=0.9"),
        ("accuracy>0.9", "Use accuracy>=0.9"),
        ("p99_ms<5", "Use p99_ms<=5"),
        ("accuracy>=95", "95% or 0.95"),
        ("accuracy>=nan", "finite"),
        ("accuracy>=inf", "finite"),
        ("accuracy>=high", "Write it like"),
        ("accuracy_rise<=0.1", "accuracy_drop<="),
        ("rmse_drop<=0.1", "rmse_rise<="),
        ("accuracy_drop>=0.1", "<=0.1"),
        ("accuracy_drop<=-0.1", "0 or more"),
        ("size_mb_drop<=1", "size_mb<="),
        ("accuracy@32>=0.9", "@rows"),
        ("p99_ms@0<=1", "Write it like"),
        ("p99_ms@99999<=1", "Write it like"),
        ("p99_ms<=0", "positive bound"),
        ("cores<=0", "positive bound"),
        ("cores<=1.5", "cores<=2"),
        ("decision_flips<=0.01", "decision_flips<=1"),
        ("accuracy>=0", "leave it out"),
        ("throughput>=0", "leave it out"),
        ("accuracy_drop<=100%", "leave it out"),
        ("ece<=1", "leave it out"),
        ("p99_ms@" + "9" * 5000 + "<=1", "Write it like"),
    ],
)
def test_nonsense_is_refused_with_what_would_have_been_right(text: str, hint: str) -> None:
    with pytest.raises(RequirementError) as caught:
        parse_requirement(text)
    assert hint in caught.value.hint


def test_a_floor_above_a_ceiling_is_a_contradiction() -> None:
    with pytest.raises(RequirementError, match="contradict"):
        parse_requirements(["shop:profit>=5", "shop:profit<=3"])


def test_two_bounds_on_one_side_are_refused_and_a_repetition_is_not() -> None:
    with pytest.raises(RequirementError, match="twice"):
        parse_requirements(["accuracy>=0.9", "accuracy>=0.8"])
    assert len(parse_requirements(["accuracy>=0.9", "accuracy>=90%"])) == 1


def test_a_floor_and_a_drop_of_one_metric_live_together() -> None:
    assert len(parse_requirements(["accuracy>=0.9", "accuracy_drop<=0.01"])) == 2


@pytest.mark.parametrize("name", QUALITY)
def test_every_metric_of_quality_can_be_bounded_against_the_original(name: str) -> None:
    suffix = "_drop" if METRICS[name].better is Direction.HIGHER else "_rise"
    requirement = parse_requirement(f"{name}{suffix}<=0.5")
    assert requirement.is_relative
    assert requirement.name == f"{name}{suffix}"


def test_two_rows_of_four_hundred_are_no_more_than_half_a_percent() -> None:
    assert 0.98 - 0.975 > 0.005
    assert loss(0.98, 0.975, is_rise=False) == 0.005
    assert loss(2.7, 2.8, is_rise=True) == 0.1
    assert loss(0.0, 0.0, is_rise=True) == 0.0
    assert loss(1e9, 1e9 - 0.25, is_rise=False) == 0.25
    assert math.isnan(loss(math.nan, 0.5, is_rise=False))
    assert loss(0.5, math.inf, is_rise=True) == math.inf


@given(st.integers(1, 10_000), st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_loss_of_counted_rows_is_the_share_that_one_would_write(rows: int, before: int, after: int) -> None:
    before, after = min(before, rows), min(after, rows)
    assert loss(before / rows, after / rows, is_rise=False) == pytest.approx((before - after) / rows, abs=1e-13)
