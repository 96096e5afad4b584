"""Requests of a model, divided: through the data plane, with engines that multiply by their version's number."""

import asyncio
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from fairlead.core.dtype import DType
from fairlead.core.interface import TensorSpec
from fairlead.core.traffic import Arm, Segment, Shadow, TrafficPlan, assign
from fairlead.core.traffic_event import Gap
from fairlead.errors import NotFoundError, RequestError, UnavailableError
from fairlead.serve.data_plane import DataPlane, InferRequest
from fairlead.serve.model_table import ModelTable
from fairlead.serve.traffic import Traffic
from fairlead.serve.traffic_mirror import Mirror
from fairlead.serve.traffic_pins import Pin
from fairlead.serve.traffic_witness import TrafficCounter
from fairlead.serve.version_plan import Plan


@pytest.fixture
async def world(fakes):
    """A plane over versions 3 (default) and 4 of the model m."""
    table, sink, counter, said = ModelTable(), fakes.Sink(), TrafficCounter(), []
    plane = DataPlane(table, sink, queue_limit=1000)

    async def open_twin(served) -> None:
        served.twin.take(served.twin.open_it(), 1000)

    mirror = Mirror(table, counter, is_calm=lambda: not plane.in_flight, open_twin=open_twin, report=said.append)
    traffic = Traffic(table, counter, mirror, label="production", report=said.append)
    engines = {number: fakes.Engine(number) for number in (3, 4)}
    for number, engine in engines.items():
        table.enter(fakes.served(fakes.version("m", number), engine))

    def plan(share: float = 0.5, **fields) -> TrafficPlan:
        arms = (Arm("live", 3, 1 - share), Arm("candidate", 4, share))
        return TrafficPlan("rel", 1, **{"arms": arms, "salt": "salt", **fields})

    def run(given: TrafficPlan | None, default: int = 3, unload=()) -> None:
        table.arrange("m", Plan((), default, {"production": default}, tuple(unload), given))

    async def ask(identity="r", **fields):
        return await plane.infer(InferRequest("m", {"x": fakes.ones}, request_id=identity, **fields))

    run(None)
    yield SimpleNamespace(
        table=table, sink=sink, plane=plane, counter=counter, said=said, traffic=traffic, engines=engines, plan=plan, run=run, ask=ask
    )
    await traffic.stop()


async def test_without_a_release_nothing_is_divided_and_nothing_said(world) -> None:
    response = await world.ask()
    assert (response.version, response.arm) == (3, "")
    assert world.table.models["m"].split is None
    assert world.counter.read().requests == {}


async def test_requests_are_divided_as_they_are_drawn_and_name_version_and_arm(world) -> None:
    world.run(world.plan(0.3))
    answers = {f"r{place}": await world.ask(f"r{place}") for place in range(500)}
    for identity, response in answers.items():
        arm = assign(world.plan(0.3), identity)
        assert (response.arm, response.version) == (arm.name, arm.version)
        assert response.outputs["y"].tolist() == [[arm.version] * 2]
    counts = Counter(response.arm for response in answers.values())
    step = world.counter.snapshot()["rel"].step(1)
    assert {name: step.arm(name).requests for name in counts} == counts
    assert 100 < counts["candidate"] < 200


async def test_a_sticky_key_decides_by_parameter_and_by_header(world) -> None:
    plan = world.plan(0.5, sticky="user_id")
    world.run(plan)
    for user in map(str, range(40)):
        wanted = assign(plan, user).name
        by_parameter = [await world.ask(f"{user}-{place}", parameters={"user_id": int(user)}) for place in range(3)]
        by_header = await world.ask(f"{user}-x", metadata={b"user-id": user.encode()})
        assert {response.arm for response in (*by_parameter, by_header)} == {wanted}
    assert (await world.ask("r1")).arm == assign(plan, "r1").name


async def test_a_sticky_key_does_not_keep_requests_from_running_together(world) -> None:
    world.run(world.plan(0.5, sticky="user_id"))
    split = world.table.models["m"].split
    assert split.without_key({"user_id": 1, "mine": 2}) == {"mine": 2}
    assert split.without_key({"mine": 2}) == {"mine": 2}


async def test_a_segment_goes_to_its_arm_and_is_no_evidence(world) -> None:
    world.run(world.plan(0.0, segments=(Segment("X-Team", ("ours",), "candidate"),)))
    assert (await world.ask(metadata={b"x-team": b"ours"})).version == 4
    assert (await world.ask(metadata={b"x-team": b"theirs"})).version == 3
    assert world.counter.snapshot()["rel"].step(1).arm("candidate").requests == 0
    assert world.counter.read().requests["m", "candidate", "4", "ok"] == 1


