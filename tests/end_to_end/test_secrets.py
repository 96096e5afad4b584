"""Secrets of a server stay with it: no process that it starts inherits them, it writes no core file, and tells them nobody."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import release_house
from process_tree import descendants
from registered import new_house, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the tests read /proc")
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "planted-aws-4c1f",
    "PGPASSWORD": "planted-pg-8d2e",
    "MAIL_PASSWORD": "planted-mail-66b0",
    "FAIRLEAD_OBSERVE_KEY": "planted-key-b1b2",
}


@pytest.fixture(autouse=True)
def core_limit_here() -> Iterator[str]:
    """Allow core files while a test runs, so that only the server itself can forbid them; return the limit as /proc says it."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    yield core_limit(os.getpid())
    resource.setrlimit(resource.RLIMIT_CORE, before)


def told(pid: int) -> set[str]:
    """The names of the planted secrets that stand in a process's environment."""
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    return {name for name, value in SECRETS.items() if value.encode() in environment}


def core_limit(pid: int) -> str:
    return next(line.split()[4] for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if line.startswith("Max core"))


def ask(port: int, method: str, path: str, body: object = None) -> tuple[int, bytes]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request(method, path, None if body is None else json.dumps(body))
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_no_process_of_a_server_inherits_its_secrets_and_none_leaves_a_core(tmp_path, monkeypatch) -> None:
    house = new_house(tmp_path / "home")
    release_house.add(house, tmp_path, release_house.good(tmp_path / "good.onnx"), alias="production")
    for name in SECRETS:
        monkeypatch.delenv(name, raising=False)
    row = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [0, 0, 0, 0]}]}
    with release_house.serving(tmp_path / "home", "--workers", "1", environment=SECRETS) as (server, port):
        wait_until(lambda: ask(port, "GET", "/v2/health/ready")[0] == 200, 60)
        said = [
            ask(port, "POST", "/v2/models/pets/infer", row),
            ask(port, "POST", "/v2/models/pets/infer", {}),
            ask(port, "GET", "/metrics"),
        ]
        said += [ask(port, "POST", "/v2/models/pets/explain", {"input": [[0, 0, 0, 0]]})]
        assert [status for status, _ in said] == [200, 400, 200, 200], said[-1]
        wait_until(lambda: len(descendants(server.pid)) >= 3, 60)  # those that copy themselves, the worker, the one that explains
        below = descendants(server.pid)
        assert [told(pid) for pid in below] == [set()] * len(below)
        assert {core_limit(pid) for pid in (server.pid, *below)} == {"0"}
        assert told(server.pid) == set(SECRETS)  # what it was given itself is found by the same look
    kept = [content for _, content in said] + [path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert [value for value in SECRETS.values() if any(value.encode() in content for content in kept)] == []


def test_that_a_process_which_inherits_everything_would_be_found(core_limit_here: str) -> None:
    wait = [sys.executable, "-c", "print(1, flush=True); input()"]
    with subprocess.Popen(wait, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **SECRETS}) as child:
        child.stdout.readline()  # before, it may still be the copy of this process
        assert told(child.pid) == set(SECRETS)
        assert core_limit(child.pid) == core_limit_here
        child.communicate(b"\n")
