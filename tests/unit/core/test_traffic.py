from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.core.aspired import Selection, choose, with_traffic
from fairlead.core.manifest import Manifest
from fairlead.core.traffic import Arm, Segment, Shadow, TrafficPlan, assign, header_name, is_drawn, segment_arm
from fairlead.core.version import Version
from fairlead.errors import SpecError

KEYS = [f"request-{place}" for place in range(20_000)]


def canary(share: float, salt: str = "one") -> TrafficPlan:
    return TrafficPlan("r1", 0, (Arm("live", 3, 1 - share), Arm("candidate", 4, share)), salt=salt)


def shares_of(plan: TrafficPlan) -> dict[str, float]:
    counts = Counter(assign(plan, key).name for key in KEYS)
    return {arm.name: counts[arm.name] / len(KEYS) for arm in plan.arms}


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_the_share_of_a_candidate_is_met(share):
    got = shares_of(canary(share))["candidate"]
    assert abs(got - share) < 5 * (share * (1 - share) / len(KEYS)) ** 0.5


def test_the_shares_of_many_arms_are_met():
    wanted = {"A": 0.5, "B": 0.3, "C": 0.15, "D": 0.05}
    plan = TrafficPlan("r1", 0, tuple(Arm(name, place + 1, share) for place, (name, share) in enumerate(wanted.items())))
    for name, got in shares_of(plan).items():
        assert abs(got - wanted[name]) < 5 * (wanted[name] * (1 - wanted[name]) / len(KEYS)) ** 0.5


@given(st.text(max_size=40), st.floats(0, 1), st.floats(0, 1), st.text(max_size=10))
def test_raising_the_candidates_share_never_moves_a_key_back(key, one, other, salt):
    low, high = sorted((one, other))
    if assign(canary(low, salt), key).name == "candidate":
        assert assign(canary(high, salt), key).name == "candidate"


@given(st.text(max_size=40), st.lists(st.integers(1, 100), min_size=3, max_size=8), st.integers(0, 7), st.integers(1, 1000))
def test_an_arm_that_alone_gains_keeps_its_keys(key, weights, place, more):
    place %= len(weights)
    raised = [weight + (more if at == place else 0) for at, weight in enumerate(weights)]

    def plan(given: list[int]) -> TrafficPlan:
        total = sum(given)
        return TrafficPlan("r", 0, tuple(Arm(f"arm{at}", at + 1, weight / total) for at, weight in enumerate(given)))

    if assign(plan(weights), key).name == f"arm{place}":
        assert assign(plan(raised), key).name == f"arm{place}"


@given(st.text(max_size=40), st.text(max_size=10))
def test_a_key_always_goes_to_the_same_arm(key, salt):
    assert assign(canary(0.5, salt), key) == assign(replace(canary(0.5, salt), step=3), key)


def test_two_releases_divide_keys_independently():
    both = Counter((assign(canary(0.5, "one"), key).name, assign(canary(0.5, "two"), key).name) for key in KEYS)
    for count in both.values():
        assert abs(count / len(KEYS) - 0.25) < 0.02


def test_an_arm_without_a_share_gets_nothing_and_one_with_all_gets_all():
    assert shares_of(canary(0.0)) == {"live": 1.0, "candidate": 0.0}
    assert shares_of(canary(1.0)) == {"live": 0.0, "candidate": 1.0}


def test_a_shadow_is_drawn_by_its_share_and_apart_from_the_arms():
    plan = canary(0.5)
    drawn = [key for key in KEYS if is_drawn(0.2, plan.salt, "shadow", key)]
    assert abs(len(drawn) / len(KEYS) - 0.2) < 0.02
    assert abs(sum(assign(plan, key).name == "live" for key in drawn) / len(drawn) - 0.5) < 0.04
    assert not any(is_drawn(0.0, "", "shadow", key) for key in KEYS)
    assert all(is_drawn(1.0, "", "shadow", key) for key in KEYS)


def test_the_first_segment_that_fits_decides():
    plan = replace(
        canary(0.0), segments=(Segment("X-Country", ("de", "at"), "candidate"), Segment("X-Country", ("de",), "live")), sticky="user_id"
    )
    assert segment_arm(plan, {"x-country": "de"}) == plan.arms[1]
    assert segment_arm(plan, {"x-country": "fr"}) is None
    assert segment_arm(plan, {}) is None


def test_a_sticky_key_travels_in_a_header_of_its_name():
    assert header_name("User_ID") == "user-id"


def test_the_versions_of_a_plan_are_those_of_its_arms_and_its_shadow():
    assert replace(canary(0.0), shadow=Shadow(7, 0.2)).versions == {3, 4, 7}


@pytest.mark.parametrize(
    ("arms", "words"),
    [
        ((), "0 arms"),
        ((Arm("A", 3, 0.5), Arm("B", 4, 0.4)), "add up to 90 %"),
        ((Arm("A", 3, 0.5), Arm("A", 4, 0.5)), "two arms called 'A'"),
        (tuple(Arm(f"a{place}", 1, 1 / 9) for place in range(9)), "9 arms"),
    ],
)
def test_arms_that_make_no_sense_are_refused(arms, words):
    with pytest.raises(SpecError, match=words):
        TrafficPlan("r", 0, arms)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Arm("a b", 1, 1.0),
        lambda: Arm("a\r\nx: y", 1, 1.0),
        lambda: Arm("a", 0, 1.0),
        lambda: Arm("a", 1, float("nan")),
        lambda: Arm("a", 1, 1.1),
        lambda: Shadow(0, 0.1),
        lambda: Shadow(1, -0.1),
        lambda: Segment("x y", ("a",), "live"),
        lambda: Segment("x", (), "live"),
        lambda: replace(canary(0.1), sticky="user id"),
        lambda: replace(canary(0.1), twin_share=2.0),
        lambda: replace(canary(0.1), segments=(Segment("x", ("a",), "nobody"),)),
        lambda: replace(canary(0.1), segments=(Segment("x", ("a",), "live"),) * 65),
    ],
)
def test_values_that_make_no_sense_are_refused(make):
    with pytest.raises(SpecError):
        make()


def test_shares_written_with_few_digits_still_add_up():
    TrafficPlan("r", 0, (Arm("A", 1, 0.333333), Arm("B", 2, 0.333333), Arm("C", 3, 0.333334)))


@settings(max_examples=50)
@given(st.sets(st.integers(1, 6), min_size=1), st.integers(1, 6), st.integers(1, 6))
def test_what_a_plan_needs_is_wanted_besides_as_far_as_it_is_registered(numbers, live, candidate):
    known = [Version("digits", number, Manifest(()), 0.0) for number in sorted(numbers)]
    found = choose("digits", Selection(("production",)), known, {"production": min(numbers)})
    plan = TrafficPlan("r", 0, (Arm("live", live, 0.5), Arm("candidate", candidate, 0.5)))
    wanted = with_traffic(found, plan)
    assert {version.number for version in wanted.versions} == ({min(numbers), live, candidate} & numbers)
    assert (wanted.default, wanted.aliases, wanted.traffic) == (found.default, found.aliases, plan)
