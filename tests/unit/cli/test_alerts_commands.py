import json
from pathlib import Path

import pytest
import yaml

from fairlead.cli.main import run


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_receivers_silences_and_policies_are_added_listed_and_removed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["alerts", "add", "command", "true", "--for", "severity=critical", "--json"]) == 0
    receiver = json.loads(said(capsys))["id"]
    assert run(["alerts", "silence", "model=digits", "--for", "2h", "--comment", "we know", "--json"]) == 0
    silence = json.loads(said(capsys))["id"]
    assert run(["alerts", "policy", "roll-back", "--for", "alertname=BudgetBurn"]) == 0
    said(capsys)
    assert run(["alerts", "test", receiver]) == 0
    assert run(["alerts", "list"]) == 0
    text = said(capsys)
    assert all(word in text for word in (receiver, silence, "severity=critical", "we know", "roll-back", "alertname=BudgetBurn"))
    assert run(["alerts", "remove", silence]) == 0
    assert run(["alerts", "remove", silence]) == 5


def test_without_an_id_every_receiver_is_tested_and_who_took_it_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["alerts", "test"]) == 5
    assert "alerts add" in capsys.readouterr().err
    assert run(["alerts", "add", "command", "true"]) == 0
    assert run(["alerts", "test"]) == 0
    assert "took the test alert" in said(capsys)
    assert run(["alerts", "add", "command", "false"]) == 0
    assert run(["alerts", "test"]) != 0
    printed = capsys.readouterr()
    assert "took the test alert" in printed.out
    assert "did not take the test" in printed.out
    assert "1 of 2 receivers did not take it" in printed.err


def test_one_round_over_nothing_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["alerts", "run", "--once"]) == 0
    assert said(capsys) == ""
    assert run(["alerts", "run", "nobody", "--once"]) == 5


@pytest.mark.parametrize(
    "arguments",
    [
        ["add", "email", "ops@example.com"],
        ["add", "webhook", "https://hooks.example.com", "--smtp", "smtp://x"],
        ["add", "webhook", "ftp://hooks.example.com"],
        ["add", "command", "true", "--for", "severity"],
        ["policy", "retrain", "--for", "model=digits"],
        ["policy", "roll-back", "--for", "model=digits", "--command", "true"],
        ["silence"],
        ["silence", "model=digits", "--for", "0s"],
        ["export"],
    ],
)
def test_what_cannot_be_is_a_mistake_of_the_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["alerts", *arguments]) == 2
    assert "error: " in capsys.readouterr().err


def test_export_writes_files_that_others_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules, board = tmp_path / "rules.yml", tmp_path / "dashboard.json"
    assert run(["alerts", "export", "--prometheus", str(rules), "--grafana", str(board)]) == 0
    assert yaml.safe_load(rules.read_text())["groups"][0]["name"] == "fairlead"
    assert json.loads(board.read_text())["title"] == "Fairlead"
    assert run(["alerts", "export", "--prometheus", str(tmp_path / "no" / "folder.yml")]) == 9


def test_quality_and_feedback_of_a_model_that_is_not_there_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "labels.csv").write_text("request_id,label\na,b\n")
    assert run(["quality", "nobody"]) == 5
    assert run(["feedback", "nobody", "--file", str(tmp_path / "labels.csv")]) == 5
    assert run(["watch", "nobody", "--once"]) == 5
