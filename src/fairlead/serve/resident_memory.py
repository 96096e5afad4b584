"""How much memory this process has resident, and how to have the C library give back what it keeps.

Takes nothing; gives bytes. Raises nothing: where the kernel does not say, the answer is 0. glibc keeps freed memory for later allocations;
`give_back` asks it to return whole pages (malloc_trim(3)), which takes milliseconds, so it belongs into a thread: see Trimmer. That does
not reach the end of a thread's arena, where a model's weights lie if they are small enough: `map_large_blocks` keeps them out of there.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import threading
from collections.abc import Callable
from pathlib import Path

_SOON_S = 0.1  # what was just closed is still referred to for a moment
_BLOCK_BYTES = 4 * 2**20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
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


def _find(name: str) -> Callable[..., int] | None:
    try:
        function: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError):
        return None  # not glibc: musl and the BSDs give pages back by themselves
    return function


_trim, _set_option = _find("malloc_trim"), _find("mallopt")


def give_back() -> None:
    """Return freed memory to the kernel, first that of what is in cycles: a version that served is, and the collector may come much later.

    It looks at what came since the server began only, a few milliseconds at most.
    """
    gc.collect()
    if _trim is not None:
        _trim(0)


def map_large_blocks() -> None:
    """Have blocks of 4 MiB and more mapped one by one, so that freeing one gives it back. For a process of our own, before it allocates.

    glibc would raise that bound to 32 MiB by itself. Measured: of a model with 10 MB of weights nothing came back, now all of it does.
    """
    if _set_option is not None and not any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        _set_option(_M_MMAP_THRESHOLD, _BLOCK_BYTES)
        _set_option(_M_TRIM_THRESHOLD, _BLOCK_BYTES)


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