async def test_more_than_two_arms_share_the_requests(world, fakes) -> None:
    world.table.enter(fakes.served(fakes.version("m", 5), fakes.Engine(5)))
    world.run(world.plan(arms=(Arm("A", 3, 0.4), Arm("B", 4, 0.3), Arm("C", 5, 0.3))))
    counts = Counter([(response.arm, response.version) for response in [await world.ask(f"r{place}") for place in range(300)]])
    assert set(counts) == {("A", 3), ("B", 4), ("C", 5)}
    assert min(counts.values()) > 50


async def test_what_names_a_version_or_another_alias_is_not_divided(world) -> None:
    world.run(world.plan(1.0))
    world.table.models["m"].labels["staging"] = 3
    assert (await world.ask()).version == 4
    assert (await world.ask(label="production")).version == 4
    for fields in ({"version": 3}, {"label": "staging"}):
        response = await world.ask(**fields)
        assert (response.version, response.arm) == (3, "")
    assert world.counter.read().requests == {("m", "candidate", "4", "ok"): 2}


async def test_a_pin_names_a_version_or_an_arm(world) -> None:
    resolve = world.table.resolve
    assert resolve("m", pin=Pin(4)).version.number == 4
    assert resolve("m", pin=Pin(arm="live")).version.number == 3  # also without a release: what answers by default
    with pytest.raises(NotFoundError, match="No release of model 'm' with an arm 'candidate'"):
        resolve("m", pin=Pin(arm="candidate"))
    world.run(world.plan())
    assert resolve("m", pin=Pin(arm="candidate")).version.number == 4
    assert resolve("m", 4, pin=Pin(arm="candidate")).version.number == 4
    with pytest.raises(RequestError, match="version 3 and, in its head, version 4"):
        resolve("m", 3, pin=Pin(4))
    with pytest.raises(NotFoundError):
        resolve("m", pin=Pin(9))


async def test_requests_for_an_arm_that_failed_to_load_go_to_live_are_counted_and_said_once(world) -> None:
    world.table.fail("m", 5, UnavailableError("no"))
    world.run(world.plan(arms=(Arm("live", 3, 0.0), Arm("candidate", 5, 1.0))))
    for place in range(10):
        response = await world.ask(f"r{place}")
        assert (response.version, response.arm) == (3, "live")
    evidence = world.counter.snapshot()["rel"].step(1)
    assert (evidence.arm("candidate").requests, evidence.arm("candidate").server_errors, evidence.arm("live").requests) == (10, 10, 0)
    assert world.said == ["m:5 cannot answer; requests for arm 'candidate' go to the live version meanwhile."]


async def test_an_arm_that_is_loading_is_no_failure(world, fakes) -> None:
    world.table.begin_load(fakes.version("m", 5))
    world.run(world.plan(arms=(Arm("live", 3, 0.0), Arm("candidate", 5, 1.0))))
    assert (await world.ask()).version == 3
    assert world.counter.snapshot()["rel"].steps == ()
    world.table.enter(fakes.served(fakes.version("m", 5), fakes.Engine(5)))
    assert (await world.ask()).version == 5


async def test_an_arm_whose_processes_have_died_falls_back_to_live_at_once(world) -> None:
    world.run(world.plan(1.0))
    assert (await world.ask()).version == 4
    world.table.models["m"].versions[4].executor.slot_count = 0
    assert (await world.ask()).version == 3
    assert world.counter.snapshot()["rel"].step(1).arm("candidate").server_errors == 1


async def test_a_live_version_that_cannot_answer_is_not_covered_up(world) -> None:
    world.run(world.plan(0.0))
    world.engines[3].run = lambda *_: (_ for _ in ()).throw(UnavailableError("gone"))
    with pytest.raises(UnavailableError):
        await world.ask()
    assert world.counter.snapshot()["rel"].step(1).arm("live").server_errors == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"inputs": (TensorSpec("x", DType.FP32, (None, 3)),)},
        {"inputs": (TensorSpec("x", DType.FP64, (None, 2)),)},
        {"inputs": (TensorSpec("x", DType.FP32, (None, 2), columns=("a", "b")),)},
        {"outputs": (TensorSpec("z", DType.FP32, (None, 2)),)},
    ],
)
async def test_an_arm_that_takes_or_gives_something_else_is_given_no_request(world, fakes, changed) -> None:
    world.table.enter(fakes.served(fakes.version("m", 4), fakes.Engine(4, interface=replace(fakes.pair, **changed))))
    world.run(world.plan(1.0))
    assert (await world.ask()).version == 3
    assert world.counter.read().fallbacks == {("m", "candidate", "4", "misfit"): 1}


