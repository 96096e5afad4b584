"""Requests that are run a second time: who gives way, what is dropped, and what a version's original is asked."""

import asyncio
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from fairlead.core.evidence import ReleaseEvidence
from fairlead.core.ports import LoadedModel
from fairlead.core.traffic_event import ComparisonKind
from fairlead.errors import CorruptError, UnavailableError
from fairlead.serve.assembly import Assembly
from fairlead.serve.loading import Loader
from fairlead.serve.model_table import ModelTable
from fairlead.serve.traffic_mirror import Job, Mirror
from fairlead.serve.traffic_witness import TrafficCounter
from fairlead.serve.twin import Twin


@pytest.fixture
async def world(fakes):
    """A mirror over versions 3 and 4, whose callers are calm unless `busy` is set."""
    table, counter, said = ModelTable(), TrafficCounter(), []
    state = SimpleNamespace(busy=False, now=0.0, opening=None)

    async def open_twin(served) -> None:
        if state.opening is not None:
            raise state.opening
        served.twin.take(served.twin.open_it(), 500)

    mirror = Mirror(table, counter, is_calm=lambda: not state.busy, open_twin=open_twin, report=said.append, clock=lambda: state.now)
    served = {number: fakes.served(fakes.version("m", number), fakes.Engine(number)) for number in (3, 4)}
    for item in served.values():
        table.enter(item)

    def job(kind=ComparisonKind.SHADOW, rows: int = 1) -> Job:
        x = np.ones((rows, 2), np.float32)
        target = served[4] if kind is ComparisonKind.SHADOW else served[3]
        return Job(kind, "rel", 0, "live", target, served[3], {"x": x}, (), rows, {"y": x * 3}, 1000)

    async def until(condition) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - what is waited for knows no events
                await asyncio.sleep(0.002)

    yield SimpleNamespace(
        mirror=mirror, counter=counter, served=served, job=job, state=state, said=said, until=until, table=table, fakes=fakes
    )
    await mirror.stop()


def shadow(world):
    return world.counter.snapshot().get("rel", ReleaseEvidence("rel")).step(0).shadow


async def test_what_finds_no_room_is_dropped_and_counted(world) -> None:
    for _ in range(200):
        world.mirror.offer(world.job())
    await world.until(lambda: shadow(world).pairs == 128)
    assert shadow(world).dropped == 72


async def test_what_is_too_large_to_wait_is_dropped(world) -> None:
    large = world.job()
    large.inputs = {"x": np.empty((2**24, 2), np.float32)}
    world.mirror.offer(large)
    assert shadow(world).dropped == 1


async def test_answers_that_wait_to_be_compared_take_room_like_inputs(world) -> None:
    large = world.job()
    large.answer = {"y": np.empty((2**24, 2), np.float32)}
    world.mirror.offer(large)
    assert shadow(world).dropped == 1


async def test_a_candidate_whose_callers_are_in_the_way_has_not_failed(world, monkeypatch) -> None:
    monkeypatch.setattr("fairlead.serve.traffic_mirror._LATE_S", 0.05)
    gate = threading.Event()
    engine, scheduler = world.served[4].executor._engine, world.served[4].scheduler
    engine.gate, world.served[4].executor.is_blocking = gate, True
    callers = [scheduler.submit({"x": np.ones((1, 2), np.float32)}, (), 1) for _ in range(scheduler.slot_count)]
    world.mirror.offer(world.job())
    await world.until(lambda: shadow(world).dropped == 1)
    gate.set()
    await asyncio.gather(*callers)
    assert (shadow(world).pairs, shadow(world).failures) == (0, 0)


async def test_a_candidate_that_takes_too_long_itself_has_failed(world, monkeypatch) -> None:
    monkeypatch.setattr("fairlead.serve.traffic_mirror._LATE_S", 0.5)
    gate = threading.Event()
    world.served[4].executor._engine.gate = gate
    world.served[4].executor.is_blocking = True
    world.mirror.offer(world.job())
    await world.until(lambda: shadow(world).failures == 1)
    gate.set()
    assert (shadow(world).pairs, shadow(world).dropped) == (0, 0)


async def test_what_waited_too_long_is_dropped(world) -> None:
    world.mirror.offer(world.job())
    world.state.now = 100.0
    await world.until(lambda: shadow(world).dropped == 1)
    assert world.served[4].executor._engine.run_count == 0


