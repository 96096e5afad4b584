"""Parts of the rows: each row is in one part of a column, and its metric is that of the part's rows."""

from __future__ import annotations

import numpy as np
import pytest
from explained_models import loan_engine, loan_rows, number_engine
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fairlead.core.intervals import wilson
from fairlead.errors import DataError, RequestError, UnsupportedError
from fairlead.explain.slices import _number_parts, slices_of


def test_a_slice_has_the_share_of_its_own_rows_that_are_right() -> None:
    engine, rows = loan_engine(), loan_rows(400)
    outputs = engine.run(rows)
    target = outputs["p"].argmax(axis=1)
    is_clerk = rows["job"][:, 0] == "clerk"
    target[is_clerk] ^= np.arange(is_clerk.sum()) % 4 == 0
    found = slices_of(engine.interface, rows, target, outputs, ("job", "age"))
    jobs = {one.values: one for one in found if one.column == "job"}
    assert set(jobs) == {"clerk", "cook", "smith"}
    assert jobs["cook"].measured == 1
    clerk = jobs["clerk"]
    assert clerk.rows == is_clerk.sum()
    assert clerk.measured == pytest.approx(0.75, abs=0.01)
    assert clerk.interval == wilson(clerk.measured, clerk.rows)
    ages = [one for one in found if one.column == "age"]
    assert len(ages) == 4
    assert sum(one.rows for one in ages) == 400
    assert ages[0].values.startswith("up to ")


def test_of_a_number_it_is_the_error() -> None:
    rows = {"x": np.array([[0, 1], [0, 2], [1, 3], [1, 4]], np.float32)}
    engine = number_engine(2, lambda x: x[:, 1], ("kind", "size"))
    found = slices_of(engine.interface, rows, np.array([1.0, 2.0, 5.0, 6.0]), engine.run(rows), ("kind",))
    assert [(one.values, one.metric, one.measured, one.rows) for one in found] == [("0", "rmse", 0, 2), ("1", "rmse", 2, 2)]


@settings(max_examples=60, deadline=None)
@example([1.0, float("nan"), float("inf")])
@given(st.lists(st.floats(width=32) | st.integers(0, 3).map(float), min_size=1, max_size=60))
def test_every_number_is_in_one_part(values: list[float]) -> None:
    parts = [inside for _, inside in _number_parts(np.array(values, dtype=np.float64))]
    assert np.sum(parts, axis=0).tolist() == [1] * len(values)


def test_many_categories_are_taken_together() -> None:
    engine, rows = loan_engine(), loan_rows(40)
    rows["job"][:20, 0] = [f"job {number}" for number in range(20)]
    outputs = engine.run(rows)
    found = slices_of(engine.interface, rows, outputs["p"].argmax(axis=1), outputs, ("job",))
    assert len(found) == 13
    assert found[-1].values.endswith(" others")
    assert {one.values for one in found[:3]} == {"clerk", "cook", "smith"}  # the most frequent
    assert sum(one.rows for one in found) == 40


def test_what_cannot_be_parted_is_said() -> None:
    engine, rows = loan_engine(), loan_rows(6)
    outputs = engine.run(rows)
    with pytest.raises(RequestError, match="no feature 'colour'"):
        slices_of(engine.interface, rows, outputs["p"].argmax(axis=1), outputs, ("colour",))
    with pytest.raises(DataError, match="shape"):
        slices_of(engine.interface, rows, np.zeros((6, 2)), outputs, ("age",))
    image = {"x": np.zeros((2, 9, 9), np.float32), "job": rows["job"][:2]}
    with pytest.raises(UnsupportedError, match="for tables"):
        slices_of(engine.interface, image, np.zeros(2, np.int64), {"p": outputs["p"][:2]}, ("job",))
