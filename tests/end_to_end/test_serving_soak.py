"""Short runs of what `benchmarks/reliability` runs for hours: against `fairlead serve` as a process, over its registry."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

RELIABILITY = Path(__file__).parents[2] / "benchmarks" / "reliability"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="the scripts read /proc")]


def run(script: str, *options: str) -> tuple[int, dict]:
    command = [sys.executable, str(RELIABILITY / script), "--json", *options]
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert result.stdout, result.stderr
    return result.returncode, json.loads(result.stdout)


GROWTH = ("--slope-kib", "64")  # the allocators still fill their pools; `make soak` holds it to 1


def test_memory_comes_back_when_a_model_is_unloaded_and_nothing_grows() -> None:
    code, found = run("memory.py", "--cycles", "12", *GROWTH)
    if code:  # so few cycles on a busy machine are noisy; what leaks does so every time
        code, found = run("memory.py", "--cycles", "24", *GROWTH)
    assert (code, found["wrong"]) == (0, [])
    assert found["given_back_mb"] > 10


def test_that_a_planted_leak_would_have_been_found() -> None:
    code, found = run("memory.py", "--cycles", "10", "--megabytes", "1", "--plant-kib", "1024", *GROWTH)
    assert code == 1
    assert "grows by" in found["wrong"][0]


def test_a_storm_of_loads_and_unloads_ends_as_the_last_acknowledged_operation_said() -> None:
    code, found = run("storm.py", "--threads", "2", "--operations", "20")
    assert (code, found["wrong"], found["control"]) == (0, [], True)


def test_promotions_and_rollbacks_under_load_over_rest_and_grpc_lose_nothing() -> None:
    pytest.importorskip("grpc")
    code, found = run("switches.py", "--requests", "200", "--switches", "4", "--interval-s", "0.6", "--bound-s", "10")
    assert (code, found["wrong"], found["control"]) == (0, [], True)
    assert found["versions"] == [1, 2, 3]
