"""The exam of the Sandbox port, part 2: limits, ways of ending, and that nothing stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import sandbox_entries

from fairlead.core.ports import SandboxJob, SandboxLimits
from fairlead.errors import MissingExtraError, NoSpaceError, SandboxError, UnsafeContentError
from fairlead.security.sandbox import OneShotSandbox

HERE = Path(__file__).parent


# Limits


def test_memory_is_limited(call):
    assert call(sandbox_entries.eat_memory, bytes=2**20) == {"size": 2**20}
    with pytest.raises(SandboxError, match=r"out of memory .limit 1073741824"):
        call(sandbox_entries.eat_memory, bytes=2**31)


def test_processor_time_is_limited(call):
    with pytest.raises(SandboxError, match="more than 1 s of processor time"):
        call(sandbox_entries.spin, limits=SandboxLimits(memory_bytes=2**30, cpu_s=1, wall_s=30.0))


def test_time_is_limited(call):
    began = time.monotonic()
    with pytest.raises(SandboxError, match=r"longer than 0.5 s"):
        call(sandbox_entries.sleep, limits=SandboxLimits(memory_bytes=2**30, wall_s=0.5))
    assert time.monotonic() - began < 5


def test_one_big_file_is_refused(call):
    with pytest.raises(SandboxError, match="wrote more than 8388608 bytes"):
        call(sandbox_entries.fill_one_file, mebibytes=9)
    assert call(sandbox_entries.fill_one_file, mebibytes=2) == {}


def test_many_files_are_refused(call):
    with pytest.raises(SandboxError, match="wrote more than 8388608 bytes"):
        call(sandbox_entries.fill_many_files, mebibytes=500)


def test_a_long_answer_is_cut_off(call):
    with pytest.raises(SandboxError, match="answered more than 4194304 bytes"):
        call(sandbox_entries.long_answer, characters=5 * 2**20)
    assert len(call(sandbox_entries.long_answer, characters=4 * 2**20 - 1000)["text"]) == 4 * 2**20 - 1000


# Ways of ending


@pytest.mark.parametrize(
    ("entry", "arguments", "said"),
    [
        (sandbox_entries.crash, {}, r"crashed \(SIGSEGV\)"),
        (sandbox_entries.abort, {}, r"crashed \(SIG"),
        (sandbox_entries.leave, {"code": 3}, "exit code 3"),
        (sandbox_entries.leave, {"code": 0}, "without an answer"),
        (sandbox_entries.leave_politely, {}, "SystemExit"),
        (sandbox_entries.deep_answer, {"depth": 100_000}, "RecursionError"),
        (sandbox_entries.not_plain, {}, "not plain data"),
        (sandbox_entries.not_an_object, {}, "other than a JSON object"),
        (sandbox_entries.forge_nonsense, {}, "nonsense"),
        (sandbox_entries.fail, {}, "ValueError: the inner reason"),
    ],
)
def test_every_bad_end_is_an_error_that_says_which(call, entry, arguments, said):
    with pytest.raises(SandboxError, match=said) as caught:
        call(entry, **arguments)
    assert len(str(caught.value)) < 1000
    assert str(caught.value).isprintable()


def test_a_worker_that_the_system_killed_is_said(call, tmp_path):
    def kill():
        marker = tmp_path / "scratch" / "pid"
        deadline = time.monotonic() + 15
        while not (marker.exists() and marker.read_text()) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(int(marker.read_text()), signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(SandboxError, match="was killed"):
        call(sandbox_entries.write_pid_and_sleep)
    thread.join()


def test_an_unknown_entry_is_an_error(sandbox, tmp_path):
    with pytest.raises(SandboxError, match="ModuleNotFoundError"):
        sandbox.run(SandboxJob("nowhere:nothing", tmp_path / "scratch"))


def test_our_own_errors_come_out_as_the_same_class_bounded_and_printable(call):
    with pytest.raises(UnsafeContentError, match="It holds") as caught:
        call(sandbox_entries.refuse)
    assert caught.value.hint == "Save it again."
    assert caught.value.message.isprintable()
    assert len(caught.value.message) <= 2000


def test_a_missing_extra_and_a_full_disk_keep_their_meaning(call):
    with pytest.raises(MissingExtraError, match=r"fairlead\[keras\]") as caught:
        call(sandbox_entries.miss_extra)
    assert caught.value.extra == "keras"
    for entry in (sandbox_entries.fill_disk, sandbox_entries.own_no_space):
        with pytest.raises(NoSpaceError):
            call(entry)


def test_strict_refuses_and_names_the_missing_layer(tmp_path, layers):
    job = SandboxJob("fairlead.security.sandbox_child:nothing", tmp_path / "scratch")
    missing = [name for name, state in layers.items() if state != "active"]
    if missing:
        with pytest.raises(SandboxError, match=missing[0]):
            OneShotSandbox(strict=True).run(job)
    else:
        assert OneShotSandbox(strict=True).run(job) == {}


def test_every_layer_is_active_or_says_why(layers):
    assert len(layers) == 10
    assert all(layers.values())


# Nothing stays behind


def children_of(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def descriptor_count():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_no_process_and_no_descriptor_is_left(call, tmp_path):
    before = (children_of(os.getpid()), descriptor_count())
    call(sandbox_entries.echo)
    with pytest.raises(SandboxError):
        call(sandbox_entries.crash)
    with pytest.raises(SandboxError):
        call(sandbox_entries.sleep, limits=SandboxLimits(memory_bytes=2**30, wall_s=0.3))
    with pytest.raises(SandboxError):
        call(sandbox_entries.long_answer, characters=5 * 2**20)
    assert (children_of(os.getpid()), descriptor_count()) == before


def test_the_worker_dies_with_the_process_that_asked(tmp_path, need):
    need("dies-with-parent")
    program = (
        f"from pathlib import Path; from fairlead.security.sandbox import OneShotSandbox; from fairlead.core.ports import SandboxJob;"
        f"OneShotSandbox(import_paths=(Path({str(HERE)!r}),)).run("
        f"SandboxJob('sandbox_entries:write_pid_and_sleep', Path({str(tmp_path / 'scratch')!r})))"
    )
    with subprocess.Popen([sys.executable, "-c", program]) as owner:
        marker = tmp_path / "scratch" / "pid"
        deadline = time.monotonic() + 20
        while not marker.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        supervisor = children_of(owner.pid)[0]
        worker = children_of(supervisor)[0]
        owner.kill()
        owner.wait()
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in (supervisor, worker)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(supervisor)
    assert not alive(worker)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_it_works_from_a_thread(call):
    got = []
    thread = threading.Thread(target=lambda: got.append(call(sandbox_entries.echo)))
    thread.start()
    thread.join(20)
    assert got


def test_a_worker_starts_within_a_quarter_of_a_second(call):
    call(sandbox_entries.echo)
    began = time.monotonic()
    for _ in range(4):
        call(sandbox_entries.echo)
    assert (time.monotonic() - began) / 4 < 0.25 * (1 + os.getloadavg()[0])
