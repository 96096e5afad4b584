"""Dates and missing values: from every source into what the model takes, exactly, or refused by name where there are two readings."""

# ruff: noqa: DTZ001 - values without a zone are what these tests are about

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface, TensorSpec
from fairlead.datasets.bind import bind, bind_inputs
from fairlead.datasets.cast import cast_to
from fairlead.datasets.dates import to_iso_text
from fairlead.datasets.draw import draw
from fairlead.datasets.load import load_dataset, load_rows
from fairlead.datasets.peek import inputs_of
from fairlead.datasets.raw import Raw
from fairlead.errors import DataError

NOON = 1_706_702_400_000_000_000  # 2024-01-31T12:00:00 UTC
DAY = NOON - 12 * 3600 * 10**9


def takes(dtype: DType, *columns: str) -> Interface:
    return Interface((TensorSpec("x", dtype, (None, len(columns) or 1), columns or ("when",)),), (TensorSpec("y", DType.FP32, (None,)),))


def bound(values: Any, dtype: DType = DType.INT64, *, allow_missing: bool = False) -> Array:
    raw = Raw({"when": np.asarray(values)}, is_table=True)
    return bind(raw, takes(dtype), allow_missing=allow_missing).inputs["x"][:, 0]


def texts(*values: str | None) -> Array:
    return np.array(values, dtype=object)


@given(st.datetimes(dt.datetime(1678, 1, 1), dt.datetime(2262, 1, 1)), st.integers(0, 999), st.sampled_from(["T", " "]))
def test_text_gives_the_number_that_numpy_gives(moment: dt.datetime, nanoseconds: int, separator: str) -> None:
    text = f"{moment.strftime('%Y-%m-%d').rjust(10, '0')}{separator}{moment:%H:%M:%S}.{moment.microsecond:06}{nanoseconds:03}"
    expected = np.datetime64(text.replace(" ", "T"), "ns").astype(np.int64)
    assert bound(texts(text)).tolist() == [expected]
    assert bound(np.array([text.replace(" ", "T")], dtype="datetime64[ns]")).tolist() == [expected]


@given(st.lists(st.one_of(st.none(), st.datetimes(dt.datetime(1678, 1, 1), dt.datetime(2262, 1, 1))), min_size=1, max_size=5))
def test_python_dates_give_the_number_that_numpy_gives_and_missing_ones_stay_missing(moments: list[dt.datetime | None]) -> None:
    expected = np.array(moments, dtype="datetime64[us]").astype("datetime64[ns]").astype(np.int64)
    got = bound(np.array(moments, dtype=object), DType.FP64, allow_missing=True)
    known = np.array([moment is not None for moment in moments])
    assert np.isnan(got[~known]).all()
    assert (got[known] == expected[known].astype(np.float64)).all()


def test_pandas_gives_its_own_numbers() -> None:
    pd = pytest.importorskip("pandas")
    column = pd.Series(pd.to_datetime(["2024-01-31 12:00:00.123456789", "1999-12-31"], format="ISO8601"))
    expected = column.astype("datetime64[ns]").astype("int64").tolist()
    assert bound(column).tolist() == expected
    assert bound(np.array(list(column), dtype=object)).tolist() == expected
    zoned = pd.Series(pd.to_datetime(["2024-01-31 13:00:00+01:00", None]))
    assert bound(zoned, DType.FP64, allow_missing=True)[0] == NOON
    assert np.isnan(bound(zoned, DType.FP64, allow_missing=True)[1])


