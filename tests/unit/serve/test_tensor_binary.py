import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.dtype import DType
from fairlead.core.interface import TensorSpec
from fairlead.errors import RequestError, TooLargeError
from fairlead.serve import tensor_binary
from fairlead.serve.steps import at_once
from fairlead.serve.tensor_binary import check_datatype, read_raw, read_raw_in_steps, write_raw

NUMBERS = [dtype for dtype in DType if dtype is not DType.BYTES]


def spec(dtype: DType) -> TensorSpec:
    return TensorSpec("x", dtype, (None, 2))


def texts(*items: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(item)) + item for item in items)


@pytest.mark.parametrize("dtype", NUMBERS)
def test_every_type_comes_back_bit_for_bit(dtype) -> None:
    if dtype is DType.BOOL:
        array = np.array([[True, False], [False, True]])
    elif dtype.is_float:
        array = np.array([[np.finfo(dtype.numpy).max, np.nan], [-np.inf, 0.1]], dtype.numpy)
    else:
        array = np.array([[np.iinfo(dtype.numpy).min, np.iinfo(dtype.numpy).max], [1, 0]], dtype.numpy)
    raw = write_raw(array)
    assert len(raw) == 4 * array.itemsize
    back = read_raw(spec(dtype), (2, 2), raw)
    assert back.dtype == dtype.numpy
    assert back.tobytes() == array.tobytes()


@given(st.lists(st.text(max_size=20), min_size=1, max_size=20))
def test_texts_come_back_as_they_were(items) -> None:
    array = np.array([[item, ""] for item in items], dtype=object)
    safe = [[item.encode("utf-8", "replace").decode(), ""] for item in items]
    assert read_raw(spec(DType.BYTES), array.shape, write_raw(array)).tolist() == safe


def test_bytes_are_little_endian_and_row_major() -> None:
    assert write_raw(np.array([[1, 2], [3, 4]], "<i2").T) == struct.pack("<4h", 1, 3, 2, 4)
    assert write_raw(np.array([1, 2], ">i4")) == struct.pack("<2i", 1, 2)
    assert write_raw(np.array(["é", b"a"], dtype=object)) == texts("é".encode(), b"a")
    assert write_raw(np.array(["é"])) == texts("é".encode())


@pytest.mark.parametrize("dtype", [DType.FP32, DType.FP64])
def test_bf16_is_widened_without_loss(dtype) -> None:
    exact = np.array([[1.0, -3.140625], [np.inf, 2.0**-120]], np.float32)
    halves = (exact.view(np.uint32) >> 16).astype("<u2").tobytes()
    read = read_raw(spec(dtype), (2, 2), halves, "BF16")
    assert read.dtype == dtype.numpy
    assert np.array_equal(read, exact)


def test_a_tensor_that_begins_anywhere_in_the_body_is_aligned() -> None:
    body = memoryview(b"{}x" + np.arange(4, dtype="<f8").tobytes())
    array = read_raw(spec(DType.FP64), (2, 2), body[3:])
    assert array.flags.aligned
    assert array.tolist() == [[0.0, 1.0], [2.0, 3.0]]


def test_an_aligned_tensor_is_not_copied() -> None:
    raw = np.arange(4, dtype="<f4").tobytes()
    assert np.shares_memory(read_raw(spec(DType.FP32), (2, 2), raw), np.frombuffer(raw, np.uint8))


