"""Hours merged into a day say what the day says."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead.core.sketch_window import StrangeRow, WindowSketch
from fairlead.monitor.drift.reference import profile_column
from fairlead.monitor.sketch import distinct, quantiles
from fairlead.monitor.sketch.update import empty, update
from fairlead.monitor.sketch.windows import SHOWN_OUTLIERS, merged

AGE = profile_column("age", np.random.default_rng(0).normal(size=2000), input_name="x")


def hour(number: int, values: np.ndarray) -> WindowSketch:
    row = StrangeRow(f"r{number}", 0, float(number), ("age",) * (1 + number % 2))
    found = {"age": update(empty(AGE), AGE, values)} if len(values) else {}
    return WindowSketch(
        number * 3600.0, number * 3600.0 + 3600, len(values), float(len(values)), found, None, 1, (row,), frozenset({number})
    )


def test_a_day_of_hours_is_the_day_within_the_stated_error() -> None:
    hours = [np.random.default_rng(number).normal(number / 24, 1.0, 2000 if number % 5 else 0) for number in range(24)]
    found, values = merged([hour(number, values) for number, values in enumerate(hours)]), np.concatenate(hours)
    whole = update(empty(AGE), AGE, values)
    age = found.features["age"]
    assert (found.start, found.end, found.rows, found.weight) == (0.0, 86_400.0, len(values), float(len(values)))
    assert age.by_row.cells.tolist() == whole.by_row.cells.tolist()
    assert age.moments.mean == pytest.approx(values.mean())
    assert distinct.estimate(age.hashes) == distinct.estimate(whole.hashes)
    points = np.quantile(values, np.linspace(0.01, 0.99, 21))
    wrong = np.abs(quantiles.ranks(age.quantiles, points) - np.searchsorted(np.sort(values), points, side="right")) / len(values)
    assert wrong.max() <= quantiles.rank_error(age.quantiles, 1 - 1e-4)
    assert found.sources == frozenset(range(24))
    assert found.strange_rows == 24
    assert [row.request_id for row in found.strange] == [f"r{number}" for number in range(23, 23 - 2 * SHOWN_OUTLIERS, -2)]


def test_one_window_stays_as_it_is() -> None:
    alone = hour(3, np.arange(5.0))
    assert merged([alone]) is alone
