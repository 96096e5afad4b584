"""The exam of the Sandbox port: what foreign-file work may not do, what it may, and how each way of ending comes out."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fairlead.core.ports import SandboxJob, SandboxLimits
from fairlead.errors import MissingExtraError, NoSpaceError, SandboxError, UnsafeContentError
from fairlead.security.sandbox import OneShotSandbox

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("sandbox_entries", HERE / "sandbox_entries.py")
sandbox_entries = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sandbox_entries)
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


# What it may do


def test_the_entry_gets_its_arguments_and_the_scratch_folder(call, tmp_path):
    assert call(sandbox_entries.echo, a=[1, "zwei"]) == {"got": {"a": [1, "zwei"], "scratch": str(tmp_path / "scratch")}}


def test_it_writes_and_renames_in_scratch(call, tmp_path):
    call(sandbox_entries.write_scratch)
    assert (tmp_path / "scratch" / "final").read_text() == "data"


def test_it_reads_what_it_was_given(call, tmp_path):
    path = tmp_path / "given"
    path.write_text("content")
    assert call(sandbox_entries.read_file, readable=[path], path=str(path)) == {"text": "content"}


def test_it_may_use_threads(call):
    assert call(sandbox_entries.use_threads) == {"done": 8}


def test_what_libraries_print_does_not_mix_into_the_answer(call):
    assert call(sandbox_entries.print_noise) == {"quiet": True}


# What it may not do; each with the same act outside as the positive control


def test_it_cannot_reach_the_network(call, need):
    need("seccomp")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert sandbox_entries.connect({"port": port}) == {"connected": True}
        listener.accept()[0].close()
        with pytest.raises(SandboxError, match="Operation not permitted"):
            call(sandbox_entries.connect, port=port)
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_it_has_a_network_of_its_own(call, need):
    need("network-namespace")
    text = Path("/proc/self/net/route").read_text()
    assert len(text.splitlines()) >= 1
    assert call(sandbox_entries.read_file, path="/proc/self/net/dev")["text"].count(":") == 1


def test_it_cannot_reach_a_unix_socket(call, need, tmp_path, monkeypatch):
    need("seccomp")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        listener.listen()
        assert sandbox_entries.connect_unix({"path": "s"}) == {"connected": True}
        with pytest.raises(SandboxError, match="PermissionError"):
            call(sandbox_entries.connect_unix, path=str(tmp_path / "s"))


def test_it_cannot_read_a_planted_secret(call, need, tmp_path):
    need("landlock")
    secret = tmp_path / "secret"
    secret.write_text("sk_live_TEST")
    assert sandbox_entries.read_file({"path": str(secret)}) == {"text": "sk_live_TEST"}
    with pytest.raises(SandboxError, match="PermissionError") as caught:
        call(sandbox_entries.read_file, path=str(secret))
    assert "sk_live_TEST" not in str(caught.value)


@pytest.mark.parametrize("path", ["/", "/etc", "/proc", "/root", "/home", "/tmp", "/var"])
def test_it_cannot_list_the_machine(call, need, path):
    need("landlock")
    if not Path(path).is_dir():
        pytest.skip(f"there is no {path} here")
    with pytest.raises(SandboxError, match="PermissionError"):
        call(sandbox_entries.list_folder, path=path)


def test_it_cannot_read_another_process(call, need):
    need("landlock")
    path = f"/proc/{os.getpid()}/environ"
    assert sandbox_entries.read_file({"path": path})["text"]
    with pytest.raises(SandboxError, match="PermissionError"):
        call(sandbox_entries.read_file, path=path)


def test_it_cannot_write_outside_scratch(call, need, tmp_path):
    need("landlock")
    target = tmp_path / "target"
    with pytest.raises(SandboxError, match="PermissionError"):
        call(sandbox_entries.write_file, path=str(target))
    assert not target.exists()
    sandbox_entries.write_file({"path": str(target)})
    assert target.read_text() == "harm"


def test_it_cannot_write_what_it_may_read(call, need, tmp_path):
    need("landlock")
    path = tmp_path / "given"
    path.write_text("content")
    with pytest.raises(SandboxError, match="PermissionError"):
        call(sandbox_entries.write_file, readable=[path], path=str(path))
    assert path.read_text() == "content"


def test_it_cannot_change_the_mode_of_a_file(call, need, tmp_path):
    need("seccomp")
    path = tmp_path / "key"
    path.touch(mode=0o600)
    with pytest.raises(SandboxError, match="PermissionError"):
        call(sandbox_entries.change_mode, path=str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    sandbox_entries.change_mode({"path": str(path)})
    assert path.stat().st_mode & 0o777 == 0o777


def test_it_cannot_run_a_program(call, need):
    need("seccomp")
    assert sandbox_entries.run_program({}) == {"out": "1\n"}
    for entry in (sandbox_entries.run_program, sandbox_entries.replace_self, sandbox_entries.load_and_execute, sandbox_entries.fork):
        with pytest.raises(SandboxError, match=r"PermissionError|BlockingIOError"):
            call(entry, limits=SandboxLimits(memory_bytes=2**30, wall_s=20.0))


def test_it_cannot_signal_other_processes(call, need):
    need("seccomp")
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as bystander:
        try:
            with pytest.raises(SandboxError, match=r"PermissionError|ProcessLookupError"):
                call(sandbox_entries.signal_parent, pid=bystander.pid)
            assert bystander.poll() is None
            sandbox_entries.signal_parent({"pid": bystander.pid})
            assert bystander.wait(10) == -15
        finally:
            bystander.kill()


def test_it_cannot_plant_a_link(call, need, tmp_path):
    need("landlock")
    with pytest.raises(SandboxError, match="PermissionError"):
        call(sandbox_entries.plant_link)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_it_sees_nothing_of_our_environment(call, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sk_live_TEST")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    got = call(sandbox_entries.environment)
    allowed = {"PATH", "HOME", "TMPDIR", "USER", "LOGNAME", "LC_ALL", "PYTHONHASHSEED", "PYTHONUTF8", "MALLOC_ARENA_MAX", "LD_LIBRARY_PATH"}
    assert {name for name in got["environment"] if not name.endswith("_NUM_THREADS")} <= allowed
    assert got["flags"] == [1, True]
    assert "sk_live_TEST" not in repr(got)


def test_it_has_no_capabilities_and_only_its_own_descriptors(call, need):
    need("capabilities-dropped", "no-new-privileges")
    got = call(sandbox_entries.status)
    for name in ("CapInh", "CapPrm", "CapEff"):
        assert int(got["status"][name], 16) == 0
    assert got["status"]["NoNewPrivs"] == "1"
    assert [link for link in got["descriptors"].values() if link.startswith(("socket:", "anon_inode:"))] == []
    assert len([link for link in got["descriptors"].values() if link.startswith("pipe:")]) == 1


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
