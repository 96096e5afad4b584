"""Parquet files made without Arrow: every kind of column comes back from Arrow and from DuckDB as it was given."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.stores.prediction_log_plain import MARK, is_flat, plain_file

NUMBERS = ["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


def objects(items) -> np.ndarray:
    array = np.empty(len(items), object)
    for place, item in enumerate(items):
        array[place] = item
    return array


def written(columns) -> bytes:
    assert all(map(is_flat, columns.values()))
    return b"".join(plain_file(columns, MARK, pause=lambda: None))


def read(content: bytes) -> pa.Table:
    return pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True).read()


def stored(item):
    """What a text becomes that UTF-8 cannot hold."""
    if isinstance(item, bytes):
        return item.decode("utf-8", "replace")
    return None if item is None else item.encode("utf-8", "backslashreplace").decode()


@pytest.mark.parametrize("count", [1, 7, 8, 9, 1000])
def test_numbers_of_every_kind_come_back_with_their_types(count) -> None:
    random = np.random.default_rng(count)
    columns = {"flag": random.random(count) > 0.5}
    for name in NUMBERS:
        kind = np.dtype(name)
        whole = kind.kind != "f" and np.iinfo(kind)
        columns[name] = random.integers(whole.min, whole.max, count, kind, endpoint=True) if whole else random.random(count).astype(kind)
    columns["float64"][0], columns["float32"][0] = np.nan, -np.inf
    table = read(written(columns))
    for name, column in columns.items():
        found = table[name].to_numpy()
        assert found.dtype == (np.float32 if name == "float16" else column.dtype)
        assert np.array_equal(found, column, equal_nan=column.dtype.kind == "f")


@given(st.lists(st.one_of(st.none(), st.text(), st.binary(max_size=20)), min_size=1, max_size=40))
def test_texts_of_any_kind_come_back(texts) -> None:
    assert read(written({"t": objects(texts), "n": np.zeros(len(texts))}))["t"].to_pylist() == [stored(item) for item in texts]


@pytest.mark.parametrize("distinct", [1, 2, 250, 256, 257, 70_000])
@pytest.mark.parametrize("has_none", [False, True])
def test_texts_come_back_however_many_of_them_are_alike(distinct, has_none) -> None:
    count = max(4 * distinct, 600) if distinct < 9999 else 150_000
    items = [f"{place % distinct}é" if place % 5 or not has_none else None for place in range(count)]
    assert read(written({"t": objects(items)}))["t"].to_pylist() == items


def test_texts_of_one_width_are_laid_out_at_once() -> None:
    ids = np.array([f"{place:08x}" for place in range(1000)], "S8")
    assert read(written({"id": ids, "part": ids[::2][:500].repeat(2)}))["id"].to_pylist() == [item.decode() for item in ids.tolist()]


@pytest.mark.parametrize("items", [[b""] * 9, [b"http"] * 9, [b"", b"a", b""], [b"ab", b"a", b""], [b"aa", b"bb"], [b"x"]])
def test_ascii_texts_of_any_length_come_back(items) -> None:
    column = np.array(items, f"S{max(map(len, items), default=1) or 1}")
    assert read(written({"t": column}))["t"].to_pylist() == [item.decode() for item in items]


def test_columns_that_lie_elsewhere_in_memory_come_back() -> None:
    table = np.arange(60, dtype=np.float32).reshape(20, 3)
    backwards = table[::-1, 1]
    big = np.arange(20, dtype=">i4")
    found = read(written({"input:x[1]": backwards, "input:x.mean": table[:, 2], "big": big}))
    assert found["input:x[1]"].to_numpy().tolist() == backwards.tolist()
    assert found["input:x.mean"].to_numpy().tolist() == table[:, 2].tolist()
    assert found["big"].to_numpy().tolist() == big.tolist()


def test_duckdb_reads_it_too(tmp_path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="the extra 'observe' is not installed")
    path = tmp_path / "x.parquet"
    numbers = np.arange(400, dtype=np.uint16)
    path.write_bytes(written({"t": objects(["a", None, "a", "b"] * 100), "n": numbers, "f": numbers % 3 == 0}))
    question = "select count(t), count(distinct t), sum(n), count(*) filter (f) from read_parquet(?)"
    with duckdb.connect(":memory:") as connection:
        (row,) = connection.execute(question, [str(path)]).fetchall()
    assert row == (300, 2, 79_800, 134)


def test_the_shapes_of_lists_are_told_apart() -> None:
    assert not is_flat(np.zeros((2, 3)))
    assert not is_flat(objects([np.zeros(2), np.zeros(3)]))
    assert not is_flat(np.zeros(2, "U4"))


def test_whoever_only_writes_a_log_does_without_arrow(tmp_path) -> None:
    code = """
import sys, numpy as np
from pathlib import Path
from fairlead.core.observation_log import ObservedRows, RowLabel
from fairlead.stores.prediction_log_folder import LogFolder
from fairlead.stores.prediction_log_writing import LogWriter
log = LogWriter(LogFolder(Path(sys.argv[1])))
log.append(ObservedRows("m", 1, {"at": np.zeros(2), "request_id": np.array([b"a", b"b"])}))
log.add_labels("m", [RowLabel("a", 0, 1, 0.0)])
log.prune()
print(sum("pyarrow" in name for name in sys.modules))
"""
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.strip() == "0"
