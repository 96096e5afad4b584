"""An event loop in a thread of its own for synchronous tests, and what a test must not leave behind."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any


class LoopThread:
    """Runs coroutines and calls of a whole module."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def begin(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def call(self, function: Callable[[], Any]) -> Any:
        async def work() -> Any:
            return function()

        return self.do(work())

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


def left() -> tuple[int, int, int]:
    """Descriptors and threads of this process, and the processes that descend from it."""
    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), len(descendants(os.getpid()))


def wait_for_nothing_more(before: tuple[int, int, int]) -> None:
    """Wait until there is no more left than before; less may be, where a test before had not quite ended."""
    try:
        wait_until(lambda: all(now <= then for now, then in zip(left(), before, strict=True)))
    except AssertionError:
        threads = [thread.name for thread in threading.enumerate()]
        files = [str(item.readlink()) for item in Path("/proc/self/fd").iterdir() if item.is_symlink()]
        raise AssertionError(f"{left()} are left, {before} before: {threads} {files} {descendants(os.getpid())}") from None


def descendants(root: int) -> set[int]:
    """Processes that descend from `root`, zombies included."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    own, count = {root}, 0
    while len(own) != count:
        count = len(own)
        own |= {pid for pid, parent in parents.items() if parent in own}
    return own - {root}


def wait_until(condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, "did not happen in time"
        time.sleep(0.01)
