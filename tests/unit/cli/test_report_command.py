"""`fairlead report`: the page as a file, a copy where one is asked for, and a browser only where one is asked for."""

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
def home(tmp_path: Path) -> Path:
    registered.add_version(registered.new_house(tmp_path / "home"), "pets", registered.classifier(tmp_path / "pets.onnx"))
    return tmp_path / "home"


def test_the_page_lies_where_it_says(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", "pets", "--home", str(home)]) == 0
    assert Path(capsys.readouterr().out.strip()).read_text(encoding="utf-8") == "<p>report</p>"
    assert run(["report", "pets:1", "--home", str(home), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"].endswith("report.html")


def test_a_copy_is_written_and_opened(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(click, "launch", lambda place: opened.append(place) or 0)
    copy = tmp_path / "copy.html"
    assert run(["report", "pets", "--home", str(home), "--out", str(copy), "--open"]) == 0
    assert copy.read_text(encoding="utf-8") == "<p>report</p>"
    assert opened == [str(copy)]
    monkeypatch.setattr(click, "launch", lambda _place: 1)
    assert run(["report", "pets", "--home", str(home), "--open"]) == 0
    assert "No browser" in capsys.readouterr().err


def test_what_is_not_there_and_where_nothing_can_be_written_is_said(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", "dogs", "--home", str(home)]) != 0
    assert "dogs" in capsys.readouterr().err
    assert run(["report", "pets", "--home", str(home), "--out", str(tmp_path / "no" / "such" / "folder.html")]) != 0
    assert "report" in capsys.readouterr().err
