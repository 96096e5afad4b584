"""docs/reference/protocol.md tells of every route and extension, and names tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs" / "reference" / "protocol.md").read_text(encoding="utf-8")


def test_every_test_that_is_named_is_there() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"^(?:async )?def (test_\w+)", sources, re.MULTILINE))
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 40
    assert sorted(named - there) == []


def test_every_line_of_the_list_has_tests() -> None:
    lines = re.findall(r"^\| (\d+) \|.*`test_", PAGE, re.MULTILINE)
    assert lines == [str(number) for number in range(1, 21)]


def test_every_route_is_told_with_its_permission(world) -> None:
    rows = re.findall(r"^\| (`(?:GET|POST) .*?) \| (\w+) \|", PAGE, re.MULTILINE)
    told = {}
    for paths, permission in rows:
        first, *more = re.findall(r"`([^`]+)`", paths)
        method, path = first.split(" ", 1)
        for one in (path, *more):
            for variant in variants(one):
                told[method, variant] = permission
    told.pop(("GET", "/metrics"))
    there = {(route.method, route.pattern): route.permission.value for route in world.api.router.routes}
    assert told == there


def variants(path: str) -> list[str]:
    """What is in square brackets may be left out, `or` parts what is in them."""
    path = path.replace("/versions/N or /labels/ALIAS", "/versions/{version}|/labels/{label}").replace("/versions/N", "/versions/{version}")
    path = path.replace("NAME", "{name}")
    match = re.fullmatch(r"([^\[]*)\[(.*)\]([^\]]*)", path)
    if match is None:
        return [path]
    before, optional, after = match.groups()
    inner = [item for part in optional.split("|") for item in variants(part)]
    return [before + after, *(before + item + after for item in inner)]


async def test_every_extension_is_told(world) -> None:
    extensions = (await world.ask("GET", "/v2"))[1]["extensions"]
    section = PAGE.split("## Extensions")[1].split("### Raw")[0]
    assert sorted(re.findall(r"^\| `(\w+)`", section, re.MULTILINE)) == extensions
