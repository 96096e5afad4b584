import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.monitor.window import Window, percentile


@given(st.lists(st.floats(0, 1e6), min_size=1), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_percentile_is_the_nearest_rank(values, share) -> None:
    ordered = sorted(values)
    assert percentile(ordered, share) == np.percentile(ordered, share * 100, method="inverted_cdf")


def test_nothing_has_no_percentile() -> None:
    assert math.isnan(percentile([], 0.5))


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.95, 95), (0.99, 99)])
def test_a_hundred_values(share, expected) -> None:
    assert percentile(range(1, 101), share) == expected


@given(
    st.lists(st.tuples(st.floats(0, 1e4, width=32), st.integers(1, 9), st.booleans()), max_size=60), st.integers(1, 20), st.integers(1, 30)
)
def test_a_window_holds_the_newest_however_they_come_in(requests, group, capacity) -> None:
    window = Window(1e9, capacity)
    for start in range(0, len(requests), group):
        spent, rows, failed = zip(*requests[start : start + group], strict=True)
        window.add([float(start)] * len(spent), spent, rows, failed)
    newest = requests[-capacity:]
    times = sorted(spent for spent, _, failed in newest if not failed)
    summary = window.summary(0.0)
    assert (summary.count, summary.error_count) == (len(newest), len(newest) - len(times))
    assert summary.row_count == sum(rows for _, rows, failed in newest if not failed)
    assert summary.p99_ms == percentile(times, 0.99) or not times


def test_a_window_grows_with_what_it_holds() -> None:
    window = Window(10.0, 1000)
    for number in range(2000):
        window.add([float(number)], [1.0], [1], [False])
    assert window.summary(2000.0).count == 9
    assert window.summary(1000.0).count == 1000  # nobody asks about the past; but nothing is lost before its time
