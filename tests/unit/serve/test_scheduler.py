"""When each request runs, and with whom: a scheduler over an executor that answers when it is told to."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
from tests.unit.serve.scheduling import BATCHES, SINGLES, Bench, flat

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.errors import DeadlineError, OverloadedError, UnavailableError
from fairlead.serve.batching import BatchPolicy

FREE = Interface((TensorSpec("x", DType.FP32, (None, None)),), (TensorSpec("y", DType.FP32, (None, None)),))
FIXED = Interface((TensorSpec("x", DType.FP32, (1, 2)),), (TensorSpec("y", DType.FP32, (1, 2)),))


async def test_a_request_alone_runs_in_the_loop_without_a_delay(fakes) -> None:
    bench = Bench(fakes, BatchPolicy(max_delay_ms=10_000))
    ticket = bench.ask(3)
    assert (await ticket)["y"].tolist() == [[3, 3]]
    assert (bench.executor.now_count, ticket.batch_rows) == (1, 1)
    assert 0 <= ticket.queue_ms < 10_000
    assert bench.is_balanced()


async def test_requests_of_one_round_share_a_call_and_each_gets_its_own_rows(fakes) -> None:
    bench = Bench(fakes)
    tickets = [bench.ask(number, rows) for number, rows in ((1, 1), (2, 3), (3, 2))]
    answers = await asyncio.gather(*tickets)
    assert bench.executor.calls == [[1, 2, 2, 2, 3, 3]]
    assert [answer["y"][:, 0].tolist() for answer in answers] == [[1], [2, 2, 2], [3, 3]]
    assert [ticket.batch_rows for ticket in tickets] == [6, 6, 6]
    assert bench.told == [(6, 3, "")]


async def test_a_batch_never_exceeds_its_limit(fakes) -> None:
    bench = Bench(fakes)
    await asyncio.gather(*(bench.ask(number) for number in range(30)))
    assert max(map(len, bench.executor.calls)) == 8
    assert flat(bench.executor.calls) == list(range(30))


@pytest.mark.parametrize(("policy", "interface"), [(SINGLES, None), (BATCHES, FIXED)], ids=["no evidence", "no free batch dimension"])
async def test_rows_are_not_joined_without_evidence_or_room(fakes, policy, interface) -> None:
    bench = Bench(fakes, policy, interface=interface)
    await asyncio.gather(*(bench.ask(number) for number in range(5)))
    assert bench.executor.calls == [[0], [1], [2], [3], [4]]


async def test_shapes_outputs_and_parameters_that_differ_are_never_mixed(fakes) -> None:
    bench = Bench(fakes, interface=FREE)
    wide = bench.scheduler.submit({"x": np.full((1, 5), 9, np.float32)}, (), 1)
    tickets = [bench.ask(1), wide, bench.ask(2), bench.ask(3, outputs=("y",)), bench.ask(4, parameters={"a": 1}), bench.ask(5)]
    answers = await asyncio.gather(*tickets)
    assert [answer["y"].shape for answer in answers] == [(1, 2), (1, 5), (1, 2), (1, 2), (1, 2), (1, 2)]
    assert sorted(bench.executor.calls) == [[1, 2, 5], [3], [4], [9]]


async def test_a_bad_request_in_a_batch_fails_alone(fakes) -> None:
    bench = Bench(fakes)
    bench.executor.poison = 2
    answers = await asyncio.gather(*(bench.ask(number) for number in range(5)), return_exceptions=True)
    assert [type(answer).__name__ for answer in answers] == ["dict", "dict", "RequestError", "dict", "dict"]
    assert [answer["y"][0, 0] for answer in answers if isinstance(answer, dict)] == [0, 1, 3, 4]
    assert bench.executor.calls == [[0, 1, 2, 3, 4], [0], [1], [2], [3], [4]]
    assert bench.told[0] == (5, 5, "bad_request")
    assert bench.is_balanced()


async def test_a_worker_that_is_gone_fails_its_batch_once_and_is_not_asked_again_with_each_request(fakes) -> None:
    bench = Bench(fakes)
    bench.executor.poison, bench.executor.error = 2, UnavailableError("The worker is gone.")
    answers = await asyncio.gather(*(bench.ask(number) for number in range(3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [UnavailableError] * 3
    assert len(bench.executor.calls) == 1


async def test_answers_that_cannot_be_told_apart_by_rows_are_asked_again_one_by_one(fakes) -> None:
    bench = Bench(fakes)
    honest = bench.executor._answer
    bench.executor._answer = lambda inputs, outputs: {"y": honest(inputs, outputs)["y"][:1]}
    answers = await asyncio.gather(*(bench.ask(number) for number in range(3)))
    assert [answer["y"][0, 0] for answer in answers] == [0, 1, 2]
    await asyncio.gather(*(bench.ask(number) for number in range(3, 5)))
    assert bench.executor.calls == [[0, 1, 2], [0], [1], [2], [3], [4]]  # and never in a batch from then on


async def test_slow_calls_run_beside_the_loop_as_many_as_there_are_slots(fakes) -> None:
    bench = Bench(fakes, SINGLES, slot_count=2, row_ms=50.0, is_blocking=True)
    tickets = [bench.ask(number) for number in range(5)]
    await asyncio.sleep(0.02)
    assert (bench.executor.now_count, bench.executor.running, bench.scheduler.waiting_count) == (0, 2, 3)
    bench.executor.gate.set()
    assert [answer["y"][0, 0] for answer in await asyncio.gather(*tickets)] == [0, 1, 2, 3, 4]
    assert bench.executor.most_running == 2
    assert bench.is_balanced()


async def test_what_waits_while_slots_are_busy_becomes_a_batch(fakes) -> None:
    bench = Bench(fakes, row_ms=50.0, is_blocking=True)
    tickets = [bench.ask(0)]
    await asyncio.sleep(0)
    tickets += [bench.ask(number) for number in range(1, 6)]
    bench.executor.gate.set()
    await asyncio.gather(*tickets)
    assert bench.executor.calls == [[0], [1, 2, 3, 4, 5]]


async def test_what_waits_is_shared_by_the_slots_that_are_free(fakes) -> None:
    bench = Bench(fakes, slot_count=2, row_ms=50.0, is_blocking=True)
    bench.executor.gate.set()
    await asyncio.gather(*(bench.ask(number) for number in range(6)))
    assert bench.executor.calls == [[0, 1, 2], [3, 4, 5]]


async def test_an_engine_that_may_hang_never_runs_in_the_loop(fakes) -> None:
    bench = Bench(fakes, is_blocking=True)
    bench.executor.gate.set()
    await bench.ask(1)
    assert bench.executor.now_count == 0


async def test_higher_priorities_are_served_first_and_equals_in_their_order(fakes) -> None:
    bench = Bench(fakes, SINGLES, row_ms=50.0, is_blocking=True)
    first = bench.ask(0)
    await asyncio.sleep(0)
    later = [bench.ask(number, priority=priority) for number, priority in ((1, 0), (2, 2), (3, 1), (4, 2), (5, 0), (6, 1))]
    bench.executor.gate.set()
    await asyncio.gather(first, *later)
    assert flat(bench.executor.calls) == [0, 3, 6, 2, 4, 1, 5]


async def test_a_request_that_waits_is_answered_at_its_deadline_and_never_begun(fakes) -> None:
    bench = Bench(fakes, SINGLES, row_ms=0.001, is_blocking=True)
    running = bench.ask(0)
    late = bench.ask(1, deadline=time.monotonic() + 0.05)
    began = time.monotonic()
    with pytest.raises(DeadlineError):
        await late
    assert time.monotonic() - began >= 0.04
    bench.executor.gate.set()
    await running
    assert bench.executor.calls == [[0]]
    assert bench.is_balanced()


async def test_a_request_that_runs_is_answered_at_its_deadline_and_its_slot_is_free_when_the_call_ends(fakes) -> None:
    bench = Bench(fakes, SINGLES, is_blocking=True)
    with pytest.raises(DeadlineError):
        await bench.ask(0, deadline=time.monotonic() + 0.05)
    assert (bench.scheduler.running_count, bench.scheduler.released_count) == (1, 1)
    bench.executor.gate.set()
    assert (await bench.ask(1))["y"][0, 0] == 1
    assert bench.is_balanced()


async def test_a_deadline_that_has_passed_or_cannot_be_kept_is_refused_at_once(fakes) -> None:
    bench = Bench(fakes, SINGLES, row_ms=1000.0)
    waiting = [bench.ask(number) for number in range(10)]
    with pytest.raises(DeadlineError):
        bench.ask(11, deadline=time.monotonic() - 1)
    with pytest.raises(OverloadedError) as caught:
        bench.ask(12, deadline=time.monotonic() + 0.5)
    assert caught.value.retry_after_s == 10
    bench.executor.gate.set()
    await asyncio.gather(*waiting)
    assert bench.is_balanced()


@pytest.mark.parametrize("row_ms", [0.001, 50.0], ids=["inline", "beside"])
async def test_what_is_cancelled_leaves_the_queue_and_harms_nobody(fakes, row_ms) -> None:
    bench = Bench(fakes, slot_count=1, row_ms=row_ms)
    tickets = [bench.ask(number) for number in range(6)]
    tickets[2].cancel()
    tickets[4].cancel()
    bench.executor.gate.set()
    answers = await asyncio.gather(*tickets, return_exceptions=True)
    assert [number for number, answer in enumerate(answers) if isinstance(answer, asyncio.CancelledError)] == [2, 4]
    assert flat(bench.executor.calls) == [0, 1, 3, 5]
    assert bench.is_balanced()


async def test_a_cancelled_call_keeps_its_slot_until_it_ends_and_its_neighbours_are_answered(fakes) -> None:
    bench = Bench(fakes, row_ms=50.0, is_blocking=True)
    tickets = [bench.ask(number) for number in range(3)]
    await asyncio.sleep(0.01)
    tickets[1].cancel()
    late = bench.ask(3)
    await asyncio.sleep(0.01)
    assert (bench.scheduler.running_count, bench.scheduler.waiting_count) == (1, 1)
    bench.executor.gate.set()
    assert [(await ticket)["y"][0, 0] for ticket in (tickets[0], tickets[2], late)] == [0, 2, 3]
    assert bench.is_balanced()


async def test_a_slot_that_comes_back_unasked_is_used(fakes) -> None:
    bench = Bench(fakes, SINGLES, is_blocking=True)
    tickets = [bench.ask(number) for number in range(2)]
    await asyncio.sleep(0.01)
    assert bench.executor.running == 1
    bench.executor.slot_count = 2  # a worker was replaced
    until = time.monotonic() + 10
    while bench.executor.running < 2:
        assert time.monotonic() < until
        await asyncio.sleep(0.01)
    bench.executor.gate.set()
    await asyncio.gather(*tickets)


async def test_closing_fails_what_waits_and_closes_the_executor(fakes) -> None:
    bench = Bench(fakes, SINGLES, is_blocking=True)
    running, waiting = bench.ask(0), bench.ask(1)
    await asyncio.sleep(0.01)
    bench.scheduler.close()
    with pytest.raises(UnavailableError):
        await waiting
    assert bench.executor.is_closed
    bench.executor.gate.set()
    await running
    assert bench.is_balanced()


async def test_a_task_that_awaits_its_ticket_can_be_cancelled_and_others_go_on(fakes) -> None:
    bench = Bench(fakes, SINGLES, is_blocking=True)

    async def ask(number: int) -> float:
        return float((await bench.ask(number))["y"][0, 0])

    tasks = [asyncio.create_task(ask(number)) for number in range(3)]
    await asyncio.sleep(0.01)
    tasks[1].cancel()
    bench.executor.gate.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert (answers[0], answers[2]) == (0, 2)
    assert isinstance(answers[1], asyncio.CancelledError)
    assert bench.is_balanced()


async def test_a_busy_scheduler_waits_a_little_for_company_where_the_next_request_comes_soon(fakes) -> None:
    bench = Bench(fakes, BatchPolicy(max_rows=8, max_delay_ms=200), row_ms=100.0, is_blocking=True)
    bench.executor.gate.set()
    tickets = []
    for number in range(6):
        tickets.append(bench.ask(number))
        await asyncio.sleep(0.005)
    await asyncio.gather(*tickets)
    assert len(bench.executor.calls) < 6  # some shared a call though the slot was free
    assert flat(bench.executor.calls) == list(range(6))
