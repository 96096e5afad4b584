"""How many calls of one model are under way at once, counted exactly, whatever its versions and their queues."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.serve.scheduling import SINGLES, FakeExecutor

from fairlead.errors import DeadlineError, SpecError, UnavailableError
from fairlead.serve.call_limit import CallLimit, CallLimits, ConcurrencyLimits, parse_limits
from fairlead.serve.scheduler import Scheduler


@pytest.mark.parametrize(
    ("text", "default", "by_model"),
    [
        ("", 0, {}),
        ("4", 4, {}),
        ("digits=1", 0, {"digits": 1}),
        (" 4, digits = 1 ,fraud=0,", 4, {"digits": 1, "fraud": 0}),
        ("digits=2, digits=2", 0, {"digits": 2}),
    ],
)
def test_limits_are_read_for_all_models_and_for_each(text, default, by_model) -> None:
    limits = parse_limits(text)
    assert (limits.default, limits.by_model) == (default, by_model)
    assert [limits.of(name) for name in ("digits", "other")] == [by_model.get("digits", default), default]


@pytest.mark.parametrize("text", ["many", "-1", "1.5", "4, 5", "digits=", "=3", "digits=1, digits=2", "Bad Name=1", "٤", "9" * 12])
def test_a_limit_that_makes_no_sense_is_refused(text) -> None:
    with pytest.raises(SpecError):
        parse_limits(text)


def test_versions_of_a_model_share_a_limit_and_models_do_not() -> None:
    limits = CallLimits(ConcurrencyLimits(2, {"free": 0}))
    assert limits.of("free") is None
    assert limits.of("a") is not limits.of("b")
    shared = limits.of("a")
    assert limits.of("a") is shared


@given(st.lists(st.tuples(st.sampled_from(["take", "give back", "leave"]), st.integers(0, 3)), max_size=200), st.integers(1, 3))
def test_no_more_places_are_taken_than_there_are_and_nobody_waits_for_ever(steps, count) -> None:
    """Whoever is woken takes a place or leaves the line, as schedulers do."""
    limit, woken, held = CallLimit(count), [], [0] * 4
    wakes = [lambda place=place: woken.append(place) for place in range(4)]

    def take(place: int) -> None:
        if limit.take(wakes[place]):
            held[place] += 1

    for step, place in steps:
        if step == "take":
            take(place)
        elif step == "leave":
            limit.leave(wakes[place])
        elif held[place]:
            held[place] -= 1
            limit.give_back()
        while woken:
            take(woken.pop(0))
        assert limit.taken == sum(held) <= count
    while any(held):
        place = next(place for place in range(4) if held[place])
        held[place] -= 1
        limit.give_back()
        while woken:
            take(woken.pop(0))
    assert not limit._line
    assert limit.taken == 0


class Counting(FakeExecutor):
    """Counts, over all executors that share `counts`, how many calls are under way, and how many ever were."""

    counts: list[int]

    async def run(self, inputs, outputs):
        self.counts[0] += 1
        self.counts[1] = max(self.counts[1], self.counts[0])
        try:
            return await super().run(inputs, outputs)
        finally:
            self.counts[0] -= 1


def versions(fakes, limit, count=2):
    """Schedulers of as many versions, each with four slots, and what they count together."""
    counts, found = [0, 0], []
    for _ in range(count):
        executor = Counting(fakes.pair, 4, is_blocking=True)
        executor.counts = counts
        found.append((Scheduler(executor, SINGLES, lambda _run: None, limit=limit), executor))
    return found, counts


def ask(scheduler, number, **options):
    return scheduler.submit({"x": np.full((1, 2), number, np.float32)}, (), 1, **options)


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_never_more_calls_than_the_limit_are_under_way_and_never_fewer_while_any_wait(fakes, count) -> None:
    limit = CallLimit(count)
    pair, counts = versions(fakes, limit)
    tickets = [ask(scheduler, number) for number in range(6) for scheduler, _ in pair]
    await asyncio.sleep(0.01)
    assert counts == [count, count]
    for _, executor in pair:
        executor.gate.set()
    answers = await asyncio.gather(*tickets)
    assert sorted(answer["y"][0, 0] for answer in answers) == sorted([*range(6), *range(6)])
    assert (counts, limit.taken) == ([0, count], 0)


async def test_a_version_that_is_asked_without_end_does_not_keep_another_one_from_its_turn(fakes) -> None:
    pair, _ = versions(fakes, CallLimit(1))
    (busy, first), (other, second) = pair
    first.gate.set()
    second.gate.set()
    is_over = False

    async def ask_on() -> None:
        while not is_over:
            await ask(busy, 1)

    callers = [asyncio.create_task(ask_on()) for _ in range(4)]
    await asyncio.sleep(0.01)
    await asyncio.wait_for(asyncio.gather(*(ask(other, 2) for _ in range(20))), 10)
    is_over = True
    await asyncio.gather(*callers)
    assert len(second.calls) == 20


async def test_short_calls_in_the_loop_wait_for_a_place_like_others(fakes) -> None:
    limit = CallLimit(1)
    (slow, executor), _ = versions(fakes, limit)[0]
    quick_executor = FakeExecutor(fakes.pair)
    quick = Scheduler(quick_executor, SINGLES, lambda _run: None, limit=limit)
    quick.expect(2, 0.001)
    held = ask(slow, 1)
    await asyncio.sleep(0)
    waiting = ask(quick, 2)
    await asyncio.sleep(0.01)
    assert (quick_executor.now_count, quick.waiting_count) == (0, 1)
    executor.gate.set()
    await asyncio.gather(held, waiting)
    assert (quick_executor.now_count, limit.taken) == (1, 0)


async def test_one_whose_time_is_over_or_who_is_gone_leaves_the_line_to_the_next(fakes) -> None:
    limit = CallLimit(1)
    trio, _ = versions(fakes, limit, 3)
    (first, held_up), (second, _), (third, last) = trio
    running = ask(first, 1)
    await asyncio.sleep(0)
    late = ask(second, 2, timeout_s=0.02)
    await asyncio.sleep(0)
    waiting = ask(third, 3)
    with pytest.raises(DeadlineError):
        await late
    gone = ask(second, 4)
    await asyncio.sleep(0)
    gone.cancel()
    last.gate.set()
    held_up.gate.set()
    await asyncio.wait_for(asyncio.gather(running, waiting), 10)
    assert limit.taken == 0
    assert not limit._line


async def test_a_version_that_is_unloaded_leaves_the_line_and_gives_its_place_back_when_its_call_ends(fakes) -> None:
    limit = CallLimit(1)
    trio, _ = versions(fakes, limit, 3)
    (first, held_up), (second, _), (third, last) = trio
    running = ask(first, 1)
    await asyncio.sleep(0)
    waits = [ask(second, 2), ask(third, 3)]
    await asyncio.sleep(0)
    second.close()
    with pytest.raises(UnavailableError):
        await waits[0]
    first.close()
    held_up.gate.set()
    last.gate.set()
    await asyncio.wait_for(asyncio.gather(running, waits[1]), 10)
    assert limit.taken == 0
