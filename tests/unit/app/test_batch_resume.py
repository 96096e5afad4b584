"""However often a run is stopped or killed, it goes on where it was, and gives what an undisturbed run gives."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pa_parquet
import pytest
import registered
from batch_asks import ask, check, wanted, write_source, write_spoiled

from fairlead.app import batch, batch_state
from fairlead.app.batch import BatchInterrupted
from fairlead.errors import ConflictError, CorruptError, DataError, NoSpaceError, UnavailableError


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
