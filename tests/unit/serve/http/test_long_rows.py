"""Rows, records, columns and frames of large bodies are read as those of small ones, and answered so, whatever the pieces."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.errors import RequestError
from fairlead.serve.http.long_rows import columns_in_steps, csv_in_steps, frame_in_steps, rows_in_steps
from fairlead.serve.http.outline import read_skeleton
from fairlead.serve.http.row_answer import written_in_steps
from fairlead.serve.records import from_columns, from_frame, from_rows
from fairlead.serve.steps import at_once

OUTPUT = (TensorSpec("y", DType.FP32, (None,)),)
TABLE = Interface((TensorSpec("x", DType.FP32, (None, 3), ("age", "height", "weight")),), OUTPUT)
MIXED = Interface((TensorSpec("age", DType.FP32, (None, 1)), TensorSpec("city", DType.BYTES, (None, 1))), OUTPUT)
FREE = Interface((TensorSpec("x", DType.FP64, (None, None, None)),), OUTPUT)
TEXTS = Interface((TensorSpec("t", DType.BYTES, (None,)),), OUTPUT)
NAMES = ("age", "height", "weight")

number = st.floats(-100, 100, width=32) | st.integers(-9, 9) | st.none()
text = st.text(st.sampled_from('a,[]{}"\\é'), max_size=6)
place = st.integers(0, 2)


def read(function, interface, value, piece_bytes, *more):
    def steps():
        skeleton = yield from read_skeleton(json.dumps({"v": value}).encode(), piece_bytes=piece_bytes)
        return (yield from function(interface, *more, skeleton, skeleton.value["v"]))

    return at_once(steps())


def same(found, expected) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)


def agree(way, whole) -> None:
    """Both give the same, or both refuse."""
    try:
        expected = whole()
    except RequestError:
        with pytest.raises(RequestError):
            way()
    else:
        same(way(), expected)


@st.composite
def tables(draw):
    """Rows as lists or records, now and then with one that is not like the others."""
    count = draw(st.integers(1, 12))
    rows = [[draw(number) for _ in NAMES] for _ in range(count)]
    if draw(st.booleans()):
        rows = [dict(zip(NAMES, row, strict=True)) for row in rows]
    if draw(st.integers(0, 3)) == 0:
        odd = st.sampled_from([[1, 2], [1, 2, "a"], {"age": 1}, dict.fromkeys(NAMES, 1), [1, 2, 3], 5, None, "x", [[1], [2], [3]]])
        rows[draw(st.integers(0, count - 1))] = draw(odd)
    return rows


@given(tables(), st.integers(1, 80))
def test_rows_and_records_are_read_in_pieces_as_at_once(rows, piece_bytes) -> None:
    agree(lambda: read(rows_in_steps, TABLE, rows, piece_bytes), lambda: from_rows(TABLE, json.loads(json.dumps(rows))))


@given(st.lists(st.tuples(number, text), min_size=1, max_size=12), st.booleans(), st.integers(1, 60))
def test_texts_beside_numbers_are_read_in_pieces_as_at_once(rows, is_named, piece_bytes) -> None:
    value = [{"age": age, "city": city} for age, city in rows] if is_named else [list(row) for row in rows]
    agree(lambda: read(rows_in_steps, MIXED, value, piece_bytes), lambda: from_rows(MIXED, json.loads(json.dumps(value))))


@given(st.lists(text, min_size=1, max_size=20), st.integers(1, 40))
def test_a_list_of_texts_is_read_in_pieces_as_at_once(texts, piece_bytes) -> None:
    same(read(rows_in_steps, TEXTS, texts, piece_bytes), from_rows(TEXTS, texts))


@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.integers(1, 40), st.booleans())
def test_rows_that_are_longer_than_a_piece_are_read_in_pieces_too(rows, height, width, piece_bytes, is_ragged) -> None:
    value = np.arange(rows * height * width, dtype=np.float64).reshape(rows, height, width).tolist()
    if is_ragged:
        value[-1][-1].append(1.0)
    agree(lambda: read(rows_in_steps, FREE, value, piece_bytes), lambda: from_rows(FREE, json.loads(json.dumps(value))))


@given(
    st.lists(st.tuples(number, number, number), min_size=1, max_size=12), st.integers(1, 60), st.sampled_from(["", "x", "more", "twice"])
)
def test_columns_and_inputs_by_name_are_read_in_pieces_as_at_once(rows, piece_bytes, what) -> None:
    value = {name: [row[at] for row in rows] for at, name in enumerate(NAMES)}
    if what == "x":
        value = {"x": [list(row) for row in rows]}
    elif what == "more":
        value["wieght"] = value["weight"]
    elif what == "twice":
        value["age"] = value["age"] * 2
    agree(lambda: read(columns_in_steps, TABLE, value, piece_bytes), lambda: from_columns(TABLE, json.loads(json.dumps(value))))


@given(tables(), st.integers(1, 60), st.sampled_from([list(NAMES), ["0", "1", "2"], ["a", "a", "b"], None]))
def test_frames_are_read_in_pieces_as_at_once(rows, piece_bytes, names) -> None:
    if names is not None and not all(isinstance(row, list) for row in rows):
        with pytest.raises(RequestError):
            read(lambda i, s, v: frame_in_steps(i, names, s, v), TABLE, [*rows, "x"], piece_bytes)
        return
    agree(
        lambda: read(lambda i, s, v: frame_in_steps(i, names, s, v), TABLE, rows, piece_bytes),
        lambda: from_frame(TABLE, names, json.loads(json.dumps(rows))),
    )


def test_a_refusal_names_the_row_of_the_body_and_not_of_its_piece() -> None:
    rows = [dict.fromkeys(NAMES, 1.5) for _ in range(50)]
    rows[40] = {"age": 1}
    with pytest.raises(RequestError, match="Row 40 and row 0"):
        read(rows_in_steps, TABLE, rows, 100)
    rows[40] = [1, 2, 3]
    with pytest.raises(RequestError, match="Row 40"):
        read(rows_in_steps, TABLE, rows, 100)


@given(st.integers(0, 30), st.integers(1, 9), st.sampled_from(["list", "mapping", "none", "number"]))
def test_an_answer_that_is_written_in_pieces_is_the_same_to_the_byte(rows, count, kind) -> None:
    outputs = {"y": np.arange(rows * 2, dtype=np.float32).reshape(rows, 2), "label": np.array(["é"] * rows, object)}
    makers = {
        "list": lambda some: some["y"].tolist(),
        "mapping": lambda some: {name: array.tolist() for name, array in some.items()},
        "none": lambda _some: None,
        "number": lambda some: len(some["y"]),
    }
    found = at_once(written_in_steps(outputs, makers[kind], count))
    assert msgspec.json.encode({"answer": found}) == msgspec.json.encode({"answer": makers[kind](outputs)})


def test_outputs_that_do_not_have_a_row_each_are_written_at_once() -> None:
    outputs = {"y": np.arange(6.0).reshape(3, 2), "sum": np.array(15.0)}
    assert at_once(written_in_steps(outputs, lambda some: {n: a.tolist() for n, a in some.items()}, 1))["sum"] == 15.0


@given(st.lists(st.tuples(*[st.sampled_from(["1", "-2.5", "", "x", "1,2", '"3"'])] * 3), max_size=8), st.integers(1, 30))
def test_csv_in_pieces_is_what_it_is_at_once(rows, count) -> None:
    text = "\n".join(["height,age,weight", *map(",".join, rows)]).encode()
    agree(lambda: at_once(csv_in_steps(TABLE, text, count)), lambda: at_once(csv_in_steps(TABLE, text)))


def test_no_piece_of_csv_is_long_and_a_later_line_is_named() -> None:
    lines = ["age,height,weight", *["1,2,3"] * 1000]
    assert sum(1 for _ in csv_in_steps(TABLE, "\n".join(lines).encode(), 30)) > 100
    with pytest.raises(RequestError, match="Line 502 of the CSV has 2 fields"):
        at_once(csv_in_steps(TABLE, "\n".join([*lines[:501], "1,2", *lines[501:]]).encode(), 30))
