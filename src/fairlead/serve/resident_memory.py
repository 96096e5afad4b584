"""How much memory this process has resident, and how to have the C library give back what it keeps.

Takes nothing; gives bytes. Raises nothing: where the kernel does not say, the answer is 0. glibc keeps freed memory for later allocations;
`give_back` asks it to return whole pages (malloc_trim(3)), which takes milliseconds, so call it in a thread.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

_STATM = Path("/proc/self/statm")


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


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
