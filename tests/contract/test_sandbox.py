"""The exam of the Sandbox port, part 1: what foreign-file work may and may not do, each with the same act outside as control."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import sandbox_entries

from fairlead.core.ports import SandboxLimits
from fairlead.errors import SandboxError

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
    allowed.add("ORT_DISABLE_TELEMETRY")  # set by the package itself, wherever it is imported
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
