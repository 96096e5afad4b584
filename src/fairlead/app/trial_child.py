"""The child's side of a trial: applies passes one by one, and runs what they made on the selection rows.

Takes a job as JSON on stdin (see `trial_process.TrialJob`); writes `<n>.onnx` and `<n>.json` (the lineage step) per pass and `outputs.npz`
into the job's folder, and a JSON line per event to stdout: {"report"}, {"finished"}, {"error", "kind"}. A pass may crash, hang or take all
memory here: nothing but this process is lost. It opens Fairlead's own files only.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fairlead.app.rebuilding import rebuilder
from fairlead.app.wiring import build_sandbox
from fairlead.core.artifact import Artifact
from fairlead.core.dataset import Dataset
from fairlead.core.interface import Interface
from fairlead.core.lineage import Step
from fairlead.core.pass_use import parse_pass
from fairlead.core.plan import Candidate
from fairlead.engines.opening import open_engine
from fairlead.engines.tensor_file import read_tensors, write_tensors
from fairlead.errors import FairleadError, IdlePassError
from fairlead.optimize.job import Supplies
from fairlead.optimize.stage import optimize
from fairlead.security import kernel
from fairlead.security.digests import digest_file
from fairlead.settings import load_settings
from fairlead.stores.document import dump, load
from fairlead.verify.run_rows import run_in_pieces

_OUT_OF_MEMORY = "it takes more memory than this machine has to spare"


def tell(**event: Any) -> None:
    """Say one thing to the parent."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Do the job that stands on stdin."""
    job = json.load(sys.stdin)
    _confine(job)
    try:
        _work(job)
    except FairleadError as error:
        tell(error=error.message, hint=error.hint, kind=error.code)
    except MemoryError:
        tell(error=_OUT_OF_MEMORY, hint="", kind="memory")


def _confine(job: Mapping[str, Any]) -> None:
    """End with the parent, stay within memory, and be the first that the system ends where memory is short."""
    if kernel.has_linux():
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != job["parent"]:
            os._exit(1)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    if job["memory_bytes"]:
        resource.setrlimit(resource.RLIMIT_DATA, (job["memory_bytes"], job["memory_bytes"]))


def _work(job: Mapping[str, Any]) -> None:
    shared, folder = Path(job["shared"]), Path(job["folder"])
    interface = load((shared / "interface.json").read_bytes(), Interface)
    sandbox = build_sandbox(load_settings())
    supplies = Supplies(
        rows=_tensors(shared / "calibration.npz"),
        training=_dataset(shared / "training.npz"),
        interface=interface,
        artifact=load((shared / "artifact.json").read_bytes(), Artifact),
        sandbox=sandbox,
        rebuild=rebuilder(sandbox),
        seed=job["seed"],
        thread_count=job["thread_count"],
        time_s=job["time_s"],
        report=lambda line: tell(report=line),
    )
    current = Path(job["source"])
    for number, text in enumerate(job["passes"], job["first"]):
        candidate = Candidate(text, (text,), "onnxruntime", 1, "")
        written = folder / f"{number}.onnx"
        try:
            made, (step,) = optimize(candidate, current, folder / f"pass-{number}", supplies)
            made.replace(written)
        except IdlePassError as error:
            if job["first"] + len(job["passes"]) == 1:
                raise  # alone, there is nothing to try
            shutil.copyfile(current, written)
            step = _skipped(text, written, error)
        current = written
        (folder / f"{number}.json").write_bytes(dump(step))
        tell(finished=number)
    engine = open_engine("onnxruntime", current, interface)
    write_tensors(folder / "outputs.npz", run_in_pieces(engine, read_tensors(shared / "selection.npz")))
    tell(ran=True)


def _skipped(text: str, model: Path, error: IdlePassError) -> Step:
    """The step of a pass that has nothing left to do behind others; said in the report and in the lineage."""
    tell(report=f"{text} is left out: {error.message}")
    digest = digest_file(model)
    return Step("optimize", parse_pass(text).name, digest, digest, {}, {}, (f"left out: {error.message}",))


def _tensors(path: Path) -> dict[str, Any] | None:
    return read_tensors(path) if path.exists() else None


def _dataset(path: Path) -> Dataset | None:
    """Training rows: their answers lie under the name that no input has."""
    if not path.exists():
        return None
    tensors = read_tensors(path)
    answers = tensors.pop("", None)
    return replace(Dataset(tensors), target=answers)


if __name__ == "__main__":
    main()
