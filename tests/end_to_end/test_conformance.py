"""Our own server against the whole conformance list, as a process of its own: HTTP and gRPC, unloading and stopping included."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("grpc", reason="the extra grpc is not installed")

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "conformance.py"


@pytest.mark.slow
def test_our_server_passes_every_check_of_the_list_and_leaves_none_out() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--json"], capture_output=True, text=True, check=False, timeout=120)
    findings = json.loads(done.stdout)["findings"]
    assert [finding for finding in findings if finding["status"] != "pass"] == []
    assert len(findings) > 90
    assert done.returncode == 0
