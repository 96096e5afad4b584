"""The exam of the Resident port: asking, errors by class, ways of ending, limits, and that nothing stays behind."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import resident_entries

from fairlead.app.configured_sandbox import ConfiguredSandbox
from fairlead.core.ports import SandboxJob, SandboxLimits
from fairlead.errors import (
    CorruptError,
    DataError,
    DeadlineError,
    MissingExtraError,
    RequestError,
    SandboxError,
    TooLargeError,
    UnavailableError,
)
from fairlead.security.sandbox import OneShotSandbox

HERE = Path(__file__).parent
QUICK = SandboxLimits(memory_bytes=2**31, cpu_s=1, wall_s=20.0, file_bytes=2**20, output_bytes=4 * 2**20)
ROW = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}


@pytest.fixture
def start(sandbox, tmp_path):
    begun = []

    def start(entry, *, limits=QUICK, import_paths=(), sandbox=sandbox, **arguments):
        scratch = tmp_path / f"scratch-{len(begun)}"
        begun.append(sandbox.start(SandboxJob(f"resident_entries:{entry.__name__}", scratch, arguments, (), limits, tuple(import_paths))))
        return begun[-1]

    yield start
    for resident in begun:
        resident.close()


def order(text):
    return {"order": np.array([text], dtype=object)}


def descriptor_count():
    return len(list(Path("/proc/self/fd").iterdir()))


def children():
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread may end between the listing and the reading
            found |= set((task / "children").read_text().split())
    return found


def nothing_more_than(processes, descriptors):
    """Whether this process soon has no child and no descriptor more; what an earlier test left may end meanwhile."""
    return wait_until(lambda: children() <= processes and descriptor_count() <= descriptors)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


# Asking


def test_it_answers_every_type_and_shape_with_the_same_bits(start):
    resident = start(resident_entries.doubler, factor=1)
    tensors = {
        **{
            kind: np.arange(6).reshape(2, 3).astype(kind)
            for kind in ("bool", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8")
        },
        "text": np.array([["", "zwölf\0", "日本"]], dtype=object),
        "scalar": np.array(3.5),
        "nothing": np.empty((0, 4), np.float32),
        "columns": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        "every second": np.arange(10)[::2],
        "numbers": np.array([np.nan, -np.inf, -0.0, 5e-324]),
        "a/b \U0001f642": np.zeros(1),
    }
    answer = resident.ask(tensors, timeout_s=10)
    assert list(answer) == list(tensors)
    for name, tensor in tensors.items():
        assert (answer[name].dtype, answer[name].shape) == (tensor.dtype, tensor.shape)
        assert answer[name].tolist() == tensor.tolist() or answer[name].tobytes() == tensor.tobytes()


def test_the_model_is_opened_once(start):
    resident = start(resident_entries.obeys)
    assert [int(resident.ask(order("count"), timeout_s=10)["count"][0]) for _ in range(3)] == [1, 2, 3]


def test_a_request_larger_than_a_pipe_goes_both_ways(start):
    resident = start(resident_entries.doubler, limits=SandboxLimits(memory_bytes=2**31, output_bytes=2**25))
    rows = np.random.default_rng(0).random((3, 2**20))
    assert np.array_equal(resident.ask({"x": rows}, timeout_s=20)["x"], rows * 2)


def test_several_threads_take_turns(start):
    resident = start(resident_entries.doubler)
    wrong = []

    def work(number):
        for step in range(20):
            rows = np.full((1, 50), number * 100 + step, np.float64)
            if not np.array_equal(resident.ask({"x": rows}, timeout_s=20)["x"], rows * 2):
                wrong.append((number, step))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_it_outlives_the_thread_that_started_it(start):
    begun = []
    thread = threading.Thread(target=lambda: begun.append(start(resident_entries.doubler)))
    thread.start()
    thread.join()
    time.sleep(0.1)  # the kernel would have told it by now that its parent is gone
    assert begun[0].ask(ROW, timeout_s=10)["x"][1, 2] == 10


def test_it_may_use_more_processor_time_than_a_job(start):
    resident = start(resident_entries.obeys)
    assert resident.ask(order("spin"), timeout_s=20)["count"][0] == -1
    assert resident.is_alive


def test_its_memory_is_told(start):
    resident = start(resident_entries.doubler)
    before = resident.peak_memory_bytes
    resident.ask({"x": np.ones(500_000)}, timeout_s=10)
    assert 10 * 2**20 < before < resident.peak_memory_bytes
    resident.close()
    assert resident.peak_memory_bytes > before


def test_a_users_own_module_is_importable_in_the_child_only(start, sandbox, tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "users_own_module.py").write_text("BIAS = 7")
    with pytest.raises(SandboxError, match="ModuleNotFoundError"):
        start(resident_entries.imports_own)
    resident = start(resident_entries.imports_own, import_paths=[tmp_path / "own"])
    assert resident.ask({"x": np.zeros(1)}, timeout_s=10)["y"].tolist() == [7]
    job = SandboxJob("resident_entries:run_own", tmp_path / "scratch", limits=QUICK, import_paths=(tmp_path / "own",))
    assert sandbox.run(job) == {"bias": 7}
    assert "users_own_module" not in sys.modules


# Errors, after which it can be asked again


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("refuse", DataError, r"It does not take \\x1b"),
        ("call_it_corrupt", CorruptError, "Its own words"),
        ("fail", SandboxError, "failed: ValueError: the inner reason"),
        ("answer_oddly", SandboxError, "failed: KeyError"),
    ],
)
def test_what_the_function_raises_comes_out_by_class_and_it_lives_on(start, text, kind, said):
    resident = start(resident_entries.obeys)
    with pytest.raises(kind, match=said) as caught:
        resident.ask(order(text), timeout_s=10)
    assert str(caught.value).isprintable()
    assert resident.ask(order("count"), timeout_s=10)["count"][0] == 2


@pytest.mark.parametrize("bad", [None, 3, "\ud800"])
def test_what_is_no_text_is_refused_before_it_is_sent(start, bad):
    resident = start(resident_entries.obeys)
    with pytest.raises(RequestError, match=r"Unicode|among the texts"):
        resident.ask({"order": np.array([bad], dtype=object)}, timeout_s=10)
    assert resident.ask(order("count"), timeout_s=10)["count"][0] == 1


def test_a_request_that_is_too_large_is_refused_before_it_is_sent(start):
    resident = start(resident_entries.doubler)
    with pytest.raises(TooLargeError, match="more than 4194304"):
        resident.ask({"x": np.zeros(2**20)}, timeout_s=10)
    assert resident.is_alive


# Ways of ending


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("segfault", UnavailableError, r"crashed \(SIGSEGV\)"),
        ("leave", UnavailableError, r"exit code 3"),
        ("hang", DeadlineError, "longer than 0.5 s"),
        ("exhaust", UnavailableError, "out of memory .limit 2147483648"),
        ("long_answer", UnavailableError, "answered nonsense"),
    ],
)
def test_every_bad_end_is_an_error_that_says_which_and_the_process_is_gone(start, text, kind, said):
    resident = start(resident_entries.obeys)
    began = time.monotonic()
    with pytest.raises(kind, match=said):
        resident.ask(order(text), timeout_s=0.5 if text == "hang" else 10)
    assert time.monotonic() - began < 5
    assert not resident.is_alive
    with pytest.raises(UnavailableError):
        resident.ask(order("count"), timeout_s=10)
    assert not alive(resident.pid)


def test_one_that_was_killed_is_known_to_be_gone(start):
    resident = start(resident_entries.obeys)
    assert resident.ask(order("count"), timeout_s=10)["count"][0] == 1
    os.kill(resident.pid, 9)
    assert wait_until(lambda: not resident.is_alive)
    with pytest.raises(UnavailableError, match="was killed"):
        resident.ask(order("count"), timeout_s=10)


def test_waiting_for_a_turn_counts_and_ends_nothing(start):
    resident = start(resident_entries.obeys)
    thread = threading.Thread(target=lambda: resident.ask(order("spin"), timeout_s=20))
    thread.start()
    assert wait_until(resident._turn.locked)
    with pytest.raises(DeadlineError, match="busy"):
        resident.ask(order("count"), timeout_s=0.1)
    thread.join()
    assert resident.ask(order("count"), timeout_s=10)["count"][0] == 2


def test_closing_interrupts_a_request_in_flight(start):
    resident = start(resident_entries.obeys)
    caught = []

    def work():
        try:
            resident.ask(order("hang"), timeout_s=30)
        except UnavailableError as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert wait_until(resident._turn.locked)
    resident.close()
    resident.close()
    thread.join(5)
    assert len(caught) == 1
    assert "was closed" in str(caught[0])


def test_files_are_limited_for_the_stay(start):
    resident = start(resident_entries.obeys, fill_bytes=2**21)
    with pytest.raises(SandboxError, match="wrote more than 1048576"):
        resident.ask(order("fill"), timeout_s=10)


# Starting


@pytest.mark.parametrize(
    ("entry", "kind", "said"),
    [
        (resident_entries.start_crash, SandboxError, r"crashed \(SIGSEGV\)"),
        (resident_entries.start_hang, SandboxError, "longer than 1 s"),
        (resident_entries.start_refuse, MissingExtraError, r"fairlead\[torch\]"),
        (resident_entries.start_corrupt, CorruptError, "The file is cut"),
        (resident_entries.start_fail, SandboxError, "ValueError: the inner reason"),
        (resident_entries.start_exhaust, SandboxError, "out of memory"),
        (resident_entries.start_leave, SandboxError, "without an answer"),
        (resident_entries.no_function, SandboxError, "no function"),
    ],
)
def test_a_start_that_fails_says_why_and_leaves_nothing(start, entry, kind, said):
    before = (children(), descriptor_count())
    with pytest.raises(kind, match=said):
        start(entry, limits=SandboxLimits(memory_bytes=2**31, wall_s=1.0 if entry is resident_entries.start_hang else 20.0))
    assert nothing_more_than(*before)


def test_the_users_limits_hold_for_one_that_stays_too(start, sandbox):
    configured = ConfiguredSandbox(sandbox, memory_bytes=2**31, wall_s=0.5)
    with pytest.raises(SandboxError, match=r"longer than 0.5 s"):
        start(resident_entries.start_hang, sandbox=configured, limits=SandboxLimits())


def test_strict_refuses_to_start_where_a_layer_is_missing(start, layers):
    strict = OneShotSandbox(strict=True, import_paths=(HERE,))
    missing = [name for name, state in layers.items() if state != "active"]
    if missing:
        with pytest.raises(SandboxError, match=missing[0]):
            start(resident_entries.doubler, sandbox=strict)
    else:
        assert start(resident_entries.doubler, sandbox=strict).is_alive


# Nothing stays behind


def test_no_process_no_descriptor_and_no_thread_is_left(start):
    before = (children(), descriptor_count())
    threads = threading.active_count()
    for text in ("count", "segfault", "hang", "exhaust"):
        resident = start(resident_entries.obeys)
        if text != "count":
            with pytest.raises((UnavailableError, DeadlineError)):
                resident.ask(order(text), timeout_s=0.5 if text == "hang" else 10)
        resident.close()
    assert nothing_more_than(*before)
    assert wait_until(lambda: threading.active_count() <= threads)


def test_it_dies_with_the_process_that_started_it(tmp_path, need):
    need("dies-with-parent")
    program = (
        "import sys, threading; from pathlib import Path; from fairlead.security.sandbox import OneShotSandbox;"
        "from fairlead.core.ports import SandboxJob;"
        f"r = OneShotSandbox(import_paths=(Path({str(HERE)!r}),)).start(SandboxJob('resident_entries:doubler', Path({str(tmp_path)!r})));"
        "print(r.pid, flush=True); threading.Event().wait()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as owner:
        pid = int(owner.stdout.readline())
        assert alive(pid)
        owner.kill()
    assert wait_until(lambda: not alive(pid))
