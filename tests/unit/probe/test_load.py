"""A load against servers whose every answer is known: counts are exact, pauses are seen, nothing that went wrong is hidden."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from fake_http import GOOD, FakeHttp, reply
from fake_v2 import FakeV2

from fairlead.errors import DataError, RequestError, UnavailableError
from fairlead.probe.load.bench import BenchJob
from fairlead.probe.load.job import LoadJob
from fairlead.probe.load.schedule import Arrivals
from fairlead.probe.load.work import drive
from fairlead.probe.stage import probe

REQUEST = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


def load(server: FakeHttp, **changes):
    given = {"concurrency": 4, "warm_up_s": 0.1, "duration_s": 0.5, "timeout_s": 5.0, "answers": ((b"", GOOD),)}
    job = LoadJob("127.0.0.1", server.port, is_secure=False, protocol="http", requests=(REQUEST,), **{**given, **changes})
    return drive(job, process_count=1, progress=lambda *_: None)


def test_a_closed_loop_counts_every_right_answer() -> None:
    with FakeHttp(lambda *_: (0, reply())) as server:
        tally = load(server)
        assert 0 < tally.right_count <= server.count
    assert (tally.sent_count, tally.wrong_count, tally.errors) == (tally.right_count, 0, {})
    assert tally.times.count == tally.right_count
    assert tally.measured_s == pytest.approx(0.5, abs=0.2)
    assert tally.sent_bytes == tally.right_count * len(REQUEST)


def test_wrong_answers_and_errors_are_counted_by_what_they_are() -> None:
    wrong = GOOD.replace(b"1.0", b"2.0")
    other_bytes = GOOD.replace(b"1.0", b"1.00")
    answers = [reply(), reply(wrong), reply(b"{}", 503), reply(other_bytes), reply()]
    with FakeHttp(lambda number, _: (0, answers[number % 5])) as server:
        tally = load(server, concurrency=1)
    assert tally.wrong_count == pytest.approx(tally.sent_count / 5, abs=1)
    assert tally.errors["503"] == pytest.approx(tally.sent_count / 5, abs=1)
    assert tally.alike_count == pytest.approx(tally.sent_count / 5, abs=1)
    assert tally.sent_count == tally.right_count + tally.wrong_count + tally.error_count
    assert "2.0" in tally.wrong_example
    assert tally.times.count == tally.right_count


@pytest.mark.parametrize(
    "answer",
    [
        reply(GOOD, 200, "Connection: close"),
        b"HTTP/1.1 200 OK\r\n\r\n" + GOOD,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"%x\r\n" % len(GOOD) + GOOD + b"\r\n0\r\n\r\n",
    ],
    ids=["closes", "ends with the connection", "chunked"],
)
def test_every_way_to_end_an_answer_is_understood(answer) -> None:
    with FakeHttp(lambda *_: (0, answer)) as server:
        tally = load(server, concurrency=2)
    assert tally.right_count > 0  # how many depends on the machine
    assert (tally.wrong_count, tally.errors) == (0, {})


def test_answers_in_small_pieces_and_large_ones_are_read_whole() -> None:
    body = json.dumps({"outputs": [{"name": "y", "datatype": "FP32", "shape": [60_000], "data": [0.5] * 60_000}]}).encode()
    with FakeHttp(lambda *_: (0, reply(body))) as server:
        tally = load(server, answers=((b"", body),))
    assert tally.right_count > 2
    assert tally.right_count == tally.sent_count


def test_a_connection_that_breaks_is_an_error_of_one_request_and_the_load_goes_on() -> None:
    with FakeHttp(lambda number, _: (0, None if number % 10 == 0 else reply())) as server:
        tally = load(server)
    assert tally.errors["closed by the server"] == pytest.approx(tally.sent_count / 10, abs=4)
    assert tally.right_count + tally.error_count == tally.sent_count


def test_a_request_that_is_never_answered_counts_with_the_time_that_was_waited() -> None:
    with FakeHttp(lambda number, _: (30 if number % 4 == 0 else 0.01, reply())) as server:
        tally = load(server, timeout_s=0.4, duration_s=1.0)
    assert tally.errors["timeout"] >= 2
    assert tally.times.count_above(0.39) >= tally.errors["timeout"]
    assert tally.right_count + tally.error_count == tally.sent_count


def test_what_is_not_http_is_an_error() -> None:
    with FakeHttp(lambda *_: (0, b"HTTP/1.1 two hundred\r\nContent-Length: x\r\n\r\n")) as server:
        tally = load(server)
    assert tally.right_count == 0
    assert set(tally.errors) == {"not an HTTP answer"}


def pausing(_number, now):
    """Answers at once, but stands still for the first 100 ms of every second."""
    return max(0.1 - now % 1.0, 0.0), reply()


@pytest.mark.slow
def test_a_pause_of_100_ms_each_second_shows_in_the_p99_of_an_open_loop() -> None:
    """The control of coordinated omission: a closed loop of one asks once per pause and hardly sees it; users would have."""
    with FakeHttp(pausing) as server:
        opened = load(server, rate=300.0, concurrency=128, duration_s=2.0, arrivals=Arrivals.CONSTANT)
        closed = load(server, concurrency=1, duration_s=2.0)
    assert opened.sent_count == pytest.approx(600, abs=2)
    assert opened.times.percentile_s(99) > 0.08
    assert opened.times.count_above(0.05) / opened.sent_count > 0.04  # 5 % arrive in the first half of a pause
    assert closed.times.count_above(0.05) / closed.sent_count < 0.02


def test_without_a_free_connection_time_counts_from_when_the_request_was_to_be_sent() -> None:
    with FakeHttp(lambda *_: (0.05, reply())) as server:
        tally = load(server, rate=60.0, concurrency=1, duration_s=0.5, arrivals=Arrivals.CONSTANT)
    assert tally.sent_count == pytest.approx(30, abs=1)  # all of them, though the server answers 20 a second
    assert tally.times.percentile_s(99) > 0.5
    assert tally.lags.largest_s < tally.times.largest_s


def test_several_processes_share_a_load() -> None:
    seen = []
    with FakeHttp(lambda *_: (0, reply())) as server:
        job = LoadJob(
            "127.0.0.1", server.port, is_secure=False, protocol="http", requests=(REQUEST,), answers=((b"", GOOD),),
            concurrency=5, rate=200.0, warm_up_s=0.1, duration_s=1.2,
        )  # fmt: skip
        tally = drive(job, process_count=2, progress=lambda at, so_far: seen.append((at, so_far.right_count)))
    assert tally.sent_count == pytest.approx(240, rel=0.35)
    assert tally.right_count == tally.sent_count
    assert len(tally.cpu_shares) == 2
    assert seen


def test_nobody_there_is_said() -> None:
    with FakeHttp(lambda *_: (0, reply())) as server:
        pass
    for processes in (1, 2):
        with pytest.raises(UnavailableError, match="No connection"):
            drive(
                LoadJob("127.0.0.1", server.port, is_secure=False, protocol="http", requests=(REQUEST,), answers=(), concurrency=1),
                process_count=processes,
                progress=lambda *_: None,
            )


# -- a whole benchmark


def test_a_benchmark_knows_what_is_needed_to_repeat_it() -> None:
    with FakeV2() as fake:
        report = probe(BenchJob(fake.url, concurrency=2, duration_s=0.4, warm_up_s=0.1, row_count=3, seed=5, command="fairlead bench x"))
    setup, result = report.setup, report.result
    assert result.is_clean
    assert result.rows_per_s == pytest.approx(3 * result.answers_per_s)
    assert (setup.model, setup.server, setup.seed, setup.command) == ("m", "fake 1", 5, "fairlead bench x")
    assert {"python", "fairlead", "uvloop"} <= set(setup.versions)
    assert len(setup.data_digest) == 64


@pytest.mark.parametrize("payload", ["json", "binary"])
def test_answers_are_compared_with_what_is_expected(payload) -> None:
    x, k = np.ones((2, 4), np.float32), np.array([[1], [2]])
    rows = ({"x": x[:1], "k": k[:1]}, {"x": x[1:], "k": k[1:]})
    right = tuple({"y": row["x"] * 2 + row["k"].astype(np.float32), "t": np.array([[f"k={row['k'][0, 0]}"]], object)} for row in rows)
    wrong = ({**right[0], "y": right[0]["y"] + 1}, right[1])
    with FakeV2() as fake:
        job = {"concurrency": 1, "duration_s": 0.2, "warm_up_s": 0.0, "payload": payload, "rows": lambda _: rows}
        assert probe(BenchJob(fake.url, expected=right, **job)).result.is_clean
        with pytest.raises(DataError, match="request 1 is not the expected one"):
            probe(BenchJob(fake.url, expected=wrong, **job))


def test_a_request_that_the_server_refuses_is_shown_before_anything_is_measured() -> None:
    def spoil(request, answer):
        return (400, {}, b'{"error": "not today"}') if request[1].endswith("/infer") else answer

    with FakeV2(spoil=spoil) as fake, pytest.raises(RequestError, match="not today"):
        probe(BenchJob(fake.url, concurrency=1))


@pytest.mark.slow
def test_a_search_finds_about_what_the_server_can_do() -> None:
    """One request at a time, 4 ms each: 250 a second, whatever this machine does besides."""
    free_at = 0.0

    def script(_number, now):
        nonlocal free_at
        free_at = max(free_at, now) + 0.004
        return free_at - now, reply()

    with FakeHttp(script) as server:
        from fairlead.probe.load.capacity import Trial, conclude, next_rate

        trials = []
        while (rate := next_rate(trials, 150.0)) is not None and len(trials) < 6:
            tally = load(server, rate=rate, concurrency=64, duration_s=0.6, arrivals=Arrivals.CONSTANT)
            trials.append(
                Trial(rate, tally.sent_count, tally.times.count_above(0.1), tally.times.percentile_s(99) * 1000, tally.error_count)
            )
            time.sleep(max(free_at - (time.perf_counter() - server.began), 0))  # what was queued by a trial is not the next one's
    found = conclude(trials)
    assert 100 <= found.rate <= 300


def test_ctrl_c_prints_what_there_is(tmp_path) -> None:
    environment = os.environ | {"FAIRLEAD_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "fairlead", "bench", "--duration", "60", "--warm-up", "0.1", "--concurrency", "2", "--json"]
    with FakeV2() as fake:
        process = subprocess.Popen([*command, fake.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        assert "s of 60" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
    report = json.loads(out)
    assert process.returncode == 0
    assert report["is_cut_short"]
    assert report["result"]["right_count"] > 0
    assert report["result"]["measured_s"] < 50


def test_the_command_takes_every_kind_of_arrivals() -> None:
    command = [sys.executable, "-m", "fairlead", "bench", "--rate", "40", "--duration", "0.3", "--warm-up", "0", "--arrivals", "constant"]
    with FakeV2() as fake:
        done = subprocess.run([*command, fake.url], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "open loop, 40 requests/s, constant" in done.stdout


def test_the_command_says_which_options_exclude_each_other() -> None:
    command = [sys.executable, "-m", "fairlead", "bench", "http://127.0.0.1:9", "--rate", "5", "--concurrency", "5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "exclude each other" in done.stderr
