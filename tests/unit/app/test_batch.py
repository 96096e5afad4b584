"""Every row is answered once, in the order of the file, whatever the format and the chunk size; rows that do not fit are named."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet
import pytest
import registered
from batch_asks import IDS, ROWS, Quiet, ask, check, table, wanted, write_source, write_spoiled

from fairlead.app import batch, batch_state
from fairlead.app.batch import BatchRequest, run_batch
from fairlead.errors import DataError, SpecError, UnsupportedError


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(batch, "_CHUNK_ROWS", 32)
    monkeypatch.setattr(batch, "_BATCH_ROWS", 10)


@pytest.fixture
def source(tmp_path):
    return write_source(tmp_path)


@pytest.fixture
def spoiled(tmp_path):
    return write_spoiled(tmp_path)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl", ".npz"])
def test_every_format_comes_in_and_gives_the_same_answers(stocked, source, suffix):
    done = ask(stocked, source, f"rows{suffix}", kept=("id",))
    assert (done.rows_in, done.rows_out, done.listed) == (500, 500, None)
    check(pa_parquet.read_table(source / "out.parquet").to_pydict(), stocked)


def test_a_lone_array_has_nothing_to_keep(stocked, source):
    ask(stocked, source, "rows.npy")
    check(pa_parquet.read_table(source / "out.parquet").to_pydict(), stocked, ids=None)
    with pytest.raises(DataError, match="no column 'id' to keep"):
        ask(stocked, source, "rows.npy", "other.parquet", kept=("id",))


def test_every_format_goes_out(stocked, source):
    for suffix in (".csv", ".jsonl", ".npz"):
        ask(stocked, source, output=f"out{suffix}", kept=("id",))
    check(pa_csv.read_csv(source / "out.csv").to_pydict(), stocked)
    lines = [json.loads(line) for line in (source / "out.jsonl").read_text().splitlines()]
    check({name: [line[name] for line in lines] for name in lines[0]}, stocked)
    with np.load(source / "out.npz", allow_pickle=False) as file:
        check({name: file[name].tolist() for name in file.files}, stocked)
    assert not [path for path in source.iterdir() if path.name.endswith(batch_state.SUFFIX)]


def test_a_model_without_named_columns_takes_them_in_order_but_for_those_that_are_kept(stocked, source):
    registered.add_version(stocked, "unnamed", registered.classifier(source / "unnamed.onnx", columns=()))
    ask(stocked, source, reference="unnamed", kept=("id",))
    check(pa_parquet.read_table(source / "out.parquet").to_pydict(), stocked)
    for on_error in ("fail", "skip"):
        with pytest.raises(DataError, match=r"None of the first 32 rows .* 5 columns are left"):
            ask(stocked, source, output="other.parquet", reference="unnamed", on_error=on_error)


def test_progress_reaches_the_whole(stocked, source):
    watcher = Quiet()
    run_batch(BatchRequest("pets", source / "rows.csv", source / "out.csv"), stocked, watcher)
    rows = [rows for rows, _ in watcher.seen]
    assert rows[15] == 500
    assert watcher.seen[15][1] == pytest.approx(1.0)
    assert rows[:16] == sorted(rows[:16])


def test_outputs_are_given_as_they_are(stocked, source):
    ask(stocked, source, outputs=("scores",))
    found = pa_parquet.read_table(source / "out.parquet")
    assert found.column_names == ["scores"]
    np.testing.assert_allclose(np.array(found.column("scores").to_pylist(), np.float32), wanted(stocked)[1], rtol=1e-5)
    ask(stocked, source, output="out.csv", outputs=("scores",))
    first = json.loads(pa_csv.read_csv(source / "out.csv").column("scores")[0].as_py())
    np.testing.assert_allclose(first, wanted(stocked)[1][0], rtol=1e-5)


def test_a_model_that_decides_nothing_gives_its_outputs(stocked, source):
    ask(stocked, source, reference="scale", kept=("id", "c0"))
    found = pa_parquet.read_table(source / "out.parquet").to_pydict()
    np.testing.assert_allclose(np.array(found["y"], np.float32), (ROWS - 1) * 0.5, rtol=1e-6)
    np.testing.assert_array_equal(np.array(found["c0"], np.float32), ROWS[:, 0])


def test_missing_values_go_through_and_stay(stocked, tmp_path):
    rows = ROWS[:40].copy()
    rows[3, 1] = np.nan
    ids = [*IDS[:39], None]
    for name in ("rows.parquet", "rows.csv"):
        (pa_parquet.write_table if name.endswith("t") else pa_csv.write_csv)(table(rows, ids), tmp_path / name)
        for output in ("out.parquet", "out.csv", "out.jsonl"):
            ask(stocked, tmp_path, name, output, reference="scale", kept=("id",), allow_overwrite=True)
        found = pa_parquet.read_table(tmp_path / "out.parquet").to_pydict()
        assert found["id"] == ids
        assert np.isnan(found["y"][3][1])
        assert json.loads((tmp_path / "out.jsonl").read_text().splitlines()[3])["y"][1] is None
    with pytest.raises(DataError, match=r"missing values, which \.npz cannot hold"):
        ask(stocked, tmp_path, output="out.npz", reference="scale", kept=("id",))


def test_kept_columns_of_other_types_come_through_or_are_refused_at_the_begin(stocked, tmp_path):
    kinds = {
        "kind": pa.array(["a", "b", None] * 30 + ["c"] * 10).dictionary_encode(),
        "day": pa.array(np.arange(100).astype("datetime64[D]")),
        "pair": pa.array([[1, 2]] * 100),
        "whole": pa.array([1, None] * 50),
        "deep": pa.array([{"a": 1}] * 100),
    }
    pa_parquet.write_table(
        pa.table({**{f"c{place}": ROWS[:100, place] for place in range(4)}, **kinds}), tmp_path / "rows.parquet", row_group_size=33
    )
    ask(stocked, tmp_path, kept=tuple(kinds))
    found = pa_parquet.read_table(tmp_path / "out.parquet")
    for name, column in kinds.items():
        assert found.column(name).to_pylist() == column.to_pylist()
    ask(stocked, tmp_path, output="out.jsonl", kept=tuple(kinds))
    line = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[1])
    assert (line["kind"], line["day"], line["pair"], line["whole"], line["deep"]) == ("b", "1970-01-02", [1, 2], None, {"a": 1})
    ask(stocked, tmp_path, output="out.csv", kept=("kind", "day", "pair", "whole"))
    assert (tmp_path / "out.csv").read_text().splitlines()[2].startswith('"b",1970-01-02,"[1,2]",,')
    for output, name in (("x.csv", "deep"), ("x.npz", "deep"), ("x.npz", "whole"), ("x.npz", "kind")):
        with pytest.raises(DataError, match=r"cannot be written as|missing values|no form in \.npz"):
            ask(stocked, tmp_path, output=output, kept=(name,))
        assert not (tmp_path / f"{output}{batch_state.SUFFIX}").exists()


def test_scores_that_are_nan_decide_nothing(stocked, tmp_path):
    rows = ROWS[:40].copy()
    rows[7, 2] = np.nan
    pa_parquet.write_table(table(rows, IDS[:40]), tmp_path / "rows.parquet")
    for output in ("out.parquet", "out.csv"):
        ask(stocked, tmp_path, output=output)
    found = pa_parquet.read_table(tmp_path / "out.parquet").to_pydict()
    assert [place for place, label in enumerate(found["prediction"]) if label is None] == [7]
    assert np.isnan(found["score_cat"][7])
    assert (tmp_path / "out.csv").read_text().splitlines()[8] == ",nan,nan,nan"
    with pytest.raises(DataError, match="'prediction' has missing values"):
        ask(stocked, tmp_path, output="out.npz")


# Rows that do not fit.


def test_a_row_that_does_not_fit_stops_the_run_with_its_number(stocked, spoiled):
    with pytest.raises(DataError, match=r"Row 5 of 'rows\.csv' does not fit: Column 'c1' holds text"):
        ask(stocked, spoiled, "rows.csv")
    assert [path.name for path in spoiled.iterdir() if path.name.startswith("out")] == []


def test_rows_that_do_not_fit_are_left_out_and_listed(stocked, spoiled):
    done = ask(stocked, spoiled, "rows.csv", kept=("id",), on_error="skip")
    assert (done.rows_in, done.rows_out) == (500, 497)
    good = [number for number in range(500) if number not in (5, 77, 499)]
    check(pa_parquet.read_table(spoiled / "out.parquet").to_pydict(), stocked, [IDS[number] for number in good], ROWS[good])
    listed = [json.loads(line) for line in done.listed.read_text().splitlines()]
    assert [line["row"] for line in listed] == [5, 77, 499]
    assert "holds text ('two')" in listed[0]["error"]
    assert "infinity" in listed[2]["error"]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize("where", [0, 40, 99])
def test_a_date_or_a_truth_value_among_numbers_is_never_taken_for_a_number(stocked, tmp_path, suffix, where):
    lines = [{"id": number, **{f"c{place}": float(value) for place, value in enumerate(row)}} for number, row in enumerate(ROWS[:100])]
    lines[where]["c1"] = "2024-01-31"
    lines[(where + 7) % 100]["c2"] = True
    if suffix == ".csv":
        text = "\n".join(",".join(str(value).lower() for value in line.values()) for line in lines)
        (tmp_path / "rows.csv").write_text("id,c0,c1,c2,c3\n" + text)
    else:
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = ask(stocked, tmp_path, f"rows{suffix}", kept=("id",), on_error="skip")
    listed = {line["row"]: line["error"] for line in map(json.loads, done.listed.read_text().splitlines())}
    assert sorted(listed) == sorted([where, (where + 7) % 100])
    assert "holds dates, where other rows hold numbers" in listed[where]
    assert "holds true or false" in listed[(where + 7) % 100]


def test_rows_that_the_model_itself_refuses_are_found_too(stocked, tmp_path):
    index = np.arange(300) % 5
    index[[40, 41, 299]] = 7
    np.savez(tmp_path / "rows.npz", i=index, id=np.arange(300))
    done = ask(stocked, tmp_path, "rows.npz", reference="table", kept=("id",), on_error="skip")
    found = pa_parquet.read_table(tmp_path / "out.parquet").to_pydict()
    good = np.delete(np.arange(300), [40, 41, 299])
    assert found["id"] == good.tolist()
    np.testing.assert_array_equal(found["y"], np.arange(10).reshape(5, 2)[index[good]])
    assert [json.loads(line)["row"] for line in done.listed.read_text().splitlines()] == [40, 41, 299]
    with pytest.raises(DataError, match=r"Row 40 of .* index 7"):
        ask(stocked, tmp_path, "rows.npz", "other.parquet", reference="table")


def test_a_file_of_which_nothing_fits_is_not_a_file_with_wrong_rows(stocked, tmp_path):
    pa_parquet.write_table(pa.table({"other": [1.0] * 100}), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="None of the first 32 rows"):
        ask(stocked, tmp_path, on_error="skip")
    (tmp_path / "empty.csv").write_text("c0,c1,c2,c3\n")
    with pytest.raises(DataError, match="has no rows"):
        ask(stocked, tmp_path, "empty.csv")


def test_quotes_that_hide_where_rows_end_blame_no_row(stocked, tmp_path):
    head = "id,c0,c1,c2,c3\n"
    fine = '"a\nb, ""c""",1,2,3,4\n\n"d",1,2,3,4\r\n'
    (tmp_path / "rows.csv").write_text(head + fine)
    ask(stocked, tmp_path, "rows.csv", kept=("id",))
    assert pa_parquet.read_table(tmp_path / "out.parquet").column("id").to_pylist() == ['a\nb, "c"', "d"]
    for wrong, said in (('"never closed,1,2,3,4\nr,1,2,3,4\n', "never closed"), ('5" pipe,1,2,3,4\n6" pipe,1,2,3,4\n', "not quoted")):
        (tmp_path / "rows.csv").write_text(head + wrong)
        with pytest.raises(UnsupportedError, match=said):
            ask(stocked, tmp_path, "rows.csv", "other.parquet", on_error="skip")


