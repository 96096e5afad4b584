"""How much memory this process has resident, and how to have the C library give back what it keeps.

Takes nothing; gives bytes. Raises nothing: where the kernel does not say, the answer is 0. glibc keeps freed memory for later allocations;
`give_back` asks it to return whole pages (malloc_trim(3)), which takes milliseconds, so it belongs into a thread: see Trimmer.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path

_SOON_S = 0.1  # what was just closed is still referred to for a moment
_STATM = Path("/proc/self/statm")


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def share_bytes(pid: int) -> int:
    """Return the proportional share (PSS, proc(5)) of a process; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _find_trim() -> Callable[[int], int] | None:
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return None  # not glibc: musl and the BSDs give pages back by themselves
    return trim


_trim = _find_trim()


def give_back() -> None:
    """Return freed memory to the kernel."""
    if _trim is not None:
        _trim(0)


class Trimmer:
    """Gives memory back a moment after it was freed, once however often it is asked."""

    def __init__(self) -> None:
        self._is_due = False

    def give_back_soon(self) -> None:
        """Call it in the event loop; returns at once."""
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_later(_SOON_S, self._start)

    def _start(self) -> None:
        self._is_due = False
        threading.Thread(target=give_back, name="fairlead-trim", daemon=True).start()
