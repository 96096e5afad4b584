from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.comparison import SHOWN_FLIPS, compare_labels, compare_numbers

labels = st.lists(st.sampled_from(["a", "b", None]), min_size=1, max_size=30).map(lambda items: np.array(items, dtype=object))


def test_rows_that_are_decided_otherwise_are_counted_and_the_first_shown():
    left = np.array(["cat", "dog", "owl", "owl"], dtype=object)
    right = np.array(["cat", "owl", None, "owl"], dtype=object)
    found = compare_labels(left, right, "rows")
    assert (found.row_count, found.flip_count) == (4, 2)
    assert [(flip.row, flip.left, flip.right) for flip in found.flips] == [(1, "dog", "owl"), (2, "owl", "nothing")]


@given(labels)
def test_a_version_differs_from_itself_in_nothing(one):
    assert compare_labels(one, one, "").flip_count == 0


@given(st.integers(1, 30).flatmap(lambda size: st.tuples(*[st.lists(st.sampled_from("ab"), min_size=size, max_size=size)] * 2)))
def test_swapping_the_two_flips_the_same_rows(pair):
    left, right = (np.array(items, dtype=object) for items in pair)
    one, other = compare_labels(left, right, ""), compare_labels(right, left, "")
    assert one.flip_count == other.flip_count == sum(a != b for a, b in zip(*pair, strict=True))
    assert [flip.row for flip in one.flips] == [flip.row for flip in other.flips]
    assert len(one.flips) <= SHOWN_FLIPS


def test_a_label_may_be_a_number_in_one_and_a_text_in_the_other():
    assert compare_labels(np.array([3, 4]), np.array(["3", "5"], dtype=object), "").flip_count == 1
    assert compare_labels(np.array([3.0]), np.array([3]), "").flip_count == 0


def test_a_row_of_many_decisions_flips_where_one_of_them_does():
    assert compare_labels(np.zeros((3, 4)), np.array([[0, 0, 0, 0], [0, 1, 0, 0], [1, 1, 1, 1]]), "").flip_count == 2


def test_decisions_of_other_shapes_all_differ():
    assert compare_labels(np.zeros(3), np.zeros((3, 2)), "").flip_count == 3
    assert compare_numbers(np.zeros(3), np.zeros((3, 2)), "").largest == math.inf


@pytest.mark.parametrize(
    ("left", "right", "largest", "mean"),
    [
        ([1.0, 2.0], [1.5, 2.0], 0.5, 0.25),
        ([math.nan, math.inf], [math.nan, math.inf], 0.0, 0.0),
        ([math.nan, 1.0], [0.0, 1.0], math.inf, math.inf),
        ([math.inf], [-math.inf], math.inf, math.inf),
    ],
)
def test_numbers_are_compared_and_a_nan_against_a_number_is_no_small_difference(left, right, largest, mean):
    found = compare_numbers(np.array(left), np.array(right), "")
    assert (found.largest, found.mean, found.flip_count) == (largest, mean, None)
