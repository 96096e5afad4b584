import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fairlead.core.dtype import DType
from fairlead.core.interface import TensorSpec
from fairlead.errors import RequestError
from fairlead.serve.tensor_json import flatten, nested, pack, plain, plain_nested, shaped

JSON_TYPES = [dtype for dtype in DType if dtype not in {DType.FP16, DType.BYTES}]


def spec(dtype: DType, *shape: int | None) -> TensorSpec:
    return TensorSpec("x", dtype, shape or (None,))


@given(st.data())
def test_every_array_comes_back_from_json_as_it_was_flat_and_nested(data) -> None:
    dtype = data.draw(st.sampled_from(JSON_TYPES))
    elements = {"allow_nan": False, "allow_infinity": False} if dtype.is_float else None
    array = data.draw(hnp.arrays(dtype.numpy, hnp.array_shapes(max_dims=4, max_side=4), elements=elements))
    flat = msgspec.json.decode(msgspec.json.encode(plain(array)))
    deep = msgspec.json.decode(msgspec.json.encode(plain_nested(array)))
    for back in (shaped(spec(dtype), array.shape, flat), shaped(spec(dtype), array.shape, deep), nested(spec(dtype), deep)):
        assert back.dtype == array.dtype
        assert back.shape == array.shape
        assert np.array_equal(back, array)


@given(st.lists(st.text(), min_size=1))
def test_texts_come_back_as_they_were(texts) -> None:
    array = pack(spec(DType.BYTES), texts)
    assert array.dtype == object
    assert plain(array) == texts


@given(st.sampled_from([dtype for dtype in DType if dtype.is_integer]), st.integers(-(2**70), 2**70))
def test_an_integer_arrives_unchanged_or_is_refused(dtype, value) -> None:
    info = np.iinfo(dtype.numpy)
    if info.min <= value <= info.max:
        assert int(pack(spec(dtype), [value])[0]) == value
    else:
        with pytest.raises(RequestError, match="outside"):
            pack(spec(dtype), [value])


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (DType.UINT8, 256),
        (DType.UINT8, -1),
        (DType.INT64, 2**63),
        (DType.UINT64, 2**64),
        (DType.FP32, 1e39),
        (DType.FP32, 10**400),
        (DType.FP64, 10**400),
        (DType.BOOL, 2),
        (DType.BOOL, 1),
        (DType.INT32, 1.5),
        (DType.INT32, True),
        (DType.FP32, True),
        (DType.FP32, "1"),
        (DType.INT32, None),
        (DType.BYTES, 1),
        (DType.BYTES, None),
        (DType.FP16, 1.0),
    ],
)
def test_a_value_that_does_not_fit_its_type_is_refused_and_never_wrapped(dtype, value) -> None:
    with pytest.raises(RequestError, match="'x'"):
        pack(spec(dtype), [value])


@pytest.mark.parametrize(("dtype", "value"), [(DType.UINT8, 255), (DType.INT64, -(2**63)), (DType.UINT64, 2**64 - 1), (DType.INT32, 3.0)])
def test_the_last_value_that_fits_is_taken(dtype, value) -> None:
    assert pack(spec(dtype), [value])[0] == value


def test_null_is_nan_and_nan_is_null() -> None:
    array = pack(spec(DType.FP32), [1.0, None])
    assert math.isnan(array[1])
    assert msgspec.json.encode(plain(array)) == b"[1.0,null]"
    assert msgspec.json.encode(plain(np.array([np.inf], np.float32))) == b"[null]"


@pytest.mark.parametrize("values", [[[1, 2], [3]], [[1, 2], 3], [[[1], [2]], [[3]]], [[], [1]]])
def test_a_ragged_list_is_refused(values) -> None:
    with pytest.raises(RequestError):
        nested(spec(DType.FP32), values)


def test_a_list_that_is_nested_deeper_than_sixteen_is_refused() -> None:
    value: list = [1.0]
    for _ in range(20):
        value = [value]
    with pytest.raises(RequestError, match="16"):
        flatten(spec(DType.FP32), value)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ([2, 2], "needs 4"),
        ([-1, 3], "negative"),
        ([0], "dimension of 0"),
        ([0, 10**30], "dimension of 0"),
        ([2**62, 2**62], "needs"),
        ([1] * 17, "17"),
    ],
)
def test_a_shape_that_does_not_fit_the_elements_is_refused_with_both_counts(shape, message) -> None:
    with pytest.raises(RequestError, match=message):
        shaped(spec(DType.FP32), shape, [1.0, 2.0, 3.0])


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@given(st.recursive(scalars, st.lists, max_leaves=20))
def test_any_json_becomes_an_array_or_a_request_error(value) -> None:
    for dtype in DType:
        try:
            array = nested(spec(dtype), value)
        except RequestError:
            continue
        assert array.dtype == dtype.numpy
