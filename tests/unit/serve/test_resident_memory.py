import asyncio
import mmap
import os
import subprocess
import sys
import threading

import pytest

from fairlead.serve import resident_memory
from fairlead.serve.resident_memory import Trimmer, resident_bytes, share_bytes

linux = pytest.mark.skipif(sys.platform != "linux", reason="the figures are read from /proc")

# Blocks as a model's weights are: made and freed by threads that end, one after the other.
PROGRAM = """
import threading
import numpy as np
from fairlead.serve.resident_memory import give_back, map_large_blocks, resident_bytes
map_large_blocks()
before = resident_bytes()
for _ in range(4):
    kept = []
    thread = threading.Thread(target=lambda: kept.extend(np.ones(10 * 2**20, np.uint8) for _ in range(3)))
    thread.start()
    thread.join()
    loaded = resident_bytes()
    kept.clear()
    give_back()
print(loaded - before, resident_bytes() - before)
"""


@linux
def test_blocks_as_large_as_weights_come_back_when_they_are_freed() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    printed = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=environment).stdout
    loaded, freed = map(int, printed.split())
    assert loaded > 25 * 2**20
    assert freed < 5 * 2**20


@linux
def test_resident_memory_grows_with_what_is_touched() -> None:
    size = 64 * 2**20
    with mmap.mmap(-1, size) as kept:  # a heap of tests that ran before may have as much to reuse
        before = resident_bytes()
        kept[:] = b"1" * size
        assert resident_bytes() - before > 50 * 2**20
        assert share_bytes(os.getpid()) > size


def test_a_process_that_has_ended_takes_nothing() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert share_bytes(ended.pid) == 0


def test_where_the_kernel_does_not_say_the_answer_is_0(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(resident_memory, "_STATM", tmp_path / "absent")
    assert resident_bytes() == 0


async def test_memory_is_given_back_once_however_often_that_is_asked(monkeypatch) -> None:
    calls, done = [], threading.Event()
    monkeypatch.setattr(resident_memory, "give_back", lambda: (calls.append(threading.current_thread().name), done.set()))
    trimmer = Trimmer()
    for _ in range(5):
        trimmer.give_back_soon()
    await asyncio.to_thread(done.wait, 10)
    assert calls == ["fairlead-trim"]
    done.clear()
    trimmer.give_back_soon()
    await asyncio.to_thread(done.wait, 10)
    assert len(calls) == 2
