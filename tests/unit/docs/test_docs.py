"""Docs are tests: settings and exit codes that are not documented, and links that lead nowhere, are red."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fairlead.cli.main import COMMANDS

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize(
    ("script", "page"),
    [("document_settings.py", "settings.md"), ("document_exit_codes.py", "exit-codes.md"), ("document_metrics.py", "metrics.md")],
)
def test_a_printed_page_is_what_its_script_prints_now(script: str, page: str) -> None:
    printed = subprocess.run([sys.executable, ROOT / "scripts" / script], capture_output=True, text=True, check=True).stdout
    assert (ROOT / "docs" / "reference" / page).read_text() == printed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text())
    assert not [link for link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_in_a_page_exists(page: Path) -> None:
    named = re.findall(r"^\$? ?fairlead ([a-z]+)", page.read_text(), flags=re.MULTILINE)
    assert not set(named) - set(COMMANDS)
