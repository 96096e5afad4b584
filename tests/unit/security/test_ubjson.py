"""UBJSON comes back as it was written, and nothing that a length or a marker announces is believed."""

from __future__ import annotations

import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.security.ubjson import DEPTH_LIMIT, read_ubjson

TYPED = {b"i": "i1", b"U": "u1", b"I": ">i2", b"u": ">u2", b"l": ">i4", b"m": ">u4", b"L": ">i8", b"d": ">f4", b"D": ">f8"}


def length(count: int) -> bytes:
    return b"L" + count.to_bytes(8, "big", signed=True)


def text(value: str) -> bytes:
    data = value.encode()
    return length(len(data)) + data


def written(value: Any) -> bytes:
    """UBJSON as XGBoost writes it: lengths of 8 bytes, counted lists, typed arrays."""
    if value is None or isinstance(value, bool):
        return {None: b"Z", True: b"T", False: b"F"}[value]
    if isinstance(value, int):
        return b"L" + struct.pack(">q", value)
    if isinstance(value, float):
        return b"D" + struct.pack(">d", value)
    if isinstance(value, str):
        return b"S" + text(value)
    if isinstance(value, list):
        return b"[#" + length(len(value)) + b"".join(map(written, value))
    return b"{" + b"".join(text(key) + written(item) for key, item in value.items()) + b"}"


def typed(marker: bytes, values: np.ndarray) -> bytes:
    return b"[$" + marker + b"#" + length(len(values)) + values.astype(TYPED[marker]).tobytes()


SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=8)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4))
SAMPLE = written({"größe": [1, -2.5, "é", None, True], "leer": {}, "liste": []})[:-1] + text("zahlen") + typed(b"d", np.arange(5.0)) + b"}"


@given(VALUES)
def test_what_was_written_comes_back(value: Any) -> None:
    assert read_ubjson(written(value)) == value


@given(st.sampled_from(sorted(TYPED)), st.lists(st.integers(0, 100), max_size=9))
def test_a_typed_array_comes_back_in_its_own_type(marker: bytes, numbers: list[int]) -> None:
    found = read_ubjson(typed(marker, np.asarray(numbers, "f8")))
    assert found.dtype == np.dtype(TYPED[marker]).newbyteorder("=")
    assert found.tolist() == numbers


def test_uncounted_and_counted_forms_and_small_lengths_are_read_too() -> None:
    assert read_ubjson(b"[i\x01U\xffI\x01\x00]") == [1, 255, 256]
    assert read_ubjson(b"{#i\x01i\x01aCx") == {"a": "x"}
    assert read_ubjson(b"d" + struct.pack(">f", 0.5)) == 0.5
    assert read_ubjson(b"SU\x02\xc3\xa9") == "é"


@pytest.mark.parametrize("end", range(len(SAMPLE)))
def test_every_truncation_is_refused(end: int) -> None:
    with pytest.raises(ValueError, match=r"breaks off|no whole number|longer than what is left|unknown marker|without a length"):
        read_ubjson(SAMPLE[:end])


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_with_a_value_error(data: bytes) -> None:
    try:
        read_ubjson(data)
    except ValueError:
        return


@pytest.mark.parametrize("count", [2**62, 2**40, 2**31, 1000])
@pytest.mark.parametrize("begin", [b"[#", b"[$d#", b"[$L#", b"S", b"{", b"{#"])
def test_announced_lengths_beyond_the_end_are_refused_without_taking_memory(begin: bytes, count: int) -> None:
    data = begin + length(count) + b"abc"
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"breaks off|longer than what is left|no whole number"):
        read_ubjson(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


@pytest.mark.parametrize("begin", [b"[#", b"[$d#", b"S", b"{", b"{#"])
def test_a_length_below_zero_is_refused(begin: bytes) -> None:
    with pytest.raises(ValueError, match="below zero"):
        read_ubjson(begin + length(-1))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{" + text("a") + b"T" + text("a") + b"F}", "twice"),
        (b"[$d]", "without a length"),
        (b"[$S#" + length(1) + text("a"), "unknown type"),
        (b"Sd" + bytes(4), "no whole number"),
        (b"X", "unknown marker"),
        (b"TT", "1 bytes follow"),
        (b"S" + length(1) + b"\xff", "utf-8"),
        (b"", "breaks off"),
    ],
)
def test_damage_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_ubjson(data)


@pytest.mark.parametrize("depth", [DEPTH_LIMIT + 2, 10_000, 1_000_000])
@pytest.mark.parametrize("begin", [b"[", b"{" + text("a")])
def test_nesting_beyond_any_model_is_refused(begin: bytes, depth: int) -> None:
    with pytest.raises(ValueError, match="too deep"):
        read_ubjson(begin * depth)


def test_nesting_as_deep_as_is_allowed_is_read() -> None:
    value = read_ubjson(b"[" * DEPTH_LIMIT + b"]" * DEPTH_LIMIT)
    for _ in range(DEPTH_LIMIT - 1):
        (value,) = value
    assert value == []
