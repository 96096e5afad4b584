"""Every row is answered once, in the order of the file, whatever the format, the chunk size, and however often the run was killed."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet
import pytest
import registered

from fairlead.app import batch, batch_state
from fairlead.app.batch import BatchInterrupted, BatchRequest, run_batch
from fairlead.app.load import open_model
from fairlead.errors import ConflictError, CorruptError, DataError, NoSpaceError, SpecError, UnavailableError, UnsupportedError

ROWS = np.random.default_rng(4).normal(size=(500, 4)).astype(np.float32)
IDS = [f"r{number}" for number in range(500)]


class Quiet:
    """Watches nothing, but counts."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, float]] = []
        self.said: list[str] = []

    def step(self, text):
        pass

    def done(self, text):
        self.said.append(text)

    def advance(self, rows, fraction):
        self.seen.append((rows, fraction))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(batch, "_CHUNK_ROWS", 32)
    monkeypatch.setattr(batch, "_BATCH_ROWS", 10)


def table(rows=ROWS, ids=IDS) -> pa.Table:
    return pa.table({"id": ids} | {f"c{place}": rows[:, place] for place in range(4)})


@pytest.fixture
def source(tmp_path):
    """The rows as every format that is read."""
    pa_parquet.write_table(table(), tmp_path / "rows.parquet", row_group_size=70)
    pa_csv.write_csv(table(), tmp_path / "rows.csv")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table().to_pylist()))
    np.savez_compressed(tmp_path / "rows.npz", x=ROWS, id=np.array(IDS))
    np.save(tmp_path / "rows.npy", ROWS)
    return tmp_path


def ask(house, folder, source="rows.parquet", output="out.parquet", reference="pets", **said):
    request = BatchRequest(reference, folder / source, folder / output, **said)
    return run_batch(request, house, Quiet())


def wanted(house, rows=ROWS, reference="pets"):
    with open_model(reference, house) as model:
        return model.predict_labels(rows).tolist(), model.predict(rows)


def check(found: dict, house, ids=IDS, rows=ROWS) -> None:
    labels, scores = wanted(house, rows)
    assert found["prediction"] == labels
    for place, label in enumerate(("cat", "dog", "owl")):
        np.testing.assert_allclose(np.asarray(found[f"score_{label}"], np.float32), scores[:, place], rtol=1e-5)
    if ids is not None:
        assert found["id"] == ids


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
        with pytest.raises(DataError, match=r"None of the first 32 rows .* The table has 5 columns"):
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


@pytest.fixture
def spoiled(tmp_path):
    """Rows 5, 77 and 499 do not fit: text in a number's place, a field too many, infinity."""
    lines = ["id,c0,c1,c2,c3"] + [f"r{number},{','.join(str(value) for value in row)}" for number, row in enumerate(ROWS)]
    lines[1 + 5] = "r5,1,two,3,4"
    lines[1 + 77] = "r77,1,2,3,4,5"
    lines[1 + 499] = "r499,1,2,inf,4"
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


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


# Going on.


def stopped_after(chunks: int, house, folder, **said):
    """Run until so many chunks are done, then stop as Ctrl-C does."""
    asked = [0]

    def is_stopped():
        asked[0] += 1
        return asked[0] >= chunks

    with pytest.raises(BatchInterrupted, match=r"Interrupted after [\d,]+ rows\. Go on with the same command and --resume"):
        ask(house, folder, is_stopped=is_stopped, **said)


@pytest.mark.parametrize(
    ("source_name", "output"),
    [("rows.parquet", "out.npz"), ("rows.csv", "out.parquet"), ("rows.jsonl", "out.csv"), ("rows.npz", "out.jsonl")],
)
def test_an_interrupted_run_goes_on_and_gives_the_same_bytes(stocked, source, source_name, output):
    ask(stocked, source, source_name, output, kept=("id",))
    whole = (source / output).read_bytes()
    (source / output).unlink()
    said = {"source": source_name, "output": output, "kept": ("id",)}
    stopped_after(3, stocked, source, **said)
    assert not (source / output).exists()
    stopped_after(5, stocked, source, **said, is_resumed=True)
    done = ask(stocked, source, **said, is_resumed=True)
    assert done.resumed_rows == 8 * 32
    assert (source / output).read_bytes() == whole


