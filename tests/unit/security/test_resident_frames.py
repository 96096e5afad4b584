"""Frames: what goes in comes out, and whatever bytes arrive, nothing but CorruptError is raised and nothing large is allocated."""

from __future__ import annotations

import json
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fairlead.core.dtype import DType
from fairlead.errors import CorruptError
from fairlead.security.resident_frames import HEADER_BYTES, Kind, pack, pack_words, read_header, read_places, unpack

LIMIT = 1 << 20
NUMBERS = hnp.arrays(
    st.sampled_from([dtype.numpy for dtype in DType if dtype is not DType.BYTES]), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0)
)
UNICODE = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
TEXTS = hnp.arrays(np.dtype(object), hnp.array_shapes(min_dims=0, max_dims=2, min_side=0), elements=UNICODE)


def joined(buffers) -> bytes:
    return b"".join(bytes(buffer) for buffer in buffers)


def read(data: bytes) -> dict[str, np.ndarray]:
    """Do with `data` what the parent does with what arrives."""
    if len(data) < HEADER_BYTES:
        raise CorruptError("cut")
    header = read_header(data, limit_bytes=LIMIT)
    head = data[HEADER_BYTES : HEADER_BYTES + header.head_bytes]
    body = data[HEADER_BYTES + header.head_bytes :]
    if len(head) != header.head_bytes or len(body) != header.body_bytes:
        raise CorruptError("cut")
    places = read_places(head, header.body_bytes)
    return unpack(places, np.frombuffer(bytearray(body), dtype=np.uint8))


def frame(listed: list, body: bytes = b"") -> bytes:
    head = json.dumps(listed).encode()
    return struct.pack("<4sIQQQ", b"FLR1", Kind.ANSWER, 1, len(head), len(body)) + head + body


@given(st.dictionaries(UNICODE, st.one_of(NUMBERS, TEXTS), max_size=4))
def test_what_is_packed_comes_out_with_the_same_bits(tensors):
    got = read(joined(pack(Kind.ASK, 3, tensors)))
    assert list(got) == list(tensors)
    for name, tensor in tensors.items():
        assert (got[name].dtype, got[name].shape) == (tensor.dtype, tensor.shape)
        assert got[name].tolist() == tensor.tolist() if tensor.dtype == object else got[name].tobytes() == tensor.tobytes()


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data):
    with pytest.raises(CorruptError):
        read(data)


JSONISH = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.sampled_from([dtype.value for dtype in DType])),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)


@given(JSONISH, st.binary(max_size=64))
def test_no_head_raises_anything_else(head, body):
    words = json.dumps(head).encode()
    try:
        read_places(words, len(body))
    except CorruptError:
        return
    assert unpack(read_places(words, len(body)), np.frombuffer(bytearray(body), np.uint8)) is not None


@settings(max_examples=300)
@given(st.data())
def test_a_frame_that_was_changed_is_refused_or_is_a_frame(data):
    tensors = {"a": np.arange(6.0).reshape(2, 3), "t": np.array(["x", "yz"], dtype=object), "b": np.array([True, False])}
    changed = bytearray(joined(pack(Kind.ANSWER, 1, tensors)))
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        got = read(bytes(changed))
    except CorruptError:
        return
    assert all(tensor.dtype in {dtype.numpy for dtype in DType} for tensor in got.values())


@pytest.mark.parametrize(
    "listed",
    [
        [["x", "FP32", [2**40], 16]],
        [["x", "FP32", [2**62, 4], 16]],  # the product overflows 64 bits to 0
        [["x", "FP32", [-4], 16]],
        [["x", "FP32", [0, 2**60], 0]],
        [["x", "FP32", [1] * 33, 4]],
        [["x", "FP32", [4.0], 16]],
        [["x", "FP32", [True], 4]],
        [["x", "FP32", [4], 2**63]],
        [["x", "FP32", [4], -16]],
        [["x", "FP32", [3], 16]],
        [["x", "object", [4], 16]],
        [["x", "BYTES", [2**40], 16]],
        [["x", "BYTES", [2], 16]],
        [["x", "FP32", [2], 8], ["x", "FP32", [2], 8]],
        [["x", "FP32", [4], 16], ["y", "FP32", [4], 16]],
        [],
        {"x": 1},
    ],
)
def test_a_head_that_lies_is_refused_before_anything_is_allocated(listed):
    tracemalloc.start()
    try:
        with pytest.raises(CorruptError):
            read(frame(listed, b"\0" * 16))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_the_same_frame_is_taken_when_it_tells_the_truth():
    assert read(frame([["x", "FP32", [4], 16]], b"\0" * 16))["x"].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("offsets", "blob"),
    [((0, 1, 3), b"ab"), ((0, 2, 1), b"a"), ((1, 1, 2), b"ab"), ((0, -1, 2), b"ab"), ((0, 1, 2**62), b"ab"), ((0, 1, 2), b"\xff\xfe")],
)
def test_texts_with_false_offsets_or_no_utf_8_are_refused(offsets, blob):
    data = struct.pack("<3q", *offsets) + blob
    with pytest.raises(CorruptError):
        read(frame([["t", "BYTES", [2], len(data)]], data + bytes(-len(data) % 16)))


def test_offsets_whose_differences_overflow_are_refused():
    offsets = [0, 2**63 - 1, -2, 2]
    assert (np.diff(np.array(offsets)) >= 0).all()  # why differences must not be looked at
    data = struct.pack("<4q", *offsets) + b"ab"
    with pytest.raises(CorruptError, match="offsets"):
        read(frame([["t", "BYTES", [3], len(data)]], data + bytes(-len(data) % 16)))


def test_booleans_are_true_or_false():
    with pytest.raises(CorruptError, match="neither"):
        read(frame([["b", "BOOL", [2], 2]], b"\1\2" + bytes(14)))


def test_a_frame_that_says_to_be_larger_than_the_limit_is_refused():
    header = struct.pack("<4sIQQQ", b"FLR1", Kind.ANSWER, 1, 10, 2**60)
    with pytest.raises(CorruptError, match="larger"):
        read_header(header, limit_bytes=LIMIT)
    with pytest.raises(CorruptError, match="larger"):
        read_header(struct.pack("<4sIQQQ", b"FLR1", Kind.ANSWER, 1, 2**64 - 1, 2**64 - 1), limit_bytes=LIMIT)


def test_an_unknown_kind_and_other_first_bytes_are_refused():
    words = joined(pack_words(Kind.ERROR, 1, b"{}"))
    assert read_header(words, limit_bytes=LIMIT).kind is Kind.ERROR
    for changed in (b"X" + words[1:], words[:4] + b"\x09" + words[5:]):
        with pytest.raises(CorruptError, match="begins"):
            read_header(changed, limit_bytes=LIMIT)
