"""Which elements belong together: every one has a number, and channels stay together."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.core.row_parts import has_channels_last, is_image, patches, runs, sides


def test_sides_are_found_wherever_channels_stand() -> None:
    assert sides((28, 20)) == (28, 20)
    assert sides((28, 20, 3)) == sides((3, 28, 20)) == sides((5, 3, 28, 20)) == (28, 20)
    assert has_channels_last((28, 28, 3))
    assert not has_channels_last((3, 28, 28))
    assert is_image((7, 7))
    assert not is_image((6, 100))
    assert not is_image((100,))


@settings(max_examples=50, deadline=None)
@given(shape=st.lists(st.integers(1, 12), max_size=3).map(tuple), share=st.integers(1, 9))
def test_runs_are_numbered_without_gaps_and_in_order(shape: tuple[int, ...], share: int) -> None:
    numbers = runs(shape, share)
    assert numbers.shape == shape
    assert np.unique(numbers).tolist() == list(range(min(share, shape[0]) if shape else 1))
    assert (np.diff(numbers.reshape(shape[0] if shape else 1, -1), axis=0) >= 0).all()


@settings(max_examples=50, deadline=None)
@given(height=st.integers(7, 30), width=st.integers(7, 30), channels=st.sampled_from([None, 1, 3]), side=st.integers(1, 7))
def test_patches_are_numbered_without_gaps_and_hold_all_channels(height: int, width: int, channels: int | None, side: int) -> None:
    plain = patches((height, width), side, side)
    assert np.unique(plain).tolist() == list(range(side * side))
    if channels is not None:
        last, first = patches((height, width, channels), side, side), patches((channels, height, width), side, side)
        assert all(np.array_equal(last[..., one], plain) and np.array_equal(first[one], plain) for one in range(channels))
