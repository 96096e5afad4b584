"""A network, process table and inter-process communication of one's own: nothing of the machine's is in them (Linux namespaces).

Takes nothing, gives for each namespace "active" or the kernel's reason; raises nothing. Works for root and for everybody else, through a
user namespace in which this process keeps its own user id. The process namespace holds for the next child that is forked.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path

from fairlead.security import kernel

ACTIVE = "active"
USER, NETWORK, PROCESS, IPC = "user-namespace", "network-namespace", "process-namespace", "ipc-namespace"

_FLAGS = {USER: 0x1000_0000, NETWORK: 0x4000_0000, PROCESS: 0x2000_0000, IPC: 0x0800_0000}
_LINKS = {USER: "user", NETWORK: "net", PROCESS: "pid_for_children", IPC: "ipc"}


def enter() -> Mapping[str, str]:
    """Enter a new namespace of each kind; all at once where allowed, else each that can be had alone (root without user namespaces)."""
    before = {name: _link(name) for name in _FLAGS}
    reasons: dict[str, str] = {}
    user, group = os.geteuid(), os.getegid()
    try:
        kernel.unshare(sum(_FLAGS.values()))
        _keep_ids(user, group)
    except OSError as error:
        reasons = _enter_each(error)
    return {name: ACTIVE if _link(name) != before[name] else reasons.get(name, "the kernel gave the old one") for name in _FLAGS}


def _enter_each(error: OSError) -> dict[str, str]:
    reasons = {USER: _reason(error)}
    for name in (NETWORK, PROCESS, IPC):
        try:
            kernel.unshare(_FLAGS[name])
        except OSError as refusal:
            reasons[name] = _reason(refusal)
    return reasons


def _keep_ids(user: int, group: int) -> None:
    for name, content in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        Path("/proc/self", name).write_text(content, encoding="ascii")


def _link(name: str) -> str:
    try:
        return os.readlink(f"/proc/self/ns/{_LINKS[name]}")  # noqa: PTH115 - the link's text is the answer
    except OSError:
        return ""


def _reason(error: OSError) -> str:
    known = {
        errno.EPERM: "not permitted here (a container or a sysctl forbids user namespaces)",
        errno.EACCES: "not permitted here (a security module forbids user namespaces)",
        errno.ENOSYS: "this kernel does not have it",
        errno.EINVAL: "this kernel does not have it",
        errno.ENOSPC: "the limit of user.max_user_namespaces is reached",
    }
    return known.get(error.errno or 0, str(error))