def test_an_interrupted_run_is_neither_overwritten_nor_taken_for_another(stocked, source, tmp_path):
    stopped_after(3, stocked, source)
    with pytest.raises(ConflictError, match="was interrupted"):
        ask(stocked, source)
    for said, what in (
        ({"reference": "scale"}, "another model"),
        ({"source": "rows.csv"}, "another input"),
        ({"on_error": "skip"}, "another set of options"),
        ({"kept": ("id",)}, "another set of options"),
    ):
        with pytest.raises(ConflictError, match=what):
            ask(stocked, source, is_resumed=True, **said)
    registered.add_version(stocked, "pets", registered.classifier(tmp_path / "newer.onnx", seed=9))
    with pytest.raises(ConflictError, match=r"another model: pets:1 .* instead of pets:2"):
        ask(stocked, source, is_resumed=True)
    assert ask(stocked, source, is_resumed=True, reference="pets:1").resumed_rows == 96


def test_resuming_where_nothing_was_begun_begins(stocked, source):
    assert ask(stocked, source, is_resumed=True).resumed_rows == 0


def test_a_part_that_was_changed_is_not_believed(stocked, source):
    stopped_after(3, stocked, source)
    part = source / "out.parquet.unfinished" / "part-000000.arrows"
    damaged = bytearray(part.read_bytes())
    damaged[-20] ^= 1
    part.write_bytes(damaged)
    with pytest.raises(CorruptError, match="part-000000"):
        ask(stocked, source, is_resumed=True)


def test_two_runs_do_not_write_one_output(stocked, source):
    with batch_state.BatchState(source / "out.parquet") as first:
        first.open({"a": "b"}, is_resumed=False)
        with pytest.raises(ConflictError, match="Another run is writing"):
            ask(stocked, source)


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


def test_a_full_disk_says_so_and_the_run_goes_on_when_there_is_room(stocked, source, monkeypatch):
    monkeypatch.setattr(batch_state, "_PART_S", 0.0)
    real, count = batch_state._sync, [0]

    def full(path):
        count[0] += 1
        if count[0] == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path)

    monkeypatch.setattr(batch_state, "_sync", full)
    with pytest.raises(NoSpaceError, match="No space is left for the answers"):
        ask(stocked, source, kept=("id",))
    assert ask(stocked, source, kept=("id",), is_resumed=True).resumed_rows == 96
    check(pa_parquet.read_table(source / "out.parquet").to_pydict(), stocked)


def test_an_engine_that_fails_leaves_a_run_to_go_on_with(stocked, source, monkeypatch):
    from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine

    monkeypatch.setattr(batch_state, "_PART_S", 0.0)
    real, count = OnnxRuntimeEngine.run, [0]

    def dies(self, inputs, outputs=()):
        count[0] += 1
        if count[0] == 30:
            raise UnavailableError("The runtime failed.")
        return real(self, inputs, outputs)

    monkeypatch.setattr(OnnxRuntimeEngine, "run", dies)
    with pytest.raises(UnavailableError):
        ask(stocked, source, kept=("id",))
    monkeypatch.setattr(OnnxRuntimeEngine, "run", real)
    assert ask(stocked, source, kept=("id",), is_resumed=True).resumed_rows > 0
    check(pa_parquet.read_table(source / "out.parquet").to_pydict(), stocked)


def test_a_file_that_changes_while_it_is_read_is_refused(stocked, source):
    def is_stopped():
        os.utime(source / "rows.csv", ns=(1, 1))
        return False

    with pytest.raises(DataError, match="was changed while it was read"):
        ask(stocked, source, "rows.csv", is_stopped=is_stopped)
    assert not (source / "out.parquet").exists()


