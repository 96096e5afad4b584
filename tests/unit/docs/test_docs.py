"""Docs are tests: settings, exit codes and routes that are not documented, links that lead nowhere, commands that are not there are red."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from unittest.mock import Mock

import click
import pytest

from fairlead.cli.main import COMMANDS, root
from fairlead.serve.http.route_table import Handlers, make_routes

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
    links = re.findall(r"\]\((?!https?:|mailto:)([^)#]*)#?([^)]*)\)", page.read_text())
    assert not [link for link, part in links if not leads_somewhere(page.parent / link if link else page, part)]


def leads_somewhere(page: Path, part: str) -> bool:
    """Whether there is such a page, and the heading in it that `part` (as links call it) names."""
    if not page.exists() or not part:
        return page.exists()
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return part in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_in_a_page_exists(page: Path) -> None:
    named = re.findall(r"^\$? ?fairlead ([a-z]+)", page.read_text(), flags=re.MULTILINE)
    assert not set(named) - set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_option_of_a_command_in_a_page_exists(page: Path) -> None:
    lines = re.findall(r"(?:^ *\$? ?|`)fairlead ([a-z][^`#\n]*)", page.read_text().replace("\\\n", " "), flags=re.MULTILINE)
    assert not [(line, gone) for line in lines if (gone := set(re.findall(r"(?<=\s)--[a-z0-9-]+", line)) - options_of(line.split()))]


def options_of(words: list[str]) -> set[str]:
    """The options of the command, or of the command in a group, that `words` begin with."""
    context = click.Context(root)
    command = root.get_command(context, words[0])
    if isinstance(command, click.Group) and len(words) > 1:
        command = command.get_command(context, words[1]) or command
    assert command is not None
    return {"--help", *(name for option in command.params for name in (*option.opts, *option.secondary_opts))}


def test_every_route_stands_on_the_page_of_the_protocol() -> None:
    page = (ROOT / "docs" / "reference" / "protocol.md").read_text()
    routes = make_routes(Handlers(**{field.name: Mock() for field in fields(Handlers)}))
    ends = {found[0] for route in routes if (found := re.search(r"[/:][a-z0-9.]+$", route.pattern))}
    assert {"/infer", ":explain", "/feedback"} <= ends
    assert not [end for end in ends if end not in page]
