"""R02 in small: versions that cannot be loaded, under load; and that the script would see one that does harm."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "reliability" / "failing_reloads.py"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="the script reads /proc")]


def run(*options: str) -> tuple[int, str]:
    result = subprocess.run([sys.executable, str(SCRIPT), *options], check=False, capture_output=True, text=True, timeout=300)
    assert "requests" in result.stdout, result.stderr
    return result.returncode, result.stdout


def test_a_version_that_cannot_be_loaded_takes_nothing_down_whatever_is_wrong_with_it() -> None:
    code, said = run("--clients", "2")
    assert code == 0, said
    assert said.count("kept") == 5


def test_control_a_bad_version_that_is_loaded_after_all_is_noticed() -> None:
    code, said = run("--clients", "2", "--kinds", "other golden answers", "--plant")
    assert code == 1
    assert "WRONG" in said
    assert "MISSED every answer right, none missing" in said
