"""What a worker gives up, as far as this kernel offers it: rights, files, network, programs, memory without end.

Takes what the worker still needs; gives nothing back. Only `die_with_parent` raises: the files that are opened here are Fairlead's own,
proven and checked by digest, so a layer that the kernel lacks is no reason not to serve. What holds is for the calling thread and those
that it starts later.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from pathlib import Path

from fairlead.security import kernel, landlock, seccomp

_OPEN_FILES = 256
_READABLE = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/proc/self", "/sys/devices/system/cpu", os.devnull)


def die_with_parent(parent: int) -> None:
    """Let the kernel end this process when `parent` ends; end at once where that has happened already."""
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def prefer_for_killing(score: int) -> None:
    """Let the system, where memory runs out, take this process (and those it starts) before the front: raising needs no rights."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(score), encoding="ascii")


def close_files(readable: tuple[str, ...]) -> None:
    """Leave this process, and all that it starts, Python's modules, the system's libraries and `readable`; nothing to write, no TCP."""
    libraries = {*sys.path, sys.prefix, sys.base_prefix, sys.exec_prefix, *os.environ.get("LD_LIBRARY_PATH", "").split(":")} - {"", "/"}
    paths = [Path(item) for item in (*_READABLE, *sorted(libraries), *readable)]
    with contextlib.suppress(OSError):
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        landlock.restrict(paths, [])


def limit_resources(address_bytes: int) -> None:
    """Bound what this process may take; `address_bytes` is its address space. It writes no file and leaves no core."""
    wanted = (
        (resource.RLIMIT_AS, address_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
    )
    for kind, amount in wanted:
        _, hard = resource.getrlimit(kind)
        ceiling = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, (ceiling, ceiling))


def give_up_rights() -> None:
    """Drop every capability, and let the kernel refuse programs, processes, sockets and signals to others from now on."""
    with contextlib.suppress(OSError):
        kernel.drop_capabilities()
    with contextlib.suppress(OSError):
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        seccomp.restrict(os.getpid())


def address_space_bytes() -> int:
    """Return the size of this process's address space."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()
