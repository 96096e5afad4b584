"""The exam of the Engine port: what every engine has to do, those that serve and the sandboxed original. Who sits it: engine_examinees."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fairlead.core.ports import Engine
from fairlead.errors import RequestError, UnavailableError

sys.path.insert(0, str(Path(__file__).parent))
from engine_examinees import EXAMINEES, KINDS, ONE_SHOT, SLOW_START, kind_of

Opener = Callable[[str], Engine]


@pytest.fixture(scope="module", params=EXAMINEES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def opener(name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opener]:
    """Opens each kind once for all tests that leave it open."""
    engines: dict[str, Engine] = {}

    def open_kind(kind: str) -> Engine:
        if kind not in engines:
            engine = EXAMINEES[name](kind, tmp_path_factory.mktemp("secret-folder"))
            if engine is None:
                pytest.skip(f"{name} holds no model of the kind '{kind}'")
            engines[kind] = engine
        return engines[kind]

    yield open_kind
    for engine in engines.values():
        engine.close()


def is_close(answer: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> bool:
    return all(
        answer[name].shape == tensor.shape
        and (answer[name].tolist() == tensor.tolist() if tensor.dtype == object else np.allclose(answer[name], tensor, atol=1e-5))
        for name, tensor in wanted.items()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_it_answers_every_row_in_batches_of_all_sizes(opener: Opener, kind: str, name: str) -> None:
    engine = opener(kind)
    for rows in (3,) if name in ONE_SHOT else (1, 2, 7, 32):
        inputs = kind_of(name, kind).draw(rows)
        answer = engine.run(inputs)
        assert list(answer) == [spec.name for spec in engine.interface.outputs]
        assert [answer[spec.name].dtype for spec in engine.interface.outputs] == [spec.dtype.numpy for spec in engine.interface.outputs]
        assert is_close(answer, kind_of(name, kind).answer(inputs))


def test_each_row_is_answered_alike_in_every_batch(opener: Opener, name: str) -> None:
    engine, rows = opener("floats"), kind_of(name, "floats").draw(32)
    (output,) = engine.run(rows)
    whole = engine.run(rows)[output]
    for size in (8,) if name in ONE_SHOT else (1, 2, 7):
        parts = [engine.run({key: tensor[at : at + size] for key, tensor in rows.items()}) for at in range(0, 32, size)]
        assert np.allclose(np.concatenate([part[output] for part in parts]), whole, atol=1e-6)


def test_the_same_rows_give_the_same_bits_twice(opener: Opener, name: str) -> None:
    engine, rows = opener("floats"), kind_of(name, "floats").draw(5)
    first, again = engine.run(rows), engine.run(rows)
    assert [tensor.tobytes() for tensor in first.values()] == [tensor.tobytes() for tensor in again.values()]


def test_it_says_what_it_takes_and_what_runs_it(opener: Opener, name: str) -> None:
    engine = opener("floats")
    assert [spec.name for spec in engine.interface.inputs] == list(kind_of(name, "floats").draw(1))
    runtime, version, *_ = engine.description.split()
    assert runtime
    assert version[0].isdigit()


def test_only_the_outputs_that_are_asked_for_come_back(opener: Opener) -> None:
    engine, rows = opener("several"), KINDS["several"].draw(2)
    assert list(engine.run(rows, ["total"])) == ["total"]


def test_an_output_that_is_not_there_is_refused(opener: Opener, name: str) -> None:
    with pytest.raises(RequestError, match="no output 'z'"):
        opener("floats").run(kind_of(name, "floats").draw(2), ["z"])


@pytest.mark.parametrize("wrong", ["missing", "shape", "type", "empty", "unknown", "rank"])
def test_inputs_that_do_not_fit_are_refused_as_the_interface_refuses_them(opener: Opener, name: str, wrong: str) -> None:
    engine = opener("floats")
    ((key, x),) = kind_of(name, "floats").draw(3).items()
    inputs = {
        "missing": {}, "shape": {key: x[:, :2]}, "type": {key: x.astype(np.int32)}, "empty": {key: x[:0]}, "unknown": {key: x, "z": x},
        "rank": {key: x[0]},
    }[wrong]  # fmt: skip
    with pytest.raises(RequestError) as caught:
        engine.run(inputs)
    with pytest.raises(RequestError) as wanted:
        engine.interface.check_inputs(inputs)
    assert str(caught.value) == str(wanted.value)


@pytest.mark.parametrize("index", [5, -6, 2**33, -(2**33), 2**62])
def test_an_index_outside_of_the_table_is_an_error_and_never_an_answer(opener: Opener, name: str, index: int) -> None:
    engine = opener("ids")
    if name in ONE_SHOT and index != 5:
        pytest.skip("once is enough for a process per call")
    with pytest.raises(Exception) as caught:
        engine.run({"i": np.array([0, index])})
    assert name in ONE_SHOT or isinstance(caught.value, RequestError)
    assert "secret-folder" not in str(caught.value)


def test_many_threads_get_the_answers_that_one_gets(opener: Opener, name: str) -> None:
    if name in ONE_SHOT:
        pytest.skip("a process per call shares nothing")
    engine = opener("floats")
    asked = [kind_of(name, "floats").draw(1 + number % 5) for number in range(8)]
    wanted = [bits(engine.run(rows)) for rows in asked]

    def ask(number: int) -> bool:
        return all(bits(engine.run(asked[number])) == wanted[number] for _ in range(50))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(8)))


def bits(answers: dict[str, np.ndarray]) -> list[bytes]:
    return [tensor.tobytes() for tensor in answers.values()]


def test_it_changes_none_of_its_inputs_and_keeps_none_of_its_answers(opener: Opener, name: str) -> None:
    engine, rows = opener("floats"), kind_of(name, "floats").draw(4)
    ((key, x),) = rows.items()
    before = x.tobytes()
    first = engine.run(rows)
    kept = bits(first)
    engine.run({key: x * 2})
    assert x.tobytes() == before
    assert bits(first) == kept
    for tensor in first.values():
        np.copyto(tensor, 0)  # the answer is the caller's own
    assert bits(engine.run(rows)) == kept


@pytest.mark.parametrize("shape", ["read-only", "strided", "column-major"])
def test_arrays_may_lie_in_memory_as_they_like(opener: Opener, name: str, shape: str) -> None:
    engine = opener("floats")
    ((key, x),) = kind_of(name, "floats").draw(6).items()
    if shape == "strided":
        x = np.repeat(x, 2, axis=0)[::2]
    elif shape == "column-major":
        x = np.asfortranarray(x)
    else:
        x.flags.writeable = False
    assert is_close(engine.run({key: x}), kind_of(name, "floats").answer({key: x}))


def test_closing_twice_is_no_error_and_ends_it(name: str, tmp_path: Path) -> None:
    engine = EXAMINEES[name]("floats", tmp_path)
    assert engine is not None
    engine.close()
    engine.close()
    with pytest.raises(UnavailableError):
        engine.run(kind_of(name, "floats").draw(1))


def test_a_call_that_runs_while_it_is_closed_is_answered_or_refused(name: str, tmp_path: Path) -> None:
    engine, rows = EXAMINEES[name]("floats", tmp_path), kind_of(name, "floats").draw(7)
    assert engine is not None
    wanted = bits(engine.run(rows))
    outcomes: list[object] = []

    def ask() -> None:
        try:
            while True:
                outcomes.append(bits(engine.run(rows)) == wanted)
        except UnavailableError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    while len(outcomes) < 3:
        time.sleep(0.001)
    engine.close()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert False not in outcomes


def test_closed_engines_give_back_descriptors_threads_and_processes(name: str, tmp_path: Path) -> None:
    def cycle(number: int) -> None:
        (tmp_path / str(number)).mkdir()
        engine = EXAMINEES[name]("floats", tmp_path / str(number))
        assert engine is not None
        engine.run(kind_of(name, "floats").draw(2))
        engine.close()

    def held() -> tuple[int, int]:
        return sum(1 for _ in Path("/proc/self/fd").iterdir()), sum(1 for _ in Path("/proc/self/task").iterdir())

    cycle(0)  # what a library opens once for the whole process stays
    before = held()
    for number in range(1, 2 if name in SLOW_START else 5):
        cycle(number)
    until, after = time.monotonic() + 10, held()
    while (after[0] > before[0] or after[1] > before[1]) and time.monotonic() < until:  # threads end in a moment
        time.sleep(0.05)
        after = held()
    assert after[0] <= before[0]
    assert after[1] <= before[1]
