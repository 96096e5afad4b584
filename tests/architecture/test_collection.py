"""The tests have one order and one set of names in every process and at every time: pytest-xdist needs that, and so does a person who asks
for one of them by name.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def collected(hash_seed: str) -> list[str]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "tests/unit",
        "tests/hostile",
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")} | {"PYTHONHASHSEED": hash_seed}
    listed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
    return [line for line in listed.stdout.splitlines() if "::" in line]


@pytest.mark.slow  # where one process tests: two collections, at different seconds
def test_every_process_collects_the_same_tests_in_the_same_order(request: pytest.FixtureRequest) -> None:
    worker_count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if worker_count > 1 and "PYTHONHASHSEED" not in os.environ:  # each worker has collected, with a hash seed of its own
        found = [path.read_text().split("\n") for path in sorted(Path(request.config.option.basetemp).parent.glob("collected-*"))]
        assert len(found) == worker_count
        assert len({seed for seed, *_ in found}) == len(found)
        assert all(names == [item.nodeid for item in request.session.items] for _, *names in found)
        return
    first = collected("1")
    time.sleep(1.1)
    assert len(first) > 1000
    assert collected("2") == first
