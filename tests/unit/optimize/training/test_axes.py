"""The algebra of axes: reshaping, joining and splitting keep track of which elements belong to which unit."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fairlead.optimize.training.axes import Group, Sum, cut_ends, groups_of, kept_elements, new_axis, owners, regroup, size_of, unite

SIZES = st.lists(st.integers(2, 6), min_size=1, max_size=4)


@given(SIZES, st.randoms(use_true_random=False))
def test_a_reshaped_tensor_keeps_exactly_the_elements_of_the_units_that_stay(sizes: list[int], random: object) -> None:
    """The law: cutting, then reshaping is reshaping, then cutting - or nothing may be cut."""
    groups = [Group(size) for size in sizes]
    total = math.prod(sizes)
    divisor = next((size for size in (random.randint(1, total) for _ in range(20)) if total % size == 0), total)  # type: ignore[attr-defined]
    shape = [divisor, total // divisor]
    axes = regroup([[group] for group in groups], shape)
    generator = np.random.default_rng(total)
    kept = {}
    for axis in [[group] for group in groups]:
        for group in groups_of(axis):
            kept[id(group)] = np.ones(group.size, dtype=bool) if group.is_fixed else generator.random(group.size) < 0.6
    masks = [kept_elements([group], kept) for group in groups]
    whole = np.ones(1, dtype=bool)
    for mask in masks:
        whole = np.logical_and.outer(whole, mask).reshape(-1)
    after = np.logical_and.outer(kept_elements(axes[0], kept), kept_elements(axes[1], kept)).reshape(-1)
    assert np.array_equal(whole, after)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5))
def test_uniting_a_flat_axis_with_a_product_splits_it(first: int, second: int, third: int) -> None:
    flat = new_axis(first * second * third)
    factors = [*new_axis(first), *new_axis(second), *new_axis(third)]
    unite(flat, factors)
    kept = {id(group): np.arange(group.size) % 2 == 0 for group in groups_of(flat)}
    assert np.array_equal(kept_elements(flat, kept), kept_elements(factors, kept))
    assert size_of(flat) == first * second * third


def test_axes_of_different_sizes_are_fixed() -> None:
    left, right = new_axis(6), new_axis(4)
    unite(left, right)
    assert all(group.is_fixed for axis in (left, right) for group in groups_of(axis))


def test_what_cannot_be_matched_is_fixed() -> None:
    left, right = [Group(6), Group(2)], [Group(4), Group(3)]
    unite(left, right)
    assert all(group.is_fixed for axis in (left, right) for group in groups_of(axis))


def test_a_fixed_axis_fixes_what_it_is_united_with() -> None:
    free, fixed = new_axis(6), new_axis(6, is_fixed=True)
    unite(free, fixed)
    assert all(group.is_fixed for group in groups_of(free))


def test_the_pieces_of_a_joined_axis_are_those_that_were_joined() -> None:
    joined = [Sum([new_axis(3), new_axis(5)])]
    first, second = cut_ends(joined, [3, 5])
    kept = {id(group): np.zeros(group.size, dtype=bool) for group in groups_of(first)}
    assert kept_elements(joined, kept).tolist() == [False] * 3 + [True] * 5
    assert size_of(second) == 5


def test_each_element_knows_its_unit() -> None:
    heads, channels = Group(2), Group(3)
    assert owners([heads, channels], channels).tolist() == [0, 1, 2, 0, 1, 2]
    assert owners([Sum([[heads], [channels]])], channels).tolist() == [-1, -1, 0, 1, 2]
