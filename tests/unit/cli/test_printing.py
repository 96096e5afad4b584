"""Progress in a log: a line when a step ends, and now and then one that says how far it is."""

from __future__ import annotations

import pytest

from fairlead.cli import printing
from fairlead.cli.printing import StepProgress


def test_a_step_that_tells_much_stays_readable_in_a_log(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    monkeypatch.setattr(printing.time, "perf_counter", lambda: now[0])
    progress = StepProgress()
    progress.step("trial 1: prune_structured")
    for second in range(25):
        now[0] = float(second)
        progress.tell(f"epoch {second}")
    progress.done("0.1 MB")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[-1] for line in lines[:-1]] == ["10", "20"]
    assert lines[-1].split() == ["trial", "1", "0.1", "MB", "24.0", "s"]


def test_nothing_is_told_where_json_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    progress = StepProgress(is_silent=True)
    progress._every_s = 0.0
    progress.step("trial 1")
    progress.tell("epoch 1")
    progress.done("done")
    assert capsys.readouterr().err == ""
