"""Whatever a call in a thread raises reaches the one who awaits it."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterator

import numpy as np
import pytest

from fairlead.serve.threads import ThreadPool


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    threads = ThreadPool(2, "test")
    yield threads
    threads.close()


def raising(error: BaseException):
    def call() -> None:
        raise error

    return call


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt()])
async def test_what_a_call_raises_is_raised_where_it_is_awaited(pool, error) -> None:
    with pytest.raises(type(error)):
        await pool.call(raising(error))


async def test_a_call_that_stops_an_iteration_that_nobody_makes_is_an_error_and_not_silence(pool) -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(pool.call(raising(StopIteration(1))), 60)
    assert await pool.call(lambda: 5) == 5


async def test_what_a_call_took_and_gave_does_not_stay_while_nothing_comes(pool) -> None:
    given, made = np.zeros(3), np.ones(3)
    kept = [weakref.ref(given), weakref.ref(made)]
    calls = [lambda given=given, made=made: made]
    del given, made
    assert (await pool.call(calls.pop())).sum() == 3
    for _ in range(500):  # the thread lets go a moment after it has told of the end
        if not any(item() is not None for item in kept):
            break
        await asyncio.sleep(0.01)
    assert [item() for item in kept] == [None, None]
