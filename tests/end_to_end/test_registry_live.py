"""The registry's own work beside running servers: events leave while requests are answered, and clean-up takes nothing that is served."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
import registered
import release_house
from receivers import Receiver
from release_house import NAME

from fairlead.app import webhooks
from fairlead.app.registry_gc import collect
from fairlead.app.registry_tags import tag
from fairlead.app.wiring import House
from fairlead.cli.main import run

pytestmark = pytest.mark.slow
ALLOWED = {"FAIRLEAD_ALLOW_PRIVATE_WEBHOOKS": "1"}


@pytest.fixture
def receivers():
    made = [Receiver(), Receiver()]
    yield made
    for one in made:
        one.close()


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    for name, value in ALLOWED.items():
        monkeypatch.setenv(name, value)
    made = registered.new_house(tmp_path / "home")
    release_house.add(made, tmp_path, release_house.good(tmp_path / "1.onnx"), alias="production")
    return made


def test_two_servers_tell_each_event_once_and_one_who_hangs_holds_up_nothing(house, tmp_path, receivers):
    quick, hanging = receivers
    hanging.hold.set()
    for one in receivers:
        webhooks.add(one.url, "alias.moved,tag.changed", house)
    home = house.settings.home
    with (
        release_house.serving(home, environment=ALLOWED) as (_, one),
        release_house.serving(home, environment=ALLOWED) as (_, two),
        release_house.Load([one, two]) as load,
    ):
        release_house.wait_for_servers(house, 2)
        number = release_house.add(house, tmp_path, release_house.good(tmp_path / "2.onnx", mark=2.0)).number
        assert run(["promote", f"{NAME}:{number}", "--home", str(home)]) == 0
        for place in range(5):
            tag(f"{NAME}:{number}", [f"t{place}"], house)
        registered.wait_until(lambda: len(quick.got) >= 6, timeout_s=60.0)
        registered.wait_until(lambda: len(hanging.got) >= 1, timeout_s=60.0)
        time.sleep(1.5)  # a second look of both servers: nothing may come twice
        assert load.problems == []
    assert [message["type"] for message in quick.messages] == ["alias.moved", *["tag.changed"] * 5]
    assert len(set(quick.ids)) == 6
    assert {message["data"]["sequence"] for message in hanging.messages} == {quick.messages[0]["data"]["sequence"]}
    assert quick.messages[0]["data"]["number"] == number


def test_clean_up_beside_a_server_takes_nothing_that_it_serves(house, tmp_path, capsys):
    for mark in (2.0, 3.0, 4.0):
        release_house.add(house, tmp_path, release_house.good(tmp_path / f"{mark}.onnx", mark=mark))
    home, then = house.settings.home, time.time() - 2 * 86_400
    for path in (home / "blobs").glob("??/*"):
        os.utime(path, (then, then))
    with release_house.serving(home, f"{NAME}:2", NAME) as (_, port), release_house.Load([port]) as load:
        release_house.wait_for_servers(house, 1)
        registered.wait_until(lambda: any("has it loaded" in reason for reason in reasons(house, 2)), timeout_s=60.0)
        assert run(["gc", "--keep", "1", "--home", str(home), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["retired"] == [f"{NAME}:3"]
        time.sleep(1.0)
        assert load.problems == []
    assert [version.number for version in house.records.versions(NAME)] == [1, 2, 4]


def reasons(house: House, number: int) -> tuple[str, ...]:
    fates = collect(house, keep_count=1, is_dry_run=True).fates
    return next(fate.why for fate in fates if fate.version == f"{NAME}:{number}")