async def test_a_failed_request_is_counted_as_whose_doing_it_was(world, fakes) -> None:
    world.run(world.plan(1.0))
    with pytest.raises(RequestError):
        await world.plane.infer(InferRequest("m", {"x": np.ones((1, 3), np.float32)}, request_id="r"))
    world.engines[4].run = lambda *_: (_ for _ in ()).throw(ValueError("a defect"))
    with pytest.raises(ValueError, match="defect"):
        await world.ask()
    arm = world.counter.snapshot()["rel"].step(1).arm("candidate")
    assert (arm.requests, arm.client_errors, arm.server_errors) == (2, 1, 1)


async def test_a_cancelled_request_is_counted_nowhere(world, fakes) -> None:
    world.run(world.plan(1.0))
    asked = world.plane.ask(InferRequest("m", {"x": fakes.ones}, request_id="r"), world.table.resolve("m"))
    asked.ticket.cancel()
    assert world.counter.read().requests == {}


async def test_after_a_release_ended_no_request_meets_the_candidate(world) -> None:
    world.run(world.plan(1.0))
    assert (await world.ask()).version == 4
    world.run(None, unload=(4,))
    response = await world.ask()
    assert (response.version, response.arm) == (3, "")
    assert world.engines[4].is_closed


async def test_versions_of_a_release_do_not_give_way_to_others(world) -> None:
    world.run(world.plan())
    assert [world.table.models["m"].versions[number].is_kept for number in (3, 4)] == [True, True]
    world.run(None)
    assert [world.table.models["m"].versions[number].is_kept for number in (3, 4)] == [False, False]


async def test_an_arm_that_sleeps_is_woken_while_live_answers(world) -> None:
    woken = asyncio.Event()

    async def wake(served, deadline) -> None:
        served.is_asleep = False
        woken.set()

    world.table.wake = wake
    world.table.models["m"].versions[4].is_asleep = True
    world.run(world.plan(1.0))
    assert (await world.ask()).version == 3
    await asyncio.wait_for(woken.wait(), 5)
    assert (await world.ask()).version == 4
    assert world.counter.read().fallbacks == {("m", "candidate", "4", "asleep"): 1}


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for knows no events
            await asyncio.sleep(0.005)


async def test_a_shadow_is_shown_what_live_answered_and_its_answer_is_never_returned(world) -> None:
    world.run(world.plan(0.0, shadow=Shadow(4, 1.0)))
    for place in range(20):
        assert (await world.ask(f"r{place}")).version == 3
    await until(lambda: world.counter.snapshot()["rel"].step(1).shadow.pairs == 20)
    shadow = world.counter.snapshot()["rel"].step(1).shadow
    assert (shadow.flips, shadow.largest_difference, shadow.latency.count, shadow.live_latency.count) == (0, 1.0, 20, 20)
    assert len(world.sink.seen) == 20  # it is nobody's request


async def test_a_shadow_that_decides_otherwise_is_a_flip(world, fakes) -> None:
    world.engines[4].factor = np.array([[1.0, -1.0]])
    world.engines[3].factor = np.array([[-1.0, 1.0]])
    world.run(world.plan(0.0, shadow=Shadow(4, 1.0)))
    await world.ask()
    await until(lambda: world.counter.snapshot()["rel"].step(1).shadow.flips == 1)


async def test_a_shadow_that_fails_fails_nobody(world) -> None:
    world.engines[4].run = lambda *_: (_ for _ in ()).throw(ValueError("a defect"))
    world.run(world.plan(0.0, shadow=Shadow(4, 1.0)))
    assert (await world.ask()).version == 3
    await until(lambda: world.counter.snapshot()["rel"].step(1).shadow.failures == 1)
    assert world.said == ["m:4 failed on a request that it was shown (ValueError)."]


async def test_a_shadow_is_shown_its_share_of_the_requests(world) -> None:
    world.run(world.plan(0.0, shadow=Shadow(4, 0.2)))
    for place in range(200):
        await world.ask(f"r{place}")
    await until(lambda: not world.traffic.mirror._jobs)  # nothing waits to be compared
    await until(lambda: 20 < sum(world.counter.read().comparisons.values()) < 65)


async def test_a_shadow_that_could_not_be_loaded_is_a_second_answer_that_never_came(world) -> None:
    world.run(world.plan(0.0, shadow=Shadow(7, 1.0)))
    assert (await world.ask()).version == 3
    assert world.counter.snapshot()["rel"].step(1).shadow.failures == 1
    assert world.counter.read().dropped == {("m", "7", "shadow", str(Gap.FAILED)): 1}


async def test_a_witness_that_fails_loses_no_answer(world) -> None:
    world.run(world.plan(1.0))

    def fail(_):
        raise ValueError("a defect")

    world.table.models["m"].split._witness = SimpleNamespace(answered=fail)
    assert (await world.ask()).version == 4
    assert "ValueError: a defect" in world.said[0]
