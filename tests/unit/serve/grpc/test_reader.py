"""Bytes to frames: what comes out does not depend on how the bytes were cut."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.serve.grpc import frames as h2
from fairlead.serve.grpc.limits import GrpcLimits
from fairlead.serve.grpc.reader import FrameReader

FRAMES = st.lists(
    st.one_of(
        st.builds(h2.frame, st.sampled_from([0, 2, 3, 4, 6, 8, 99]), st.integers(0, 7), st.integers(0, 9), st.binary(max_size=30)),
        st.builds(lambda block: h2.frame(1, 4, 1, block), st.binary(max_size=30)),
        st.builds(
            lambda one, two: h2.frame(1, 1, 3, one) + h2.frame(9, 0, 3, two) + h2.frame(9, 4, 3, one),
            st.binary(max_size=30),
            st.binary(max_size=30),
        ),
    ),
    max_size=8,
)


def read(parts):
    reader = FrameReader(GrpcLimits())
    return [frame for part in parts for frame in reader.read(part)], reader


@given(FRAMES, st.lists(st.integers(1, 60), min_size=1, max_size=30))
def test_frames_are_the_same_however_they_are_cut(frames, sizes):
    sent = h2.PREFACE + h2.settings({}) + b"".join(frames)
    whole, reader = read([sent])
    pieces, place, index = [], 0, 0
    while place < len(sent):
        pieces.append(sent[place : place + sizes[index % len(sizes)]])
        place += sizes[index % len(sizes)]
        index += 1
    cut, other = read(pieces)
    assert cut == whole
    assert reader.is_waiting is other.is_waiting is False


def test_a_block_in_pieces_comes_out_whole_with_the_flags_of_its_first_frame():
    found, _ = read([h2.PREFACE + h2.settings({}) + h2.frame(1, h2.END_STREAM, 5, b"ab") + h2.frame(9, h2.END_HEADERS, 5, b"cd")])
    assert found[1] == (h2.HEADERS, h2.END_STREAM, 5, b"abcd")


@pytest.mark.parametrize("part", [b"", h2.PREFACE[:5], h2.PREFACE, h2.PREFACE + b"\0\0"])
def test_what_has_begun_is_waited_for(part):
    assert read([part])[1].is_waiting


@given(st.binary(max_size=300))
def test_any_bytes_give_frames_or_a_fault(data):
    with contextlib.suppress(h2.ConnectionFault):
        read([h2.PREFACE + h2.settings({}) + data])
