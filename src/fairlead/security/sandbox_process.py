"""The parent's side of a sandboxed worker's life: how it is started, what it is told, how much it wrote, how it is ended.

Takes a SandboxJob and the descriptors that the worker inherits; gives its Popen. Raises OSError where no process can be started. Reads no
answer and believes nothing; `security.sandbox` and `security.resident_process` do the talking.

The worker starts as `python -s -P -B` with an environment of our own making: that is isolated mode (-I) except that PYTHONHASHSEED holds.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from fairlead import errors
from fairlead.core.ports import SandboxJob

_BOOT = "import sys; sys.path.append(sys.argv[1]); from fairlead.security.sandbox_child import main; main()"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def describe(job: SandboxJob, import_paths: tuple[str, ...], *, is_strict: bool, **descriptors: int) -> bytes:
    """Return what the worker is told: the job, its rights and limits, its parent, and the inherited `descriptors` by name."""
    own = tuple(dict.fromkeys((*import_paths, *(str(path.resolve()) for path in job.import_paths))))
    described = {
        "entry": job.entry,
        "arguments": job.arguments,
        "scratch": str(job.scratch.resolve()),
        "readable": [*(str(path.resolve()) for path in job.readable), *own],
        "import_paths": own,
        "limits": {"memory_bytes": job.limits.memory_bytes, "cpu_s": job.limits.cpu_s, "file_bytes": job.limits.file_bytes},
        "is_strict": is_strict,
        "parent": os.getpid(),
        **descriptors,
    }
    return json.dumps(described).encode()


def start_worker(job: SandboxJob, inherited: tuple[int, ...]) -> subprocess.Popen[bytes]:
    """Start a worker that waits for its description on stdin. The thread that calls has to outlive it (see security.resident_keeper)."""
    scratch = str(job.scratch.resolve())
    environment = {
        "PATH": "/usr/bin:/bin", "HOME": scratch, "TMPDIR": scratch, "USER": "fairlead", "LOGNAME": "fairlead", "LC_ALL": "C.UTF-8",
        "PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "MALLOC_ARENA_MAX": "2", **dict.fromkeys(_THREADS, "1"),
    }  # fmt: skip
    if "LD_LIBRARY_PATH" in os.environ:  # conda and Nix find their C++ library by it
        environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    package_root = str(Path(errors.__file__).parent.parent)
    return subprocess.Popen(
        [sys.executable, "-s", "-P", "-B", "-c", _BOOT, package_root],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=inherited,
        env=environment,
        cwd=scratch,
        start_new_session=True,
    )


def hand_over(worker: subprocess.Popen[bytes], described: bytes) -> None:
    """Tell the worker its job; one that has died already says so by its end."""
    with contextlib.suppress(BrokenPipeError), worker.stdin as stream:  # type: ignore[union-attr] # a pipe, see start_worker
        stream.write(described)


def end_worker(worker: subprocess.Popen[bytes]) -> None:
    """Kill whatever is left of the worker's process group and reap it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
    if worker.stdout is not None:
        worker.stdout.close()


def written_bytes(folder: Path) -> int:
    """Return the size of everything below `folder`."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # it may go while we look
                total += os.lstat(os.path.join(root, name)).st_size  # noqa: PTH118 - names of the worker, not paths of ours
    return total
