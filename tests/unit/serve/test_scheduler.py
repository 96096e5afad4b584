"""When each request runs, and with whom: a scheduler over an executor that answers when it is told to."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.errors import DeadlineError, OverloadedError, RequestError, UnavailableError
from fairlead.serve.batching import BatchPolicy
from fairlead.serve.scheduler import Scheduler

BATCHES = BatchPolicy(max_rows=8, max_delay_ms=0)
SINGLES = BatchPolicy(is_enabled=False)
FREE = Interface((TensorSpec("x", DType.FP32, (None, None)),), (TensorSpec("y", DType.FP32, (None, None)),))
FIXED = Interface((TensorSpec("x", DType.FP32, (1, 2)),), (TensorSpec("y", DType.FP32, (1, 2)),))


class FakeExecutor:
    """Answers y = x. Each call notes its rows' first numbers; `gate` holds calls that run beside the loop, `poison` is refused."""

    description = "fake 1"

    def __init__(self, interface: Interface, slot_count: int = 1, *, is_blocking: bool = False) -> None:
        self.interface, self.slot_count, self.is_blocking = interface, slot_count, is_blocking
        self.calls: list[list[float]] = []
        self.now_count = 0
        self.gate = asyncio.Event()
        self.poison: float | None = None
        self.error: Exception = RequestError("The model cannot compute that.")
        self.is_closed = False
        self.running = self.most_running = 0

    def _answer(self, inputs, outputs):
        x = inputs["x"]
        self.calls.append([float(row[0]) for row in x])
        if self.poison is not None and self.poison in x:
            raise self.error
        return {name: x.copy() for name in outputs or ("y",)}

    def run_now(self, inputs, outputs):
        self.now_count += 1
        return self._answer(inputs, outputs)

    async def run(self, inputs, outputs):
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.gate.wait()
            return self._answer(inputs, outputs)
        finally:
            self.running -= 1

    def close(self) -> None:
        self.is_closed = True


def flat(calls: list[list[float]]) -> list[float]:
    return [number for call in calls for number in call]


class Bench:
    """A scheduler over a FakeExecutor, and what it told of calls."""

    def __init__(self, fakes, policy=BATCHES, *, interface=None, row_ms=0.001, **options) -> None:
        self.executor = FakeExecutor(interface or fakes.pair, **options)
        self.told: list[tuple[int, int, str]] = []
        self.scheduler = Scheduler(self.executor, policy, lambda run: self.told.append((run.rows, run.requests, run.error_code)))
        for rows in (1, 2, 4, 8):  # rows become cheaper up to the largest batch
            for _ in range(6):
                self.scheduler.expect(rows * 2, row_ms * rows**0.5)

    def ask(self, number: float, rows: int = 1, **options):
        return self.scheduler.submit({"x": np.full((rows, 2), number, np.float32)}, options.pop("outputs", ()), rows, **options)

    def is_balanced(self) -> bool:
        scheduler = self.scheduler
        return scheduler.created_count == scheduler.released_count and scheduler.waiting_count == scheduler.running_count == 0


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


class SlowNow(FakeExecutor):
    """Its next call in the loop takes longer than any should."""

    is_slow = False

    def run_now(self, inputs, outputs):
        if self.is_slow:
            time.sleep(0.03)  # longer than the loop may be held
        return super().run_now(inputs, outputs)


async def test_a_model_that_held_the_loop_runs_beside_it_from_then_on(fakes) -> None:
    bench = Bench(fakes, SINGLES)
    bench.executor.__class__ = SlowNow
    bench.executor.gate.set()
    bench.executor.is_slow = True
    await bench.ask(1)
    bench.executor.is_slow = False
    for number in range(9):
        await bench.ask(number)
    assert (bench.executor.now_count, len(bench.executor.calls)) == (1, 10)
    assert bench.is_balanced()


async def test_who_comes_alone_for_a_while_is_answered_in_the_same_step_and_company_is_still_found(fakes) -> None:
    bench = Bench(fakes)
    bench.scheduler._is_short = lambda _elements: True  # a busy machine may find that calls are slow
    for number in range(12):
        await bench.ask(number)
    ended: list[object] = []
    first = bench.ask(1, on_ended=ended.append)
    assert first.is_settled
    assert ended == [first]
    for _ in range(8):  # one of so many is put off again, so that those of its round are seen
        tickets = [bench.ask(number) for number in range(4)]
        await asyncio.gather(*tickets)
    assert [ticket.batch_rows for ticket in tickets] == [4] * 4
    assert bench.is_balanced()


async def test_one_who_asks_again_when_answered_does_not_nest(fakes) -> None:
    bench = Bench(fakes)
    bench.executor.gate.set()  # a busy machine may find that calls are slow
    for number in range(12):
        await bench.ask(number)
    left = 5000  # more than calls can be nested

    def again(ticket) -> None:
        nonlocal left
        if left:
            left -= 1
            bench.ask(1, on_ended=again)

    bench.ask(1, on_ended=again)
    while left or not bench.is_balanced():  # noqa: ASYNC110 - rounds of the loop are what is counted
        await asyncio.sleep(0)


async def test_a_large_request_counts_for_those_behind_it_by_what_its_size_takes(fakes) -> None:
    bench = Bench(fakes, SINGLES, interface=FREE, row_ms=0.5)
    for _ in range(6):
        bench.scheduler.expect(2**20, 100.0)
    large = bench.scheduler.submit({"x": np.zeros((2**10, 2**10), np.float32)}, (), 2**10)
    assert 0.05 < bench.scheduler.expected_wait_s() < 0.2  # by the time of an element in small requests: four minutes
    larger = bench.scheduler.submit({"x": np.zeros((2**12, 2**11), np.float32)}, (), 2**12)
    assert bench.scheduler.expected_wait_s() < 0.5  # nobody knows what that takes, and nobody is refused for it
    bench.executor.gate.set()
    await asyncio.gather(large, larger)
    assert bench.is_balanced()


async def test_what_joining_and_parting_took_is_told_and_nothing_where_a_request_runs_alone(fakes) -> None:
    bench = Bench(fakes)
    runs = []
    bench.scheduler._on_batch = runs.append
    tickets = [bench.ask(number) for number in range(3)]
    await asyncio.gather(*tickets)
    alone = bench.ask(1)
    await alone
    assert [run.input_ms > 0 and run.output_ms > 0 for run in runs] == [True, False]
    assert runs[0].input_ms + runs[0].output_ms < runs[0].call_ms
    assert (alone.input_ms, alone.output_ms) == (0.0, 0.0)
    assert all(ticket.input_ms == runs[0].input_ms for ticket in tickets)
