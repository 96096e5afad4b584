"""The folder that a deployment works in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fairlead.app.wiring import build_house
from fairlead.app.workspace import workspace
from fairlead.errors import DataError


def test_the_folder_is_gone_afterwards_also_after_an_error(fairlead_home: Path) -> None:
    house = build_house()
    with pytest.raises(DataError), workspace(house) as folder:
        (folder / "half").write_text("made")
        raise DataError("no")
    assert list(house.work.iterdir()) == []


def test_what_a_killed_deployment_left_goes_and_what_a_living_one_uses_stays(fairlead_home: Path) -> None:
    house = build_house()
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    ).stdout.strip()
    living = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        for name in (f"{gone}-a", f"{living.pid}-b"):
            (house.work / name).mkdir(parents=True)
        with workspace(house):
            assert {path.name.partition("-")[2] for path in house.work.iterdir()} >= {"b"}
            assert not (house.work / f"{gone}-a").exists()
    finally:
        living.communicate(b"\n")
