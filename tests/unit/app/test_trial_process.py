"""Trials in processes of their own: whatever a pass does there is an end with its reason, and nothing else."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import search_models

from fairlead.app.trial_process import TrialEnd, TrialJob, TrialPool
from fairlead.core.artifact import Artifact, ArtifactForm, SourceFormat
from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.lineage import Step
from fairlead.core.manifest import Manifest
from fairlead.engines.tensor_file import read_tensors, write_tensors
from fairlead.security.digests import digest_file
from fairlead.stores.document import dump, load

INTERFACE = Interface((TensorSpec("x", DType.FP32, (None, 8)),), (TensorSpec("y", DType.FP32, (None, 3)),))


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    import numpy as np

    folder = tmp_path / "shared"
    folder.mkdir()
    model = search_models.network(tmp_path / "model.onnx")
    artifact = Artifact(SourceFormat.ONNX, ArtifactForm.ONNX_FILE, model, model, Manifest(()), "onnx", INTERFACE)
    (folder / "interface.json").write_bytes(dump(INTERFACE))
    (folder / "artifact.json").write_bytes(dump(artifact))
    write_tensors(folder / "selection.npz", {"x": np.ones((5, 8), np.float32)})
    return folder


def job(shared: Path, *passes: str, name: str = "one", limit_s: float = 120.0, **more) -> TrialJob:
    folder = shared.parent / name
    return TrialJob(name, shared.parent / "model.onnx", passes, 0, folder, shared, seed=0, time_s=60.0, limit_s=limit_s, **more)


def run(one: TrialJob) -> TrialEnd:
    pool = TrialPool(1)
    try:
        pool.start(one)
        return pool.wait()
    finally:
        pool.close()


def test_a_trial_applies_its_passes_and_runs_what_they_made(shared: Path) -> None:
    end = run(job(shared, "clean_graph", "store_fp16"))

    assert end.reason == ""
    assert end.finished_count == 2
    assert {"0.onnx", "0.json", "1.onnx", "1.json", "outputs.npz"} <= {path.name for path in end.job.folder.iterdir()}
    assert read_tensors(end.job.folder / "outputs.npz")["y"].shape == (5, 3)


def test_a_pass_that_refuses_the_model_says_so_and_what_came_before_is_kept(shared: Path) -> None:
    end = run(job(shared, "store_fp16", "merge_splits"))

    assert end.is_refused
    assert "no tree ensembles" in end.reason
    assert end.finished_count == 1


def test_a_pass_with_nothing_left_to_do_behind_others_is_left_out_and_it_is_said(shared: Path) -> None:
    said: list[str] = []
    pool = TrialPool(1, lambda _name, line: said.append(line))
    pool.start(job(shared, "clean_graph", "quantize_weights_nbits", "store_fp16"))
    try:
        end = pool.wait()
    finally:
        pool.close()

    assert (end.reason, end.finished_count) == ("", 3)
    steps = [load((end.job.folder / f"{number}.json").read_bytes(), Step) for number in range(3)]
    assert steps[1].input_digest == steps[1].output_digest == digest_file(end.job.folder / "1.onnx")
    assert "left out: The model has no products with stored weights" in steps[1].notes[0]
    assert any(line.startswith("quantize_weights_nbits is left out") for line in said)


def test_a_pass_that_would_do_nothing_alone_is_refused(shared: Path) -> None:
    end = run(job(shared, "quantize_weights_nbits"))

    assert end.is_refused
    assert end.reason


def test_a_pass_that_takes_too_long_is_ended(shared: Path) -> None:
    end = run(job(shared, "clean_graph", limit_s=0.05))

    assert end.is_late
    assert "longer than" in end.reason


def test_a_pass_that_takes_too_much_memory_fails_alone(shared: Path) -> None:
    end = run(job(shared, "clean_graph", memory_bytes=30 * 2**20))

    assert end.reason
    assert end.finished_count == 0


@pytest.mark.parametrize(("number", "said"), [(signal.SIGSEGV, "segmentation fault"), (signal.SIGKILL, "out of memory")])
def test_a_crash_is_an_end_with_its_reason(shared: Path, number: signal.Signals, said: str) -> None:
    pool = TrialPool(1)
    try:
        pool.start(job(shared, "clean_graph"))
        os.kill(pool._running[0].process.pid, number)
        end = pool.wait()
    finally:
        pool.close()

    assert said in end.reason


def test_a_pass_that_does_not_exist_is_a_failed_trial(shared: Path) -> None:
    assert "no pass 'melt'" in run(job(shared, "melt")).reason


def test_two_run_at_once_and_stand_still_while_something_is_timed(shared: Path) -> None:
    pool = TrialPool(2)
    try:
        pool.start(job(shared, "clean_graph", name="one"))
        assert pool.has_room
        pool.start(job(shared, "store_fp16", name="two"))
        assert not pool.has_room
        with pool.paused():
            states = [_state(one.process.pid) for one in pool._running]
            assert states == ["T", "T"]
        ends = {pool.wait().job.name, pool.wait().job.name}
    finally:
        pool.close()

    assert ends == {"one", "two"}
    assert pool.is_idle
    with pytest.raises(ValueError, match="no trial"):
        pool.wait()


def _state(process: int) -> str:
    deadline = time.monotonic() + 10
    while True:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        if state == "T" or time.monotonic() > deadline:
            return state


def test_closing_leaves_no_process(shared: Path) -> None:
    pool = TrialPool(2)
    pool.start(job(shared, "clean_graph"))
    process = pool._running[0].process

    pool.close()

    assert process.poll() is not None
