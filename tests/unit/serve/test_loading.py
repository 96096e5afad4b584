"""Memory: what gives way, what is loaded again when it is asked for, and loads that hang, fail, or come too late."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from dataclasses import replace

import pytest

from fairlead.core.aspired import Selection, choose
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.version import Version
from fairlead.errors import CorruptError, DeadlineError, OverloadedError, UnavailableError
from fairlead.serve.data_plane import DataPlane, InferRequest
from fairlead.serve.follower import Follower
from fairlead.serve.loading import Loader
from fairlead.serve.model_table import ModelTable

SIZE = 1000


def sized(name: str, number: int = 1) -> Version:
    return Version(name, number, Manifest((FileEntry("model.onnx", SIZE, f"{number:064x}"),)), 0.0)


class Shelf:
    """Models a, b, c of SIZE bytes each. What a load grows the process by is not what this is about, so it is not measured."""

    def __init__(self, fakes, monkeypatch, **changes) -> None:
        monkeypatch.setattr("fairlead.serve.loading.resident_bytes", lambda: 0)
        self.fakes, self.source, self.said, self.sink = fakes, fakes.Source(), [], fakes.Sink()
        self.table = ModelTable()
        self.loader = Loader(self.source, self.table, fakes.assemble, **{"budget_bytes": 2 * SIZE, "patience_s": 0.2, **changes})
        self.follower = Follower(self.source, self.table, self.loader, label="production", report=self.said.append)
        self.plane = DataPlane(self.table, self.sink, queue_limit=8)

    async def serve(self, *names: str) -> None:
        for name in names:
            self.source.engines.setdefault((name, 1), self.fakes.Engine(1.0))
            self.source.pointers[name] = sized(name)
        self.source.changes += 1
        await self.follower.poll()
        await self.follower.settle()

    async def ask(self, name: str, **changes) -> int:
        return (await self.plane.infer(InferRequest(name, {"x": self.fakes.ones}, **changes))).version

    def awake(self) -> set[str]:
        return {name for name, model in self.table.models.items() for served in model.versions.values() if not served.is_asleep}


@pytest.fixture
async def shelf(fakes, monkeypatch):
    made = Shelf(fakes, monkeypatch)
    yield made
    await made.follower.stop()


async def test_what_was_asked_longest_ago_sleeps_and_wakes_when_it_is_asked(shelf) -> None:
    await shelf.serve("a", "b")
    await shelf.ask("a")  # b was used longest ago
    await shelf.serve("c")
    assert shelf.awake() == {"a", "c"}
    assert shelf.source.engines["b", 1].is_closed
    assert shelf.loader.held_bytes == SIZE * len(shelf.awake())
    assert all(shelf.table.is_ready(name) for name in "abc")
    shelf.source.engines["b", 1] = shelf.fakes.Engine(1.0)
    assert await shelf.ask("b") == 1
    assert shelf.awake() == {"b", "c"}
    assert shelf.plane.in_flight == 0
    assert shelf.table.models["b"].admitted == 0


async def test_a_version_that_sleeps_says_so_and_keeps_its_interface(shelf) -> None:
    await shelf.serve("a", "b", "c")
    (state,) = [state for state in shelf.table.states() if "asleep" in state.reason]
    served = shelf.table.resolve(state.name)
    assert served.interface == shelf.fakes.pair
    assert (served.memory_bytes, served.is_asleep) == (0, True)


async def test_many_requests_for_a_sleeping_version_load_it_once(shelf) -> None:
    await shelf.serve("a", "b", "c")
    (name,) = set("abc") - shelf.awake()
    before = shelf.source.load_count
    gate = threading.Event()
    shelf.source.golden_factor[name, 1] = 1.0
    shelf.source.engines[name, 1] = shelf.fakes.Engine(1.0, gate=gate)
    asking = [asyncio.create_task(shelf.ask(name)) for _ in range(6)]
    await asyncio.sleep(0.05)
    assert shelf.plane.in_flight == 6
    gate.set()
    assert await asyncio.gather(*asking) == [1] * 6
    assert shelf.source.load_count == before + 1
    assert (shelf.plane.in_flight, shelf.table.models[name].admitted) == (0, 0)


async def test_who_waits_for_a_load_waits_no_longer_than_its_deadline_and_the_load_goes_on(shelf) -> None:
    await shelf.serve("a", "b", "c")
    (name,) = set("abc") - shelf.awake()
    gate = threading.Event()
    shelf.source.golden_factor[name, 1] = 1.0
    shelf.source.engines[name, 1] = shelf.fakes.Engine(1.0, gate=gate)
    with pytest.raises(DeadlineError, match="could not be loaded in time"):
        await shelf.ask(name, deadline=time.monotonic() + 0.05)
    assert shelf.sink.seen[-1].error_code == "deadline"
    gate.set()
    assert await shelf.ask(name) == 1


async def test_a_busy_version_never_gives_way(shelf) -> None:
    await shelf.serve("a", "b")
    busy = [shelf.table.resolve(name) for name in "ab"]
    for served in busy:
        shelf.table.begin_request(served)
    await shelf.serve("c")
    assert shelf.awake() == {"a", "b"}
    (state,) = [state for state in shelf.table.states() if state.name == "c"]
    assert (state.state, state.code) == ("UNAVAILABLE", "overloaded")
    shelf.table.end_request(busy[0])
    shelf.follower.order("c", None, is_load=True)
    await shelf.follower.settle()
    assert shelf.awake() == {"b", "c"}


async def test_a_request_waits_a_little_for_busy_versions_and_is_then_told_to_come_again(shelf) -> None:
    await shelf.serve("a", "b", "c")
    (name,) = set("abc") - shelf.awake()
    for other in set("abc") - {name}:
        shelf.table.begin_request(shelf.table.resolve(other))
    with pytest.raises(OverloadedError, match="waits for memory"):
        await shelf.ask(name)
    assert shelf.table.is_ready(name)  # it may be asked again
    for other in set("abc") - {name}:
        shelf.table.end_request(shelf.table.resolve(other))
    assert await shelf.ask(name) == 1


async def test_a_version_larger_than_the_budget_is_refused_by_name_and_nobody_gives_way_for_it(shelf) -> None:
    await shelf.serve("a", "b")
    shelf.source.engines["c", 1] = shelf.fakes.Engine(1.0)
    shelf.source.pointers["c"] = replace(sized("c"), manifest=Manifest((FileEntry("model.onnx", 3 * SIZE, "c" * 64),)))
    shelf.source.changes += 1
    await shelf.follower.poll()
    await shelf.follower.settle()
    assert shelf.awake() == {"a", "b"}
    assert any("needs 3 kB, which does not fit into the memory budget of 2 kB" in line for line in shelf.said)


async def test_a_new_version_never_takes_the_place_of_the_one_that_serves(fakes, monkeypatch) -> None:
    shelf = Shelf(fakes, monkeypatch, budget_bytes=SIZE)
    await shelf.serve("a")
    shelf.source.engines["a", 2] = fakes.Engine(2.0)
    shelf.source.pointers["a"] = sized("a", 2)
    shelf.source.changes += 1
    await shelf.follower.poll()
    await shelf.follower.settle()
    assert await shelf.ask("a") == 1
    assert not shelf.source.engines["a", 1].is_closed
    await shelf.follower.stop()


async def test_a_version_that_turns_out_larger_than_its_file_is_unloaded_again_and_measured_anew_when_it_is_tried_again(
    fakes, monkeypatch
) -> None:
    shelf = Shelf(fakes, monkeypatch)
    grown = iter([0, 5 * SIZE, SIZE, SIZE])  # of a, which brings its runtime's library along and is not measured, and of three loads of b
    sizes = (size for bytes_ in grown for size in (0, bytes_))
    monkeypatch.setattr("fairlead.serve.loading.resident_bytes", lambda: next(sizes))
    await shelf.serve("a")
    await shelf.serve("b")
    assert shelf.awake() == {"a"}
    assert shelf.source.engines["b", 1].is_closed
    assert any("b:1 needs 5 kB" in line for line in shelf.said)
    for is_in in (False, True):  # medians of 3 kB, and of 1 kB
        shelf.follower.order("b", None, is_load=True)
        await shelf.follower.settle()
        assert ("b" in shelf.awake()) == is_in
    await shelf.follower.stop()


async def test_a_version_that_cannot_be_woken_is_taken_out_with_its_reason(shelf) -> None:
    await shelf.serve("a", "b", "c")
    (name,) = set("abc") - shelf.awake()
    shelf.source.engines[name, 1] = CorruptError("a digest differs")
    with pytest.raises(CorruptError):
        await shelf.ask(name)
    assert not shelf.table.is_ready(name)
    with pytest.raises(UnavailableError, match="corrupt"):
        await shelf.ask(name)
    shelf.source.engines[name, 1] = shelf.fakes.Engine(1.0)
    shelf.follower.order(name, None, is_load=True)
    await shelf.follower.settle()
    assert await shelf.ask(name) == 1


async def test_a_model_that_is_unloaded_while_somebody_waits_for_it_still_answers(shelf) -> None:
    await shelf.serve("a", "b", "c")
    (name,) = set("abc") - shelf.awake()
    gate = threading.Event()
    shelf.source.golden_factor[name, 1] = 1.0
    engine = shelf.source.engines[name, 1] = shelf.fakes.Engine(1.0, gate=gate)
    asking = asyncio.create_task(shelf.ask(name))
    await asyncio.sleep(0.05)
    shelf.follower.order(name, None, is_load=False)
    gate.set()
    assert await asking == 1
    await asyncio.to_thread(shelf.fakes.wait_until, lambda: engine.is_closed)
    assert shelf.loader.held_bytes == SIZE * len(shelf.awake())


async def test_a_load_that_hangs_is_given_up_and_closed_when_it_ends(fakes, monkeypatch) -> None:
    shelf = Shelf(fakes, monkeypatch, timeout_s=0.05)
    gate = threading.Event()
    engine = shelf.source.engines["a", 1] = fakes.Engine(1.0, gate=gate)
    shelf.source.golden_factor["a", 1] = 1.0
    await shelf.serve("a")
    assert any("was not loaded within 0.05 s" in line for line in shelf.said)
    assert not engine.is_closed
    gate.set()
    await asyncio.to_thread(fakes.wait_until, lambda: engine.is_closed)
    await shelf.follower.stop()


@pytest.mark.parametrize("error", [StopIteration(), KeyError("x"), MemoryError()])
async def test_whatever_a_load_raises_ends_it_with_a_typed_error(shelf, error) -> None:
    shelf.source.engines["a", 1] = error
    await asyncio.wait_for(shelf.serve("a"), 10)
    assert shelf.table.states()[0].code == "unavailable"


async def test_what_held_a_versions_files_lets_go_when_it_is_unloaded_and_when_it_fails(shelf) -> None:
    released = []
    plain = shelf.source.load
    shelf.source.load = lambda version: replace(plain(version), release=lambda: released.append(version.name))
    shelf.source.golden_factor["b", 1] = 7.0
    await shelf.serve("a", "b")
    assert released == ["b"]  # it answered wrongly
    shelf.table.remove("a")
    assert released == ["b", "a"]


async def test_sleeping_keeps_the_files_and_waking_changes_the_hold(shelf) -> None:
    released = []
    plain = shelf.source.load
    shelf.source.load = lambda version: replace(plain(version), release=lambda: released.append(version.name))
    await shelf.serve("a", "b", "c")
    (name,) = set("abc") - shelf.awake()
    assert released == []
    await shelf.ask(name)
    assert released == [name]


class Versions:
    """Versions 1 to 4 of m, of which the policy chooses."""

    def __init__(self, fakes, **changes) -> None:
        self.source, self.aliases, self.selection = fakes.Source(), {"production": 1}, Selection(("production",))
        self.known = tuple(fakes.version("m", number) for number in (1, 2, 3, 4))
        for version in self.known:
            self.source.engines["m", version.number] = fakes.Engine(version.number)
        self.source.aspired = lambda: {"m": choose("m", self.selection, self.known, self.aliases)}
        self.table = ModelTable()
        self.follower = Follower(
            self.source, self.table, Loader(self.source, self.table, fakes.assemble), label="production", report=lambda _: None, **changes
        )

    async def change(self, **aliases: int) -> None:
        self.aliases = self.aliases | aliases
        self.source.changes += 1
        await self.follower.poll()
        await self.follower.settle()

    def numbers(self) -> list[int]:
        return sorted(self.table.models["m"].versions)


async def test_labels_follow_aliases_and_versions_are_found_by_number_and_label(fakes) -> None:
    versions = Versions(fakes)
    versions.selection = Selection(latest_count=2)
    await versions.change(staging=4)
    assert versions.numbers() == [1, 3, 4]
    assert versions.table.resolve("m").version.number == 1
    assert versions.table.resolve("m", 3).version.number == 3
    assert versions.table.resolve("m", label="staging").version.number == 4
    await versions.change(production=3, staging=1)
    assert versions.numbers() == [3, 4]
    assert versions.table.resolve("m").version.number == versions.table.resolve("m", label="production").version.number == 3
    assert "staging" not in versions.table.models["m"].labels
    await versions.follower.stop()


async def test_the_version_before_is_kept_warm_and_comes_back_without_a_load(fakes) -> None:
    now = [0.0]
    versions = Versions(fakes, keep_warm_s=60.0, clock=lambda: now[0])
    await versions.change()
    await versions.change(production=2)
    assert versions.numbers() == [2]
    assert not versions.source.engines["m", 1].is_closed
    loads = versions.source.load_count
    await versions.change(production=1)
    assert versions.table.resolve("m").version.number == 1
    assert versions.source.load_count == loads
    await versions.change(production=3)  # 1 is kept now, 2 is not any more
    assert versions.source.engines["m", 2].is_closed
    now[0] = 61.0
    await versions.follower.poll()
    assert versions.source.engines["m", 1].is_closed
    await versions.follower.stop()


async def test_what_is_kept_for_a_rollback_gives_way_first(fakes, monkeypatch) -> None:
    shelf = Shelf(fakes, monkeypatch)
    shelf.follower = Follower(shelf.source, shelf.table, shelf.loader, label="production", report=lambda _: None, keep_warm_s=math.inf)
    await shelf.serve("a")
    first = shelf.source.engines["a", 1]
    shelf.source.engines["a", 2] = fakes.Engine(2.0)
    shelf.source.pointers["a"] = sized("a", 2)
    await shelf.serve()
    assert not first.is_closed
    await shelf.serve("b")
    assert first.is_closed
    assert shelf.awake() == {"a", "b"}
    await shelf.follower.stop()