def test_pandas_columns_with_missing_values_are_numbers_and_texts() -> None:
    pd = pytest.importorskip("pandas")
    whole = bound(np.asarray(pd.Series([1, None, 3], dtype="Int64")), DType.FP32, allow_missing=True)
    assert np.array_equal(whole, [1, np.nan, 3], equal_nan=True)
    with pytest.raises(DataError, match=r"'when' holds a missing value in row 1 \(1 in all\); the model takes text"):
        bound(np.asarray(pd.Series(["a", None, "b"])), DType.BYTES)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2024-01-31", DAY),
        ("2024-01-31T12:00", NOON),
        ("2024-01-31 12:00:00", NOON),
        (" 2024-01-31T12:00:00.5 ", NOON + 500_000_000),
        ("2024-01-31T12:00:00Z", NOON),
        ("2024-01-31T13:30:00+01:30", NOON),
        ("2024-01-31T10:00:00-02:00", NOON),
        ("1969-12-31T23:59:59.999999999", -1),
    ],
)
def test_iso_text_in_its_extended_form_is_read(text: str, number: int) -> None:
    assert bound(texts(text)).tolist() == [number]


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (["2024-01-31", "31/01/2024"], "'31/01/2024' in row 1, a date that can be read in several ways"),
        (["01/02/2024"], r"holds text \('01/02/2024', a date that can be read in several ways\)"),
        (["1.2.24"], "several ways"),
        (["2024-01-31", "soon"], "'soon' in row 1, which is no date in ISO 8601"),
        (["2024-01-31", "20240131"], "'20240131' in row 1, which is no date"),
        (["2024-02-30"], "'2024-02-30' in row 0: there is no such day"),
        (["2024-01-31T25:00"], "no such day or time"),
        (["2024-01-31T12:00+25:00"], "no such zone"),
        (["2024-01-31T12:00Z", "2024-01-31T12:00"], "with and without a zone"),
        (["3024-01-31"], "do not reach"),
        (["2024-01-31", ""], "missing value in row 1"),
        (["2024-01-31", None], "missing value in row 1"),
        (["٢٠٢٤-٠١-٣١"], "holds text"),
    ],
)
def test_a_date_that_could_be_meant_otherwise_is_refused_by_name(values: list[str | None], match: str) -> None:
    with pytest.raises(DataError, match=match) as caught:
        bound(texts(*values))
    assert "'when'" in caught.value.message


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ([dt.datetime(2024, 1, 31), "2024-01-31"], "mixes times .* and text"),
        ([dt.date(2024, 1, 31), dt.datetime(2024, 1, 31)], "mixes dates .* and times"),
        ([dt.datetime(2024, 1, 31), dt.datetime(2024, 1, 31, tzinfo=dt.UTC)], "mixes times .* and times with a zone"),
        ([dt.date(2024, 1, 31), 7], "mixes dates .* and numbers"),
        (["a", 7], r"mixes text \('a' in row 0\) and numbers \('7' in row 1\)"),
        ([True, 7], "mixes booleans"),
        ([object], "holds values of type type"),
        ([10**30], "too large"),
    ],
)
def test_a_column_of_two_kinds_is_refused_by_name(values: list[object], match: str) -> None:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    with pytest.raises(DataError, match=match):
        bound(column)


@pytest.mark.parametrize("dtype", [DType.INT32, DType.BOOL, DType.FP16, DType.UINT8])
def test_types_that_do_not_hold_nanoseconds_are_refused(dtype: DType) -> None:
    with pytest.raises(DataError, match=f"holds dates; the model takes {dtype.value}"):
        bound(texts("2024-01-31"), dtype)


@pytest.mark.parametrize("unit", ["ps", "fs", "as", "generic"])
def test_units_finer_than_nanoseconds_or_unknown_are_refused(unit: str) -> None:
    column = np.array([1], dtype=np.int64).view("datetime64" if unit == "generic" else f"datetime64[{unit}]")
    for dtype in (DType.INT64, DType.BYTES):
        with pytest.raises(DataError, match=f"in the unit '{unit}'"):
            bound(column, dtype)