async def test_while_callers_wait_a_comparison_is_followed_by_a_rest(world) -> None:
    world.state.busy = True
    world.mirror.offer(world.job())
    await world.until(lambda: shadow(world).pairs == 1)
    world.mirror._rest_until = 1.0  # it took a quarter of a second
    world.mirror.offer(world.job())
    await asyncio.sleep(0.05)
    assert shadow(world).pairs == 1
    world.state.now = 1.0
    await world.until(lambda: shadow(world).pairs == 2)


async def test_a_shadow_keeps_its_version_loaded_and_lets_it_go(world) -> None:
    gate = threading.Event()
    world.served[4].executor._engine.gate = gate
    world.served[4].executor.is_blocking = True
    world.mirror.offer(world.job())
    await world.until(lambda: world.served[4].in_flight == 1)
    gate.set()
    await world.until(lambda: world.served[4].in_flight == 0 and shadow(world).pairs == 1)


async def test_a_version_that_was_taken_out_is_shown_nothing_any_more(world) -> None:
    world.mirror.offer(world.job())
    world.served[4].is_retired = True
    await world.until(lambda: shadow(world).dropped == 1)


async def test_stopping_leaves_nothing_behind(world) -> None:
    gate = threading.Event()
    world.served[4].executor._engine.gate = gate
    world.served[4].executor.is_blocking = True
    for _ in range(5):
        world.mirror.offer(world.job())
    await world.until(lambda: world.served[4].in_flight == 1)
    gate.set()
    await world.mirror.stop()
    assert world.served[4].in_flight == 0


async def test_an_original_is_opened_when_it_is_first_needed_and_then_compared(world) -> None:
    engine = world.fakes.Engine(3.5)
    world.served[3].twin = twin = Twin(lambda: engine, 100)
    world.mirror.offer(world.job(ComparisonKind.TWIN))
    await world.until(lambda: twin.is_open)
    assert world.counter.snapshot()["rel"].step(0).twin.dropped == 1  # the one that came before it was open
    world.mirror.offer(world.job(ComparisonKind.TWIN))
    await world.until(lambda: world.counter.snapshot()["rel"].step(0).twin.pairs == 1)
    assert world.counter.read().differences["m", "3", "twin"] == 0.5
    assert twin.rest() == 500
    assert engine.is_closed


async def test_an_original_that_cannot_be_opened_is_said_once_and_not_tried_again(world) -> None:
    world.state.opening = CorruptError("a digest differs")
    world.served[3].twin = twin = Twin(world.fakes.Engine, 100)
    for _ in range(3):
        world.mirror.offer(world.job(ComparisonKind.TWIN))
        await world.until(lambda: not world.mirror._jobs and not twin.is_opening)
        await asyncio.sleep(0.01)
    assert twin.has_failed
    assert world.said == ["The original of m:3 cannot be opened (corrupt): a digest differs Requests are not compared with it."]


def test_an_original_that_nobody_wants_any_more_is_closed_as_soon_as_it_is_open(fakes) -> None:
    engine = fakes.Engine()
    twin = Twin(lambda: engine, 100)
    twin.close()
    assert not twin.take(engine, 500)
    assert engine.is_closed


async def test_a_loader_opens_an_original_within_the_budget_and_counts_it(fakes) -> None:
    source, table = fakes.Source(), ModelTable()
    assembly = Assembly(fakes.Sink(), 1)
    loader = Loader(source, table, assembly.assemble, budget_bytes=10_000, patience_s=0.1)
    served = assembly.assemble(fakes.version("m", 1), LoadedModel(fakes.Engine(), open_twin=fakes.Engine, twin_bytes=1000))
    table.enter(served)
    before = served.memory_bytes
    await loader.open_twin(served)
    assert served.twin.is_open
    assert served.memory_bytes == before + 2000 == loader.held_bytes
    large = assembly.assemble(fakes.version("n", 1), LoadedModel(fakes.Engine(), open_twin=fakes.Engine, twin_bytes=6000))
    table.enter(large)
    with pytest.raises(UnavailableError, match="does not fit"):
        await loader.open_twin(large)
    assert not large.twin.is_open
    served.close()
    large.close()
