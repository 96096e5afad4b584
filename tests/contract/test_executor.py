"""The exam of the Executor protocol (serve.executor): what runs batches, in this process or in others, has to do the same."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface
from fairlead.core.recipe import EngineRecipe
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.errors import RequestError, UnavailableError
from fairlead.serve.engine_executor import EngineExecutor
from fairlead.serve.executor import Executor
from fairlead.serve.workers.fleet import WorkerJob
from fairlead.serve.workers.policy import WorkerPolicy
from fairlead.serve.workers.worker_executor import start_workers

sys.path.insert(0, str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1] / "unit" / "engines"))
sys.path.append(str(Path(__file__).parents[1] / "unit" / "serve" / "workers"))
from engine_examinees import KINDS
from loop_thread import LoopThread, left, wait_for_nothing_more
from tiny_onnx import echo_model, lookup_model

MAKERS: dict[str, Callable[[Path], tuple[Path, Interface]]] = {
    "several": KINDS["several"].make,
    "lookup": lookup_model,
    "texts": lambda path: echo_model(path, DType.BYTES),
    "numbers": lambda path: echo_model(path, DType.FP32),
}


async def in_threads(path: Path, interface: Interface) -> Executor:
    return EngineExecutor(OnnxRuntimeEngine(path, interface), 2)


async def in_copies(path: Path, interface: Interface) -> Executor:
    return await start_workers(WorkerJob(EngineRecipe("onnxruntime", path, interface, is_fork_safe=True), policy=WorkerPolicy(count=2)))


async def in_processes(path: Path, interface: Interface) -> Executor:
    return await start_workers(WorkerJob(EngineRecipe("onnxruntime", path, interface), policy=WorkerPolicy(count=2)))


EXAMINEES = {"in threads": in_threads, "in copied workers": in_copies, "in workers that open it themselves": in_processes}


@pytest.fixture(scope="module")
def loop() -> Iterator[LoopThread]:
    loop = LoopThread()
    yield loop
    loop.close()


@pytest.fixture(scope="module", params=EXAMINEES)
def opener(
    request: pytest.FixtureRequest, loop: LoopThread, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Executor]]:
    opened: dict[str, Executor] = {}

    def open_kind(kind: str) -> Executor:
        if kind not in opened:
            path, interface = MAKERS[kind](tmp_path_factory.mktemp("model") / "model.onnx")
            opened[kind] = loop.do(EXAMINEES[request.param](path, interface))
        return opened[kind]

    yield open_kind
    for executor in opened.values():
        loop.call(executor.close)


def test_it_answers_batches_of_all_sizes_and_several_at_once(opener, loop) -> None:
    executor, kind = opener("several"), KINDS["several"]
    asked = [kind.draw(rows) for rows in (1, 2, 7, 32, 3, 1)]

    async def ask() -> list[dict[str, np.ndarray]]:
        return await asyncio.gather(*(executor.run(inputs, ()) for inputs in asked))

    for inputs, answer in zip(asked, loop.do(ask()), strict=True):
        for name, tensor in kind.answer(inputs).items():
            np.testing.assert_allclose(answer[name], tensor, atol=1e-5)


def test_it_gives_the_named_outputs_only(opener, loop) -> None:
    executor, kind = opener("several"), KINDS["several"]
    name = executor.interface.outputs[-1].name
    inputs = kind.draw(2)
    answer = loop.do(executor.run(inputs, (name,)))
    assert list(answer) == [name]
    np.testing.assert_allclose(answer[name], kind.answer(inputs)[name], atol=1e-5)


def test_what_the_engine_refuses_is_refused_in_its_words_and_nothing_breaks(opener, loop) -> None:
    executor = opener("lookup")
    with pytest.raises(RequestError, match="index 7"):
        loop.do(executor.run({"i": np.array([7])}, ()))
    assert loop.do(executor.run({"i": np.array([4])}, ()))["y"].tolist() == [[8.0, 9.0]]


def test_texts_come_back_as_they_were(opener, loop) -> None:
    texts = np.array([["", "café"], ["日本 🐍", "a\0b"]], dtype=object)
    assert loop.do(opener("texts").run({"x": texts}, ()))["y"].tolist() == texts.tolist()


def test_a_text_that_is_none_is_an_error_of_its_request(opener, loop) -> None:
    executor = opener("texts")
    with pytest.raises(RequestError):
        loop.do(executor.run({"x": np.array([["\ud800"]], dtype=object)}, ()))
    assert loop.do(executor.run({"x": np.array([["a"]], dtype=object)}, ()))["y"].tolist() == [["a"]]


def test_large_tensors_come_back_as_they_were(opener, loop) -> None:
    rows = np.random.default_rng(0).normal(size=(300, 4096)).astype(np.float32)
    executor = opener("numbers")

    async def ask() -> list[dict[str, np.ndarray]]:
        return await asyncio.gather(*(executor.run({"x": rows * scale}, ()) for scale in (1, 2, 4)))

    for scale, answer in zip((1, 2, 4), loop.do(ask()), strict=True):
        np.testing.assert_array_equal(answer["y"], rows * scale)


def test_the_form_of_an_array_in_memory_makes_no_difference(opener, loop) -> None:
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    for form in (np.asfortranarray(rows), rows[:, ::-1], np.repeat(rows, 2, axis=1)[:, ::2]):
        np.testing.assert_array_equal(loop.do(opener("numbers").run({"x": form}, ()))["y"], form)


def test_a_cancelled_run_harms_nobody(opener, loop) -> None:
    executor, kind = opener("several"), KINDS["several"]

    async def cancel_some() -> dict[str, np.ndarray]:
        runs = [asyncio.ensure_future(executor.run(kind.draw(64), ())) for _ in range(8)]
        await asyncio.sleep(0)
        for run in runs:
            run.cancel()
        await asyncio.wait(runs)
        return await executor.run(kind.draw(5), ())

    for _ in range(5):
        answer = loop.do(cancel_some())
        for name, tensor in kind.answer(kind.draw(5)).items():
            np.testing.assert_allclose(answer[name], tensor, atol=1e-5)


def test_it_says_what_it_is(opener, loop) -> None:
    executor = opener("several")
    assert executor.description.startswith("onnxruntime ")
    assert loop.call(lambda: executor.slot_count) == 2
    if executor.is_blocking:
        with pytest.raises(UnavailableError):
            executor.run_now(KINDS["several"].draw(1), ())
    else:
        assert set(executor.run_now(KINDS["several"].draw(1), ())) == {spec.name for spec in executor.interface.outputs}


@pytest.mark.parametrize("name", EXAMINEES)
def test_after_close_nothing_answers_and_nothing_is_left(name: str, loop: LoopThread, tmp_path: Path) -> None:
    path, interface = MAKERS["several"](tmp_path / "model.onnx")
    kind = KINDS["several"]
    before = left()
    executor = loop.do(EXAMINEES[name](path, interface))
    loop.do(executor.run(kind.draw(1), ()))
    loop.call(executor.close)
    loop.call(executor.close)
    with pytest.raises(UnavailableError):
        loop.do(executor.run(kind.draw(1), ()))
    if name == "in threads":
        return  # its pool starts a thread for a call after its end; the engine's memory is what counts
    wait_for_nothing_more(before)
