"""`fairlead card`: the card of a version as of now, as Markdown and as a page."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click
import pytest

from fairlead.cli.main import run

FOLDER = str(Path(__file__).parents[1] / "app")
if FOLDER not in sys.path:
    sys.path.append(FOLDER)

import registered  # noqa: E402 - found by the path above


@pytest.fixture
def home(tmp_path: Path) -> str:
    columns = ("<b>age</b>", "`c1`", "c|2", "c3")
    model = registered.classifier(tmp_path / "pets.onnx", columns=columns)
    registered.add_version(registered.new_house(tmp_path / "home"), "pets", model)
    return str(tmp_path / "home")


def test_the_card_is_printed_as_markdown_with_where_it_stands(home: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tag", "pets:1", "team=cats", "--home", home]) == 0
    capsys.readouterr()
    assert run(["card", "pets:1", "--home", home]) == 0
    text = capsys.readouterr().out
    for part in ("# pets:1", "- Aliases: production", "- Tag team=cats", "Takes `x FP32 [batch, 4]`", "Labels: `cat`, `dog`, `owl`"):
        assert part in text
    assert "<b>" not in text


def test_it_is_written_as_a_page_or_as_markdown_by_its_name(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(click, "launch", lambda place: opened.append(place) or 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert run(["card", "pets", "--home", home, "--out", str(tmp_path / "card.html"), "--open"]) == 0
    page = (tmp_path / "card.html").read_text(encoding="utf-8")
    assert opened == [str(tmp_path / "card.html")]
    assert page.startswith("<!doctype html>")
    assert "<code>c3</code>" in page
    assert "<b>age" not in page
    assert "<script" not in page
    assert run(["card", "pets", "--home", home, "--out", str(tmp_path / "card.md")]) == 0
    assert (tmp_path / "card.md").read_text(encoding="utf-8").startswith("# pets:1")
    assert run(["card", "pets", "--home", home, "--open"]) == 0
    assert "pets:1" in Path(opened[-1]).read_text(encoding="utf-8")
    assert opened[-1].endswith("pets-1.html")
    monkeypatch.setattr(click, "launch", lambda _place: 1)
    assert run(["card", "pets", "--home", home, "--out", str(tmp_path / "card.html"), "--open"]) == 0
    assert "No browser" in capsys.readouterr().err


def test_what_people_wrote_and_slices_stand_on_it(home: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tag", "pets:1", "card.purpose=Sorts pets", "team=cats", "--home", home]) == 0
    rows = "\n".join(f"{number % 2},{number},1,2,{('cat', 'dog', 'owl')[number % 3]}" for number in range(30))
    (tmp_path / "rows.csv").write_text(f"<b>age</b>,`c1`,c|2,c3,kind\n{rows}\n")
    capsys.readouterr()
    wish = ["--data", str(tmp_path / "rows.csv"), "--target", "kind", "--by", "<b>age</b>"]
    assert run(["card", "pets:1", "--home", home, *wish]) == 0
    text = capsys.readouterr().out
    for part in (
        "- What it is for: Sorts pets",
        "- Tag team=cats",
        "In parts of rows.csv, 30 rows",
        "- Registered on 20",
        "content sha256:",
    ):
        assert part in text
    assert "Tag card.purpose" not in text
    assert text.count("| `accuracy` |") == 2
    assert "## How it is watched" in text
    assert run(["card", "pets:1", "--home", home, "--by", "c3"]) != 0
    assert "--data FILE --target COLUMN --by COLUMN" in capsys.readouterr().err
    assert run(["card", "pets:1", "--home", home, *wish[:-1], "colour"]) != 0
    assert "no feature 'colour'" in capsys.readouterr().err


def test_what_is_not_there_and_where_nothing_can_be_written_is_said(home: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["card", "dogs", "--home", home]) == 5
    assert "dogs" in capsys.readouterr().err
    assert run(["card", "pets", "--home", home, "--out", str(tmp_path / "no" / "card.md")]) == 9
    assert "refused the page" in capsys.readouterr().err
