"""What is decoded in pieces is what is decoded at once: the same values, and the same refusals."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import RequestError
from fairlead.serve.http.outline import find_lists, read_skeleton
from fairlead.serve.steps import at_once, in_turn

ODD = st.text(st.sampled_from('ab",[]{}\\\n:é\U0001f600'), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | ODD,
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(ODD, inner, max_size=5),
    max_leaves=50,
)
NOT_JSON = object()


def in_pieces(text: bytes, piece_bytes: int):
    def steps():
        skeleton = yield from read_skeleton(text, piece_bytes=piece_bytes)
        return (yield from skeleton.filled(skeleton.value))

    try:
        return at_once(steps())
    except RequestError:
        return NOT_JSON


def whole(text: bytes):
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return NOT_JSON


@given(VALUES, st.integers(1, 60), st.sampled_from([None, 1]), st.booleans())
def test_any_json_is_read_in_pieces_as_it_is_at_once(value, piece_bytes, indent, is_ascii) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=is_ascii).encode()
    assert in_pieces(text, piece_bytes) == whole(text) == value


@given(st.text(st.sampled_from('[]{},":1a\\ '), max_size=40), st.integers(1, 10))
def test_what_is_not_json_is_refused_in_pieces_too(text, piece_bytes) -> None:
    assert in_pieces(text.encode(), piece_bytes) == whole(text.encode())


@given(VALUES, st.integers(1, 20), st.data())
def test_json_in_which_a_byte_was_changed_is_taken_or_refused_as_it_is_at_once(value, piece_bytes, data) -> None:
    text = bytearray(json.dumps(value).encode())
    place = data.draw(st.integers(0, len(text) - 1))
    new = data.draw(st.sampled_from([b"", b"[", b"]", b"{", b"}", b",", b'"', b":", b"\\", b"\xff", b"1"]))
    text[place : place + data.draw(st.integers(0, 1))] = new
    assert in_pieces(bytes(text), piece_bytes) == whole(bytes(text))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"[1, 2", "too early"),
        (b'["a, 2]', "too early"),
        (b"[1, 2]]", "closes what it has not opened"),
        (b'[1, 2, {"a": [1, 2, 3]}, 4}', "closes another one"),
        (b"[1, , 2]", "not JSON"),
        (b"[1, 2,, 3]", "not JSON"),
        (b"[1, 2, 3,]", "not JSON"),
    ],
)
@pytest.mark.parametrize("piece_bytes", [1, 2, 3, 100])
def test_a_refusal_says_what_is_wrong(text, says, piece_bytes) -> None:
    with pytest.raises(RequestError, match=says if piece_bytes < 100 else None):
        at_once(read_skeleton_filled(text, piece_bytes))


def read_skeleton_filled(text, piece_bytes):
    skeleton = yield from read_skeleton(text, piece_bytes=piece_bytes)
    return (yield from skeleton.filled(skeleton.value))


def test_lists_are_found_where_they_stand_and_cut_about_once_a_piece() -> None:
    text = json.dumps({"a": [1] * 10, "rows": [[0.5] * 30] * 300, "deep": [{"x": ["y,]" * 20] * 100}]}).encode()
    rows, deep = at_once(find_lists(text, 1000))
    assert text[rows.start : rows.end] == json.dumps([[0.5] * 30] * 300).encode()
    assert max(end - start for start, end in rows.pieces) <= 2000
    (inner,) = deep.children
    assert json.loads(text[inner.start : inner.end]) == ["y,]" * 20] * 100


def test_others_have_a_turn_after_each_piece() -> None:
    text, turns = json.dumps({"x": ["a", 1] * 20_000}).encode(), 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def both() -> None:
        task = asyncio.create_task(others())
        value = await in_turn(read_skeleton_filled(text, 5000))
        task.cancel()
        assert value == {"x": ["a", 1] * 20_000}

    asyncio.run(both())
    assert turns >= 2 * (len(text) // 5000 - 1)
