"""The strength of a pass by bisection toward the floor."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.optimize.search.knob import Tried, gentler, is_knob, next_value

RATIOS = (0.5, 0.25, 0.75)


def climb(name: str, known: tuple, edge: float, *, more_is_gentler: bool = False, steps: int = 12) -> list[Tried]:
    """Try as the search does, where values up to `edge` hold the floor."""
    tried: list[Tried] = []
    while len(tried) < steps and (value := next_value(name, known, tried)) is not None:
        tried.append(Tried(value, value >= edge if more_is_gentler else value <= edge))
    return tried


@given(st.floats(0.02, 0.98))
def test_the_strongest_value_that_holds_is_found(edge: float) -> None:
    tried = climb("ratio", RATIOS, edge)
    best = max((one.value for one in tried if one.holds), default=0.0)

    assert edge - best < 0.08
    assert len(tried) <= 9


def test_a_value_that_is_gentler_when_larger_is_lowered() -> None:
    tried = climb("width", (0.5, 0.25), 0.2, more_is_gentler=True)

    assert min(one.value for one in tried if one.holds) < 0.26
    assert tried[0].value == 0.5


def test_no_value_is_tried_twice_and_whole_numbers_stay_whole() -> None:
    for edge in (1, 5, 9, 20, 100):
        tried = climb("bits", (8, 4), edge, more_is_gentler=True)
        values = [one.value for one in tried]
        assert len(set(values)) == len(values)
        assert all(isinstance(value, int) and 4 <= value <= 8 for value in values)


def test_only_numbers_with_values_between_are_sought() -> None:
    assert is_knob((0.5, 0.25))
    assert is_knob((8, 4))
    assert not is_knob((True, False))
    assert not is_knob(("minmax", "entropy"))
    assert not is_knob((24,))


def test_values_just_short_of_the_strongest_that_held_are_known() -> None:
    known = (0.5, 0.25, 0.75, 0.9)
    assert gentler("ratio", known, [0.5, 0.9]) == [0.75]
    assert gentler("ratio", known, [0.5]) == []
    assert gentler("ratio", known, []) == []
    assert gentler("width", (0.5, 0.33, 0.25, 0.1), [0.5, 0.1]) == [0.25, 0.33]
