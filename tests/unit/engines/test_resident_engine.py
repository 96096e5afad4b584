"""The base of engines with a process of their own: when a new process is started, when not, and what is believed of its answers."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, Tensors, TensorSpec
from fairlead.core.ports import SandboxJob, SandboxLimits
from fairlead.engines.resident_engine import ResidentEngine, answer_time_s, load_libraries, restart_delay_s
from fairlead.engines.sandboxed_engine import Worker
from fairlead.errors import CorruptError, DataError, DeadlineError, RequestError, SandboxError, UnavailableError

INTERFACE = Interface(
    (TensorSpec("x", DType.FP32, (None, 2)),), (TensorSpec("y", DType.FP32, (None, 2)), TensorSpec("t", DType.BYTES, (None,)))
)
ROWS = {"x": np.ones((3, 2), np.float32)}
Answer = Callable[[Tensors], Tensors]


class FakeResident:
    """Answers as told; an answer that raises Death takes the process with it."""

    def __init__(self, answer: Answer, pid: int) -> None:
        self.answer, self.pid = answer, pid
        self.is_alive = True
        self.close_count = 0
        self.peak_memory_bytes = 1000 * pid

    def ask(self, inputs: Tensors, *, timeout_s: float) -> dict[str, np.ndarray]:
        self.timeout_s = timeout_s
        try:
            return dict(self.answer(inputs))
        except (UnavailableError, DeadlineError):
            self.is_alive = False
            raise

    def close(self) -> None:
        self.close_count += 1
        self.is_alive = False


class FakeSandbox:
    """Starts fakes; `starts` are what each start does: an answer function, or an error to raise. The last one is used again and again."""

    def __init__(self, *starts: Answer | Exception) -> None:
        self.starts = list(starts)
        self.jobs: list[SandboxJob] = []
        self.begun: list[FakeResident] = []

    def start(self, job: SandboxJob) -> FakeResident:
        self.jobs.append(job)
        what = self.starts.pop(0) if len(self.starts) > 1 else self.starts[0]
        if isinstance(what, Exception):
            raise what
        self.begun.append(FakeResident(what, len(self.begun) + 1))
        return self.begun[-1]


class FakeClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def good(inputs: Tensors) -> Tensors:
    return {"y": inputs["x"] * 2, "t": np.array(["a"] * len(inputs["x"]), dtype=object)}


def die(_: Tensors) -> Tensors:
    raise UnavailableError("It crashed.")


def hang(_: Tensors) -> Tensors:
    raise DeadlineError("It hung.")


def refuse(_: Tensors) -> Tensors:
    raise DataError("Not these rows.")


def engine_on(sandbox: FakeSandbox, clock: FakeClock | None = None) -> ResidentEngine:
    worker = Worker("module:entry", Path("model"), "a fake", {"path": "model"}, SandboxLimits(wall_s=7.0))
    return ResidentEngine(worker, INTERFACE, sandbox, libraries=("json",), clock=clock or FakeClock())


# Starting


def test_the_process_starts_at_once_with_the_workers_job(tmp_path):
    sandbox = FakeSandbox(good)
    engine = engine_on(sandbox)
    (job,) = sandbox.jobs
    assert (job.entry, job.arguments, job.readable, job.limits.wall_s) == ("module:entry", {"path": "model"}, (Path("model"),), 7.0)
    assert job.scratch.is_dir()
    assert (engine.pid, engine.description, engine.interface) == (1, "a fake", INTERFACE)
    engine.close()
    assert not job.scratch.exists()


def test_what_opening_raises_comes_out_of_the_constructor_and_its_folder_goes():
    sandbox = FakeSandbox(DataError("not a model"))
    with pytest.raises(DataError, match="not a model"):
        engine_on(sandbox)
    assert not sandbox.jobs[0].scratch.exists()


# Answers


def test_it_gives_the_named_outputs_or_all():
    engine = engine_on(FakeSandbox(good))
    assert list(engine.run(ROWS)) == ["y", "t"]
    assert list(engine.run(ROWS, ["t"])) == ["t"]


def test_inputs_that_do_not_fit_and_unknown_outputs_are_refused_before_the_process_is_asked():
    sandbox = FakeSandbox(die)
    engine = engine_on(sandbox)
    with pytest.raises(RequestError, match="shape"):
        engine.run({"x": np.ones((3, 5), np.float32)})
    with pytest.raises(RequestError, match="no output 'z'"):
        engine.run(ROWS, ["z"])
    assert sandbox.begun[0].is_alive


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"y": np.ones((3, 2))},
        {"y": np.ones((2, 2), np.float32)},
        {"y": np.ones((3, 3), np.float32)},
        {"y": np.ones((3,), np.float32)},
        {"y": np.float32(1)},
    ],
    ids=["none", "type", "rows", "width", "dimensions", "scalar"],
)
def test_an_answer_that_does_not_fit_the_interface_is_refused(answer):
    engine = engine_on(FakeSandbox(lambda _: answer))
    with pytest.raises(CorruptError, match="no usable 'y'"):
        engine.run(ROWS, ["y"])


def test_more_rows_get_more_time():
    sandbox = FakeSandbox(good)
    engine_on(sandbox).run({"x": np.ones((500, 2), np.float32)})
    assert sandbox.begun[0].timeout_s == answer_time_s(500) > answer_time_s(1) >= 10


# Death


def test_what_the_model_refuses_does_not_cost_its_process():
    sandbox = FakeSandbox(refuse)
    engine = engine_on(sandbox)
    for _ in range(3):
        with pytest.raises(DataError):
            engine.run(ROWS)
    assert len(sandbox.begun) == 1


@pytest.mark.parametrize(("deadly", "kind"), [(die, UnavailableError), (hang, DeadlineError)])
def test_a_request_that_ends_the_process_is_sent_once_and_the_next_one_gets_a_new_process(deadly, kind):
    asked = []
    sandbox = FakeSandbox(lambda inputs: asked.append(1) or deadly(inputs), good)
    engine = engine_on(sandbox)
    with pytest.raises(kind):
        engine.run(ROWS)
    assert asked == [1]
    assert engine.pid == 0
    assert not sandbox.jobs[0].scratch.exists()
    assert engine.run(ROWS)["y"][0, 0] == 2
    assert engine.pid == 2


def test_one_that_died_between_two_requests_is_replaced_without_an_error():
    sandbox = FakeSandbox(good)
    engine = engine_on(sandbox)
    sandbox.begun[0].is_alive = False
    assert engine.run(ROWS)["y"][0, 0] == 2
    assert len(sandbox.begun) == 2
    assert sandbox.begun[0].close_count == 1


def test_a_model_that_dies_of_every_request_is_started_less_and_less_often():
    sandbox, clock = FakeSandbox(die), FakeClock()
    engine = engine_on(sandbox, clock)
    for _ in range(10_000):
        clock.now += 0.01  # a hundred requests a second for a hundred seconds
        with pytest.raises(UnavailableError):
            engine.run(ROWS)
    assert 5 < len(sandbox.begun) < 15


def test_a_model_that_does_not_start_again_is_unavailable_and_says_why():
    sandbox, clock = FakeSandbox(die, SandboxError("It crashed (SIGSEGV).")), FakeClock()
    engine = engine_on(sandbox, clock)
    with pytest.raises(UnavailableError, match="It crashed"):
        engine.run(ROWS)
    with pytest.raises(UnavailableError, match=r"does not start again: It crashed \(SIGSEGV\)"):
        engine.run(ROWS)
    with pytest.raises(UnavailableError, match=r"failed 2 times in a row; it starts again in 0.5 s"):
        engine.run(ROWS)
    assert len(sandbox.jobs) == 2
    clock.now += 0.5
    sandbox.starts = [good]
    assert engine.run(ROWS)["y"][0, 0] == 2


def test_an_answer_ends_the_row_of_failures():
    sandbox, clock = FakeSandbox(die, die, good), FakeClock()
    engine = engine_on(sandbox, clock)
    for _ in range(2):
        with pytest.raises(UnavailableError):
            engine.run(ROWS)
    clock.now += 0.5
    engine.run(ROWS)
    sandbox.begun[-1].answer = die
    with pytest.raises(UnavailableError):
        engine.run(ROWS)
    engine.run(ROWS)  # at once


@given(st.integers(0, 10_000))
def test_the_delay_grows_and_is_bounded(failures):
    assert 0 <= restart_delay_s(failures) <= restart_delay_s(failures + 1) <= 30


# Ending


def test_closing_ends_the_process_and_refuses_further_requests():
    sandbox = FakeSandbox(good)
    engine = engine_on(sandbox)
    engine.close()
    engine.close()
    assert not sandbox.begun[0].is_alive
    with pytest.raises(UnavailableError, match="unloaded"):
        engine.run(ROWS)
    assert len(sandbox.begun) == 1


def test_an_engine_that_nobody_holds_any_more_ends_its_process():
    sandbox = FakeSandbox(good)
    engine = engine_on(sandbox)
    engine.run(ROWS)
    del engine
    gc.collect()
    assert not sandbox.begun[0].is_alive
    assert not sandbox.jobs[0].scratch.exists()


def test_threads_take_turns_on_one_process():
    inside, most = 0, 0
    lock = threading.Lock()

    def slow(inputs: Tensors) -> Tensors:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        threading.Event().wait(0.005)
        with lock:
            inside -= 1
        return good(inputs)

    engine = engine_on(FakeSandbox(slow))
    threads = [threading.Thread(target=engine.run, args=(ROWS,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


# Memory


def test_memory_is_that_of_a_second_process_and_of_one_with_the_libraries_alone():
    sandbox = FakeSandbox(good)
    engine = engine_on(sandbox)
    assert engine.measure_memory(ROWS, run_count=2) == (2000, 3000)
    assert sandbox.jobs[2].entry == "fairlead.engines.resident_engine:load_libraries"
    assert sandbox.jobs[2].arguments == {"libraries": ("json",)}
    assert [resident.is_alive for resident in sandbox.begun] == [True, False, False]
    assert not any(job.scratch.exists() for job in sandbox.jobs[1:])


def test_a_library_that_is_absent_is_no_error():
    assert load_libraries({"libraries": ["json", "there_is_no_such_module"]})(ROWS) is ROWS
