"""`fairlead optimize` as a user types it: what is found, what is written, what is refused, what a stopped search leaves."""

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
import pytest
import search_models

from fairlead.app import optimize_model, search_measure, search_model, search_setup, search_trials, trial_process
from fairlead.cli.main import run
from fairlead.core.paired import Comparison, Outcome
from fairlead.core.search import PointStatus, SearchResult
from fairlead.security.digests import digest_file
from fairlead.stores.document import load

CHEAP = "clean_graph,store_fp16,store_int8"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    model = search_models.network(folder / "m.onnx")
    search_models.rows(folder / "data.npz", model)
    search_models.rows(folder / "one.npz", model, labels="one")
    search_models.rows(folder / "few.npz", model, count=60)
    search_models.rows(folder / "train.npz", model, count=200, seed=2)
    search_models.rows(folder / "train-one.npz", model, count=200, seed=2, labels="one")
    with np.load(folder / "train.npz") as train:
        np.savez(folder / "narrow.npz", x=train["x"][:, :5], y=train["y"])
    return folder


@pytest.fixture(autouse=True)
def equally_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model is faster than another, so that the smaller one is better: which of two tiny ones is, depends on the machine."""
    monkeypatch.setattr(search_measure, "decide_faster", lambda *_: Comparison(1.0, 0.99, 1.01, Outcome.EQUAL, 12))


def optimize(files: Path, out: Path, *more: str, data: str = "data.npz") -> int:
    rows = ["--data", str(files / data)] if data else []
    return run(["optimize", str(files / "m.onnx"), *rows, "--out", str(out), "--budget", "10m", *more])


def result(out: Path) -> SearchResult:
    return load((out / "search.json").read_bytes(), SearchResult)


@pytest.mark.slow
def test_the_best_is_written_with_all_that_was_found(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"

    assert optimize(files, out, "--passes", CHEAP, "--require", "accuracy_drop<=0.05") == 0

    printed, found = capsys.readouterr().out, result(out)
    assert found.best == "store_int8"
    assert "store_int8" in printed
    assert found.digests["best"] == digest_file(out / "best" / "model.onnx")
    assert (out / "best" / "model.onnx").stat().st_size < (files / "m.onnx").stat().st_size / 3
    best = found.point("store_int8")
    assert best is not None
    assert best.status is PointStatus.KEPT
    assert best.values["accuracy_drop"] <= 0.05
    assert "250 rows choose between the trials, the other 250 give the verdict" in found.rows
    assert set(found.pareto) <= {point.candidate.name for point in found.points if point.status is PointStatus.KEPT}
    assert json.loads((out / "verdict.json").read_bytes())["row_count"] == 250
    assert (out / "report.html").read_text().count("store_int8") > 1


@pytest.mark.slow
def test_the_script_makes_the_same_model_again_and_a_resumed_search_makes_none(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ("--passes", "store_fp16,store_int8", "--require", "accuracy_drop<=0.05")
    assert optimize(files, tmp_path / "first", *more) == 0
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    command = ["sh", str(tmp_path / "first" / "reproduce.sh"), str(tmp_path / "again")]
    done = subprocess.run(command, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "OK" in done.stdout
    monkeypatch.setattr(search_trials.TrialPool, "start", lambda *_: pytest.fail("a trial was made again"))
    assert optimize(files, tmp_path / "second", *more, "--resume") == 0
    first, second = result(tmp_path / "first"), result(tmp_path / "second")
    assert {point.candidate.name for point in second.points} == {point.candidate.name for point in first.points}
    assert second.digests == first.digests


@pytest.mark.slow
def test_a_search_that_was_killed_goes_on_and_leaves_no_process(files: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fairlead", "optimize", str(files / "m.onnx"), "--data", str(files / "data.npz")]
    command += ["--out", str(tmp_path / "out"), "--budget", "10m"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    while "trial 2" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert not (tmp_path / "out").exists()

    deadline = time.monotonic() + 30
    while _trials_of(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    done = subprocess.run([*command, "--passes", "store_fp16", "--resume"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _trials_of(session: int) -> list[str]:
    """Processes that the killed one started: each leads a session of its own, and names it as its parent."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(status.read_text().rpartition(")")[2].split()[1]) == session:
                found.append(status.parent.name)
        except (OSError, ValueError):
            continue
    return found


