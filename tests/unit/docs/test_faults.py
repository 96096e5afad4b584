"""A page that names a test or script that is not there is red."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "reference" / "faults.md"


def test_every_test_and_script_on_the_page_is_there() -> None:
    named = re.findall(r"`((?:tests|benchmarks)/[\w/.]+\.py)(?:::(\w+))?`", PAGE.read_text())
    assert len(named) > 40
    missing = [name for name, _ in named if not (ROOT / name).is_file()]
    missing += [f"{name}::{test}" for name, test in named if test and f"def {test}(" not in (ROOT / name).read_text()]
    assert not missing
