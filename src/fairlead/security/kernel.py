"""The few Linux calls that Python does not offer. Gives plain functions; raises OSError with the kernel's own reason; keeps no state."""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_GET_NO_NEW_PRIVS = 39

_libc = ctypes.CDLL(None, use_errno=True)


def has_linux() -> bool:
    """Whether these calls exist here at all."""
    return sys.platform == "linux"


def prctl(option: int, argument: int = 0) -> int:
    """Ask the kernel for one thing about this process (man 2 prctl)."""
    zero = ctypes.c_ulong(0)
    return _checked(_libc.prctl(ctypes.c_int(option), ctypes.c_ulong(argument), zero, zero, zero), "prctl")


def prctl_pointer(option: int, argument: int, pointer: ctypes.c_void_p) -> int:
    """Do the same where the second argument is a pointer."""
    zero = ctypes.c_ulong(0)
    return _checked(_libc.prctl(ctypes.c_int(option), ctypes.c_ulong(argument), pointer, zero, zero), "prctl")


def unshare(flags: int) -> None:
    """Leave the namespaces that `flags` name (man 2 unshare)."""
    _checked(_libc.unshare(ctypes.c_int(flags)), "unshare")


def syscall(number: int, *arguments: int | ctypes.c_void_p | None) -> int:
    """Make a system call by number; integers pass as unsigned longs, None as a null pointer."""
    words = [ctypes.c_void_p(None) if item is None else ctypes.c_ulong(item) if isinstance(item, int) else item for item in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *words), f"system call {number}")


def drop_capabilities() -> None:
    """Give up every capability for good: the bounding set first (where that is allowed), then the process's own."""
    for capability in range(64):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:  # EINVAL: the kernel knows no more; EPERM: there was none to give up
            break
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    _checked(_libc.capset(ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)())), "capset")


def _checked(result: int, name: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return int(result)
