"""Windows of sketches come back from their bytes as they were, and nothing else is taken for them."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.core.profile import FeatureKind
from fairlead.core.sketch import FeatureSketch, Moments, Tally
from fairlead.core.sketch_window import JointSketch, StrangeRow, WindowSketch, from_bytes, to_bytes
from fairlead.errors import CorruptError, UnsupportedError

AGE = FeatureSketch("age", FeatureKind.NUMBER, Tally(3.0, cells=np.arange(4.0)), moments=Moments(3.0, 1.0, 2.0, -1.0, 1.0))
JOINT = JointSketch(np.arange(6.0).reshape(3, 2), np.ones(3), np.array([0.5, 0.25]), 3.0, 3.0)
ODD = StrangeRow("r\ud8001", 2, 5.5, ("age", "größe"))
WINDOWS = (
    WindowSketch(0.0, 3600.0, 3, 30.0, {"age": AGE}, JOINT, 1, (ODD,), frozenset({1, 2**64 - 1})),
    WindowSketch(3600.0, 7200.0, sources=frozenset({7})),
)
DATA = to_bytes("key", WINDOWS)


def test_windows_come_back_as_they_were() -> None:
    key, found = from_bytes(DATA)
    assert key == "key"
    assert to_bytes(key, found) == DATA
    assert found[0].strange == (ODD,)
    assert found[0].sources == {1, 2**64 - 1}
    assert found[0].joint.sums.tolist() == JOINT.sums.tolist()
    assert found[0].features["age"].by_row.cells.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert found[1] == WINDOWS[1]
    assert from_bytes(to_bytes("", ())) == ("", ())


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 10_000), value=st.integers(1, 255), cut=st.integers(0, 10_000))
def test_other_bytes_are_refused(place: int, value: int, cut: int) -> None:
    data = bytearray(DATA)
    data[place % len(data)] ^= value
    for bad in (bytes(data), DATA[: cut % len(DATA)]):
        with pytest.raises((CorruptError, UnsupportedError)):
            from_bytes(bad)


def test_what_a_newer_fairlead_wrote_is_told_from_what_is_damaged() -> None:
    with pytest.raises(UnsupportedError, match="format 2") as refused:
        from_bytes(DATA[:4] + struct.pack("<H", 2) + DATA[6:])
    assert "upgrade" in refused.value.hint
