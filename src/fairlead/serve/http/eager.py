"""Start a coroutine at once, go on with it where a scheduler settles its ticket, and make a task of it only if it waits for something else.

Most requests never wait for anything but a ticket; a task for each would cost what docs/decisions/0002-data-plane.md measures. Python 3.12
can start eagerly by itself, but not go on so. Takes a coroutine that handles its own errors; gives what to cancel while it waits. Outside
of a task, that is until it waits for something else than a ticket, the coroutine must not enter `asyncio.timeout`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any

from fairlead.serve.ticket import Ticket

_WAITING: set[asyncio.Task[None]] = set()  # the loop itself keeps only weak references to tasks


def start(coroutine: Coroutine[Any, Any, None]) -> Started | None:
    """Run `coroutine` until it ends or waits; the one whom it waits for finishes it. Returns what to cancel, if it waits."""
    try:
        waits_for = coroutine.send(None)
    except StopIteration:
        return None
    return Started(coroutine, waits_for)


class Started:
    """A coroutine that has begun and waits."""

    __slots__ = ("_coroutine", "_waits_for")

    def __init__(self, coroutine: Coroutine[Any, Any, None], waits_for: Any) -> None:
        self._coroutine = coroutine
        self._wait(waits_for)

    def cancel(self) -> None:
        """Throw CancelledError into the coroutine where it waits; nothing where it has ended."""
        self._waits_for.cancel()

    def _wait(self, waits_for: Any) -> None:
        if type(waits_for) is Ticket:
            waits_for._asyncio_future_blocking = False  # noqa: SLF001 - the part of the protocol of awaitables that a task plays
            waits_for.on_settled = self._go_on
            self._waits_for: Ticket | asyncio.Task[None] = waits_for
        else:
            task = asyncio.get_running_loop().create_task(_finish(_Rest(self._coroutine, waits_for)))
            _WAITING.add(task)
            task.add_done_callback(_WAITING.discard)
            self._waits_for = task

    def _go_on(self) -> None:
        try:
            waits_for = self._coroutine.send(None)
        except (StopIteration, asyncio.CancelledError):
            return
        except Exception as error:  # noqa: BLE001 - it must not reach the scheduler, which settles other tickets after this one
            asyncio.get_running_loop().call_exception_handler({"message": "A request's coroutine failed.", "exception": error})
            return
        self._wait(waits_for)


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
