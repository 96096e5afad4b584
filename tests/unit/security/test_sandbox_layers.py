"""Where the kernel refuses a layer, the sandbox still works, says which is missing and why, and strict mode refuses."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from fairlead.security import seccomp

PROGRAM = """
import ctypes, json, struct, sys, tempfile
from pathlib import Path
from fairlead.core.ports import SandboxJob
from fairlead.errors import SandboxError
from fairlead.security import kernel
from fairlead.security.sandbox import OneShotSandbox

denied = json.loads(sys.argv[1])
lines = [(0x20, 0, 0, 0)]
for number, code in denied:
    lines += [(0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | code)]
lines.append((0x06, 0, 0, 0x7FFF0000))
program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in lines))
header = ctypes.create_string_buffer(struct.pack("@HP", len(lines), ctypes.addressof(program)))
kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
kernel.prctl_pointer(kernel.PR_SET_SECCOMP, 2, ctypes.c_void_p(ctypes.addressof(header)))
result = {"layers": dict(OneShotSandbox().layers()), "strict": ""}
try:
    OneShotSandbox(strict=True).run(SandboxJob("fairlead.security.sandbox_child:nothing", Path(tempfile.mkdtemp(), "s")))
except SandboxError as error:
    result["strict"] = str(error)
print(json.dumps(result))
"""
UNSHARE = {"x86_64": 272, "aarch64": 97}
LANDLOCK_CREATE = 444
EPERM, ENOSYS = 1, 38


def run_without(*denied):
    done = subprocess.run([sys.executable, "-c", PROGRAM, json.dumps(denied)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def machine():
    import platform

    if platform.machine() not in UNSHARE:
        pytest.skip(f"no system call numbers for {platform.machine()}")
    return platform.machine()


def test_without_namespaces_it_works_and_says_so(machine):
    result = run_without((UNSHARE[machine], EPERM))
    for name in ("user-namespace", "network-namespace", "process-namespace", "ipc-namespace"):
        assert "not permitted here" in result["layers"][name]
    assert result["layers"]["landlock"] == result["layers"]["seccomp"] == "active"
    assert "network-namespace" in result["strict"]


def test_without_landlock_it_works_and_says_so(machine):
    result = run_without((LANDLOCK_CREATE, ENOSYS))
    assert result["layers"]["landlock"] == "Function not implemented"
    assert result["layers"]["network-namespace"] == "active"
    assert "lacks: landlock" in result["strict"]


def test_the_filter_denies_by_number_on_every_processor_that_it_knows():
    for machine, (column, arch) in seccomp._PROCESSORS.items():
        program = list(seccomp._program(column, arch, 1))
        numbers = [value for code, _, _, value in program if code == seccomp._EQUAL]
        assert len(program) < 4096, machine
        for name in ("execve", "socket", "ptrace", "mount", "bpf", "keyctl", "unshare", "io_uring_setup"):
            assert seccomp._DENIED[name][column] in numbers, (machine, name)


def test_every_jump_of_the_filter_stays_inside():
    for column, arch in seccomp._PROCESSORS.values():
        program = list(seccomp._program(column, arch, 1))
        for place, (code, yes, no, _) in enumerate(program):
            assert (yes, no) == (0, 0) or (code != seccomp._RETURN and place + 1 + max(yes, no) < len(program))
        assert program[-1] == (seccomp._RETURN, 0, 0, seccomp._ALLOW)
