"""What `fairlead deploy` says when it is done: what one may do next, and nothing that cannot be done."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fairlead.app.deploy import Deployed
from fairlead.cli.deploy_command import _describe

FOLDER = str(Path(__file__).parents[1] / "app")
if FOLDER not in sys.path:
    sys.path.append(FOLDER)

import registered  # noqa: E402 - found by the path above


@pytest.mark.parametrize(
    ("alias", "previous", "said"),
    [
        ("production", 0, ["fairlead serve pets"]),
        ("production", 3, ["fairlead serve pets", "fairlead rollback pets"]),
        ("staging", 3, ["fairlead serve pets --alias staging", "fairlead rollback pets --alias staging"]),
        ("", 3, ["fairlead promote pets:1", 'fairlead promote pets:1 --canary "1%,10%,50%"']),
    ],
)
def test_what_may_be_done_next_is_said(alias: str, previous: int, said: list[str], tmp_path: Path) -> None:
    model = registered.classifier(tmp_path / "pets.onnx")
    version = registered.add_version(registered.new_house(tmp_path / "home"), "pets", model)
    text = _describe(Deployed(version, registered.verdict_of(model[0], "an engine"), alias, previous))
    commands = [line.split(":  ", 1)[1].strip() for line in text.splitlines() if ":  " in line and "fairlead" in line]
    assert [command for command in commands if "report" not in command] == said
