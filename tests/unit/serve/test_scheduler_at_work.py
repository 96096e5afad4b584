"""What a scheduler does in the same step, beside the loop, and with large requests."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
from tests.unit.serve.scheduling import SINGLES, Bench

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.serve.pace import Pace

FREE = Interface((TensorSpec("x", DType.FP32, (None, None)),), (TensorSpec("y", DType.FP32, (None, None)),))


@pytest.mark.parametrize(("computed_s", "here_count"), [(0.03, 1), (0.001, 10)])
async def test_a_model_that_held_the_loop_runs_beside_it_from_then_on_unless_the_machine_did(fakes, computed_s, here_count) -> None:
    bench = Bench(fakes, SINGLES)
    bench.executor.gate.set()
    run_now = bench.executor.run_now

    def run_slowly(inputs, outputs):
        time.sleep(0.03)  # longer than the loop may be held
        bench.computed_s += computed_s
        return run_now(inputs, outputs)

    bench.executor.run_now = run_slowly
    await bench.ask(1)
    bench.executor.run_now = run_now
    for number in range(9):
        await bench.ask(number)
    assert (bench.executor.now_count, len(bench.executor.calls)) == (here_count, 10)
    assert bench.is_balanced()


async def test_who_comes_alone_for_a_while_is_answered_in_the_same_step_and_company_is_still_found(fakes, monkeypatch) -> None:
    bench = Bench(fakes)
    monkeypatch.setattr(Pace, "_is_short", lambda _pace, _elements: True)  # a busy machine may find that calls are slow
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


async def test_what_large_requests_take_is_not_guessed_from_the_first_small_one(fakes) -> None:
    bench = Bench(fakes, SINGLES, interface=FREE, row_ms=0.5)
    large = bench.scheduler.submit({"x": np.zeros((2**10, 2**10), np.float32)}, (), 2**10)  # nothing is known of this version yet
    bench.scheduler.expect(2, 11.0)  # a small call, disturbed: in proportion the large one would take an hour and a half
    assert bench.scheduler.expected_wait_s() < 1.0
    second = bench.scheduler.submit({"x": np.zeros((2**10, 2**10), np.float32)}, (), 2**10, timeout_s=60.0)
    bench.executor.gate.set()
    await asyncio.gather(large, second)
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
