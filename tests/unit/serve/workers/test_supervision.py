"""Workers that die, hang or are stopped: who is answered what, what is replaced, what is left. Real processes, real signals."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from counting_model import FOR_EVER, ONE
from loop_thread import LoopThread, descendants, left, wait_for_nothing_more, wait_until
from tiny_onnx import echo_model

from fairlead.core.dtype import DType
from fairlead.core.golden import Golden
from fairlead.core.recipe import EngineRecipe
from fairlead.errors import FairleadError, SourceError, TooLargeError, UnavailableError
from fairlead.serve.workers.policy import SILENT_TICKS, TICK_S
from fairlead.serve.workers.worker_executor import WorkerExecutor, start_workers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="worker processes need Linux")


class Team:
    """Two workers, and what was reported of them."""

    def __init__(self, loop: LoopThread, executor: WorkerExecutor, told: list[str]) -> None:
        self.loop, self.executor, self.told = loop, executor, told

    def ask(self, n: np.ndarray = ONE) -> np.ndarray:
        return self.loop.do(self.executor.run({"n": n}, ()))["y"]

    def workers(self) -> tuple[int, ...]:
        return self.loop.call(lambda: self.executor.pids[1:])

    def zygote(self) -> int:
        return self.loop.call(lambda: (*self.executor.pids, 0)[0])

    def is_whole(self) -> bool:
        return self.loop.call(lambda: self.executor.slot_count) == 2

    def begin(self):
        """Let a worker compute for ever; returns once it does, with the future of its answer and its process."""
        before = {pid: ticks(pid) for pid in self.workers()}
        future = self.loop.begin(self.executor.run({"n": FOR_EVER}, ()))
        wait_until(lambda: any(ticks(pid) > before.get(pid, 0) + 5 for pid in self.workers()))
        return future, next(pid for pid in self.workers() if ticks(pid) > before.get(pid, 0) + 5)


def ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


@pytest.fixture(scope="module")
def shared(loop: LoopThread, job) -> Iterator[Team]:
    told: list[str] = []
    executor = loop.do(start_workers(job(call_limit_s=20.0, report=told.append)))
    yield Team(loop, executor, told)
    loop.call(executor.close)


@pytest.fixture
def team(shared: Team) -> Team:
    wait_until(shared.is_whole)
    shared.told.clear()
    return shared


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_worker_that_dies_fails_its_own_request_only_and_is_replaced(team: Team, number: signal.Signals) -> None:
    future, victim = team.begin()
    os.kill(victim, number)
    with pytest.raises(UnavailableError, match="died"):
        future.result(10)
    assert team.ask().tolist() == [[1]]
    wait_until(team.is_whole)
    assert victim not in team.workers()
    wait_until(lambda: any(f"worker {victim} ended ({number.name})" in sentence for sentence in team.told))


def test_an_idle_worker_that_dies_is_replaced_and_nobody_hears_of_it(team: Team) -> None:
    for _ in range(5):
        victim = team.workers()[0]
        os.kill(victim, signal.SIGKILL)
        assert [team.ask().tolist() for _ in range(5)] == [[[1]]] * 5
        wait_until(lambda victim=victim: victim not in team.workers())
        wait_until(team.is_whole)


def test_a_stopped_worker_is_noticed_replaced_and_ended(team: Team) -> None:
    future, victim = team.begin()
    began = time.monotonic()
    os.kill(victim, signal.SIGSTOP)
    with pytest.raises(UnavailableError, match="no sign of life"):
        future.result(30)
    assert time.monotonic() - began > (SILENT_TICKS - 2) * TICK_S  # it was not ended at random
    wait_until(team.is_whole)
    wait_until(lambda: not Path(f"/proc/{victim}").exists())


def test_a_request_that_a_stopped_worker_had_not_begun_is_answered_by_another(team: Team) -> None:
    for pid in team.workers():
        os.kill(pid, signal.SIGSTOP)
    assert team.ask().tolist() == [[1]]  # after both were replaced
    wait_until(team.is_whole)


def test_the_health_of_a_version_without_workers_is_said(team: Team) -> None:
    seen = []
    zygote = team.zygote()
    os.kill(zygote, signal.SIGKILL)
    wait_until(lambda: seen.append(team.loop.call(lambda: team.executor.slot_count)) or seen[-1] == 0)
    wait_until(team.is_whole)
    assert team.zygote() != zygote
    assert team.ask().tolist() == [[1]]


@pytest.mark.slow
def test_a_stopped_zygote_is_noticed_and_replaced(team: Team) -> None:
    zygote = team.zygote()
    os.kill(zygote, signal.SIGSTOP)
    wait_until(lambda: team.zygote() != zygote)
    wait_until(team.is_whole)
    wait_until(lambda: not Path(f"/proc/{zygote}").exists())


def test_a_worker_has_given_up_what_it_does_not_need(team: Team) -> None:
    status = Path(f"/proc/{team.workers()[0]}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["NoNewPrivs"] == "1"
    assert fields["CapEff"].strip("0") == ""
    assert fields["Seccomp"] == "2"
    assert int(Path(f"/proc/{team.workers()[0]}/oom_score_adj").read_text()) > int(Path("/proc/self/oom_score_adj").read_text())
    links = [str(item.readlink()) for item in Path(f"/proc/{team.workers()[0]}/fd").iterdir()]
    sockets = [link for link in links if link.startswith("socket:")]
    assert len(sockets) == 1, links
    for table in ("tcp", "tcp6", "udp", "udp6"):
        lines = Path(f"/proc/{team.workers()[0]}/net/{table}").read_text()
        assert sockets[0][8:-1] not in lines


def test_what_the_processes_take_is_known(team: Team) -> None:
    assert 10 * 2**20 < team.loop.call(lambda: team.executor.memory_bytes) < 2**30


def test_a_call_without_an_end_is_ended_at_its_limit(loop: LoopThread, job) -> None:
    executor = loop.do(start_workers(job(1, call_limit_s=0.5)))
    try:
        future = loop.begin(executor.run({"n": FOR_EVER}, ()))
        second = loop.begin(executor.run({"n": ONE}, ()))
        with pytest.raises(UnavailableError, match="too long for one request"):
            future.result(20)
        assert second.result(20)["y"].tolist() == [[1]]
    finally:
        loop.call(executor.close)


def test_a_request_that_does_not_fit_into_a_workers_memory_is_refused_and_harms_nobody(loop: LoopThread, job, tmp_path: Path) -> None:
    path, interface = echo_model(tmp_path / "echo.onnx", DType.FP32)
    recipe = EngineRecipe("onnxruntime", path, interface, is_fork_safe=True)
    executor = loop.do(start_workers(replace(job(1, golden=None, memory_bytes=64 * 2**20), recipe=recipe)))
    try:
        pids = loop.call(lambda: executor.pids)
        for megabytes in (40, 100):  # the answer, the request itself
            with pytest.raises(TooLargeError):
                loop.do(executor.run({"x": np.zeros((megabytes, 2**18), np.float32)}, ()))
        assert loop.do(executor.run({"x": np.ones((1, 2), np.float32)}, ()))["y"].tolist() == [[1.0, 1.0]]
        assert loop.call(lambda: executor.pids) == pids
    finally:
        loop.call(executor.close)


def test_versions_that_come_and_go_at_once_leave_nothing(loop: LoopThread, job) -> None:
    """R04, quick column, for workers."""
    before = left()

    async def one(number: int) -> int:
        executor = await start_workers(job())
        answer = await executor.run({"n": np.array([[number]])}, ())
        executor.close()
        return int(answer["y"][0, 0])

    async def several(first: int) -> list[int]:
        return await asyncio.gather(*(one(first + index) for index in range(4)))

    for first in (0, 4):
        assert loop.do(several(first)) == list(range(first, first + 4))
    wait_for_nothing_more(before)


def test_closing_answers_who_waits_and_leaves_nothing(loop: LoopThread, job) -> None:
    before = left()
    executor = loop.do(start_workers(job()))
    futures = [loop.begin(executor.run({"n": FOR_EVER}, ())) for _ in range(5)]
    loop.call(executor.close)
    for future in futures:
        with pytest.raises(UnavailableError):
            future.result(10)
    wait_for_nothing_more(before)


def test_a_file_that_cannot_be_opened_is_refused_in_the_engines_words(loop: LoopThread, job, tmp_path: Path) -> None:
    before = left()
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    good = job()
    for is_fork_safe in (True, False):
        recipe = EngineRecipe("onnxruntime", broken, good.recipe.interface, is_fork_safe)
        with pytest.raises(SourceError, match="cannot load the model"):
            loop.do(start_workers(replace(good, recipe=recipe)))
    wait_for_nothing_more(before)


def test_a_model_that_answers_otherwise_than_it_was_proven_never_gets_workers(loop: LoopThread, job) -> None:
    before = left()
    with pytest.raises(UnavailableError, match="m@1 does not answer its golden requests"):
        loop.do(start_workers(job(golden=Golden({"n": ONE}, {"y": ONE + 1}))))
    wait_for_nothing_more(before)


def test_a_start_that_is_cancelled_leaves_nothing(loop: LoopThread, job) -> None:
    before = left()
    for pause_s in (0.0, 0.05, 0.3):
        future = loop.begin(start_workers(job()))
        time.sleep(pause_s)
        future.cancel()
    wait_for_nothing_more(before)


FRONT = """
import asyncio, sys
from pathlib import Path
from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.recipe import EngineRecipe
from fairlead.serve.workers.fleet import WorkerJob
from fairlead.serve.workers.policy import WorkerPolicy
from fairlead.serve.workers.worker_executor import start_workers
interface = Interface((TensorSpec("n", DType.INT64, (None, 1)),), (TensorSpec("y", DType.INT64, (None, 1)),))
async def main():
    await start_workers(WorkerJob(EngineRecipe("onnxruntime", Path(sys.argv[1]), interface, True), policy=WorkerPolicy(count=2)))
    print("ready", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


def test_workers_die_with_the_front_even_when_they_are_stopped(counting: EngineRecipe) -> None:
    with subprocess.Popen([sys.executable, "-c", FRONT, str(counting.path)], stdout=subprocess.PIPE) as front:
        assert front.stdout is not None
        assert front.stdout.readline() == b"ready\n"
        family = descendants(front.pid)
        assert len(family) == 3
        os.kill(max(family), signal.SIGSTOP)
        front.kill()
    wait_until(lambda: not any(is_running(pid) for pid in family))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_ten_kills_and_stops_at_random_under_load_cost_no_more_than_what_was_in_flight(team: Team) -> None:
    """R07, quick column."""
    random = np.random.default_rng(7)
    answered, refused, wrong, slowest = [0], [0], [], [0.0]
    is_over = threading.Event()

    async def client(number: int) -> None:
        while not is_over.is_set():
            n, began = np.array([[number], [2000]]), time.monotonic()
            try:
                answer = await team.executor.run({"n": n}, ())
                answered[0] += 1
                if answer["y"].tolist() != n.tolist():
                    wrong.append(answer)
            except UnavailableError:
                refused[0] += 1
            except FairleadError as error:
                wrong.append(error)
            slowest[0] = max(slowest[0], time.monotonic() - began)

    clients = [team.loop.begin(client(number)) for number in range(4)]
    for turn in range(10):
        wait_until(team.is_whole)
        victim = int(random.choice(team.workers()))
        is_stop = turn == 5
        os.kill(victim, signal.SIGSTOP if is_stop else signal.SIGKILL)
        wait_until(lambda victim=victim: victim not in team.workers())
        time.sleep(random.uniform(0, 0.05))
    is_over.set()
    for one in clients:
        one.result(30)
    assert not wrong
    assert refused[0] <= 10  # one request is in flight in a worker
    assert answered[0] > 100
    wait_until(team.is_whole)