def test_float32_rounds_and_says_so() -> None:
    dataset = bind(Raw({"when": texts("2024-01-31")}, is_table=True), takes(DType.FP32))
    assert dataset.inputs["x"].tolist() == [[float(np.float32(DAY))]]
    assert "column 'when': dates read as nanoseconds since 1970, which FP32 holds to about 2 minutes" in dataset.description


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (np.array(["2024-01-31"], dtype="datetime64[D]"), "2024-01-31"),
        (np.array(["2024-01-31"], dtype="datetime64[ns]"), "2024-01-31T00:00:00"),
        (np.array(["2024-01-31T12:00:00.5"], dtype="datetime64[ms]"), "2024-01-31T12:00:00.500000"),
        (np.array(["2024-01-31T12:00:00.000000001"], dtype="datetime64[ns]"), "2024-01-31T12:00:00.000000001"),
        (np.array(["3024-01-31T12:00:00"], dtype="datetime64[s]"), "3024-01-31T12:00:00"),
        (np.array([dt.date(2024, 1, 31)], dtype=object), "2024-01-31"),
        (texts("31/01/2024"), "31/01/2024"),
    ],
)
def test_a_model_of_text_gets_iso_text_and_text_as_it_stands(column: Array, text: str) -> None:
    assert bound(column, DType.BYTES).tolist() == [text]


@given(st.lists(st.integers(-(9 * 10**18), 9 * 10**18), min_size=1, max_size=5))
def test_iso_text_is_what_pandas_writes(numbers: list[int]) -> None:
    pd = pytest.importorskip("pandas")
    column = np.array(numbers, dtype=np.int64).view("datetime64[ns]")
    assert to_iso_text(column, "c").tolist() == [pd.Timestamp(number).isoformat() for number in numbers]
    assert bound(to_iso_text(column, "c")).tolist() == numbers


def test_times_with_a_zone_are_no_text() -> None:
    with pytest.raises(DataError, match="their text depends on the zone"):
        bound(np.array([dt.datetime(2024, 1, 31, tzinfo=dt.UTC)], dtype=object), DType.BYTES)


ZONED = pa.array([dt.datetime(2024, 1, 31, 12), None], pa.timestamp("us", tz="UTC"))
PLAIN = pa.array([dt.datetime(2024, 1, 31, 12), None], pa.timestamp("ms"))


def parquet(column: pa.Array) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        pq.write_table(pa.table({"when": column}), folder / "rows.parquet")
        return folder / "rows.parquet"

    return write


def csv(text: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "rows.csv").write_text(text, encoding="utf-8")
        return folder / "rows.csv"

    return write


def npz(column: Array) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        np.savez(folder / "rows.npz", when=column)
        return folder / "rows.npz"

    return write


@pytest.mark.parametrize(
    ("write", "first"),
    [
        (parquet(PLAIN), NOON),
        (parquet(ZONED), NOON),
        (parquet(pa.array([dt.date(2024, 1, 31), None], pa.date32())), DAY),
        (parquet(pa.array([dt.date(2024, 1, 31), None], pa.date64())), DAY),
        (parquet(pa.array(["2024-01-31T12:00", None])), NOON),
        (csv("when,other\n2024-01-31 12:00:00,1\n,2\n"), NOON),
        (csv("when,other\n2024-01-31T12:00:00.000Z,1\n,2\n"), NOON),
        (csv("when,other\n2024-01-31T13:00:00+01:00,1\n,2\n"), NOON),
        (csv("when,other\n2024-01-31,1\n,2\n"), DAY),
        (npz(np.array(["2024-01-31T12", "NaT"], dtype="datetime64[h]")), NOON),
        (npz(np.array(["2024-01-31T12:00", ""])), NOON),
    ],
)
def test_dates_come_from_every_kind_of_file(tmp_path: Path, write: Callable[[Path], Path], first: int) -> None:
    interface = Interface((TensorSpec("when", DType.FP64, (None, 1)),), (TensorSpec("y", DType.FP32, (None,)),))
    path = write(tmp_path)
    got = load_rows(path, interface)["when"]
    assert got[0, 0] == first
    assert np.isnan(got[1, 0])