@pytest.mark.parametrize(
    ("dtype", "shape", "raw", "said"),
    [
        (DType.FP32, [1, 2], bytes(7), "has 7 bytes; FP32 of shape \\[1, 2\\] needs 8"),
        (DType.FP32, [1, 2], bytes(9), "needs 8"),
        (DType.FP32, [1, 2], b"", "needs 8"),
        (DType.FP32, [10**30, 2], bytes(8), "needs 8000000000000000000000000000000"),
        (DType.FP32, [-1, -2], bytes(8), "negative"),
        (DType.FP32, [0, 10**30], b"", "dimension of 0"),
        (DType.FP32, [1] * 17, bytes(4), "17 dimensions"),
        (DType.BOOL, [1, 2], b"\x01\x02", "neither 0 nor 1"),
        (DType.BYTES, [1, 2], texts(b"a"), "too few for 2 texts"),
        (DType.BYTES, [1, 2], texts(b"abcd"), "text 1 does not fit"),
        (DType.BYTES, [1, 2], texts(b"a", b"b", b"c"), "end after 10"),
        (DType.BYTES, [1, 2], texts(b"aa") + b"\x01\x00", "text 1 does not fit"),
        (DType.BYTES, [1, 1], b"\xff\xff\xff\xff", "text 0 does not fit"),
        (DType.BYTES, [1, 1], texts(b"\xff\xfe"), "text 0 is not UTF-8"),
        (DType.BYTES, [2**40, 1], texts(b"a"), "too few for 1099511627776"),
    ],
)
def test_bytes_that_do_not_fit_are_refused_with_what_was_expected_and_what_came(dtype, shape, raw, said) -> None:
    with pytest.raises(RequestError, match=said):
        read_raw(spec(dtype), shape, raw)


def test_too_many_texts_are_refused_before_any_is_made(monkeypatch) -> None:
    monkeypatch.setattr(tensor_binary, "TEXT_LIMIT", 3)
    assert read_raw(spec(DType.BYTES), (3,), texts(b"", b"", b"")).tolist() == ["", "", ""]
    with pytest.raises(TooLargeError, match="4 texts"):
        read_raw(spec(DType.BYTES), (4,), texts(b"", b"", b"", b"\xff"))


@given(
    st.sampled_from(list(DType)), st.lists(st.integers(-2, 5), max_size=4), st.binary(max_size=64), st.sampled_from(["", "BF16", "FP32"])
)
def test_any_bytes_are_read_whole_or_refused(dtype, shape, raw, datatype) -> None:
    try:
        array = read_raw(spec(dtype), shape, raw, datatype)
    except RequestError:
        return
    assert array.shape == tuple(shape)
    assert array.dtype == dtype.numpy
    if datatype != "BF16":
        assert write_raw(array) == raw


@pytest.mark.parametrize(
    ("dtype", "datatype", "is_raw", "is_taken"),
    [
        (DType.FP32, "FP32", False, True),
        (DType.FP32, "FP64", True, False),
        (DType.FP16, "FP16", False, False),
        (DType.FP16, "FP16", True, True),
        (DType.FP32, "BF16", True, True),
        (DType.FP32, "BF16", False, False),
        (DType.INT32, "BF16", True, False),
        (DType.FP32, "COMPLEX64", True, False),
        (DType.FP32, "fp32", True, False),
        (DType.FP32, "", False, False),
    ],
)
def test_the_datatype_has_to_be_the_models_own(dtype, datatype, is_raw, is_taken) -> None:
    if is_taken:
        check_datatype(spec(dtype), datatype, is_raw=is_raw)
    else:
        with pytest.raises(RequestError, match="x"):
            check_datatype(spec(dtype), datatype, is_raw=is_raw)


@given(st.lists(st.text(max_size=5), min_size=1, max_size=20), st.integers(1, 40))
def test_texts_read_in_steps_are_those_read_at_once(items, count) -> None:
    raw = write_raw(np.array(items, dtype=object))
    one = TensorSpec("x", DType.BYTES, (None,))
    steps = read_raw_in_steps(one, [len(items)], raw, "BYTES", count)
    assert at_once(steps).tolist() == read_raw(one, [len(items)], raw).tolist()
    taken = sum(1 for _ in read_raw_in_steps(one, [len(items)], raw, "", 8))
    assert taken == len(items)


def test_texts_in_steps_are_refused_as_at_once() -> None:
    one = TensorSpec("x", DType.BYTES, (None,))
    wrong = [([2], texts(b"a"), "", "too few"), ([1], texts(b"\xff"), "", "UTF-8"), ([1], b"", "INT8", "INT8")]
    for shape, raw, datatype, said in wrong:
        with pytest.raises(RequestError, match=said):
            at_once(read_raw_in_steps(one, shape, raw, datatype, 1))
    numbers = read_raw_in_steps(spec(DType.FP32), [1, 2], bytes(8), "FP32", 1)
    assert at_once(numbers).tolist() == [[0.0, 0.0]]
