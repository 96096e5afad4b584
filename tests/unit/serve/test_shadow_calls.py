"""A request that is run again to be compared costs no caller anything: no place, no slot that is wanted, no company, no refusal."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from tests.unit.serve.scheduling import Bench, FakeExecutor

from fairlead.errors import DeadlineError
from fairlead.serve.admission import LOWEST_PRIORITY
from fairlead.serve.batching import BatchPolicy
from fairlead.serve.call_limit import CallLimit
from fairlead.serve.scheduler import Scheduler


def version(fakes, limit: CallLimit | None, slot_count: int = 4) -> tuple[Scheduler, FakeExecutor]:
    executor = FakeExecutor(fakes.pair, slot_count, is_blocking=True)
    return Scheduler(executor, BatchPolicy(max_rows=8, max_delay_ms=0), lambda _run: None, limit=limit), executor


def ask(scheduler: Scheduler, number: float, **options):
    return scheduler.submit({"x": np.full((1, 2), number, np.float32)}, (), 1, **options)


def shadow(scheduler: Scheduler, number: float, **options):
    return ask(scheduler, number, priority=LOWEST_PRIORITY, **options)


async def rounds() -> None:
    await asyncio.sleep(0.01)


@pytest.mark.parametrize("count", [1, 2])
async def test_a_shadow_takes_no_place_from_callers_and_gives_none_back(fakes, count) -> None:
    limit = CallLimit(count)
    (live, live_executor), (candidate, candidate_executor) = version(fakes, limit), version(fakes, limit)
    first = shadow(candidate, 9)
    await rounds()
    tickets = []
    for number in range(count):
        tickets.append(ask(live, number))
        await rounds()  # each in a call of its own
    assert (live_executor.running, candidate_executor.running, limit.taken) == (count, 1, count)
    second = shadow(candidate, 8)
    await rounds()
    assert candidate_executor.running == 2  # no place is free, and it needs none
    candidate_executor.gate.set()
    await asyncio.gather(first, second)
    assert limit.taken == count
    live_executor.gate.set()
    await asyncio.gather(*tickets)
    assert limit.taken == 0


async def test_a_caller_gets_the_place_while_a_shadow_of_the_same_version_runs(fakes) -> None:
    limit = CallLimit(1)
    scheduler, executor = version(fakes, limit)
    again = shadow(scheduler, 9)
    await rounds()
    caller = ask(scheduler, 1)
    await rounds()
    assert (executor.running, limit.taken) == (2, 1)
    executor.gate.set()
    await asyncio.gather(again, caller)
    assert (limit.taken, scheduler.running_count) == (0, 0)


async def test_a_shadow_shares_no_call_with_callers_and_stands_behind_them(fakes) -> None:
    scheduler, executor = version(fakes, None, slot_count=1)
    first = ask(scheduler, 0)
    await rounds()
    waiting = [shadow(scheduler, 9), ask(scheduler, 1), ask(scheduler, 2)]
    executor.gate.set()
    await asyncio.gather(first, *waiting)
    assert executor.calls == [[0], [1, 2], [9]]


async def test_the_last_of_several_slots_is_left_free(fakes) -> None:
    scheduler, executor = version(fakes, None, slot_count=2)
    first = ask(scheduler, 0)
    await rounds()
    again = shadow(scheduler, 9)
    await rounds()
    assert (executor.running, scheduler.waiting_count) == (1, 1)
    caller = ask(scheduler, 1)
    await rounds()
    assert executor.running == 2
    executor.gate.set()
    await asyncio.gather(first, again, caller)
    assert executor.calls[-1] == [9]


async def test_a_shadow_makes_nobodys_wait_look_longer(fakes) -> None:
    bench = Bench(fakes, row_ms=1e6)
    bench.executor.gate.set()
    again = shadow(bench.scheduler, 9)
    assert bench.scheduler.expected_wait_s() == 0.0
    caller = ask(bench.scheduler, 1, timeout_s=5.0)  # refused where the shadow counted: calls take minutes
    await asyncio.gather(again, caller)
    assert bench.is_balanced()


async def test_a_shadow_that_never_came_to_run_is_told_from_one_that_ran_too_long(fakes) -> None:
    scheduler, executor = version(fakes, None, slot_count=1)
    running = ask(scheduler, 0)
    await rounds()
    again = shadow(scheduler, 9, timeout_s=0.02)
    with pytest.raises(DeadlineError):
        await again
    assert (scheduler.is_running(again), scheduler.is_running(running)) == (False, True)
    executor.gate.set()
    await running
    assert executor.calls == [[0]]