@pytest.mark.slow
def test_an_interrupted_search_says_what_it_has_and_how_to_go_on(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wait, count = search_trials.TrialPool.wait, iter(range(100))

    def interrupted(pool: search_trials.TrialPool):
        if next(count) == 2:
            raise KeyboardInterrupt
        return wait(pool)

    monkeypatch.setattr(search_trials.TrialPool, "wait", interrupted)

    assert optimize(files, tmp_path / "out", "--passes", CHEAP) == 130

    said = capsys.readouterr().err
    assert "Interrupted after" in said
    assert "--resume" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_where_nothing_keeps_the_promise_the_smallest_relaxation_is_named(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"

    assert optimize(files, out, "--passes", CHEAP, "--require", "accuracy_drop<=0.05", "--require", "size_mb<=0.001") == 4

    said = capsys.readouterr().err
    assert "--require 'size_mb<=0.003" in said
    assert result(out).points
    assert (out / "report.html").exists()


@pytest.mark.slow
def test_a_quality_that_the_model_itself_lacks_is_said_and_nothing_is_lost(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"

    assert optimize(files, out, "--passes", "store_fp16", "--require", "accuracy>=0.9999") == 4

    said = capsys.readouterr().err
    lowest = json.loads((out / "verdict.json").read_bytes())["quality"][0]["candidate"]
    assert f"--require 'accuracy>={lowest:.3g}'" in said  # what the rows of the verdict showed, and not those that chose
    assert result(out).best == "as-converted"
    assert (out / "report.html").exists()


@pytest.mark.slow
def test_more_threads_and_settings_of_the_session_are_tried_and_undone_where_they_do_not_pay(files: Path, tmp_path: Path) -> None:
    assert optimize(files, tmp_path / "out", "--passes", "clean_graph", "--cores", "2") == 0

    found = result(tmp_path / "out")
    assert found.best == "as-converted"  # of equally fast ones the plainest
    threads = found.point("as-converted, 2 threads")
    assert threads is not None
    assert threads.candidate.thread_count == 2
    tuned = [point for point in found.points if point.candidate.session]
    assert {point.candidate.session for point in tuned} >= {("graph=extended",), ("arena=off",)}
    assert all(point.reason.startswith("the setting does not pay") for point in tuned)


@pytest.mark.slow
def test_reasons_that_a_model_has_to_keep_are_measured_while_searching(files: Path, tmp_path: Path) -> None:
    more = ("--passes", "distill_linear", "--require", "accuracy_drop<=0.9", "--require", "explanation_agreement>=0.99")

    assert optimize(files, tmp_path / "out", *more) == 0

    found = result(tmp_path / "out")
    assert found.best == "as-converted"
    before, linear = found.point("as-converted"), found.point("distill_linear")
    assert before is not None
    assert linear is not None
    assert before.values["explanation_agreement"] == 1.0
    assert linear.values["accuracy_drop"] <= 0.9
    assert linear.values["explanation_agreement"] < 0.99
    assert linear.status is PointStatus.REJECTED
    assert linear.reason.startswith("explanation_agreement is")


@pytest.mark.slow
def test_passes_are_applied_as_given(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert optimize(files, tmp_path / "out", "--apply", "clean_graph,store_fp16", "--json") == 0

    printed = json.loads(capsys.readouterr().out)
    assert printed["search"]["best"] == "clean_graph + store_fp16"
    assert [step["tool"] for step in json.loads((tmp_path / "out" / "lineage.json").read_bytes())["steps"]][-2:] == [
        "clean_graph",
        "store_fp16",
    ]


@pytest.mark.slow
def test_few_rows_choose_and_judge_and_it_is_said(files: Path, tmp_path: Path) -> None:
    assert optimize(files, tmp_path / "out", "--passes", "store_fp16", data="few.npz") == 0

    assert any(note.startswith("the same 60 rows choose and give the verdict") for note in result(tmp_path / "out").rows)


@pytest.mark.parametrize(
    ("more", "data", "status", "said"),
    [
        (["--passes", "store_fp61"], "data.npz", 3, "Did you mean 'store_fp16'?"),
        (["--passes", "store_fp16(block=3)"], "data.npz", 2, "has no setting 'block'"),
        (["--passes", "prune_trees"], "data.npz", 3, "it is for trees"),
        (["--passes", "prune_structured"], "data.npz", 3, "no rows to train on"),
        (["--passes", "store_fp16"], "", 3, "without rows nothing tells how much"),
        (["--passes", "store_fp16", "--apply", "store_fp16"], "data.npz", 2, "give one of them"),
        (["--budget", "10x"], "data.npz", 2, "Write it like 90s"),
        (["--budget", "0.1s", "--passes", CHEAP], "data.npz", 2, "too short for one trial"),
        ([], "one.npz", 3, "are of one class"),
        (["--train", "data.npz"], "data.npz", 3, "are also among the training rows"),
        (["--train", "train-one.npz"], "data.npz", 3, "All 200 training rows are of one class, 0"),
        (["--train", "narrow.npz"], "data.npz", 3, "narrow.npz"),
        (["--train", "absent.npz"], "data.npz", 3, "absent.npz"),
        ([], "narrow.npz", 3, "narrow.npz"),
        (["--require", "accuracy>=2"], "data.npz", 2, "lies between"),
        (["--require", "accuracy_drop<=1"], "data.npz", 2, "every model keeps it"),
        (["--require", "size_mb<=1", "--require", "size_mb<=2"], "data.npz", 2, "bound the same thing twice"),
        (["--require", "accuracy>=0.9"], "", 2, "needs rows with right answers"),
    ],
)
def test_bad_input_is_refused_with_what_to_do(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], data: str, status: int, said: str
) -> None:
    given = [str(files / word) if word.endswith(".npz") else word for word in more]

    assert optimize(files, tmp_path / "out", *given, data=data) == status

    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_not_written_into(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")

    assert optimize(files, tmp_path) == 2
    assert "not an empty folder" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_said_before_the_search(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("no folder")
    assert optimize(files, tmp_path / "file" / "out") == 2
    assert "Not a directory" in capsys.readouterr().err
    assert optimize(files, Path("/proc/out")) == 2
    assert "Nothing can be written to '/proc/out'" in capsys.readouterr().err


def test_folders_that_were_made_to_see_whether_they_can_be_are_taken_away(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(optimize_model.tempfile, "TemporaryFile", full)

    assert optimize(files, tmp_path / "new" / "out") == 2
    assert "No space left on device" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_a_pass_that_crashes_the_runtime_is_a_failed_trial_and_the_others_go_on(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    crash = (
        "import os, signal, sys; sys.path.append(sys.argv[1]); from fairlead.optimize import stage; real = stage.optimize;"
        "stage.optimize = lambda one, *more: os.kill(os.getpid(), signal.SIGSEGV) if 'fp16' in one.name else real(one, *more);"
        "from fairlead.app.trial_child import main; main()"
    )
    monkeypatch.setattr(trial_process, "_BOOT", crash)

    assert optimize(files, tmp_path / "out", "--passes", "store_fp16,store_int8", "--require", "accuracy_drop<=0.05") == 0

    found = result(tmp_path / "out")
    assert found.best == "store_int8"
    crashed = found.point("store_fp16")
    assert crashed is not None
    assert (crashed.status, crashed.reason) == (PointStatus.FAILED, "it crashed (segmentation fault)")
    assert "store_fp16: failed: it crashed" in capsys.readouterr().err


@pytest.mark.slow
def test_who_interrupts_the_verdict_is_told_what_is_kept(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(search_model, "prove", interrupted)

    assert optimize(files, tmp_path / "out", "--passes", "store_int8") == 130

    said = capsys.readouterr().err
    assert "Interrupted after 1 trial; what it showed is kept; the best so far: store_int8" in said
    assert "--resume" in said


def test_a_pass_whose_extra_is_not_installed_is_said_with_the_command_that_brings_it(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_setup, "find_spec", lambda name: None if name == "torch" else object())

    assert optimize(files, tmp_path / "out", "--train", str(files / "train.npz"), "--passes", "prune_structured") == 8

    assert "pip install 'fairlead[torch]'" in capsys.readouterr().err
