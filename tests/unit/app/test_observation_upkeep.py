"""Files of observations kept few by a process beside the server: started where there is something to do, ended with the server."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from registered import new_house, wait_until

from fairlead.app.observation_upkeep import Upkeep
from fairlead.app.observations import open_log
from fairlead.app.wiring import House
from fairlead.cli.main import run
from fairlead.core.observation_log import LogWindow, ObservedRows

WINDOW = LogWindow("m")
wait = partial(wait_until, timeout_s=60.0)  # a process that can wait, on a machine that has other work


@pytest.fixture
def house(tmp_path) -> House:
    return new_house(tmp_path / "home")


def fill(house: House, *, age_s: float) -> None:
    log, hour = open_log(house), (time.time() - age_s) // 3600 * 3600
    for place in range(5):
        at = hour + 60.0 * place + np.arange(3)
        log.append(ObservedRows("m", 1, {"at": at, "request_id": np.array([f"r{place}-{row}" for row in range(3)], object)}))


def test_a_process_makes_few_files_of_many_and_only_where_there_is_something_to_do(house) -> None:
    told: list[str] = []
    upkeep = Upkeep(house, told.append, rest_s=0.0)
    assert not upkeep.start_where_due()
    fill(house, age_s=0.0)
    assert not upkeep.start_where_due()  # more may come to this hour
    fill(house, age_s=3 * 3600.0)
    assert upkeep.start_where_due()
    assert not upkeep.start_where_due()  # one at a time
    wait(lambda: len(open_log(house).sources(WINDOW)) == 6)
    wait(lambda: not upkeep._is_running())
    assert open_log(house).size(WINDOW).row_count == 30
    assert (upkeep.start_where_due(), told) == (False, [])


def test_a_process_that_fails_is_told_and_tried_again(house, monkeypatch) -> None:
    fill(house, age_s=3 * 3600.0)
    for program, reason in (("/bin/false", "ended with 1"), ("/nowhere/python", "no process can be started")):
        told: list[str] = []
        monkeypatch.setattr(sys, "executable", program)
        upkeep = Upkeep(house, told.append, rest_s=0.0)
        for _ in range(2):
            upkeep.start_where_due()
            wait(lambda upkeep=upkeep: not upkeep._is_running())
        assert len(told) == 1
        assert reason in told[0]
    monkeypatch.undo()
    assert upkeep.start_where_due()
    wait(lambda: len(open_log(house).sources(WINDOW)) == 1)
    wait(lambda: not upkeep._is_running())


def test_a_torn_file_is_not_looked_at_all_the_time(house, monkeypatch) -> None:
    fill(house, age_s=3 * 3600.0)
    monkeypatch.setattr(sys, "executable", "/bin/true")
    upkeep = Upkeep(house, print)
    assert upkeep.start_where_due()
    wait(lambda: not upkeep._is_running())
    assert upkeep._is_due()
    assert not upkeep.start_where_due()


@pytest.mark.parametrize("place", ["", "s3://bucket/log"])
def test_it_inherits_no_secret_but_the_keys_of_a_bucket_that_the_log_is_in(house, tmp_path, monkeypatch, place) -> None:
    fill(house, age_s=3 * 3600.0)
    program, seen = tmp_path / "program", tmp_path / "seen"
    program.write_text(f"#!/bin/sh\nenv > {seen}.new; mv {seen}.new {seen}\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    for name in ("PGPASSWORD", "FAIRLEAD_OBSERVE_KEY", "MAIL_PASSWORD", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, f"planted-{name}")
    monkeypatch.setenv("FAIRLEAD_PORT", "1234")  # the control
    upkeep = Upkeep(replace(house, settings=replace(house.settings, observations=place)), print, rest_s=0.0)
    monkeypatch.setattr(upkeep, "_is_due", lambda: True)
    assert upkeep.start_where_due()
    wait(seen.exists)
    content = seen.read_text()
    assert "FAIRLEAD_PORT=1234" in content
    assert {line.partition("=")[0] for line in content.splitlines() if "planted-" in line} == (
        {"AWS_SECRET_ACCESS_KEY"} if place else set()
    )
    wait(lambda: not upkeep._is_running())


def test_it_is_ended_with_the_server(house, tmp_path, monkeypatch) -> None:
    fill(house, age_s=3 * 3600.0)
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 600\n")
    slow.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(slow))
    upkeep = Upkeep(house, print)
    assert upkeep.start_where_due()
    child = upkeep._child
    upkeep.close()
    assert child.returncode is not None
    assert open_log(house).size(WINDOW).row_count == 15


def test_a_person_can_have_it_done(house, capsys) -> None:
    fill(house, age_s=3 * 3600.0)
    home = ("--home", str(house.settings.home))
    assert run(["observations", "--compact", *home]) == 0
    assert "5 files became 1; 0 that were replaced" in capsys.readouterr().out
    assert run(["observations", "--compact", *home]) == 0
    assert "Nothing is to be done" in capsys.readouterr().out
    assert run(["observations", "m", "--compact", "--json", *home]) == 0
    assert '"made_count": 0' in capsys.readouterr().out
    assert run(["observations", "absent", "--compact", *home]) == 5
    later = replace(house, clock=lambda: time.time() + 4000.0)
    assert Upkeep(later, print)._is_due()  # what was replaced is to be removed
