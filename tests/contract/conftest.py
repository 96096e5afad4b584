"""Fixtures of exams in several parts: the Sandbox (test_sandbox.py: rights, test_sandbox_ends.py: limits and ways of ending) and the
RecordStore (test_record_store.py: versions and aliases, test_record_facts.py: everything else).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fairlead.core.ports import RecordStore, SandboxJob, SandboxLimits
from fairlead.security.sandbox import OneShotSandbox

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # sandbox_entries.py, which the worker imports by the same name
from record_stores import ADAPTERS, reopener  # noqa: E402 - found by the path above

QUICK = SandboxLimits(memory_bytes=2**30, cpu_s=20, wall_s=20.0, file_bytes=8 * 2**20)


@pytest.fixture(scope="module")
def sandbox():
    return OneShotSandbox(import_paths=(HERE,))


@pytest.fixture(scope="module")
def layers(sandbox):
    return sandbox.layers()


@pytest.fixture
def call(sandbox, tmp_path):
    def call(entry, *, readable=(), limits=QUICK, **arguments):
        job = SandboxJob(f"sandbox_entries:{entry.__name__}", tmp_path / "scratch", arguments, tuple(readable), limits)
        return sandbox.run(job)

    return call


@pytest.fixture
def need(layers):
    def need(*names):
        for name in names:
            if layers[name] != "active":
                pytest.skip(f"{name}: {layers[name]}")

    return need


@pytest.fixture(params=ADAPTERS)
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], RecordStore]]:
    if request.param == "postgres":
        request.getfixturevalue("postgres")  # started before the descriptors are counted
    before = len(list(Path("/proc/self/fd").iterdir()))
    with reopener(request.param, tmp_path, request) as open_again:
        yield open_again
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


@pytest.fixture
def records(reopen: Callable[[], RecordStore]) -> RecordStore:
    return reopen()
