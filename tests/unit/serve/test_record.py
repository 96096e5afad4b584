"""What the data plane answered, left for somebody else: counted, bounded, sampled first, and never in a request's way."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.observation import Observation
from fairlead.errors import RequestError
from fairlead.serve.data_plane import DataPlane, InferRequest
from fairlead.serve.model_table import ModelTable
from fairlead.serve.record import AnswerBuffer
from fairlead.serve.record_columns import Columns
from fairlead.serve.record_facts import facts_of
from fairlead.serve.record_rows import batch_of, batches, join
from fairlead.serve.response_cache import ResponseCache


@pytest.fixture
def plane_of(fakes):
    """A plane over one model that leaves its answers in a buffer."""

    def build(buffer, engine=None, *, cache=None):
        table = ModelTable()
        table.switch(fakes.served(fakes.version("m", 7), engine or fakes.Engine(3.0)), "production")
        return DataPlane(table, fakes.Sink(), queue_limit=4, recorder=buffer, cache=cache, clock=lambda: 1000.0)

    return build


def everything(_name: str) -> float:
    return 1.0


def drained(buffer) -> list:
    """Everything that waits, as batches."""
    buffer.hand_over()
    taken, entries = buffer.drain(1000)
    return [*map(batch_of, taken), *batches(entries)]


async def ask(plane, *rows, **more) -> None:
    for place, row in enumerate(rows):
        await plane.infer(InferRequest("m", {"x": np.float32(row)}, request_id=f"r{place}", transport="http", **more))


async def test_answers_become_columns_with_what_is_known_of_their_requests(plane_of) -> None:
    buffer = AnswerBuffer(everything)
    await ask(plane_of(buffer), [[1, 2], [3, 4]], [[5, 6], [7, 8]], own_id="mine")
    (batch,) = drained(buffer)
    assert (batch.version.label, batch.request_count, batch.row_count) == ("m:7", 2, 4)
    assert batch.inputs["x"].tolist() == [[1, 2], [3, 4], [5, 6], [7, 8]]
    assert batch.outputs["y"].tolist() == [[3, 6], [9, 12], [15, 18], [21, 24]]
    facts = {name: column.tolist() for name, column in batch.facts.items()}
    assert facts["request_id"] == [b"r0", b"r0", b"r1", b"r1"]
    assert facts["row"] == [0, 1, 0, 1]
    assert set(facts["own_id"]) == {b"mine"}
    assert (set(facts["route"]), set(facts["status"]), set(facts["arm"])) == ({b"http"}, {b"ok"}, {b""})
    assert all(at == pytest.approx(1000.0 - latency) for at, latency in zip(facts["at"], facts["latency_s"], strict=True))


async def test_requests_of_few_and_of_many_rows_keep_theirs(plane_of) -> None:
    buffer = AnswerBuffer(everything)
    sizes = [1, 3, 8, 9, 1, 30, 3]
    asked = [np.arange(2 * size).reshape(size, 2) + 100 * place for place, size in enumerate(sizes)]
    await ask(plane_of(buffer), *asked)
    found = {}
    for batch in drained(buffer):
        for identity, row, x, y in zip(
            batch.facts["request_id"].tolist(), batch.facts["row"].tolist(), batch.inputs["x"], batch.outputs["y"], strict=True
        ):
            found[identity.decode(), row] = x.tolist()
            assert y.tolist() == (x * 3).tolist()
    assert found == {(f"r{place}", row): values for place, x in enumerate(asked) for row, values in enumerate(x.tolist())}


@pytest.mark.parametrize(
    "ids", [("a", "bb"), ("é", "ü"), ("a\0", "b\0"), ("", ""), ("same", "long")], ids=["lengths", "letters", "zeros", "empty", "alike"]
)
def test_ids_of_any_kind_stay_what_they_are(ids) -> None:
    facts = facts_of([Observation(identity, "m", 1, 1.0, 1, 0.1, 0.2) for identity in ids], {})
    assert tuple(item.decode() if isinstance(item, bytes) else item for item in facts["request_id"].tolist()) == ids


async def test_a_request_that_failed_is_kept_without_an_answer_and_a_refused_one_not_at_all(plane_of, fakes) -> None:
    class Failing(fakes.Engine):
        def run(self, inputs, outputs=()):
            raise RequestError("no")

    buffer = AnswerBuffer(everything)
    plane = plane_of(buffer, Failing())
    for rows in (np.ones((1, 2), np.float32), np.ones((1, 5), np.float32)):
        with pytest.raises(RequestError):
            await plane.infer(InferRequest("m", {"x": rows}))
    (batch,) = drained(buffer)
    assert batch.facts["status"].tolist() == [b"bad_request"]
    assert batch.outputs == {}
    assert batch.row_count == 1
    assert buffer.lanes()["m"].observed == 1


async def test_an_answer_from_the_cache_is_kept_like_any_other(plane_of) -> None:
    buffer = AnswerBuffer(everything)
    plane = plane_of(buffer, cache=ResponseCache(2**20))
    for served in plane.table.models["m"].versions.values():
        served.is_deterministic = True
    await ask(plane, [[1, 2]], [[1, 2]])
    (batch,) = drained(buffer)
    assert batch.outputs["y"].tolist() == [[3, 6], [3, 6]]


async def test_what_is_not_drawn_is_left_before_anything_is_looked_at(plane_of) -> None:
    draws = iter([0.1, 0.9, 0.3, 0.8])
    buffer = AnswerBuffer(lambda _: 0.5, draw=lambda: next(draws))
    await ask(plane_of(buffer), *[[[1, 2]]] * 4)
    lane = buffer.lanes()["m"]
    assert sum(batch.request_count for batch in drained(buffer)) == 2
    assert (lane.observed, lane.unsampled, lane.dropped) == (4, 2, 0)


@pytest.mark.parametrize("limits", [{"count_limit": 4}, {"bytes_limit": 4 * 16}])
@pytest.mark.parametrize("outputs", [(), ("y",)])  # copied in pieces, and held by reference
async def test_what_finds_no_room_is_dropped_and_counted_and_the_request_is_answered(plane_of, limits, outputs) -> None:
    buffer = AnswerBuffer(everything, **limits)
    plane = plane_of(buffer)
    for _ in range(2):
        await ask(plane, *[[[1, 2]]] * 3, outputs=outputs)
        buffer.hand_over()
    lane = buffer.lanes()["m"]
    assert (lane.observed, lane.kept) == ((6, 3) if not outputs else (6, 4))
    assert buffer.waiting_bytes == lane.kept * 16
    assert sum(batch.request_count for batch in drained(buffer)) == lane.kept
    assert buffer.take_defect() == ""
    assert (buffer.waiting_bytes, buffer.has_any) == (0, False)


async def test_a_large_request_is_not_copied_while_others_wait(plane_of) -> None:
    buffer = AnswerBuffer(everything)
    await ask(plane_of(buffer), [[1, 2]] * 5000)
    taken, entries = buffer.drain(10)
    assert (taken, len(entries)) == ([], 1)
    (batch,) = batches(entries)
    assert batch.row_count == 5000


async def test_the_share_is_asked_for_anew_when_it_changes(plane_of) -> None:
    shares = {"m": 0.0}
    buffer = AnswerBuffer(shares.__getitem__)
    plane = plane_of(buffer)
    await ask(plane, [[1, 2]])
    shares["m"] = 1.0
    buffer.refresh()
    await ask(plane, [[1, 2]])
    assert sum(batch.request_count for batch in drained(buffer)) == 1


async def test_an_answer_counts_with_the_body_that_it_keeps_from_going(plane_of) -> None:
    buffer = AnswerBuffer(everything, bytes_limit=50_000)
    plane = plane_of(buffer)
    for size in (10_000, 100_000):
        view = np.frombuffer(b"\0" * size, np.float32)[:2].reshape(1, 2)
        await plane.infer(InferRequest("m", {"x": view}, outputs=("y",)))
    lane = buffer.lanes()["m"]
    assert (lane.observed, lane.dropped, buffer.waiting_bytes > 10_000) == (2, 1, True)


async def test_a_mistake_in_keeping_an_answer_loses_no_answer_and_is_told(plane_of, monkeypatch) -> None:
    buffer = AnswerBuffer(everything)
    plane = plane_of(buffer)
    monkeypatch.setattr(Columns, "record", lambda *_: 1 / 0)
    await ask(plane, [[1, 2]], [[3, 4]])
    assert "ZeroDivisionError" in buffer.take_defect()
    assert buffer.take_defect() == ""
    monkeypatch.undo()
    await ask(plane, [[1, 2]])
    assert [batch.request_count for batch in drained(buffer)] == [1]


async def test_texts_count_by_their_length(plane_of, fakes) -> None:
    interface = Interface((TensorSpec("t", DType.BYTES, (None,)),), (TensorSpec("y", DType.FP32, (None,)),))

    class Engine(fakes.Engine):
        def run(self, inputs, outputs=()):
            return {"y": np.zeros(len(inputs["t"]), np.float32)}

    buffer = AnswerBuffer(everything, bytes_limit=50_000)
    plane = plane_of(buffer, Engine(interface=interface))
    for length in (10_000, 100_000):
        await plane.infer(InferRequest("m", {"t": np.array(["x" * length], object)}))
    lane = buffer.lanes()["m"]
    assert (lane.observed, lane.dropped) == (2, 1)


async def test_a_wait_ends_when_an_answer_comes_or_nothing_more_does(plane_of) -> None:
    buffer = AnswerBuffer(everything)
    plane = plane_of(buffer)
    for act in (lambda: asyncio.ensure_future(ask(plane, [[1, 2]])), buffer.end):
        waiting = threading.Thread(target=buffer.wait, args=(60.0,))
        waiting.start()
        act()
        await asyncio.to_thread(waiting.join, 20.0)
        assert not waiting.is_alive()
    buffer.wait(60.0)  # nothing more comes, so nobody waits


async def test_a_pause_ends_early_when_much_waits(plane_of) -> None:
    buffer = AnswerBuffer(everything, bytes_limit=800)
    plane = plane_of(buffer)
    waiting, began = threading.Thread(target=buffer.pause, args=(60.0,)), time.monotonic()
    waiting.start()
    while waiting.is_alive():
        await ask(plane, *[[[1, 2]]] * 10)
        buffer.hand_over()
        buffer.drain(100)
        await asyncio.sleep(0.01)
    waiting.join()
    assert time.monotonic() - began < 60.0


async def test_requests_for_other_outputs_are_batches_of_their_own(plane_of, fakes) -> None:
    interface = Interface(
        (TensorSpec("x", DType.FP32, (None, 2)),), (TensorSpec("y", DType.FP32, (None, 2)), TensorSpec("z", DType.FP32, (None, 2)))
    )
    buffer = AnswerBuffer(everything)
    plane = plane_of(buffer, fakes.Engine(interface=interface))
    await ask(plane, [[1, 2]])
    await ask(plane, [[1, 2]], outputs=("z",))
    assert [tuple(batch.outputs) for batch in drained(buffer)] == [("y", "z"), ("z",)]


async def test_answers_are_handed_over_in_pieces_and_the_rest_when_it_is_asked_for(plane_of) -> None:
    buffer = AnswerBuffer(everything)
    await ask(plane_of(buffer), *[[[1, 2]]] * 300)
    taken, entries = buffer.drain(1000)
    assert ([columns.count for columns in taken], entries, buffer.has_any) == ([256], [], True)
    await asyncio.to_thread(buffer.collect)
    await asyncio.sleep(0.01)
    taken, _ = buffer.drain(1000)
    assert ([columns.count for columns in taken], buffer.has_any, buffer.waiting_bytes) == ([44], False, 0)


def test_what_was_not_handed_over_when_the_loop_ended_is_not_lost(plane_of) -> None:
    buffer = AnswerBuffer(everything)
    with asyncio.Runner() as runner:
        runner.run(ask(plane_of(buffer), [[1, 2]]))
    buffer.collect()
    assert [columns.count for columns in buffer.drain(10)[0]] == [1]


@pytest.mark.parametrize("odd", [lambda x: x.astype(np.float64), lambda x: np.repeat(x, 2, 1)[:, ::2], lambda x: x[:, :1]])
async def test_an_answer_that_is_not_as_the_interface_says_is_kept_as_it_is(plane_of, fakes, odd) -> None:
    class Odd(fakes.Engine):
        def run(self, inputs, outputs=()):
            return {"y": odd(inputs["x"])}

    buffer = AnswerBuffer(everything)
    await ask(plane_of(buffer, Odd()), [[1, 2]], [[3, 4]])
    found = drained(buffer)
    kept = np.concatenate([batch.outputs["y"] for batch in found])
    assert np.array_equal(kept, np.concatenate([odd(np.float32([[1, 2]])), odd(np.float32([[3, 4]]))]))


async def test_a_tensor_in_several_pieces_of_memory_takes_nothing_half(plane_of, fakes) -> None:
    class Turning(fakes.Engine):
        def run(self, inputs, outputs=()):
            return {"y": np.asfortranarray(np.concatenate([inputs["x"]] * 2))[: len(inputs["x"])]}

    buffer = AnswerBuffer(everything)
    plane = plane_of(buffer, Turning())
    await ask(plane, [[1, 2], [3, 4]], [[5, 6], [7, 8]])
    found = drained(buffer)
    assert sorted(np.concatenate([batch.inputs["x"] for batch in found])[:, 0].tolist()) == [1, 3, 5, 7]
    assert all(np.array_equal(batch.inputs["x"], batch.outputs["y"]) for batch in found)


def test_rows_of_one_shape_are_joined_however_they_lie_in_memory() -> None:
    whole = np.arange(24, dtype=np.float32).reshape(4, 6)
    parts = [whole[:2], whole[2:3], whole[3:]]
    assert np.array_equal(join(parts, 4, 6), whole)
    turned = [np.asfortranarray(whole)[:2, ::2], whole[2:, ::2]]
    assert np.array_equal(join(turned, 4, 3), whole[:, ::2])


def test_rows_of_several_shapes_are_copied_apart() -> None:
    parts = [np.zeros((1, 2)), np.zeros((2, 3))]
    joined = join(parts, 3, None)
    assert [part.shape for part in joined] == [(1, 2), (2, 3)]
    assert not np.shares_memory(joined[0], parts[0])


def test_texts_are_joined_as_objects() -> None:
    parts = [np.array(["a"], object), np.array(["b", "c"], object)]
    assert join(parts, 3, None).tolist() == ["a", "b", "c"]