KILLED = """
import os, sys
from pathlib import Path
from fairlead.app import batch, batch_state
from fairlead.app.wiring import build_house
batch._CHUNK_ROWS, batch_state._PART_S = 32, 0.0
left = int(sys.argv[3])
def counted(name, real):
    def call(*arguments, **named):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), 9)
        return real(*arguments, **named)
    return call
# Killed before each call that changes the disk or makes a change durable.
os.fsync = counted("fsync", os.fsync)
Path.replace = counted("replace", Path.replace)
Path.mkdir = counted("mkdir", Path.mkdir)
batch_state.shutil.rmtree = counted("rmtree", batch_state.shutil.rmtree)
batch_state.BatchState.add = counted("add", batch_state.BatchState.add)
class Quiet:
    step = done = lambda self, text: None
    advance = lambda self, rows, fraction: None
folder = Path(sys.argv[1])
request = batch.BatchRequest("pets", folder / "rows.csv", folder / "out.csv", ("id",), on_error="skip", is_resumed=True)
batch.run_batch(request, build_house(sys.argv[2]), Quiet())
print("calls left", left)
"""


def killed_run(folder: Path, home: Path, at: int) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", KILLED, str(folder), str(home), str(at)], check=False, capture_output=True, text=True, timeout=120
    )


@pytest.mark.slow
def test_a_run_killed_again_and_again_gives_what_an_undisturbed_run_gives(stocked, spoiled):
    lines = (spoiled / "rows.csv").read_text().splitlines(keepends=True)
    (spoiled / "rows.csv").write_text("".join(lines[:200]))
    home = stocked.settings.home
    undisturbed = killed_run(spoiled, home, 10**9)
    calls = 10**9 - int(undisturbed.stdout.split()[-1])
    assert undisturbed.returncode == 0
    assert calls > 30
    whole, listed = ((spoiled / name).read_bytes() for name in ("out.csv", "out.csv.errors.jsonl"))
    (spoiled / "out.csv").unlink()
    (spoiled / "out.csv.errors.jsonl").unlink()
    kills = 0
    for at in (3, 7, 5):  # each run dies at another place, and the next goes on from there
        killed = killed_run(spoiled, home, at)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert not (spoiled / "out.csv").exists()
        kills += 1
    while (last := killed_run(spoiled, home, 14)).returncode == -signal.SIGKILL and not (spoiled / "out.csv").exists():
        kills += 1
        assert kills < 40
    if last.returncode == -signal.SIGKILL:  # it died between the output's rename and the end: the output is whole all the same
        assert (spoiled / "out.csv").exists()
    assert (spoiled / "out.csv").read_bytes() == whole
    assert (spoiled / "out.csv.errors.jsonl").read_bytes() == listed


@pytest.mark.slow
def test_the_command_stops_at_ctrl_c_and_goes_on(stocked, tmp_path):
    rows = np.random.default_rng(0).normal(size=(400_000, 4)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", x=rows)
    command = [
        sys.executable,
        "-m",
        "fairlead",
        "batch",
        "pets",
        "--input",
        str(tmp_path / "rows.npz"),
        "--output",
        str(tmp_path / "out.npz"),
    ]
    environment = os.environ | {"FAIRLEAD_HOME": str(stocked.settings.home)}
    running = subprocess.Popen([*command, "--workers", "1"], env=environment, stderr=subprocess.PIPE, text=True)
    folder = tmp_path / "out.npz.unfinished"
    until = time.monotonic() + 60
    while not list(folder.glob("part-*")):
        assert time.monotonic() < until
        assert running.poll() is None
        time.sleep(0.002)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    if running.returncode != 0:  # else it was faster than the signal
        assert running.returncode == 130
        assert "Go on with the same command and --resume" in said
        assert not (tmp_path / "out.npz").exists()
        again = subprocess.run([*command, "--resume"], check=False, capture_output=True, text=True, env=environment, timeout=120)
        assert again.returncode == 0, again.stderr
    with np.load(tmp_path / "out.npz") as file:
        assert file["prediction"].shape == (400_000,)
        np.testing.assert_allclose(file["score_cat"][::1000], wanted(stocked, rows)[1][::1000, 0], rtol=1e-5)
