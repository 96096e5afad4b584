import asyncio
import threading

import numpy as np
import pytest

from fairlead.errors import NotFoundError, OverloadedError, RequestError
from fairlead.serve.data_plane import DataPlane, InferRequest
from fairlead.serve.model_table import ModelTable


@pytest.fixture
def house(fakes):
    """A plane over one model whose engine is handed back, with a sink."""

    def build(engine, *, queue_limit=4, element_ms=0.001, **options):
        table, sink = ModelTable(), fakes.Sink()
        table.switch(fakes.served(fakes.version("m", 7), engine, element_ms=element_ms, **options), "production")
        return DataPlane(table, sink, queue_limit=queue_limit, clock=lambda: 1234.5), sink

    return build


async def test_an_answer_names_the_version_that_gave_it(house, fakes) -> None:
    plane, _ = house(fakes.Engine(3.0))
    response = await plane.infer(InferRequest("m", {"x": fakes.ones}, request_id="r1"))
    assert (response.model, response.version, response.request_id) == ("m", 7, "r1")
    assert response.outputs["y"].tolist() == [[3.0, 3.0]]


async def test_every_request_is_observed_once_with_its_outcome(house, fakes) -> None:
    plane, sink = house(fakes.Engine())
    await plane.infer(InferRequest("m", {"x": np.ones((5, 2), np.float32)}, request_id="good"))
    with pytest.raises(RequestError):
        await plane.infer(InferRequest("m", {"x": np.ones((5, 3), np.float32)}, request_id="bad"))
    assert [(item.request_id, item.version, item.rows, item.error_code, item.at) for item in sink.seen] == [
        ("good", 7, 5, "", 1234.5),
        ("bad", 7, 0, "bad_request", 1234.5),
    ]
    assert sink.seen[0].compute_ms > 0


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ({}, ()),
        ({"z": np.ones((1, 2), np.float32)}, ()),
        ({"x": np.ones((1, 2), np.float64)}, ()),
        ({"x": np.ones((1, 3), np.float32)}, ()),
        ({"x": np.ones((0, 2), np.float32)}, ()),
        ({"x": np.ones((1, 2), np.float32)}, ("nope",)),
        ({"x": np.ones((1, 2), np.float32)}, ("y", "y")),
    ],
)
async def test_what_does_not_fit_never_reaches_the_engine(house, fakes, inputs, outputs) -> None:
    engine = fakes.Engine()
    plane, _ = house(engine)
    with pytest.raises(RequestError):
        await plane.infer(InferRequest("m", inputs, outputs=outputs))
    assert engine.run_count == 0


async def test_an_unknown_model_and_version_are_not_found(house, fakes) -> None:
    plane, _ = house(fakes.Engine())
    for request in (InferRequest("other", {}), InferRequest("m", {}, version=8)):
        with pytest.raises(NotFoundError):
            await plane.infer(request)


async def test_exactly_as_many_requests_as_the_limit_are_admitted(house, fakes) -> None:
    gate = threading.Event()
    engine = fakes.Engine(gate=gate)
    plane, sink = house(engine, queue_limit=4, element_ms=50.0)
    request = InferRequest("m", {"x": fakes.ones})
    waiting = [asyncio.create_task(plane.infer(request)) for _ in range(4)]
    await asyncio.sleep(0.05)
    for _ in range(3):
        with pytest.raises(OverloadedError):
            await plane.infer(request)
    gate.set()
    assert len(await asyncio.gather(*waiting)) == 4
    await plane.infer(request)  # the places are free again
    assert [item.error_code for item in sink.seen].count("overloaded") == 3
    assert plane.table.models["m"].admitted == 0


async def test_a_place_is_given_back_when_the_engine_fails(house, fakes) -> None:
    class Broken(fakes.Engine):
        def run(self, inputs, outputs=()):
            raise ZeroDivisionError

    plane, sink = house(Broken(), queue_limit=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await plane.infer(InferRequest("m", {"x": fakes.ones}))
    assert [item.error_code for item in sink.seen] == ["internal"] * 3


async def test_a_switch_while_a_request_runs_lets_it_finish_on_its_version(house, fakes) -> None:
    gate = threading.Event()
    old = fakes.Engine(2.0, gate=gate)
    plane, _ = house(old, element_ms=50.0)
    running = asyncio.create_task(plane.infer(InferRequest("m", {"x": fakes.ones})))
    await asyncio.sleep(0.05)
    plane.table.switch(fakes.served(fakes.version("m", 8), fakes.Engine(5.0)), "production")
    assert not old.is_closed
    assert (await plane.infer(InferRequest("m", {"x": fakes.ones}))).version == 8
    gate.set()
    response = await running
    assert (response.version, response.outputs["y"].tolist()) == (7, [[2.0, 2.0]])
    assert old.is_closed


async def test_a_slow_model_runs_beside_the_event_loop_and_a_fast_one_inside_it(house, fakes) -> None:
    threads = []

    class Noting(fakes.Engine):
        def run(self, inputs, outputs=()):
            threads.append(threading.current_thread())
            return super().run(inputs, outputs)

    fast, _ = house(Noting(), element_ms=0.01)
    slow, _ = house(Noting(), element_ms=50.0)
    await fast.infer(InferRequest("m", {"x": fakes.ones}))
    await slow.infer(InferRequest("m", {"x": fakes.ones}))
    assert threads[0] is threading.current_thread()
    assert threads[1] is not threading.current_thread()


async def test_rows_of_concurrent_requests_never_mix(house, fakes) -> None:
    plane, _ = house(fakes.Engine(1.0), queue_limit=1000, element_ms=50.0)
    sent = [np.full((1 + number % 3, 2), number, np.float32) for number in range(200)]
    answers = await asyncio.gather(*(plane.infer(InferRequest("m", {"x": rows})) for rows in sent))
    assert all(np.array_equal(answer.outputs["y"], rows) for answer, rows in zip(answers, sent, strict=True))
