from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.version import Version
from fairlead.register.retention import Policy, decide, spoken_days

DAY_S = 86_400.0
NOW = 1_000 * DAY_S


def version(number: int, age_s: float = 100 * DAY_S) -> Version:
    return Version("digits", number, Manifest((FileEntry("m", number, "a" * 64),)), NOW - age_s)


def going(fates) -> set[int]:
    return {fate.version.number for fate in fates if not fate.stays}


def test_what_nothing_uses_goes_but_the_newest_stay():
    fates = decide([version(number) for number in (1, 2, 3, 5, 9)], {2: ("@production points at it",)}, Policy(2), NOW)
    assert going(fates) == {1, 3}
    assert [fate.why for fate in fates] == [
        ("nothing uses it; 4 newer, registered 100 days ago",),
        ("@production points at it",),
        ("nothing uses it; 2 newer, registered 100 days ago",),
        ("one of the 2 newest",),
        ("one of the 2 newest",),
    ]


def test_what_is_young_stays_and_a_clock_that_jumped_lets_nothing_go():
    versions = [version(1, 40 * DAY_S), version(2, 20 * DAY_S), version(3, -5 * DAY_S), version(4)]
    assert going(decide(versions, {}, Policy(1, 30 * DAY_S), NOW)) == {1}
    assert going(decide(versions, {}, Policy(1, 30 * DAY_S), NOW - 900 * DAY_S)) == set()


def test_the_wish_behind_a_count_is_said():
    (fate,) = decide([version(1)], {}, Policy(7, because="the strategy of digits:1"), NOW)
    assert fate.why == ("one of the 7 newest (the strategy of digits:1)",)


@st.composite
def histories(draw):
    numbers = draw(st.sets(st.integers(1, 60), max_size=20))
    versions = [version(number, draw(st.floats(-10, 500)) * DAY_S) for number in numbers]
    uses = {number: ("used",) for number in numbers if draw(st.booleans())}
    return versions, uses


@given(histories(), st.integers(1, 10), st.floats(0, 400))
def test_what_is_used_young_or_new_never_goes_and_everything_has_a_reason(history, keep_count, days):
    versions, uses = history
    fates = decide(versions, uses, Policy(keep_count, days * DAY_S), NOW)
    assert [fate.version.number for fate in fates] == sorted(one.number for one in versions)
    newest = sorted(one.number for one in versions)[-keep_count:]
    young = {one.number for one in versions if NOW - one.created_at < days * DAY_S}
    assert going(fates) == {one.number for one in versions} - set(uses) - set(newest) - young
    assert all(fate.why for fate in fates)


@given(histories(), st.integers(1, 10), st.floats(0, 400), st.integers(0, 5), st.floats(0, 100))
def test_to_keep_more_never_lets_a_version_go_that_stayed_before(history, keep_count, days, more, longer):
    versions, uses = history
    before = going(decide(versions, uses, Policy(keep_count, days * DAY_S), NOW))
    assert going(decide(versions, uses, Policy(keep_count + more, (days + longer) * DAY_S), NOW)) <= before


def test_times_are_said_as_people_say_them():
    assert [spoken_days(seconds) for seconds in (-5, 60, 3600, 7200, DAY_S, 41.9 * DAY_S)] == [
        *("0 minutes", "1 minute", "1 hour", "2 hours", "1 day", "41 days")
    ]
