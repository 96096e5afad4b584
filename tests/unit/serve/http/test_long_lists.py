"""What is read in pieces is what would be read at once, and no piece is long."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.errors import RequestError
from fairlead.serve.data_plane import InferResponse
from fairlead.serve.http.long_lists import cut_request
from fairlead.serve.http.outline import find_lists
from fairlead.serve.http.v2_answer import answer, answer_in_steps, is_long_answer
from fairlead.serve.http.v2_request import decode_request, read_inputs
from fairlead.serve.steps import at_once, in_turn

OUTPUT = (TensorSpec("y", DType.FP32, (None,)),)
FLOATS = Interface((TensorSpec("x", DType.FP32, (None, None)),), OUTPUT)
TWO = Interface((TensorSpec("x", DType.FP32, (None, 3)), TensorSpec("n", DType.INT64, (None, 2, 2))), OUTPUT)
TEXTS = Interface((TensorSpec("t", DType.BYTES, (None,)),), OUTPUT)
TABLE = Interface((TensorSpec("x", DType.FP32, (None, 2), ("a", "b")),), OUTPUT)


def body(*tensors, indent=None, **more) -> bytes:
    keys = ("name", "shape", "datatype", "data")
    return json.dumps({**more, "inputs": [dict(zip(keys, tensor, strict=True)) for tensor in tensors]}, indent=indent).encode()


def read(interface, text, piece_bytes):
    """The arrays as read in pieces of that many bytes, and which inputs were."""
    cut = at_once(cut_request(interface, text, piece_bytes=piece_bytes))
    return read_inputs(interface, cut.request, None, cut.arrays), sorted(cut.arrays)


numbers = st.floats(allow_nan=False, allow_infinity=False, width=32) | st.none() | st.integers(-9, 9)


@given(st.data(), st.integers(1, 12), st.integers(1, 80), st.sampled_from([None, 1]), st.booleans())
def test_what_is_read_in_pieces_is_what_is_read_at_once(data, rows, piece_bytes, indent, is_nested) -> None:
    table = [data.draw(st.lists(numbers, min_size=3, max_size=3)) for _ in range(rows)]
    cube = data.draw(
        st.lists(
            st.lists(st.lists(st.integers(-(2**62), 2**62), min_size=2, max_size=2), min_size=2, max_size=2), min_size=rows, max_size=rows
        )
    )
    values = table if is_nested else [value for row in table for value in row]
    whole = [item for block in cube for row in block for item in row]
    text = body(("x", [rows, 3], "FP32", values), ("n", [rows, 2, 2], "INT64", cube if is_nested else whole), indent=indent, id='"data": [')
    expected = read_inputs(TWO, decode_request(TWO, text))
    found, _ = read(TWO, text, piece_bytes)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("values", [list(range(5000)), [[index, index + 0.5] for index in range(2500)], [[[1, 2]] * 10] * 250])
def test_no_piece_is_longer_than_it_may_be_and_none_is_lost(values) -> None:
    text = body(("x", [2500, 2], "FP32", values))
    (item,) = at_once(find_lists(text, 1000))[0].children
    assert len(item.pieces) >= (item.end - item.start) // 1000
    assert max(end - start for start, end in item.pieces) <= 2000
    joined = b",".join(text[start:end] for start, end in item.pieces)
    assert json.loads(b"[" + joined + b"]") == values


def test_a_long_list_gives_way_after_each_piece() -> None:
    text = body(("x", [1, 50_000], "FP32", [0.5] * 50_000))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def both() -> None:
        task = asyncio.create_task(others())
        cut = await in_turn(cut_request(FLOATS, text, piece_bytes=10_000))
        task.cancel()
        assert cut is not None
        assert cut.arrays["x"].tolist() == [0.5] * 50_000

    asyncio.run(both())
    assert turns >= 2 * len(text) // 10_000 - 2  # once to find its end, once to decode it


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (body(("x", [1, 100], "FP32", [0.5] * 99)), "99 elements"),
        (body(("x", [1, 100], "FP32", [0.5] * 101)), "more elements"),
        (body(("x", [1, 10**9], "FP32", [0.5] * 101)), "fewer elements"),
        (body(("x", [1, 100], "FP32", [0.5] * 99 + [1e39])), "outside of FP32"),
        (body(("x", [1, 100], "FP32", [0.5] * 99 + ["a"])), "strings"),
        (body(("x", [1, 100], "FP32", [0.5] * 99 + [True])), "true or false"),
        (body(("x", [1, 100], "FP64", [0.5] * 100)), "sent as FP64"),
        (body(("x", [1, 100], "FP32", [[0.5, 0.5]] * 49 + [[0.5]])), "ragged"),
        (body(("x", [1, 100], "FP32", [[0.5, 0.5]] * 49 + [0.5, 0.5])), "ragged"),
        (body(("z", [1, 100], "FP32", [0.5] * 100)), "no input"),
        (body(("x", [1, 100], "FP32", [0.5] * 100)).replace(b"0.5]", b"0.5,]"), "not JSON"),
        (body(("x", [1, 100], "FP32", [0.5] * 100)).replace(b"0.5]", b"00.5]"), "not JSON"),
        (body(("x", [1, 100], "FP32", [0.5] * 100)).replace(b"0.5, 0.5]", b"0.5,, 0.5]"), "not JSON"),
        (body(("x", [1, 100], "FP32", [0.5] * 100)).replace(b"0.5]", b"NaN]"), "not JSON"),
        (body(("x", [1, 100], "FP32", [0.5] * 100)).replace(b"0.5]", b"0.5"), "JSON"),
        (body(("x", [1, 100], "FP32", [[0.5] * 2] * 50)).replace(b"0.5]]", b"0.5],]"), "JSON"),
        (body(("x", [1, 100], "FP32", [0.5] * 100))[:-1], "JSON"),
        (body(("x", [1, 100], "FP32", [0.5] * 100), ("x", [1, 100], "FP32", [0.5] * 100)), "twice"),
        (body(("x", [1, 100], "FP32", ["a]"] * 100)), ""),
    ],
)
@pytest.mark.parametrize("piece_bytes", [7, 64, 150])
def test_what_would_be_refused_at_once_is_refused_in_pieces(text, says, piece_bytes) -> None:
    with pytest.raises(RequestError):
        read_inputs(FLOATS, decode_request(FLOATS, text))
    with pytest.raises(RequestError) as caught:
        read(FLOATS, text, piece_bytes)
    assert says in str(caught.value)


def test_a_list_that_stands_twice_is_read_as_the_decoder_reads_it() -> None:
    text = b'{"inputs": [{"name": "x", "shape": [1, 9], "datatype": "FP32", "data": [1,1,1,1,1,1,1,1,1], "data": [2,2,2,2,2,2,2,2,2]}]}'
    found, in_pieces = read(FLOATS, text, 4)
    assert in_pieces == ["x"]
    assert found["x"].tolist() == [[2.0] * 9]


@pytest.mark.parametrize("piece_bytes", [1, 3, 7, 20])
def test_a_bracket_or_a_comma_in_a_text_is_none_of_the_list(piece_bytes) -> None:
    texts = ["],[", '"data": [', "]]", "\\", '"', ",,,,", "é" * 9, ""]
    found, in_pieces = read(TEXTS, body(("t", [8], "BYTES", texts)), piece_bytes)
    assert in_pieces == ["t"]
    assert found["t"].tolist() == texts


@pytest.mark.parametrize("shape", [(1, 5000), (1, 2, 2500), (1, 2500, 2), (3, 1, 1700)])
def test_a_row_that_is_longer_than_a_piece_is_read_in_pieces_too(shape) -> None:
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    interface = Interface((TensorSpec("x", DType.FP32, (None,) * len(shape)),), OUTPUT)
    found, in_pieces = read(interface, body(("x", list(shape), "FP32", values.tolist())), 1000)
    assert in_pieces == ["x"]
    np.testing.assert_array_equal(found["x"], values)


def test_columns_of_a_table_are_read_in_pieces_and_so_is_the_table() -> None:
    text = body(("a", [50], "FP32", list(range(50))), ("b", [50], "INT64", [None] * 50), parameters={"long": "x" * 99})
    found, in_pieces = read(TABLE, text, 20)
    assert in_pieces == ["a", "b", "x"]
    assert found["x"][:, 0].tolist() == list(range(50))
    assert np.isnan(found["x"][:, 1]).all()


def test_many_short_inputs_are_read_one_at_a_time() -> None:
    names = [f"c{place}" for place in range(200)]
    many = Interface(tuple(TensorSpec(name, DType.INT64, (None, 1)) for name in names), OUTPUT)
    text = body(*((name, [20, 1], "INT64", list(range(20))) for name in names))
    steps = cut_request(many, text, piece_bytes=2000)
    turns = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            cut = end.value
            break
        turns += 1
    assert turns >= len(names) + 2 * len(text) // 2000
    assert all(tensor.data is None for tensor in cut.request.inputs)
    assert {tuple(map(int, array.ravel())) for array in read_inputs(many, cut.request, None, cut.arrays).values()} == {tuple(range(20))}


@given(st.data(), st.integers(1, 40), st.integers(1, 200))
def test_a_table_by_its_columns_is_the_same_in_pieces_and_at_once_or_refused_both_times(data, rows, piece_bytes) -> None:
    column = st.lists(numbers | st.sampled_from(["1", True, 1e39, [1], []]), min_size=max(rows - 1, 1), max_size=rows)
    good = st.lists(numbers, min_size=rows, max_size=rows)
    shape = st.sampled_from([[rows], [rows, 1], [1, rows], [rows + 1], [], [0], [-1]])
    tensors = []
    for name in data.draw(st.permutations(["a", "b"])) + data.draw(st.lists(st.sampled_from(["a", "x", "z"]), max_size=1)):
        shown, values = (data.draw(shape), data.draw(column)) if data.draw(st.integers(0, 5)) == 0 else ([rows], data.draw(good))
        tensors.append((name, shown, data.draw(st.sampled_from(["FP32", "FP64", "INT64", "FP64"])), values))
    text = body(*tensors)
    try:
        expected = read_inputs(TABLE, decode_request(TABLE, text))
    except RequestError:
        with pytest.raises(RequestError):
            read(TABLE, text, piece_bytes)
    else:
        np.testing.assert_array_equal(read(TABLE, text, piece_bytes)[0]["x"], expected["x"])


@pytest.mark.parametrize("values", [[1.0], [1.0] * 50])
def test_data_beside_bytes_are_refused_in_pieces_too(values) -> None:
    parameters = {"binary_data_size": 4 * len(values)}
    tensor = {"name": "x", "shape": [1, len(values)], "datatype": "FP32", "data": values, "parameters": parameters}
    text, binary = json.dumps({"inputs": [tensor]}).encode(), memoryview(np.zeros(len(values), np.float32).tobytes())
    cut = at_once(cut_request(FLOATS, text, piece_bytes=20))
    with pytest.raises(RequestError, match="both data and a binary_data_size"):
        read_inputs(FLOATS, cut.request, binary, cut.arrays)


@given(st.lists(st.floats(width=32), min_size=1, max_size=50), st.integers(1, 9), st.booleans())
def test_an_answer_that_is_written_in_pieces_is_the_same_to_the_byte(values, count, is_raw) -> None:
    response = InferResponse("m", 1, {"y": np.array(values, np.float32), "label": np.array(["é"], object)})
    raw = frozenset({"label"} if is_raw else ())
    whole, pieces = answer(response, "id", raw), at_once(answer_in_steps(response, "id", raw, count))
    assert pieces == whole


def test_an_answer_is_long_by_what_is_written_as_json() -> None:
    response = InferResponse("m", 1, {"y": np.zeros(10**5, np.float32)})
    assert is_long_answer(response, frozenset())
    assert not is_long_answer(response, frozenset({"y"}))
    assert not is_long_answer(response, None)
