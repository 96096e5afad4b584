"""Start a coroutine at once and make a task of it only if it has to wait.

Most requests never wait; a task for each would cost what docs/decisions/0002-data-plane.md measures. Python 3.12 can do this by itself;
3.11 cannot. Takes a coroutine that handles its own errors; gives nothing. In its first step, before it waits for the first time, the
coroutine has no current task: it must not enter `asyncio.timeout` there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any

_WAITING: set[asyncio.Task[None]] = set()  # the loop itself keeps only weak references to tasks


def start(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
    """Run `coroutine` until it ends or waits; in the latter case the running loop finishes it. Returns what to cancel, if it waits."""
    try:
        waits_for = coroutine.send(None)
    except StopIteration:
        return None
    task = asyncio.get_running_loop().create_task(_finish(_Rest(coroutine, waits_for)))
    _WAITING.add(task)
    task.add_done_callback(_WAITING.discard)
    return task


async def _finish(rest: _Rest) -> None:
    await rest


class _Rest:
    """What remains of a coroutine that has begun: hands the loop what it waits for, and it what comes back."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], waits_for: Any) -> None:
        self._coroutine, self._waits_for = coroutine, waits_for

    def __await__(self) -> Generator[Any, Any, None]:
        while True:
            answer, thrown = None, None
            try:
                answer = yield self._waits_for
            except BaseException as error:  # noqa: BLE001 - it belongs to the coroutine, cancellation included
                thrown = error
            try:
                self._waits_for = self._coroutine.send(answer) if thrown is None else self._coroutine.throw(thrown)
            except StopIteration:
                return
