"""No request ever gets another one's answer; what is kept is bounded, counted and cannot be changed."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fairlead.serve.response_cache import ResponseCache

DIGEST, OTHER = "a" * 64, "b" * 64
ROW = {"x": np.float32([[1, 2]])}
TYPES = [np.bool_, np.uint8, np.int8, np.uint16, np.int16, np.int32, np.int64, np.float16, np.float32, np.float64]

shapes = npst.array_shapes(min_dims=1, max_dims=3, max_side=3)
numbers = st.sampled_from(TYPES).flatmap(lambda dtype: npst.arrays(dtype, shapes))
texts = npst.arrays(object, shapes, elements=st.one_of(st.text(max_size=3), st.binary(max_size=3)))
tensors = st.dictionaries(st.sampled_from(["x", "y", "xy", "é"]), st.one_of(numbers, texts), min_size=1, max_size=2)
requests = st.tuples(st.sampled_from([DIGEST, OTHER]), tensors, st.lists(st.sampled_from(["p", "q", "x"]), max_size=2, unique=True))


def identity(request):
    """What makes a request this one and no other, said without hashing."""
    digest, inputs, outputs = request
    parts = []
    for name in sorted(inputs):
        tensor = inputs[name]
        content = tuple((type(item), item) for item in tensor.flat) if tensor.dtype == object else tensor.tobytes()
        parts.append((name, tensor.dtype.str, tensor.shape, content))
    return digest, tuple(outputs), tuple(parts)


@given(requests, requests)
def test_keys_are_equal_exactly_where_requests_are_equal_bit_by_bit(left, right):
    cache = ResponseCache(1000)
    assert (cache.key(*left) == cache.key(*right)) == (identity(left) == identity(right))


@given(st.lists(requests, min_size=1, max_size=20), st.integers(1000, 20_000))
def test_what_comes_out_is_what_was_put_under_that_very_request_or_nothing(asked, limit):
    cache = ResponseCache(limit)
    known = {}
    for number, request in enumerate(asked):
        key = cache.key(*request)
        found = cache.get(key)
        if found is not None:
            assert found["y"].tolist() == known[identity(request)]
        answer = np.full((1, 3), number, np.float32)
        known[identity(request)] = answer.tolist()
        cache.put(key, {"y": answer})
        assert cache.size_bytes <= limit
    assert cache.hit_count + cache.miss_count == len(asked)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (np.float32([[0.0]]), np.float32([[-0.0]])),
        (np.array([[0x7FC00000]], np.uint32).view(np.float32), np.array([[0x7FC00001]], np.uint32).view(np.float32)),
        (np.array([["ab", "c"]], object), np.array([["a", "bc"]], object)),
        (np.array([["a\0", ""]], object), np.array([["a", "\0"]], object)),
        (np.array([["a"]], object), np.array([[b"a"]], object)),
        (np.float32([[1, 2]]), np.float32([[1], [2]])),
        (np.float32([[1]]), np.array([[0x3F800000]], np.int32)),
        (np.int32([[1]]), np.uint32([[1]])),
    ],
    ids=["signed zero", "payload of NaN", "where texts end", "zero characters", "text and bytes", "shape", "type", "sign"],
)
def test_what_a_model_may_tell_apart_has_different_keys(left, right):
    cache = ResponseCache(1000)
    assert cache.key(DIGEST, {"x": left}) != cache.key(DIGEST, {"x": right})


def test_content_that_imitates_the_description_of_another_request_has_its_own_key():
    cache = ResponseCache(1000)
    inner = {"x": np.frombuffer(b"12345678", np.uint8)[None]}
    head = repr([0, "x", "u", 1, (1, 8)]).encode()
    forged = b"12345678" + head + len(head).to_bytes(8, "little")
    assert cache.key(DIGEST, inner) != cache.key(DIGEST, {"x": np.frombuffer(forged, np.uint8)[None]})


def test_the_layout_in_memory_does_not_matter():
    cache = ResponseCache(1000)
    plain = np.arange(12, dtype=np.float32).reshape(3, 4)
    for other in (np.asfortranarray(plain), np.repeat(plain, 2, axis=0)[::2], plain.astype(">f4")):
        assert cache.key(DIGEST, {"x": other}) == cache.key(DIGEST, {"x": plain})
    assert cache.key(DIGEST, {"a": plain, "b": plain}) == cache.key(DIGEST, dict(reversed([("a", plain), ("b", plain)])))


def test_other_objects_have_no_key():
    assert ResponseCache(1000).key(DIGEST, {"x": np.array([[None]], object)}) is None


def test_keys_of_two_processes_differ():
    assert ResponseCache(1000).key(DIGEST, ROW) != ResponseCache(1000).key(DIGEST, ROW)


def test_nobody_can_change_an_answer():
    cache = ResponseCache(10_000)
    key = cache.key(DIGEST, ROW)
    numbers, words = np.float32([[1, 2]]), np.array(["a"], object)
    cache.put(key, {"y": numbers, "label": words})
    numbers[:], words[:] = 9, "changed"
    found = cache.get(key)
    with pytest.raises(ValueError, match="read-only"):
        found["y"][0, 0] = 7
    with pytest.raises(ValueError, match="WRITEABLE"):
        found["y"].flags.writeable = True
    found["label"][0] = "changed"
    del found["y"]
    again = cache.get(key)
    assert again["y"].tolist() == [[1, 2]]
    assert again["label"].tolist() == ["a"]


def test_an_answer_cut_out_of_a_batch_does_not_keep_the_batch():
    cache = ResponseCache(10_000)
    batch = np.zeros((1000, 1000), np.float32)
    key = cache.key(DIGEST, ROW)
    cache.put(key, {"y": batch[3:4, :2]})
    assert not np.shares_memory(cache.get(key)["y"], batch)
    assert cache.size_bytes < 2000


def test_the_answer_used_longest_ago_goes_first_and_is_counted():
    cache = ResponseCache(2500)
    keys = [cache.key(DIGEST, {"x": np.float32([[number]])}) for number in range(4)]
    for key in keys[:3]:
        cache.put(key, ROW)
    cache.get(keys[0])
    cache.put(keys[3], ROW)
    assert [cache.get(key) is not None for key in keys] == [True, False, True, True]
    assert (cache.hit_count, cache.miss_count, cache.eviction_count, len(cache)) == (4, 1, 1, 3)


def test_an_answer_larger_than_everything_is_not_kept_and_drops_nothing():
    cache = ResponseCache(2000)
    small, large = cache.key(DIGEST, ROW), cache.key(OTHER, ROW)
    cache.put(small, ROW)
    cache.put(large, {"y": np.zeros((1, 5000), np.float32)})
    assert cache.get(large) is None
    assert cache.get(small) is not None


def test_a_version_that_goes_takes_its_answers_with_it():
    cache = ResponseCache(10_000)
    old, new = cache.key(DIGEST, ROW), cache.key(OTHER, ROW)
    cache.put(old, ROW)
    cache.put(new, ROW)
    cache.forget(DIGEST)
    assert cache.get(old) is None
    assert cache.get(new) is not None
    cache.forget(OTHER)
    assert (len(cache), cache.size_bytes, cache.eviction_count) == (0, 0, 0)


@pytest.mark.parametrize(
    "make", [lambda number: np.full((1, 10), number, np.float32), lambda number: np.array([f"label {number}"], object)]
)
def test_what_is_counted_is_at_least_what_python_takes(make):
    count = 2000
    cache = ResponseCache(2**30)
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(count):
            cache.put(cache.key(DIGEST, {"x": np.float32([[number]])}), {"y": make(number), "z": make(number)})
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(cache) == count
    assert cache.size_bytes / 2 < taken < cache.size_bytes
