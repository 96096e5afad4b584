"""Where the registry lies: the folder that was named, whatever folder a process of ours works in."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.app.wiring import settings_for
from fairlead.settings import load_settings


def test_a_relative_home_is_the_one_that_the_user_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    named, elsewhere = settings_for("home").home, load_settings({"FAIRLEAD_HOME": "./other"}).home
    monkeypatch.chdir("/")
    assert named == tmp_path / "home"
    assert elsewhere == tmp_path / "other"
    assert load_settings({"FAIRLEAD_HOME": "~/mine"}).home == Path.home() / "mine"
