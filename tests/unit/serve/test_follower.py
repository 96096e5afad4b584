import asyncio
import threading

import pytest

from fairlead.errors import CorruptError, StorageError
from fairlead.serve.follower import Follower
from fairlead.serve.loading import Loader
from fairlead.serve.model_table import ModelTable, State


def follower_of(fakes, source, clock=None):
    table, said = ModelTable(), []
    extra = {"clock": clock} if clock else {}
    return Follower(source, table, Loader(source, table, fakes.assemble), label="production", report=said.append, **extra), table, said


async def test_a_moved_pointer_switches_the_version(fakes) -> None:
    source = fakes.Source()
    source.point("m", 1)
    follower, table, said = follower_of(fakes, source)
    await follower.poll()
    await follower.settle()
    source.point("m", 2)
    await follower.poll()
    await follower.settle()
    assert table.resolve("m").version.number == 2
    assert source.engines["m", 1].is_closed
    assert said == ["m:1 is served.", "m:2 is served."]
    await follower.stop()


async def test_an_unchanged_sequence_asks_nothing_else(fakes) -> None:
    source = fakes.Source()
    source.point("m", 1)
    follower, _, _ = follower_of(fakes, source)
    await follower.poll()
    await follower.settle()
    source.pointers["m"] = fakes.version("m", 9)  # without a change of the sequence nobody looks
    await follower.poll()
    assert source.load_count == 1
    await follower.stop()


@pytest.mark.parametrize("error", [CorruptError("a digest differs"), ValueError("surprise")])
async def test_a_version_that_cannot_be_loaded_leaves_the_old_one_serving_with_a_reason(fakes, error) -> None:
    source = fakes.Source()
    source.point("m", 1)
    follower, table, said = follower_of(fakes, source)
    await follower.poll()
    await follower.settle()
    source.point("m", 2, error)
    await follower.poll()
    await follower.settle()
    assert table.resolve("m").version.number == 1
    assert not source.engines["m", 1].is_closed
    failed = table.states()[1]
    assert (failed.state, failed.number) == (State.UNAVAILABLE, 2)
    assert failed.code in {"corrupt", "unavailable"}
    assert "What serves goes on serving" in said[-1]
    await follower.stop()


async def test_a_version_that_answers_its_golden_requests_wrongly_never_serves(fakes) -> None:
    source = fakes.Source()
    source.point("m", 1)
    follower, table, said = follower_of(fakes, source)
    await follower.poll()
    await follower.settle()
    source.golden_factor["m", 2] = 2.5
    source.point("m", 2, fakes.Engine(2.0))
    await follower.poll()
    await follower.settle()
    assert table.resolve("m").version.number == 1
    await asyncio.to_thread(fakes.wait_until, lambda: source.engines["m", 2].is_closed)
    assert "golden" in said[-1]
    await follower.stop()


async def test_a_version_that_answers_its_golden_requests_rightly_serves(fakes) -> None:
    source = fakes.Source()
    source.golden_factor["m", 2] = 2.0
    source.point("m", 2, fakes.Engine(2.0))
    follower, table, _ = follower_of(fakes, source)
    await follower.poll()
    await follower.settle()
    assert table.resolve("m").version.number == 2
    await follower.stop()


async def test_a_failed_version_is_tried_again_when_its_time_has_come(fakes) -> None:
    now = [0.0]
    source = fakes.Source()
    source.point("m", 1, CorruptError("not yet"))
    follower, table, _ = follower_of(fakes, source, clock=lambda: now[0])
    await follower.poll()
    await follower.settle()
    source.engines["m", 1] = fakes.Engine(1.0)
    await follower.poll()
    await follower.settle()
    assert source.load_count == 1
    now[0] = 6.0
    await follower.poll()
    await follower.settle()
    assert table.is_ready("m")
    await follower.stop()


async def test_a_registry_that_fails_leaves_everything_serving_and_is_reported_once(fakes) -> None:
    source = fakes.Source()
    source.point("m", 1)
    follower, table, said = follower_of(fakes, source)
    await follower.poll()
    await follower.settle()
    source.error = StorageError("the disk is gone.")
    await follower.poll()
    await follower.poll()
    assert table.is_ready("m")
    assert sum("cannot be read" in sentence for sentence in said) == 1
    source.error = None
    source.point("m", 2)
    await follower.poll()
    await follower.settle()
    assert table.resolve("m").version.number == 2
    await follower.stop()


async def test_an_alias_that_is_gone_unloads_the_model(fakes) -> None:
    source = fakes.Source()
    source.point("m", 1)
    follower, table, _ = follower_of(fakes, source)
    await follower.poll()
    await follower.settle()
    source.drop("m")
    await follower.poll()
    assert "m" not in table.models
    assert source.engines["m", 1].is_closed
    await follower.stop()


async def test_a_load_that_hangs_holds_up_only_its_own_model(fakes) -> None:
    source = fakes.Source()
    source.point("slow", 1)
    follower, table, _ = follower_of(fakes, source)
    await follower.poll()
    await follower.settle()
    gate = threading.Event()
    hanging = fakes.Engine(2.0, gate=gate)
    source.golden_factor["slow", 2] = 2.0
    source.point("slow", 2, hanging)
    source.point("quick", 1)
    await follower.poll()
    await asyncio.to_thread(fakes.wait_until, lambda: table.is_ready("quick"))
    assert table.resolve("slow").version.number == 1
    gate.set()
    await follower.settle()
    assert table.resolve("slow").version.number == 2
    await follower.stop()


async def test_a_version_that_is_no_longer_wanted_when_it_has_loaded_is_dropped(fakes) -> None:
    source = fakes.Source()
    source.point("m", 1)
    follower, table, _ = follower_of(fakes, source)
    await follower.poll()
    await follower.settle()
    gate = threading.Event()
    source.golden_factor["m", 2] = 2.0
    source.point("m", 2, fakes.Engine(2.0, gate=gate))
    await follower.poll()
    source.point("m", 1)  # rolled back while 2 was loading
    await follower.poll()
    gate.set()
    await follower.settle()
    await follower.poll()
    assert table.resolve("m").version.number == 1
    await asyncio.to_thread(fakes.wait_until, lambda: source.engines["m", 2].is_closed)
    assert [state.number for state in table.states()] == [1]
    await follower.stop()


async def test_a_mistake_of_ours_is_said_once_and_what_was_left_undone_is_done_when_it_is_over(fakes, monkeypatch) -> None:
    source = fakes.Source()
    source.point("a", 1)
    source.point("m", 1)
    follower, table, said = follower_of(fakes, source)
    with monkeypatch.context() as patch:
        patch.setattr(table, "arrange", lambda *_args, **_options: 1 / 0)
        following = asyncio.create_task(follower.follow(0.005))
        await asyncio.to_thread(fakes.wait_until, lambda: said)
        await asyncio.sleep(0.03)
    await asyncio.to_thread(fakes.wait_until, lambda: table.is_ready("a") and table.is_ready("m"))
    assert ["ZeroDivisionError" in sentence for sentence in said].count(True) == 1
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await follower.stop()
