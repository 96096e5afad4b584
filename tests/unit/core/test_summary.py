"""Summaries of what is no table."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.core.summary import NUMBER_SUMMARIES, TEXT_SUMMARIES, summaries


def test_an_image_is_known_by_what_numpy_says() -> None:
    images = np.random.default_rng(0).random((3, 5, 6, 2))
    found = summaries(images)
    flat = images.reshape(3, -1)
    assert tuple(found) == NUMBER_SUMMARIES
    for name, wanted in (("mean", flat.mean(axis=1)), ("std", flat.std(axis=1)), ("min", flat.min(axis=1)), ("max", flat.max(axis=1))):
        assert np.allclose(found[name], wanted)
    down, along = np.abs(np.diff(images, axis=1)), np.abs(np.diff(images, axis=2))
    total = down.reshape(3, -1).sum(axis=1) + along.reshape(3, -1).sum(axis=1)
    assert np.allclose(found["sharpness"], total / (4 * 6 * 2 + 5 * 5 * 2))


def test_missing_and_infinite_values_are_left_out_and_counted() -> None:
    found = summaries(np.array([[1.0, np.nan, np.inf, 3.0], [np.nan] * 4]))
    assert found["missing"].tolist() == [0.5, 1.0]
    assert found["mean"][0] == 2.0
    assert (found["min"][0], found["max"][0]) == (1.0, 3.0)
    assert all(np.isnan(found[name][1]) for name in ("mean", "std", "min", "max", "sharpness"))


def test_rows_of_free_length_have_one() -> None:
    rows = np.empty(2, object)
    rows[0], rows[1] = np.arange(3.0), np.arange(5.0)
    assert summaries(rows)["length"].tolist() == [3.0, 5.0]
    assert summaries(rows)["max"].tolist() == [2.0, 4.0]


def test_texts_are_counted() -> None:
    found = summaries(np.array(["Ab 1!", "", None, float("nan"), b"xy"], object))
    assert tuple(found) == TEXT_SUMMARIES
    assert found["length"][[0, 1, 4]].tolist() == [5.0, 0.0, 2.0]
    assert np.isnan(found["length"][2:4]).all()
    assert [found[name][0] for name in ("words", "letters", "digits", "marks")] == [2.0, 0.4, 0.2, 0.2]


@pytest.mark.parametrize("shape", [(0, 4), (2, 0), (3,), (2, 1)])
def test_any_shape_gives_a_number_for_each_row(shape: tuple[int, ...]) -> None:
    assert all(len(values) == shape[0] for values in summaries(np.ones(shape)).values())


@settings(max_examples=30, deadline=None)
@given(texts=st.lists(st.text(max_size=20), max_size=5))
def test_any_text_has_shares_between_0_and_1(texts: list[str]) -> None:
    found = summaries(np.array(texts, object))
    for name in ("letters", "digits", "marks"):
        assert ((found[name] >= 0) & (found[name] <= 1)).all()
