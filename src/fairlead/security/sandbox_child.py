"""The worker's side of the sandbox: a supervisor that enters the namespaces, and its one child that gives up every right and then works.

Started by `security.sandbox_process` and by nothing else. Takes the job as JSON on stdin; gives the answer as JSON on the descriptor that
the job names, and on stdout, as lines of JSON, the worker's process id and how it ended. A job that names a descriptor for `asks` stays
(security.resident_child). Never returns to foreign code after the answer; loads no library before it is locked.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import importlib
import json
import os
import resource
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairlead.security import kernel, landlock, namespaces, seccomp
from fairlead.security.namespaces import ACTIVE
from fairlead.security.sandbox_failures import NOTE_CHARS, describe_failure

_READABLE = (
    "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo", "/usr/share/locale", "/lib", "/lib64", "/nix/store",
    "/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives", "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat",
    "/proc/version", "/sys/devices/system/cpu", "/sys/devices/system/node", "/dev/urandom", "/dev/random", "/dev/zero",
)  # fmt: skip


def main() -> None:
    """Run the job that stands on stdin; ends the process."""
    job = json.load(sys.stdin)
    _die_with(int(job["parent"]))
    layers = dict(namespaces.enter()) if kernel.has_linux() else dict.fromkeys(_linux_layers(), "needs Linux")
    _die_with(None)  # entering a user namespace clears it
    worker = os.fork()
    if worker == 0:
        _work(job, layers)
    # Asked to stop, the supervisor ends its child and still reports: nobody else could reap it.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(worker, signal.SIGKILL))
    for name in ("answer", "asks"):
        if name in job:
            os.close(job[name])
    _report({"pid": worker})
    _, status, usage = os.wait4(worker, 0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    cpu_s, peak_bytes = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
    _report({"code": os.waitstatus_to_exitcode(status), "cpu_s": cpu_s, "peak_bytes": peak_bytes})
    os._exit(0)


def _report(line: Mapping[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody is left who asks
        os.write(1, json.dumps(line).encode() + b"\n")


def nothing(_: Mapping[str, Any]) -> dict[str, Any]:
    """The entry that does nothing: for finding out which layers hold."""
    return {}


def _die_with(parent: int | None) -> None:
    if not kernel.has_linux():
        return
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(1)  # it died before the line above


def _work(job: Mapping[str, Any], layers: dict[str, str]) -> None:
    """Lock this process, call the entry, write the answer, answer asks where the job stays, end."""
    answer_to = int(job["answer"])
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    given: Any = None
    try:
        sys.path.extend(job["import_paths"])
        _lock(job, layers)
        missing = sorted(name for name, state in layers.items() if state != ACTIVE)
        if job["is_strict"] and missing:
            answer: dict[str, Any] = {"refused": missing}
        else:
            given, answer = _call(job)
    except OSError as error:
        answer = {"failure": {"kind": "OSError", "message": f"the worker cannot be locked: {error}", "trace": ""}}
    answer["layers"] = layers
    with contextlib.suppress(OSError):  # the parent has gone or has seen enough
        _write(answer_to, answer)
        if "result" in answer and "asks" in job:
            importlib.import_module("fairlead.security.resident_child").answer_asks(given, int(job["asks"]), answer_to)
    os._exit(0)


def _lock(job: Mapping[str, Any], layers: dict[str, str]) -> None:
    """Give up every right that the work does not need, and note for each layer whether it really holds."""
    layers["resource-limits"] = _limit(job["limits"], has_own_ids=layers.get(namespaces.USER) == ACTIVE)
    if not kernel.has_linux():
        return
    _try(layers, "dies-with-parent", _die_with, None)
    _try(layers, "capabilities-dropped", kernel.drop_capabilities)
    _try(layers, "no-new-privileges", kernel.prctl, kernel.PR_SET_NO_NEW_PRIVS, 1)
    libraries = {*sys.path, sys.prefix, sys.base_prefix, sys.exec_prefix, *os.environ.get("LD_LIBRARY_PATH", "").split(":")} - {"", "/"}
    readable = [Path(item) for item in (*_READABLE, *sorted(libraries), *job["readable"])]
    _try(layers, "landlock", landlock.restrict, readable, [Path(job["scratch"]), Path(os.devnull)])
    _try(layers, "seccomp", seccomp.restrict, os.getpid())
    _disbelieve(layers)


def _try(layers: dict[str, str], name: str, action: Any, *arguments: Any) -> None:
    try:
        action(*arguments)
        layers[name] = ACTIVE
    except OSError as error:
        layers[name] = os.strerror(error.errno) if error.errno else str(error)


def _limit(limits: Mapping[str, int], *, has_own_ids: bool) -> str:
    wanted = {
        resource.RLIMIT_AS: limits["memory_bytes"],
        resource.RLIMIT_FSIZE: limits["file_bytes"],
        resource.RLIMIT_NOFILE: 1024,
        resource.RLIMIT_CORE: 0,
    }
    if limits["cpu_s"]:  # a process that stays has none
        wanted[resource.RLIMIT_CPU] = limits["cpu_s"]
    if has_own_ids:  # else the user's other processes would count
        wanted[resource.RLIMIT_NPROC] = 512
    for kind, amount in wanted.items():
        _, hard = resource.getrlimit(kind)
        ceiling = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
        resource.setrlimit(kind, (ceiling, ceiling))
    return ACTIVE


def _disbelieve(layers: dict[str, str]) -> None:
    """Try what has to fail now; a layer that does not hold is not active, whatever the kernel said."""
    if layers["landlock"] == ACTIVE:
        try:
            os.close(os.open("/", os.O_RDONLY | os.O_DIRECTORY))
            layers["landlock"] = "the kernel accepted it, but the root folder can still be read"
        except PermissionError:
            pass
    if layers["seccomp"] == ACTIVE:
        ctypes.set_errno(0)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.socket(1, 1, 0) >= 0 or ctypes.get_errno() != errno.EPERM:
            layers["seccomp"] = "the kernel accepted it, but a socket can still be made"
    if layers["no-new-privileges"] == ACTIVE and kernel.prctl(kernel.PR_GET_NO_NEW_PRIVS) != 1:
        layers["no-new-privileges"] = "the kernel accepted it, but it does not hold"


def _call(job: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return what the entry returned, and what the parent is told of it."""
    module, _, name = str(job["entry"]).partition(":")
    try:
        entry = getattr(importlib.import_module(module), name)
        given = entry({**job["arguments"], "scratch": job["scratch"]})
        if "asks" in job and not callable(given):
            raise TypeError(f"{job['entry']} gave no function that answers")  # noqa: TRY301 - told to the parent like every other failure
    except BaseException as error:  # noqa: BLE001 - foreign bytes may make a library raise anything; the parent decides what to say
        return None, describe_failure(error)
    return given, {"result": {} if "asks" in job else given}


def _write(descriptor: int, answer: Mapping[str, Any]) -> None:
    try:
        data = json.dumps(answer).encode() + b"\n"
    except (TypeError, ValueError, RecursionError, MemoryError) as error:
        failure = {"kind": type(error).__name__, "message": f"the answer is not plain data: {error}"[:NOTE_CHARS], "trace": ""}
        data = json.dumps({"failure": failure, "layers": answer["layers"]}).encode() + b"\n"
    while data:
        data = data[os.write(descriptor, data[: 1 << 20]) :]


def _linux_layers() -> tuple[str, ...]:
    return (
        namespaces.USER, namespaces.NETWORK, namespaces.PROCESS, namespaces.IPC,
        "dies-with-parent", "capabilities-dropped", "no-new-privileges", "landlock", "seccomp",
    )  # fmt: skip


if __name__ == "__main__":
    main()
