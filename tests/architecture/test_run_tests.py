"""The script that `make test` runs: what fails by chance is tried again and named; what is wrong, in many places, or crashes is red."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "run_tests.sh"
QUICK = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "xdist.plugin", "PYTEST_ADDOPTS": ""}
PLACE = "from pathlib import Path\n\nPLACE = Path(__file__).with_name('seen')\n\n"
TRIED = "    was_there = PLACE.exists()\n    PLACE.touch()\n"
CHANCE = f"def test_chance():\n{TRIED}    assert was_there\n\n"
CRASH = f"def test_crash():\n{TRIED}    assert was_there or __import__('os').abort()\n\n"


def run(folder: Path, tests: str, *options: str) -> tuple[int, str]:
    (folder / "test_it.py").write_text(PLACE + tests)
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [str(SCRIPT), sys.executable, "-c", str(folder / "pytest.ini"), *options, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | QUICK)
    return done.returncode, done.stdout


def test_what_fails_by_chance_is_tried_once_more_and_named(tmp_path: Path) -> None:
    code, printed = run(tmp_path, f"{CHANCE}def test_right():\n    pass\n")
    assert code == 0
    assert printed.splitlines()[-1] == "FLAKY, failed above and passed alone: test_it.py::test_chance"
    assert run(tmp_path, CHANCE)[1].count("test session starts") == 1  # all is well: once


@pytest.mark.parametrize(
    ("tests", "options", "tries"),
    [
        (f"{CHANCE}def test_wrong():\n    assert False\n", (), 2),
        ("".join(f"def test_{number}():\n    assert PLACE.exists()\n\n" for number in range(6)), (), 1),
        (CRASH, ("-n", "1"), 1),
    ],
    ids=["always", "many", "crash"],
)
def test_what_is_wrong_stays_so(tests: str, options: tuple[str, ...], tries: int, tmp_path: Path) -> None:
    code, printed = run(tmp_path, tests, *options)
    assert code == 1
    assert printed.count("test session starts") == tries
    assert "FLAKY" not in printed
