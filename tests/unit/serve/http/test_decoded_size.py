import json
import tracemalloc

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fairlead.errors import RequestError, TooLargeError
from fairlead.serve.http.decoded_size import check_json, measure
from fairlead.serve.steps import at_once

ANY = 2**40


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max((depth_of(item) for item in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((depth_of(item) for item in value), default=0)
    return 0


texts = st.text(st.characters(codec="utf-8") | st.sampled_from('"\\[]{}'), max_size=8)
values = st.recursive(
    st.none() | st.integers() | texts, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=30
)


@given(values, st.integers(0, 6), st.booleans())
def test_the_depth_on_the_bytes_is_the_depth_of_the_value(value, limit, is_ascii) -> None:
    text = json.dumps(value, ensure_ascii=is_ascii).encode()
    assert at_once(measure(text, 1000, ANY))[0] == depth_of(value)
    assert is_taken(text, limit) == (depth_of(value) <= limit)


@given(st.binary(max_size=200))
@example(b"")
def test_any_bytes_can_be_measured(data) -> None:
    check_json(data, 200, 2**20)
    at_once(measure(data, 0, 0))


def is_taken(text: bytes, limit: int) -> bool:
    try:
        check_json(text, limit, ANY)
    except RequestError:
        return False
    return True


def test_a_depth_of_exactly_the_limit_is_taken() -> None:
    assert is_taken(b"[" * 100 + b"]" * 100 + b"[]" * 5, 100)
    assert not is_taken(b"[" * 101 + b"]" * 101, 100)


@pytest.mark.parametrize("filler", [b"", b"0" * 300_000, b'"' + b"x" * 300_000 + b'"', b'"",' * 100_000, b'"\\\\\\"[",' * 50_000])
def test_what_is_measured_in_pieces_is_measured_right(filler) -> None:
    deep = b"[" * 50 + filler + b"[" * 60
    assert at_once(measure(deep, 1000, ANY))[0] == 110
    assert at_once(measure(filler + b'"[[["' + filler + b"[{}]", 1000, ANY))[0] == 2


GROWING = {
    "numbers": b"7,",
    "texts": b'"ab",',
    "no texts": b'"",',
    "lists": b"[],",
    "objects": b"{},",
    "records": b'{"a":7},',
    "pairs": b"[1,2],",
}


@pytest.mark.parametrize("item", GROWING.values(), ids=GROWING)
def test_nothing_takes_more_memory_than_was_measured(item) -> None:
    text = b"[" + item * 50_000 + b"0]"
    size = at_once(measure(text, 1000, ANY))[1]
    tracemalloc.start()
    value = msgspec.json.decode(text)
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(value) == 50_001
    assert taken * 0.8 <= size <= taken * 12  # lists have some room to spare; small numbers and empty texts are shared


@pytest.mark.parametrize("item", GROWING.values(), ids=GROWING)
def test_the_measure_itself_takes_little_memory(item) -> None:
    text = b"[" + item * (2**22 // len(item)) + b"0]"
    tracemalloc.start()
    with pytest.raises(TooLargeError, match="when decoded"):
        check_json(text, 100, 2**20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


def test_the_limit_holds_to_the_number() -> None:
    limit = 2**20
    count = 4 * limit // 32
    check_json(b"[" + b"1," * (count - 10) + b"1]", 100, limit)
    with pytest.raises(TooLargeError):
        check_json(b"[" + b"1," * count + b"1]", 100, limit)


def test_structure_inside_of_texts_costs_nothing() -> None:
    check_json(json.dumps(["[{,}]" * 100_000, '\\"' * 1000]).encode(), 100, 2**17)