@pytest.mark.parametrize(
    ("write", "match"),
    [
        (csv("when,x\n2024-01-31T12:00:00Z,1\n2024-01-31 12:00:00,1\n"), "with and without a zone"),
        (csv("when,x\n2024-01-31,1\n31.01.2024,1\n"), "several ways"),
        (parquet(pa.array([dt.time(12)], pa.time32("s"))), "holds values of type time32"),
        (parquet(pa.array([dt.timedelta(1)], pa.duration("s"))), "holds values of type duration"),
        (npz(np.array([1], dtype="timedelta64[s]")), "has the type timedelta64"),
    ],
)
def test_what_is_no_date_in_a_file_is_refused_by_name(tmp_path: Path, write: Callable[[Path], Path], match: str) -> None:
    with pytest.raises(DataError, match=match):
        load_rows(write(tmp_path), takes(DType.INT64, "when"))


def test_parquet_times_with_a_zone_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'when' holds times with a zone \(UTC\)"):
        load_dataset(parquet(ZONED)(tmp_path), takes(DType.BYTES))


def test_csv_dates_of_a_text_model_stay_as_they_are_written(tmp_path: Path) -> None:
    path = csv("when\n2024-01-31 12:00\n31/01/24\n")(tmp_path)
    assert load_dataset(path, takes(DType.BYTES)).inputs["x"].tolist() == [["2024-01-31 12:00"], ["31/01/24"]]


def test_an_empty_text_is_text_and_an_empty_cell_is_missing(tmp_path: Path) -> None:
    interface = takes(DType.BYTES, "city", "note")
    kept = load_dataset(csv('city,note\nNA,""\n"",非常\n')(tmp_path), interface).inputs["x"]
    assert kept.tolist() == [["NA", ""], ["", "非常"]]
    with pytest.raises(DataError, match=r"'note' holds a missing value in row 1 \(1 in all\); the model takes text") as caught:
        load_dataset(csv('city,note\n"",""\na,\n')(tmp_path), interface)
    assert '""' in caught.value.hint


def test_a_date_is_no_answer() -> None:
    raw = Raw({"x": np.zeros((2, 1)), "y": np.array(["2024-01-31"] * 2, dtype="datetime64[D]")}, is_table=False)
    with pytest.raises(DataError, match="The target holds dates"):
        bind(raw, takes(DType.FP32))


def test_missing_values_are_counted_in_the_description() -> None:
    raw = Raw({"x": np.array([[1.0], [np.nan], [np.nan]])}, is_table=False)
    assert "2 missing values in 'x'" in bind(raw, takes(DType.FP32), allow_missing=True).description


def test_drawn_rows_miss_values_where_the_model_has_a_rule_for_them() -> None:
    floats = takes(DType.FP32, *(f"c{number}" for number in range(10)))
    drawn = draw(floats, rows=50, seed=0, allow_missing=True)
    assert 5 < np.isnan(drawn.inputs["x"]).sum() < 60
    assert "1 in 20 missing" in drawn.description
    assert not np.isnan(draw(floats, rows=50, seed=0).inputs["x"]).any()
    assert "missing" not in draw(takes(DType.INT64), rows=50, seed=0, allow_missing=True).description


def test_dates_in_arrays_ask_for_whole_numbers() -> None:
    raw = Raw({"when": np.array(["2024-01-31"], dtype="datetime64[D]")}, is_table=False)
    assert inputs_of(raw, target=None) == (TensorSpec("x", DType.INT64, (None,)),)


CELLS = st.one_of(st.none(), st.just(float("nan")), st.floats(-1e6, 1e6), st.integers(-(10**6), 10**6))


@given(st.lists(CELLS, min_size=1, max_size=20))
def test_missing_numbers_stay_where_they_are(cells: list[float | None]) -> None:
    column = np.empty(len(cells), dtype=object)
    column[:] = cells
    got = cast_to(column, DType.FP64, "Column 'c'", allow_missing=True)
    assert np.isnan(got).tolist() == [cell is None or cell != cell for cell in cells]  # noqa: PLR0124
    assert all(one == other for one, other in zip(got, cells, strict=True) if not np.isnan(one))


@given(st.lists(st.text(), min_size=1, max_size=10))
def test_any_text_survives_binding(values: list[str]) -> None:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    inputs, _, _ = bind_inputs(Raw({"when": column}, is_table=True), takes(DType.BYTES), target=None, allow_missing=True)
    assert inputs["x"][:, 0].tolist() == values