def test_an_output_that_is_there_stays_unless_it_may_go(stocked, source):
    (source / "out.parquet").write_text("mine")
    with pytest.raises(SpecError, match="there already"):
        ask(stocked, source)
    assert (source / "out.parquet").read_text() == "mine"
    ask(stocked, source, allow_overwrite=True)
    check(pa_parquet.read_table(source / "out.parquet").to_pydict(), stocked, ids=None)


@pytest.mark.parametrize(
    ("said", "kind", "message"),
    [
        ({"output": "out.txt"}, SpecError, "not a format that answers are written in"),
        ({"output": "rows.csv", "source": "rows.csv", "allow_overwrite": True}, SpecError, "the same file"),
        ({"output": "no/such/out.csv"}, SpecError, "no folder"),
        ({"source": "none.csv"}, DataError, "no data file"),
        ({"source": "rows.txt"}, DataError, "not a data format"),
        ({"kept": ("none",)}, DataError, "no column 'none' to keep"),
        ({"kept": ("id", "id")}, SpecError, "Two columns would be called 'id'"),
        ({"outputs": ("none",)}, Exception, "no output 'none'"),
        ({"on_error": "ignore"}, SpecError, "no rule for rows"),
        ({"reference": "scale", "output": "out.npz", "kept": ("y",)}, SpecError, "Two columns would be called 'y'"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_done(stocked, source, said, kind, message):
    (source / "rows.txt").write_text("x")
    before = sorted(path.name for path in source.iterdir())
    with pytest.raises(kind, match=message):
        ask(stocked, source, **said)
    assert sorted(path.name for path in source.iterdir()) == before
