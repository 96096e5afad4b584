"""What a follower says is in force, and how soon it hears of a change."""

import asyncio
import threading
import time
from dataclasses import replace

import pytest

from fairlead.core.aspired import Aspired, with_traffic
from fairlead.core.heartbeat import Applied
from fairlead.core.ports import LoadedModel
from fairlead.core.traffic import Arm, TrafficPlan
from fairlead.errors import CorruptError, StorageError
from fairlead.serve.applied import applied_of
from fairlead.serve.follower import Follower
from fairlead.serve.loading import Loader
from fairlead.serve.model_table import ModelTable
from fairlead.serve.version_plan import Failure, Standing

PLAN = TrafficPlan("rel", 2, (Arm("live", 1, 0.5), Arm("candidate", 2, 0.5)))


@pytest.fixture
def wanted(fakes):
    """Version 1 by default, and versions 1 to 3 registered."""
    known = tuple(fakes.version("m", number) for number in (1, 2, 3))
    return Aspired("m", known[:1], 1, {"production": 1}, known)


def standing(wanted: Aspired, *numbers: int, default: int = 1, traffic=None) -> Standing:
    return Standing({number: wanted.known[number - 1] for number in numbers}, default, {"production": default}, traffic)


def test_what_is_wanted_and_there_is_in_force(wanted) -> None:
    assert applied_of(wanted, standing(wanted, 1, 3), {}) == Applied(1, (1, 3))
    divided = with_traffic(wanted, PLAN)
    assert applied_of(divided, standing(wanted, 1, 2, traffic=PLAN), {}) == Applied(1, (1, 2), "rel", 2)
    assert applied_of(Aspired("m"), Standing(), {}) == Applied()


@pytest.mark.parametrize(
    ("numbers", "default", "failure", "problem", "has_failed"),
    [
        ((), 0, None, "m:1 is loading.", False),
        ((1,), 1, None, "m:2 is loading.", False),
        ((1,), 1, CorruptError("a digest differs"), "m:2 could not be loaded (corrupt): a digest differs", True),
        ((1, 2), 3, None, "m has not been switched yet.", False),
        ((1, 2), 1, None, "m has not been switched yet.", False),
    ],
)
def test_what_is_not_there_yet_is_named(wanted, numbers, default, failure, problem, has_failed) -> None:
    failures = {} if failure is None else {2: Failure(wanted.known[1], 1, 0.0, failure)}
    found = applied_of(with_traffic(wanted, PLAN), standing(wanted, *numbers, default=default), failures)
    assert (found.problem, found.has_failed) == (problem, has_failed)


def test_a_version_that_is_not_registered_and_a_record_that_cannot_be_read_have_failed(wanted) -> None:
    plan = replace(PLAN, arms=(Arm("live", 1, 0.5), Arm("candidate", 9, 0.5)))
    found = applied_of(with_traffic(wanted, plan), standing(wanted, 1, traffic=plan), {})
    assert (found.problem, found.has_failed) == ("m:9 is not registered.", True)
    found = applied_of(Aspired("m", problem=CorruptError("a bad record")), standing(wanted, 1), {})
    assert (found.default, found.problem, found.has_failed) == (1, "a bad record", True)


class Source:
    """A registry in memory that tells of changes; `error` is what asking it raises, `wait_error` what waiting does."""

    def __init__(self, fakes, wanted: Aspired) -> None:
        self.fakes, self.wanted, self.count = fakes, wanted, 1
        self.changed = threading.Condition()
        self.error = self.wait_error = None
        self.gate: threading.Event | None = None
        self.broken: set[int] = set()
        self.sequence_count = self.wait_count = 0

    def put(self, wanted: Aspired) -> int:
        with self.changed:
            self.wanted, self.count = wanted, self.count + 1
            self.changed.notify_all()
            return self.count

    def aspired(self):
        return {"m": self.wanted}

    def sequence(self) -> int:
        self.sequence_count += 1
        if self.error is not None:
            raise self.error
        return self.count

    def wait(self, since: int, timeout_s: float) -> int:
        self.wait_count += 1
        if self.wait_error is not None:
            raise self.wait_error
        with self.changed:
            self.changed.wait_for(lambda: self.count != since, timeout_s)
            return self.count

    def load(self, version):
        if self.gate is not None:
            self.gate.wait(10)
        if version.number in self.broken:
            raise CorruptError("a digest differs")
        return LoadedModel(self.fakes.Engine(version.number))


@pytest.fixture
def source(fakes, wanted):
    return Source(fakes, wanted)


