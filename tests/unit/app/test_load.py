"""A loaded model answers as it was proven to, from threads and from tasks, and stays the version that it is."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import registered

import fairlead
from fairlead.app.load import Model, open_model
from fairlead.core.golden import Golden
from fairlead.core.ports import LoadedModel
from fairlead.errors import DataError, RequestError, UnavailableError

ROWS = np.random.default_rng(1).normal(size=(40, 4)).astype(np.float32)


@pytest.fixture
def model(stocked):
    with open_model("pets@production", stocked) as model:
        yield model


class Slow:
    """An engine that takes its time, and notes how many rows came at once."""

    description = "slow 1"

    def __init__(self, interface, seconds: float) -> None:
        self.interface, self.seconds, self.sizes = interface, seconds, []
        self.is_closed = False

    def run(self, inputs, outputs=()):
        self.sizes.append(len(inputs["x"]))
        time.sleep(self.seconds)
        return {"scores": inputs["x"][:, :3] * np.float32(2)}

    def close(self) -> None:
        self.is_closed = True


def slow_model(model, seconds=0.03, **said) -> tuple[Model, Slow]:
    engine = Slow(model.interface, seconds)
    return Model(model.version, LoadedModel(engine, **said)), engine


def test_the_public_door_gives_the_version_that_the_alias_points_at(stocked, tmp_path):
    with fairlead.load("pets@production", home=tmp_path / "home") as model:
        assert model.version.label == "pets:1"
        assert set(model.predict_labels(ROWS)) <= {"cat", "dog", "owl"}
        assert model.predict(ROWS).shape == (40, 3)
        assert list(model.predict_all(ROWS)) == ["scores"]


def test_awaited_answers_are_those_of_a_plain_call(model):
    async def ask():
        return await asyncio.gather(model.apredict(ROWS), model.apredict_all(ROWS), model.apredict_labels(ROWS.tolist()))

    scores, everything, labels = asyncio.run(ask())
    np.testing.assert_allclose(scores, model.predict(ROWS), rtol=1e-6)
    np.testing.assert_allclose(everything["scores"], model.predict(ROWS), rtol=1e-6)
    assert labels.tolist() == model.predict_labels(ROWS).tolist()


def test_many_concurrent_calls_each_get_their_own_rows(model):
    expected = model.predict(ROWS)

    async def ask(number):
        return number, await model.apredict(ROWS[number : number + 1])

    async def ask_all():
        return await asyncio.gather(*(ask(number % 40) for number in range(400)))

    for number, answer in asyncio.run(ask_all()):
        np.testing.assert_allclose(answer, expected[number : number + 1], rtol=1e-6)


def test_a_slow_engine_does_not_hold_the_event_loop(model):
    slow, engine = slow_model(model, 0.3)

    async def ask():
        ticks = 0
        asked = asyncio.ensure_future(slow.apredict(ROWS[:2]))
        while not asked.done():
            await asyncio.sleep(0.005)
            ticks += 1
        return ticks, await asked

    ticks, answer = asyncio.run(ask())
    assert ticks > 5
    np.testing.assert_array_equal(answer, ROWS[:2, :3] * 2)
    slow.close()
    assert engine.is_closed


@pytest.mark.parametrize("is_batch_invariant", [True, False])
def test_calls_are_joined_only_where_the_verdict_shows_that_rows_do_not_see_each_other(model, is_batch_invariant):
    slow, engine = slow_model(model, is_batch_invariant=is_batch_invariant)

    async def ask():
        return await asyncio.gather(*(slow.apredict(ROWS[number : number + 1]) for number in range(20)))

    answers = asyncio.run(ask())
    np.testing.assert_array_equal(np.concatenate(answers), ROWS[:20, :3] * 2)
    assert (max(engine.sizes) > 1) == is_batch_invariant
    slow.close()


def test_a_model_is_used_from_several_event_loops_one_after_the_other_and_at_once(model):
    def in_a_loop(start):
        async def ask():
            return await model.apredict(ROWS[start : start + 2])

        return asyncio.run(ask())

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(in_a_loop, range(30)))
    for start, answer in enumerate(answers):
        np.testing.assert_allclose(answer, model.predict(ROWS[start : start + 2]), rtol=1e-6)


def test_a_thread_pool_gets_the_right_answers(model):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: model.predict(ROWS[number : number + 1]), range(40)))
    np.testing.assert_allclose(np.concatenate(answers), model.predict(ROWS), rtol=1e-6)


def test_a_notebook_calls_it_inside_a_running_event_loop(model):
    async def cell():
        return model.predict_labels(ROWS), await model.apredict_labels(ROWS)

    plain, awaited = asyncio.run(cell())
    assert plain.tolist() == awaited.tolist()


def test_a_cancelled_call_gives_its_place_back(model):
    slow, engine = slow_model(model, 0.05)

    async def ask():
        first = asyncio.ensure_future(slow.apredict(ROWS[:1]))
        await asyncio.sleep(0.01)
        others = [asyncio.ensure_future(slow.apredict(ROWS[:1])) for _ in range(20)]
        await asyncio.sleep(0)
        for other in others[:-1]:
            other.cancel()
        return await first, await others[-1], await asyncio.gather(*others[:-1], return_exceptions=True)

    first, last, cancelled = asyncio.run(ask())
    np.testing.assert_array_equal(first, last)
    assert all(isinstance(one, asyncio.CancelledError) for one in cancelled)
    assert sum(engine.sizes) < 10
    slow.close()


def test_rows_that_do_not_fit_are_refused_alike(model):
    for rows, kind in (([[1.0, 2.0]], DataError), ([["a", "b", "c", "d"]], DataError), (np.zeros((0, 4), np.float32), DataError)):
        with pytest.raises(kind) as plain:
            model.predict(rows)
        with pytest.raises(kind) as awaited:
            asyncio.run(model.apredict(rows))
        assert str(plain.value) == str(awaited.value)


@pytest.mark.parametrize(
    "rows",
    [ROWS, ROWS.astype(np.float64), np.asfortranarray(ROWS), ROWS.tolist(), ROWS[::2], ROWS.astype(">f4")],
    ids=["as it is", "another type", "another order", "lists", "every second", "other bytes"],
)
def test_arrays_that_fit_as_they_are_and_those_that_do_not_give_the_same(model, rows):
    given = np.asarray(rows, np.float32)
    wanted = model.engine.run({"x": np.ascontiguousarray(given)})["scores"]
    np.testing.assert_array_equal(model.predict(rows), wanted)


def test_infinity_is_refused_in_an_array_that_fits_otherwise(model):
    rows = ROWS.copy()
    rows[3, 1] = np.inf
    with pytest.raises(DataError, match="infinity in row 3"):
        model.predict(rows)


def test_one_bad_call_fails_nobody_else(stocked):
    with open_model("table", stocked) as table:

        async def ask():
            calls = [table.apredict(np.int64([number])) for number in (0, 1, 7, 2)]
            return await asyncio.gather(*calls, return_exceptions=True)

        answers = asyncio.run(ask())
        assert isinstance(answers[2], RequestError)
        assert [answers[number].tolist() for number in (0, 1, 3)] == [[[0, 1]], [[2, 3]], [[4, 5]]]


def test_what_waits_when_a_model_is_closed_hears_of_it(model):
    slow, _ = slow_model(model, 0.05)

    async def ask():
        calls = [asyncio.ensure_future(slow.apredict(ROWS[:1])) for _ in range(3)]
        await asyncio.sleep(0.02)
        slow.close()
        return await asyncio.gather(*calls, return_exceptions=True)

    answers = asyncio.run(ask())
    assert any(isinstance(answer, UnavailableError) for answer in answers)
    assert all(isinstance(answer, UnavailableError | np.ndarray) for answer in answers)
    with pytest.raises(UnavailableError):
        asyncio.run(slow.apredict(ROWS[:1]))


def test_a_version_that_does_not_answer_as_proven_is_not_loaded(house, tmp_path):
    path, interface = registered.scaler(tmp_path / "m.onnx")
    rows = registered.draw(interface, 2)
    registered.add_version(house, "wrong", (path, interface), golden=Golden(rows, {"y": rows["x"] + np.float32(1)}))
    with pytest.raises(UnavailableError, match="golden"):
        open_model("wrong", house)


def test_a_loaded_model_does_not_change_when_its_alias_moves(stocked, tmp_path):
    with open_model("scale@production", stocked) as model:
        before = model.predict(ROWS)
        path, interface = registered.scaler(tmp_path / "other.onnx", factor=3.0)
        assert registered.add_version(stocked, "scale", (path, replace(interface))).number == 2
        np.testing.assert_array_equal(model.predict(ROWS), before)
        with open_model("scale@production", stocked) as newer:
            assert newer.version.number == 2
            assert not np.array_equal(newer.predict(ROWS), before)


def test_a_model_that_was_closed_says_so_whichever_way_it_is_asked(stocked, tmp_path):
    path = tmp_path / "rows.npz"
    np.savez(path, x=ROWS)
    with open_model("pets@production", stocked) as closed:
        assert closed.predict_file(path)[1]["scores"].shape == (40, 3)
    for ask in (closed.predict, closed.predict_all, closed.predict_labels, lambda rows: asyncio.run(closed.apredict(rows))):
        with pytest.raises(UnavailableError, match="was closed"):
            ask(ROWS)
    with pytest.raises(UnavailableError, match="was closed"):
        closed.predict_file(path)
