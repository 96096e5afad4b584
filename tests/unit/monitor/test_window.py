import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.monitor.window import percentile


@given(st.lists(st.floats(0, 1e6), min_size=1), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_percentile_is_the_nearest_rank(values, share) -> None:
    ordered = sorted(values)
    assert percentile(ordered, share) == np.percentile(ordered, share * 100, method="inverted_cdf")


def test_nothing_has_no_percentile() -> None:
    assert math.isnan(percentile([], 0.5))


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.95, 95), (0.99, 99)])
def test_a_hundred_values(share, expected) -> None:
    assert percentile(range(1, 101), share) == expected
