"""Rows of a benchmark, kept as soon as they are measured, and the page that their table stands in.

A run that is cut off keeps its rows, and the next one goes on from there; remove the file to measure anew.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

PAGE = Path("docs/reference/search-benchmarks.md")


class Results:
    """Rows as JSON, one per line, each with a `key` of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self.rows: dict[str, dict[str, Any]] = {row["key"]: row for row in map(json.loads, lines)}

    def add(self, key: str, **values: Any) -> dict[str, Any]:
        """Keep a row, and return it."""
        row = {"key": key, **values}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.rows[key] = row
        return row


def publish(name: str, text: str, page: Path | None) -> None:
    """Print a table; where a page is given, put it between the page's marks of that name."""
    print(text)
    if page is not None:
        marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        before = page.read_text(encoding="utf-8")
        if not marked.search(before):
            raise SystemExit(f"{page} has no marks <!-- {name} --> and <!-- /{name} -->")
        page.write_text(marked.sub(lambda found: f"{found[1]}{text}\n{found[2]}", before), encoding="utf-8")
