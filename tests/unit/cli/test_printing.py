"""Progress in a log: a line when a step ends, and now and then one that says how far it is."""

from __future__ import annotations

import os

import click
import pytest
from click.testing import CliRunner

from fairlead.cli import printing
from fairlead.cli.printing import StepProgress, home_option
from fairlead.settings import load_settings


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


def test_what_is_said_for_this_run_counts_more_than_a_file_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    @home_option
    def command(home: str | None) -> None:
        click.echo(load_settings().registry)

    monkeypatch.setenv("FAIRLEAD_REGISTRY_FILE", "/no/such/file")
    result = CliRunner().invoke(command, ["--registry", "postgresql://here/models"])
    assert result.output == "postgresql://here/models\n"
    assert os.environ["FAIRLEAD_REGISTRY_FILE"] == "/no/such/file"
    assert "FAIRLEAD_REGISTRY" not in os.environ