class Heard:
    """A follower of a source, and what it said."""

    def __init__(self, fakes, source) -> None:
        self.said, self.told = [], []
        table = ModelTable()
        loader = Loader(source, table, fakes.assemble)
        self.table = table
        self.follower = Follower(
            source, table, loader, label="production", report=self.said.append, on_applied=lambda *told: self.told.append(told)
        )

    async def until(self, condition) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 - what is waited for knows no events
                await asyncio.sleep(0.005)

    def problem(self) -> str:
        return self.told[-1][1]["m"].problem


@pytest.fixture
async def heard(fakes, source):
    """A follower that follows once an hour, unless it is told; stopped at the end."""
    made = Heard(fakes, source)
    task = asyncio.get_running_loop().create_task(made.follower.follow(3600.0))
    await made.until(lambda: made.told and not made.problem())
    yield made
    task.cancel()
    await asyncio.wait((task,))
    with source.changed:  # whoever waits for a change need not wait for an hour
        source.count += 1
        source.changed.notify_all()
    await made.follower.stop()


async def test_what_is_in_force_is_told_once_for_each_change(heard, source, wanted) -> None:
    source.gate = threading.Event()
    sequence = source.put(with_traffic(wanted, PLAN))
    await heard.until(lambda: heard.told[-1][0] == sequence)
    assert heard.problem() == "m:2 is loading."
    assert (heard.told[-1][1]["m"].release, heard.told[-1][1]["m"].step) == ("rel", 2)
    source.gate.set()
    await heard.until(lambda: not heard.problem())
    assert heard.told[-1] == (sequence, {"m": Applied(1, (1, 2), "rel", 2)})
    assert (heard.follower.applied_sequence, heard.follower.applied) == heard.told[-1]
    assert len(heard.told) == len({str(item) for item in heard.told})


async def test_a_split_is_in_force_before_its_candidate_is_there_and_gone_with_the_release(heard, source, wanted) -> None:
    source.broken = {2}
    source.put(with_traffic(wanted, PLAN))
    await heard.until(lambda: heard.told[-1][1]["m"].has_failed)
    assert heard.table.models["m"].traffic == PLAN
    sequence = source.put(wanted)
    await heard.until(lambda: heard.told[-1] == (sequence, {"m": Applied(1, (1,))}))
    assert heard.table.models["m"].traffic is None


async def test_a_source_that_cannot_be_waited_for_is_polled(fakes, source, wanted) -> None:
    source.wait_error = StorageError("no notifications here")
    made = Heard(fakes, source)
    task = asyncio.get_running_loop().create_task(made.follower.follow(0.01))
    await made.until(lambda: source.sequence_count > 3)
    sequence = source.put(replace(wanted, versions=wanted.known[2:], default=3))
    await made.until(lambda: made.told[-1] == (sequence, {"m": Applied(3, (3,))}))
    assert made.said == ["m:1 is served.", "m:3 is served."]
    task.cancel()
    await asyncio.wait((task,))
    await made.follower.stop()


async def test_a_source_that_is_away_is_not_waited_for_and_said_once(fakes, source) -> None:
    made = Heard(fakes, source)
    task = asyncio.get_running_loop().create_task(made.follower.follow(0.01))
    await made.until(lambda: made.told and not made.problem())
    source.error = StorageError("connection refused")
    await made.until(lambda: len(made.said) == 2)
    waits, polls = source.wait_count, source.sequence_count
    source.error = StorageError("no route to host")
    await made.until(lambda: source.sequence_count > polls + 5)
    assert source.wait_count == waits
    assert made.said[1:] == ["The registry cannot be read (connection refused); serving what is loaded."]
    source.error = None
    await made.until(lambda: len(made.said) == 3)
    assert made.said[2] == "The registry can be read again."
    task.cancel()
    await asyncio.wait((task,))
    await made.follower.stop()


async def test_a_source_that_waits_far_too_long_does_not_stop_the_following(fakes, source, wanted, monkeypatch) -> None:
    monkeypatch.setattr("fairlead.serve.follower._WAIT_SLACK_S", 0.01)
    released = threading.Event()
    source.wait = lambda *_: released.wait(20) and source.count
    made = Heard(fakes, source)
    task = asyncio.get_running_loop().create_task(made.follower.follow(0.01))
    await made.until(lambda: made.told and not made.problem())
    sequence = source.put(replace(wanted, versions=wanted.known[2:], default=3))
    await made.until(lambda: made.told[-1][0] == sequence and not made.problem())
    released.set()
    task.cancel()
    await asyncio.wait((task,))
    await made.follower.stop()


def test_waiting_returns_when_nothing_changed(source) -> None:
    began = time.monotonic()
    assert source.wait(source.count, 0.01) == source.count
    assert time.monotonic() - began >= 0.01
