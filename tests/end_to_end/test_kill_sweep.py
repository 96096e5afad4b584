"""Registry operations end at every call that changes the disk, by SIGKILL and by failing calls; and on a disk that is really full."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def traces_children() -> str:
    """Return why strace cannot be used here, or ""."""
    if shutil.which("strace") is None:
        return "strace is not installed (Debian package strace)"
    tried = subprocess.run(
        ["strace", "-qq", "-o", os.devnull, "-e", "inject=fsync:error=EIO", "true"], check=False, capture_output=True, text=True
    )
    return "" if tried.returncode == 0 else f"strace cannot trace here: {tried.stderr.strip()}"


REASON = traces_children()
needs_strace = pytest.mark.skipif(bool(REASON), reason=REASON or "strace works")


def swept(operations: str, faults: str) -> tuple[dict, list]:
    command = [sys.executable, str(BENCHMARKS / "kill_sweep.py"), "--json", "--operations", operations, "--faults", faults]
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert result.stdout, result.stderr
    found = json.loads(result.stdout)
    for outcome in found["outcomes"]:
        print(f"{outcome['operation']}, {outcome['fault']}: {outcome['survived']} of {outcome['tried']} points survived")
        assert outcome["violations"] == []
        assert outcome["survived"] == outcome["tried"]
    return {outcome["operation"]: outcome for outcome in found["outcomes"]}, found["planted"]


@pytest.mark.slow
@needs_strace
def test_a_kill_at_any_moment_leaves_operations_whole_or_absent():
    outcomes, (planted,) = swept("register,promote,rollback", "killed")
    # Positive control: an operation that records before it stores is caught by the same examination.
    assert any("is missing" in violation for violation in planted["violations"])
    # Fewer points would mean that the sweep no longer meets the calls that it is about.
    assert outcomes["register"]["tried"] > 40
    assert min(outcomes[name]["tried"] for name in ("promote", "rollback")) > 20
    assert all(set(outcome["answers"]) == {"no answer"} for outcome in outcomes.values())


@pytest.mark.slow
@needs_strace
@pytest.mark.parametrize(("fault", "answer"), [("full", "no space"), ("sync", "refused")])
def test_calls_that_fail_at_any_moment_are_never_reported_as_success(fault, answer):
    outcome = swept("register", fault)[0]["register"]
    assert "done" not in outcome["answers"]
    assert outcome["answers"][answer] > 10


FULL_DISK = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import kill_operations, kill_sweep
from fairlead.errors import NoSpaceError
from fairlead.register.stage import register
home, filler = kill_operations.Home(Path(sys.argv[2])), Path(sys.argv[2]) / "filler"
records, blobs = home.records, home.blobs
register(kill_operations.registration(home.folder / "work", "first"), records=records, blobs=blobs, clock=time.time)
refused = 0
for round, left_bytes in enumerate(range(0, 64 * 1024, 4096)):
    wanted = kill_operations.registration(home.folder / "work", f"round {round}")
    before, count = home.state(), len(records.versions("digits"))
    free = os.statvfs(home.folder)
    filler.write_bytes(b"x" * max(free.f_bavail * free.f_bsize - left_bytes, 0))
    try:
        register(wanted, records=records, blobs=blobs, clock=time.time)
    except NoSpaceError:
        refused += 1
        assert home.state() == before
        assert records.latest("digits").number == count, "what is there can be read on a full disk"
    filler.unlink()
    register(wanted, records=records, blobs=blobs, clock=time.time)  # no restart
    assert len(records.versions("digits")) == count + 1
    assert kill_sweep.problems_in(home, home.state(), home.state(), is_acknowledged=True) == []
print("refused", refused)
"""


def test_a_full_disk_refuses_a_registration_and_takes_it_once_there_is_room(tmp_path):
    mount = 'mount -t tmpfs -o size=2m tmpfs "$1" && shift && exec "$@"'
    place = tmp_path / "small"
    place.mkdir()
    try:
        possible = subprocess.run(
            ["unshare", "-rm", "sh", "-c", mount, "sh", str(place), "true"], check=False, capture_output=True, text=True
        )
    except FileNotFoundError:
        pytest.skip("unshare is not installed (Debian package util-linux)")
    if possible.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {possible.stderr.strip()}")
    python = [sys.executable, "-c", FULL_DISK, str(BENCHMARKS), str(place)]
    result = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mount, "sh", str(place), *python], check=False, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    refused = int(result.stdout.split()[-1])
    assert 4 <= refused < 16  # both the refusal and the success were met
