"""Writers killed at each message to PostgreSQL (R08) and at random moments (R09): whole or absent, and what was acknowledged is there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "registry_kills.py"


def run(*arguments):
    result = subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], check=False, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    print(f"{arguments[0]}: {found['tried']} tried, {found['happened']} there")
    assert found["problems"] == []
    return found


@pytest.mark.slow
def test_a_writer_killed_at_any_message_leaves_its_change_whole_or_absent(postgres):
    found = run("messages", postgres.url("kills"))
    assert found["tried"] > 40
    assert 0 < found["happened"] < found["tried"]  # killed after the confirmation, and before


@pytest.mark.slow
@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_what_killed_writers_were_told_is_there(store, tmp_path, request):
    place = tmp_path if store == "sqlite" else request.getfixturevalue("postgres").url("writers")
    assert run("writers", place, 12)["tried"] >= 12
