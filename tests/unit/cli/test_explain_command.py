"""`fairlead explain`: text, JSON and a page; what is asked wrongly is said."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
import pytest

from fairlead.cli.main import run

FOLDER = str(Path(__file__).parents[1] / "app")
if FOLDER not in sys.path:
    sys.path.append(FOLDER)

import registered  # noqa: E402 - found by the path above


@pytest.fixture
def asked(tmp_path: Path) -> list[str]:
    registered.add_version(registered.new_house(tmp_path / "home"), "pets", registered.classifier(tmp_path / "pets.onnx"))
    (tmp_path / "row.csv").write_text("c0,c1,c2,c3\n1,-2,0.5,3\n")
    (tmp_path / "rows.csv").write_text("c0,c1,c2,c3\n" + "\n".join(f"{n % 5 - 2},{n % 3 - 1},{n % 7 - 3},{n % 2}" for n in range(40)))
    return ["explain", "pets", "--home", str(tmp_path / "home")]


def test_a_row_is_explained_as_text_and_as_json(asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = str(tmp_path / "row.csv")
    assert run([*asked, "--input", row]) == 0
    text = capsys.readouterr().out
    assert "Row 0: decided" in text
    assert "on average" in text
    assert run([*asked, "--input", row, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["version"] == "pets:1"
    assert found["explanations"][0]["features"] == ["c0", "c1", "c2", "c3"]


def test_a_method_can_be_asked_for(asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*asked, "--input", str(tmp_path / "row.csv"), "--method", "occlusion", "--of", "owl"]) == 0
    text = capsys.readouterr().out
    assert "The score of class 'owl' is" in text
    assert "do not add up" in text


def test_the_page_is_written_and_opened(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(click, "launch", lambda place: opened.append(place) or 0)
    page = tmp_path / "why.html"
    assert run([*asked, "--input", str(tmp_path / "row.csv"), "--out", str(page), "--open"]) == 0
    assert "<svg" in page.read_text(encoding="utf-8")
    assert opened == [str(page)]
    monkeypatch.setattr(click, "launch", lambda _place: 1)
    assert run([*asked, "--input", str(tmp_path / "row.csv"), "--out", str(page), "--open"]) == 0
    assert "No browser" in capsys.readouterr().err


def test_changes_rules_and_the_whole_are_told(asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row, rows = str(tmp_path / "row.csv"), str(tmp_path / "rows.csv")
    assert run([*asked, "--input", row, "--background", rows, "--counterfactual"]) == 0
    assert "would be" in capsys.readouterr().out
    keep = [item for number in range(4) for item in ("--keep", f"c{number}")]
    assert run([*asked, "--input", row, "--background", rows, "--counterfactual", *keep]) == 0
    assert "No change was found" in capsys.readouterr().out
    assert run([*asked, "--input", row, "--background", rows, "--rule"]) == 0
    assert "it speaks about" in capsys.readouterr().out
    assert run([*asked, "--global", "--data", rows, "--out", str(tmp_path / "all.html")]) == 0
    assert "What it goes by" in capsys.readouterr().out
    assert "polyline" in (tmp_path / "all.html").read_text(encoding="utf-8")


def test_what_is_asked_wrongly_is_said(asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = str(tmp_path / "row.csv")
    assert run(asked) != 0
    assert "--input" in capsys.readouterr().err
    assert run([*asked, "--input", row, "--global"]) != 0
    assert run([*asked, "--input", row, "--method", "magic"]) != 0
    assert run([*asked, "--input", row, "--of", "bird"]) != 0
    assert "no score for 'bird'" in capsys.readouterr().err
    assert run([*asked, "--input", row, "--counterfactual", "--budget", "0.000001s"]) != 0
    assert "--budget" in capsys.readouterr().err
