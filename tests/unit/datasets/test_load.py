"""Data files: what is right is read, what is wrong is refused by the name of the column, array or row, and nothing in a file runs."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec
from fairlead.datasets import raw
from fairlead.datasets.csv_reader import read_header
from fairlead.datasets.load import load_dataset, load_rows
from fairlead.errors import DataError

IMAGES = Interface(
    (TensorSpec("x", DType.FP32, (None, 4, 4, 1)),),
    (TensorSpec("y", DType.FP32, (None, 3)),),
    Task.CLASSIFICATION,
    Decision(DecisionKind.ARGMAX, "y", scores="y"),
)
TABLE = Interface(
    (TensorSpec("x", DType.FP64, (None, 2), ("age", "income")), TensorSpec("city", DType.BYTES, (None, 1))),
    (TensorSpec("label", DType.BYTES, (None,)),),
    Task.CLASSIFICATION,
    Decision(DecisionKind.LABEL, "label"),
    ("no", "yes"),
)
CSV = "age,income,city,bought\n30,1.5,007,yes\n40,2.5,Köln,no\n"


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def save(folder: Path, **arrays: np.ndarray) -> Path:
    np.savez(folder / "rows.npz", **arrays)
    return folder / "rows.npz"


def test_images_and_answers_come_from_an_npz_file(tmp_path: Path) -> None:
    path = save(tmp_path, x=np.ones((3, 4, 4, 1)), y=np.array([0, 1, 2]))
    dataset = load_dataset(path, IMAGES)
    assert dataset.inputs["x"].dtype == np.float32
    assert dataset.target is not None
    assert dataset.target.tolist() == [0, 1, 2]
    assert dataset.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert "rows.npz, 3 rows" in dataset.description


def test_held_out_rows_come_before_training_rows(tmp_path: Path) -> None:
    train, test = np.zeros((5, 4, 4, 1)), np.ones((2, 4, 4, 1))
    dataset = load_dataset(save(tmp_path, x_train=train, y_train=np.zeros(5), x_test=test, y_test=np.array([1, 2])), IMAGES)
    assert dataset.rows == 2
    assert "rows from 'x_test'" in dataset.description
    assert dataset.target is not None
    assert dataset.target.tolist() == [1, 2]


def test_an_image_without_its_channel_axis_gets_it_and_it_is_said(tmp_path: Path) -> None:
    dataset = load_dataset(save(tmp_path, x=np.ones((3, 4, 4))), IMAGES)
    assert dataset.inputs["x"].shape == (3, 4, 4, 1)
    assert "shape [3, 4, 4] read as [3, 4, 4, 1]" in dataset.description


def test_a_table_is_matched_by_name_whatever_its_order_and_text_stays_text(tmp_path: Path) -> None:
    dataset = load_dataset(write(tmp_path, "t.csv", CSV), TABLE, target="bought")
    assert dataset.inputs["x"].tolist() == [[30.0, 1.5], [40.0, 2.5]]
    assert dataset.inputs["city"].tolist() == [["007"], ["Köln"]]
    assert dataset.target is not None
    assert dataset.target.tolist() == ["yes", "no"]


@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("separator", [",", ";", "\t"], ids=["comma", "semicolon", "tab"])
def test_csv_files_of_other_programs_are_read(tmp_path: Path, prefix: bytes, separator: str) -> None:
    text = f'"age"{separator}income{separator}city\r\n30{separator}1.5{separator}"a {separator} ""b""\nc"\r\n'
    dataset = load_dataset(write(tmp_path, "t.csv", prefix + text.encode()), TABLE)
    assert dataset.inputs["city"][0, 0] == f'a {separator} "b"\nc'


def test_parquet_gives_what_csv_gives(tmp_path: Path) -> None:
    columns = {"age": [30, 40], "income": [1.5, 2.5], "city": ["007", "Köln"], "bought": ["yes", "no"]}
    pq.write_table(pa.table(columns).combine_chunks(), tmp_path / "t.parquet")
    dataset = load_dataset(tmp_path / "t.parquet", TABLE, target="bought")
    other = load_dataset(write(tmp_path, "t.csv", CSV), TABLE, target="bought")
    assert all(dataset.inputs[name].tolist() == other.inputs[name].tolist() for name in other.inputs)


def test_a_table_whose_columns_the_model_does_not_name_keeps_the_order_of_the_file_and_it_is_said(tmp_path: Path) -> None:
    text = ",".join(f"p{number}" for number in range(16)) + ",y\n" + ",".join(str(number) for number in range(16)) + ",2\n"
    dataset = load_dataset(write(tmp_path, "t.csv", text), IMAGES, target="y")
    assert dataset.inputs["x"].ravel().tolist() == list(range(16))
    assert "in the file's order" in dataset.description


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("age,income,bought\n1,2,yes\n", "no column for the model's input 'city'"),
        ("age,city,bought\n1,a,yes\n", "lacks the column 'income'"),
        ("age,income,city,extra,bought\n1,2,a,3,yes\n", "no input for the column 'extra'"),
        ("age,income,city,bought\n1,two,a,yes\n", "Column 'income' holds text .'two'"),
        ("age,income,city,bought\n1,,a,yes\n", "Column 'income' holds a missing value .NaN. in row 0"),
        ("age,income,city,bought\n1,inf,a,yes\n", "Column 'income' holds infinity in row 0"),
        ("age,income,city,bought\n1,2,a,maybe\n", "label 'maybe' in row 0"),
        ("age,income,city,bought\n1,2,a\n", "Cannot read the .csv file"),
        ("age,age,city,bought\n1,2,a,yes\n", "2 columns called 'age'"),
        ("1,2,3,4\n5,6,7,8\n", "has no header"),
        ("age,income,city,bought\n", "no rows"),
        ("", "is empty"),
        ("age,income,city\n1,2,a\n", "no column 'bought'"),
        (b"age,income,city,bought\n1,2,\xff\xfe,yes\n", "Cannot read the .csv file"),
        (b"\x00\x01\x02\x03,binary", "not text"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_by_column_and_row(tmp_path: Path, text: str | bytes, match: str) -> None:
    with pytest.raises(DataError, match=match):
        load_dataset(write(tmp_path, "t.csv", text), TABLE, target="bought")


def test_the_column_left_over_may_be_the_target(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load_dataset(write(tmp_path, "t.csv", CSV), TABLE)
    assert "--target bought" in caught.value.hint


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"x": np.ones((3, 5, 5, 1))}, r"shape \[3, 5, 5, 1\]; the model takes x FP32 \[batch, 4, 4, 1\]"),
        ({"x": np.ones((4, 4, 1))}, "the model takes x FP32"),
        ({"x": np.ones((0, 4, 4, 1))}, "no rows"),
        ({"x": np.full((2, 4, 4, 1), np.nan)}, "NaN"),
        ({"x": np.full((2, 4, 4, 1), 1e300)}, "too large for FP32"),
        ({"x": np.ones((2, 4, 4, 1)), "y": np.array([0])}, "target has 1 rows, the inputs have 2"),
        ({"x": np.ones((2, 4, 4, 1)), "y": np.array([0, 7])}, "class 7 in row 1; the model has 3 classes"),
        ({"x": np.ones((2, 4, 4, 1)), "y": np.array([0, -1])}, "class -1 in row 1"),
        ({"x": np.ones((2, 4, 4, 1)), "y": np.array([0, 0.5])}, "holds 0.5 in row 1"),
        ({"x": np.ones((2, 4, 4, 1)), "y": np.array([0, np.nan])}, "The target holds a missing value"),
        ({"x": np.ones((2, 4, 4, 1)), "y": np.ones((2, 5))}, r"target has shape \[2, 5\]"),
        ({"x": np.array([["a"] * 16] * 2).reshape(2, 4, 4, 1)}, "holds text"),
        ({"x": np.ones((2, 4, 4, 1)), "weights": np.ones(2)}, "no input for the array 'weights'"),
        ({"a": np.ones(2), "b": np.ones(2)}, "None of the arrays"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], match: str) -> None:
    with pytest.raises(DataError, match=match):
        load_dataset(save(tmp_path, **arrays), IMAGES)


def test_a_one_hot_target_is_read_as_classes_and_it_is_said(tmp_path: Path) -> None:
    dataset = load_dataset(save(tmp_path, x=np.ones((3, 4, 4, 1)), y=np.eye(3)[[2, 0, 1]]), IMAGES)
    assert dataset.target is not None
    assert dataset.target.tolist() == [2, 0, 1]
    assert "one-hot" in dataset.description


def test_labels_become_class_numbers_where_the_model_gives_scores(tmp_path: Path) -> None:
    named = Interface(IMAGES.inputs, IMAGES.outputs, IMAGES.task, IMAGES.decision, ("cat", "dog", "eel"))
    dataset = load_dataset(save(tmp_path, x=np.ones((2, 4, 4, 1)), y=np.array(["eel", "cat"])), named)
    assert dataset.target is not None
    assert dataset.target.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("values", "dtype", "match"),
    [
        ([1.5], DType.INT64, "1.5 in row 0, a fraction"),
        ([300], DType.UINT8, "300 in row 0, outside of 0 to 255"),
        ([-1], DType.UINT16, "-1 in row 0"),
        ([2.0**63], DType.INT64, "outside"),
        ([2], DType.BOOL, "outside of 0 to 1"),
        ([70000.0], DType.FP16, "too large for FP16"),
        ([1], DType.BYTES, "the model takes text"),
        ([np.nan], DType.INT64, "NaN"),
    ],
)
def test_no_value_is_bent_to_fit(tmp_path: Path, values: list[float], dtype: DType, match: str) -> None:
    interface = Interface((TensorSpec("x", dtype, (None,)),), (TensorSpec("y", DType.FP32, (None,)),))
    with pytest.raises(DataError, match=match):
        load_dataset(save(tmp_path, x=np.array(values)), interface)


@pytest.mark.parametrize("dtype", [dtype for dtype in DType if dtype is not DType.BYTES])
def test_values_that_fit_survive_into_every_type(tmp_path: Path, dtype: DType) -> None:
    interface = Interface((TensorSpec("x", dtype, (None,)),), (TensorSpec("y", DType.FP32, (None,)),))
    found = load_dataset(save(tmp_path, x=np.array([0.0, 1.0])), interface).inputs["x"]
    assert found.dtype == dtype.numpy
    assert found.tolist() == [0, 1]


def test_missing_values_pass_where_the_model_has_a_rule_for_them(tmp_path: Path) -> None:
    path = write(tmp_path, "t.csv", "age,income,city\n1,,a\n")
    assert np.isnan(load_dataset(path, TABLE, allow_missing=True).inputs["x"][0, 1])


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return (os.mkdir, ("canary",))


def test_pickled_objects_are_refused_and_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "bad.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "bad.npz", x=np.array([Bomb()], dtype=object))
    for name in ("bad.npy", "bad.npz"):
        with pytest.raises(DataError, match="pickled Python objects"):
            load_dataset(tmp_path / name, IMAGES)
    assert not (tmp_path / "canary").exists()
    np.load(tmp_path / "bad.npy", allow_pickle=True)  # the positive control: numpy's own loader runs it
    assert (tmp_path / "canary").exists()


def npy_header(shape: tuple[int, ...]) -> bytes:
    text = repr({"descr": "<f4", "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize("shape", [(10**12,), (10**6, 10**6), (5,)], ids=["large", "product", "a little too much"])
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_a_header_that_claims_more_than_there_is_takes_no_memory(tmp_path: Path, shape: tuple[int, ...], kind: str) -> None:
    data = npy_header(shape) + b"\0" * 16
    if kind == "npz":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("x.npy", data)
        data = buffer.getvalue()
    with pytest.raises(DataError, match=r"limit is|truncated"):
        load_dataset(write(tmp_path, f"rows.{kind}", data), IMAGES)


def test_a_zip_bomb_is_refused_by_what_it_would_unpack_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, x=np.zeros((10**6, 16), np.float32).reshape(-1, 4, 4, 1))
    assert path.stat().st_size < 100_000
    assert load_dataset(path, IMAGES).rows == 10**6  # the positive control: it does unpack to 64 MB
    monkeypatch.setattr(raw, "LIMIT_BYTES", 10**7)
    with pytest.raises(DataError, match=r"would take 0\.1 GB"):
        load_dataset(path, IMAGES)


def test_an_array_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    data = npy_header((4,)) + b"\0" * 16
    with zipfile.ZipFile(tmp_path / "twice.npz", "w") as archive:
        archive.writestr("x.npy", data)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("x.npy", data)
    with pytest.raises(DataError, match="2 times"):
        load_dataset(tmp_path / "twice.npz", IMAGES)


def test_reading_a_header_changes_no_limit_of_the_process() -> None:
    before = csv.field_size_limit()
    assert read_header(io.BytesIO(b"a," + b"x" * 200_000 + b"\n1,2\n"))[1] == ","
    assert csv.field_size_limit() == before


def test_a_million_columns_are_refused_from_the_header_alone(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1000000 columns"):
        load_dataset(write(tmp_path, "wide.csv", ",".join(f"c{number}" for number in range(10**6)) + "\n1"), TABLE)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("suffix", ["parquet", "npz", "npy"])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"rows.{suffix}"
    rows = np.random.default_rng(0).normal(size=(50, 4, 4, 1))
    if suffix == "parquet":
        pq.write_table(pa.table({f"p{number}": rows.reshape(50, 16)[:, number] for number in range(16)}), path)
    elif suffix == "npz":
        np.savez(path, x=rows)
    else:
        np.save(path, rows)
    assert load_dataset(path, IMAGES).rows == 50
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DataError):
        load_dataset(path, IMAGES)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(suffix=st.sampled_from(["npz", "npy", "csv", "parquet", "json"]), position=st.integers(0, 3000), byte=st.integers(0, 255))
def test_a_changed_byte_is_data_or_a_data_error(tmp_path: Path, suffix: str, position: int, byte: int) -> None:
    path = tmp_path / f"rows.{suffix}"
    columns = {"age": [30, 40], "income": [1.5, 2.5], "city": ["a", "b"]}
    if suffix == "parquet":
        pq.write_table(pa.table(columns), path)
    elif suffix == "csv":
        path.write_text("age,income,city\n30,1.5,a\n40,2.5,b\n")
    elif suffix == "json":
        path.write_text(json.dumps([{"age": 1, "income": 2, "city": "a"}]))
    elif suffix == "npz":
        np.savez(path, x=np.ones((2, 2)), city=np.array(["a", "b"]))
    else:
        np.save(path, np.ones((2, 2)))
    data = bytearray(path.read_bytes())
    data[position % len(data)] = byte
    path.write_bytes(data)
    try:
        load_rows(path, TABLE)
    except DataError:
        return


def test_a_name_that_the_content_contradicts_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones(3))
    (tmp_path / "x.npy").rename(tmp_path / "x.npz")
    with pytest.raises(DataError, match=r"holds \.npy data"):
        load_dataset(tmp_path / "x.npz", IMAGES)
    with pytest.raises(DataError, match=r"is no \.parquet file"):
        load_dataset(write(tmp_path, "x.parquet", "text"), IMAGES)


def test_what_is_no_data_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "folder.csv").mkdir()
    for name, match in (("gone.npz", "no data file"), ("pipe.npz", "not a file"), ("folder.csv", "not a file")):
        with pytest.raises(DataError, match=match):
            load_dataset(tmp_path / name, IMAGES)
    with pytest.raises(DataError, match="not a data format"):
        load_dataset(write(tmp_path, "rows.xlsx", "x"), IMAGES)


def test_a_target_for_an_npy_file_says_where_to_put_it(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((2, 4, 4, 1)))
    with pytest.raises(DataError) as caught:
        load_dataset(tmp_path / "x.npy", IMAGES, target="y")
    assert ".npz" in caught.value.hint


@pytest.mark.parametrize(
    "content",
    [
        [{"age": 1, "income": 2.5, "city": "007"}],
        {"x": [[1, 2.5]], "city": [["007"]]},
        {"inputs": {"x": [[1, 2.5]], "city": [["007"]]}},
        {"instances": [{"age": 1, "income": 2.5, "city": "007"}]},
    ],
)
def test_rows_for_a_prediction_come_from_json_in_any_shape(tmp_path: Path, content: object) -> None:
    tensors = load_rows(write(tmp_path, "rows.json", json.dumps(content)), TABLE)
    assert tensors["x"].tolist() == [[1.0, 2.5]]
    assert tensors["city"].tolist() == [["007"]]


@pytest.mark.parametrize(
    "text", ["", "{", "3", "[]", "{}", '[{"age":1},{"city":1}]', "[" * 5000, "[[1],[1,2]]", '[1,"a"]', "[[[null, {}]]]"]
)
def test_json_that_is_no_rows_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError):
        load_rows(write(tmp_path, "rows.json", text), TABLE)


def test_a_target_in_the_file_does_not_hinder_a_prediction(tmp_path: Path) -> None:
    assert load_rows(save(tmp_path, x=np.ones((2, 4, 4, 1)), y=np.array([99, 99])), IMAGES)["x"].shape == (2, 4, 4, 1)
