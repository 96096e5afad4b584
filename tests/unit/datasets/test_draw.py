"""Drawn rows: they fit every interface, are the same for the same seed, and say what they are."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.datasets.draw import draw

specs = st.builds(
    TensorSpec,
    st.text("abc", min_size=1, max_size=3),
    st.sampled_from(list(DType)),
    st.lists(st.none() | st.integers(1, 4), max_size=2).map(lambda sizes: (None, *sizes)),
)
interfaces = st.lists(specs, min_size=1, max_size=3, unique_by=lambda spec: spec.name).map(lambda inputs: Interface(tuple(inputs), ()))


@given(interfaces, st.integers(1, 5), st.integers(0, 2**32))
def test_drawn_rows_fit_the_interface(interface: Interface, rows: int, seed: int) -> None:
    assert interface.check_inputs(draw(interface, rows=rows, seed=seed).inputs) == rows


@given(interfaces, st.integers(0, 2**32))
def test_the_same_seed_draws_the_same_rows(interface: Interface, seed: int) -> None:
    one, other = draw(interface, rows=3, seed=seed), draw(interface, rows=3, seed=seed)
    assert all(one.inputs[name].tolist() == other.inputs[name].tolist() for name in one.inputs)


def test_drawn_rows_say_what_they_are() -> None:
    dataset = draw(Interface((TensorSpec("tokens", DType.INT64, (None, None)),), ()), rows=8, seed=3)
    assert dataset.is_synthetic
    assert dataset.target is None
    assert dataset.digest == ""
    assert "8 drawn rows, seed 3" in dataset.description
    assert set(np.unique(dataset.inputs["tokens"])) == {0, 1}
