"""Threads that read the first document of a type at once: what msgspec alone does not survive."""

from __future__ import annotations

import subprocess
import sys

import pytest

RACE = """
import sys, threading
import msgspec
from fairlead.core.evidence import ReleaseEvidence
from fairlead.core.interface import Interface
from fairlead.core.plan import Plan
from fairlead.core.profile import Profile
from fairlead.core.verdict import Verdict
from fairlead.errors import CorruptError
from fairlead.stores.document import load

sys.setswitchinterval(1e-7)
read = load if sys.argv[1] == "ours" else lambda data, kind: msgspec.json.decode(data, type=kind)
for kind in (ReleaseEvidence, Verdict, Plan, Profile, Interface):
    gate = threading.Barrier(8)
    def look():
        gate.wait()
        for _ in range(3):
            try:
                read(b"{}", kind)
            except (CorruptError, msgspec.DecodeError):
                pass
    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def race(whose: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", RACE, whose], capture_output=True, text=True, timeout=120, check=False)


def test_threads_may_read_the_first_document_of_a_type_at_once() -> None:
    for _ in range(3):
        ended = race("ours")
        assert (ended.returncode, ended.stderr) == (0, "")


def test_that_a_process_without_this_care_would_have_died() -> None:
    if not any(race("msgspec's").returncode < 0 for _ in range(12)):
        pytest.skip("this msgspec learns a class from one thread at a time: fairlead.typed_json can go")
