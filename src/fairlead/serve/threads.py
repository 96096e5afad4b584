"""Daemon threads that run blocking calls for an event loop.

Takes plain functions; gives awaitables. An exception of the function is the awaitable's. Unlike concurrent.futures, a call that hangs
never keeps the process from exiting: a server that was told to stop has to stop.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
_Job = tuple[Callable[[], Any], "asyncio.Future[Any]", asyncio.AbstractEventLoop]


class ThreadPool:
    """At most `size` calls at once; threads start when they are first needed."""

    def __init__(self, size: int, name: str) -> None:
        self._size, self._name = size, name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._pending = 0

    async def call(self, function: Callable[[], T]) -> T:
        """Return what `function` returns, called in one of the threads."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._pending += 1
        if self._pending > len(self._threads) < self._size:
            thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._jobs.put((function, future, loop))
        try:
            return await future
        finally:
            self._pending -= 1

    def close(self) -> None:
        """Let each thread end after the call that it is in."""
        for _ in self._threads:
            self._jobs.put(None)
        self._threads.clear()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            function, future, loop = job
            if future.cancelled():
                continue
            try:
                outcome: Any = function()
                settle = _succeed
            except BaseException as error:  # noqa: BLE001 - whatever the call raised belongs to the one who awaits it
                outcome, settle = error, _fail
            try:
                loop.call_soon_threadsafe(settle, future, outcome)
            except RuntimeError:  # the loop was closed while the call ran: nobody waits any more
                return
            del job, function, future, outcome  # else what the last call took and gave would stay while nothing comes


def _succeed(future: asyncio.Future[Any], outcome: Any) -> None:
    if not future.done():
        future.set_result(outcome)


def _fail(future: asyncio.Future[Any], outcome: BaseException) -> None:
    if isinstance(outcome, StopIteration):  # a future takes everything but that, and its caller would wait for ever
        outcome = RuntimeError("The call raised StopIteration.")
    if not future.done():
        future.set_exception(outcome)
