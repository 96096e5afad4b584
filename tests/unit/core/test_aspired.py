import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.aspired import Selection, choose, parse_policy
from fairlead.core.manifest import Manifest
from fairlead.core.version import Version
from fairlead.errors import SpecError


def known(*numbers: int) -> tuple[Version, ...]:
    return tuple(Version("m", number, Manifest(()), 0.0) for number in numbers)


def numbers_of(aspired) -> list[int]:
    return [version.number for version in aspired.versions]


def test_an_alias_chooses_what_it_points_at() -> None:
    aspired = choose("m", Selection(("production",)), known(1, 2, 3), {"production": 2, "staging": 3})
    assert (numbers_of(aspired), aspired.default) == ([2], 2)
    assert aspired.aliases == {"production": 2, "staging": 3}
    assert aspired.known == known(1, 2, 3)


def test_a_model_without_the_alias_has_nothing_to_serve() -> None:
    aspired = choose("m", Selection(("production",)), known(1, 2), {})
    assert (aspired.versions, aspired.default) == ((), 0)


def test_the_latest_n_bring_the_live_version_along_which_stays_the_default() -> None:
    aspired = choose("m", Selection(latest_count=2), known(1, 2, 3, 4), {"production": 1})
    assert (numbers_of(aspired), aspired.default) == ([1, 3, 4], 1)


def test_the_newest_answers_by_default_where_nothing_is_live() -> None:
    aspired = choose("m", Selection(latest_count=2), known(1, 2, 3, 4), {"staging": 2})
    assert (numbers_of(aspired), aspired.default) == ([3, 4], 4)


def test_all_means_all_and_the_live_one_is_the_default() -> None:
    aspired = choose("m", Selection(is_all=True), known(1, 2, 3), {"production": 2})
    assert (numbers_of(aspired), aspired.default) == ([1, 2, 3], 2)


def test_of_pinned_versions_the_first_named_answers_by_default_whatever_is_live() -> None:
    aspired = choose("m", Selection((5, 3)), known(3, 4, 5), {"production": 4})
    assert (numbers_of(aspired), aspired.default) == ([3, 5], 5)


def test_numbers_and_aliases_mix_in_the_order_in_which_they_were_named() -> None:
    aspired = choose("m", Selection(("staging", 1)), known(1, 2, 3), {"staging": 3})
    assert (numbers_of(aspired), aspired.default) == ([1, 3], 3)


def test_policies_are_parsed_and_others_refused_by_name() -> None:
    assert parse_policy("alias", followed="canary") == Selection(("canary",))
    assert parse_policy("latest") == Selection(latest_count=1)
    assert parse_policy("latest:12") == Selection(latest_count=12)
    assert parse_policy("all") == Selection(is_all=True)
    for text in ("latest:0", "latest:-1", "newest", "", "all ", "latest:1\n"):
        with pytest.raises(SpecError, match="not a version policy"):
            parse_policy(text)


def test_two_selections_together_are_their_union() -> None:
    assert Selection((3, "staging")) | Selection((3, 4), latest_count=2) == Selection((3, "staging", 4), latest_count=2)


aliases = st.sampled_from(["production", "staging", "canary"])
selections = st.builds(
    Selection,
    named=st.lists(st.integers(1, 9) | aliases, max_size=4, unique=True).map(tuple),
    latest_count=st.integers(0, 5),
    is_all=st.booleans(),
)


@given(selections, st.sets(st.integers(1, 9), max_size=6), st.dictionaries(aliases, st.integers(1, 9)))
def test_the_default_is_one_of_the_chosen_and_the_chosen_exist(selection, numbers, pointers) -> None:
    aspired = choose("m", selection, known(*sorted(numbers)), pointers)
    chosen = numbers_of(aspired)
    assert set(chosen) <= numbers
    assert chosen == sorted(chosen)
    assert aspired.default in chosen if chosen else aspired.default == 0
    assert {item for item in selection.named if item in numbers} <= set(chosen)
    if selection.is_all:
        assert set(chosen) == numbers
    if selection.latest_count:
        assert set(sorted(numbers)[-selection.latest_count :]) <= set(chosen)
