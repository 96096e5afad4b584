"""Models that attack once they are asked (P, F20, decision 10): the request gets a typed error in time, and the next one an answer."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import hostile_residents
import numpy as np
import pytest

from fairlead.core.ports import SandboxJob, SandboxLimits
from fairlead.errors import DeadlineError, FairleadError, SandboxError, UnavailableError
from fairlead.security.sandbox import OneShotSandbox

HERE = Path(__file__).parent
LIMITS = SandboxLimits(memory_bytes=2**30, wall_s=30.0, file_bytes=2**20, output_bytes=2**20)
SECRET = "sk_live_TEST"


@pytest.fixture
def model(tmp_path):
    """Start a model anew whenever the one before has ended, as an engine does."""
    begun = []
    arguments = {"secret": str(tmp_path / "secret"), "canary": str(tmp_path / "canary"), "parent": os.getpid(), "port": 0}
    (tmp_path / "secret").write_text(SECRET)
    sandbox = OneShotSandbox(import_paths=(HERE,))

    def model(**more):
        if not begun or not begun[-1].is_alive:
            for ended in begun:
                ended.close()
            job = SandboxJob("hostile_residents:open_model", tmp_path / f"scratch{len(begun)}", {**arguments, **more}, (), LIMITS)
            begun.append(sandbox.start(job))
        return begun[-1]

    yield model
    for resident in begun:
        resident.close()


@pytest.fixture
def need():
    layers = OneShotSandbox().layers()

    def need(*names):
        for name in names:
            if layers[name] != "active":
                pytest.skip(f"{name}: {layers[name]}")

    return need


def ask(resident, text, timeout_s=10.0):
    return resident.ask({"order": np.array([text], dtype=object)}, timeout_s=timeout_s)


def resources():
    children = {child for task in Path("/proc/self/task").iterdir() for child in (task / "children").read_text().split()}
    return children, len(list(Path("/proc/self/fd").iterdir())), threading.active_count()


def settles_at(before, seconds=5.0):
    deadline = time.monotonic() + seconds
    while resources() != before and time.monotonic() < deadline:
        time.sleep(0.02)
    return resources() == before


# Frames


def test_a_right_frame_that_is_written_by_hand_is_taken(model):
    """The positive control of all frames below: what they write does arrive."""
    assert ask(model(), "right frame by hand")["y"].tolist() == hostile_residents.GOOD["y"].tolist()


WRONG = sorted(set(hostile_residents.FRAMES) - {"right frame by hand", "half a frame", "drip"})


def check_frames(model, names):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in names:
        with pytest.raises(UnavailableError, match="nonsense"):
            pytest.fail(f"{name} was believed: {ask(model(), name)}")
        assert ask(model(), "good")["y"][3] == 3, name
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB; frames said up to 2**64 bytes


def test_wrong_frames_are_not_believed_and_the_next_request_is_answered(model):
    check_frames(model, ["garbage", "huge body", "answer to another ask", "text that overlaps", "error of a class that exits"])


@pytest.mark.slow
def test_no_wrong_frame_is_believed(model):
    check_frames(model, WRONG)


@pytest.mark.parametrize("name", ["half a frame", "drip"])
def test_a_frame_that_never_ends_meets_the_deadline(model, name):
    resident = model()
    began = time.monotonic()
    with pytest.raises(DeadlineError):
        ask(resident, name, timeout_s=0.5)
    assert time.monotonic() - began < 4
    assert ask(model(), "good")["y"][3] == 3


# Ways to die, and not to die


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("segfault", UnavailableError, "SIGSEGV"),
        ("abort", UnavailableError, "crashed"),
        ("hang", DeadlineError, "longer than 1 s"),
        ("eat", UnavailableError, "out of memory"),
        ("close_and_live_on", UnavailableError, "went silent"),
        ("flood", UnavailableError, "nonsense"),
        ("start_threads", FairleadError, "thread|memory|longer"),
    ],
)
def test_a_model_that_dies_or_does_not_want_to_costs_one_request(model, name, kind, said):
    before = resources()
    began = time.monotonic()
    with pytest.raises(kind, match=said):
        ask(model(), name, timeout_s=1.0 if name == "hang" else 10.0)
    assert time.monotonic() - began < 12
    assert ask(model(), "good")["y"][3] == 3
    model().close()
    assert settles_at(before)


@pytest.mark.parametrize(("name", "died_of"), [("segfault", signal.SIGSEGV), ("abort", signal.SIGABRT)])
def test_the_same_act_outside_ends_the_process_that_does_it(name, died_of):
    code = f"import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); import hostile_residents; hostile_residents.{name}({{}})"
    assert subprocess.run([sys.executable, "-c", code], cwd=HERE, check=False, stderr=subprocess.DEVNULL).returncode == -died_of


# What it may not do while it answers; each with the same act outside


def test_it_reaches_no_network_while_it_answers(model, need):
    need("seccomp")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        hostile_residents.connect({"port": port})
        listener.accept()[0].close()
        with pytest.raises(SandboxError, match="Operation not permitted"):
            ask(model(port=port), "connect")
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize("name", ["run_program", "write_outside"])
def test_it_starts_no_program_and_writes_nothing_while_it_answers(model, need, name, tmp_path):
    need("seccomp", "landlock")
    with pytest.raises(SandboxError, match="PermissionError"):
        ask(model(), name)
    assert not (tmp_path / "canary").exists()
    getattr(hostile_residents, name)({"canary": str(tmp_path / "canary")})
    assert (tmp_path / "canary").exists()


def test_it_reads_no_secret_while_it_answers(model, need, tmp_path):
    need("landlock")
    assert hostile_residents.read_secret({"secret": str(tmp_path / "secret")})["y"].tolist() == [SECRET]
    with pytest.raises(SandboxError, match="PermissionError") as caught:
        ask(model(), "read_secret")
    assert SECRET not in str(caught.value)


def test_it_signals_nobody_while_it_answers(model, need):
    need("seccomp")
    with pytest.raises(SandboxError, match=r"PermissionError|ProcessLookupError"):
        ask(model(), "signal_parent")
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as bystander:
        hostile_residents.signal_parent({"parent": bystander.pid})
        assert bystander.wait(10) == -signal.SIGKILL
