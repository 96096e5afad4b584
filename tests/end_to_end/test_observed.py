"""A running server as it is seen from outside: Prometheus, statistics, traces, logs, `fairlead top`; and sinks that hang or die."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fairlead.app.observing import observing
from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.ports import LoadedModel
from fairlead.core.version import Version
from fairlead.serve.server import ServeJob, ServerThread
from fairlead.settings import Settings

GOOD, BAD = b'{"input": [[1, 2]]}', b'{"input": [[1, 2, 3]]}'
SECRET = "sk-live-0123456789"


class Doubler:
    interface = Interface((TensorSpec("x", DType.FP32, (None, 2)),), (TensorSpec("y", DType.FP32, (None, 2)),))
    description = "doubler 1.0"

    def run(self, inputs, outputs=()):
        return {"y": inputs["x"] * np.float32(2)}

    def close(self) -> None:
        pass


class OneModel:
    def aspired(self):
        return {"m": Version("m", 1, Manifest((FileEntry("model.onnx", 1, "0" * 64),)), 0.0)}

    def sequence(self) -> int:
        return 1

    def load(self, version) -> LoadedModel:
        return LoadedModel(Doubler())


@contextlib.contextmanager
def served(settings: Settings | None = None, write=None) -> Iterator[tuple[str, list[str]]]:
    """Yield the address (host:port) of a server that is watched as `fairlead serve` is, and the lines of its log."""
    lines: list[str] = []
    with observing(settings or Settings(), lambda name, number: (), write or lines.append) as observers:
        watcher = observers.watcher
        job = ServeJob(
            OneModel(),
            port=0,
            sink=watcher,
            statistics=watcher.statistics,
            metrics=observers.metrics,
            report=observers.log.say,
            queue_limit=10_000,
        )
        with ServerThread(job) as server:
            yield server.url.removeprefix("http://"), lines


def get(address: str, path: str) -> str:
    with urllib.request.urlopen(f"http://{address}{path}", timeout=20) as answer:
        return answer.read().decode()


def ask(address: str, body: bytes, count: int, path: str = "/predict", headers=None) -> list[int]:
    """Return the statuses of `count` answers over one connection."""
    connection = http.client.HTTPConnection(address, timeout=30)
    statuses = []
    with contextlib.closing(connection):
        for _ in range(count):
            connection.request("POST", path, body, headers or {})
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
    return statuses


def value(page: str, line: str) -> float:
    match = re.search(rf"^{re.escape(line)} (\S+)$", page, re.MULTILINE)
    return float(match[1]) if match else 0.0


def wait_until(condition, timeout_s: float = 20.0) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, "did not happen in time"
        time.sleep(0.05)


def test_the_servers_counters_are_the_clients_counters() -> None:
    with served() as (address, _):
        work = [
            (GOOD, 300, "/predict"),
            (BAD, 40, "/predict"),
            (GOOD, 10, "/v2/models/absent/infer"),
            (b"{", 7, "/predict"),
            (GOOD, 300, "/predict"),
        ]
        statuses: list[int] = []
        threads = [threading.Thread(target=lambda item: statuses.extend(ask(address, *item)), args=(item,)) for item in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        page = get(address, "/metrics")
        assert (statuses.count(200), statuses.count(400), statuses.count(404), len(statuses)) == (600, 47, 10, 657)
        assert value(page, 'fairlead_requests_total{model="m",version="1",transport="http",code="ok"}') == 600
        assert value(page, 'fairlead_requests_total{model="m",version="1",transport="http",code="bad_request"}') == 40
        assert value(page, 'fairlead_responses_total{transport="http",status="200"}') == 600
        assert value(page, 'fairlead_responses_total{transport="http",status="400"}') == 47
        assert value(page, 'fairlead_responses_total{transport="http",status="404"}') == 10
        assert value(page, 'fairlead_rows_total{model="m",version="1"}') == 600
        assert value(page, 'fairlead_batch_rows_sum{model="m",version="1"}') == 600
        assert "absent" not in page
        (stats,) = json.loads(get(address, "/v2/models/m/stats"))["model_stats"]
        assert (stats["inference_count"], stats["inference_stats"]["success"]["count"], stats["inference_stats"]["fail"]["count"]) == (
            600,
            600,
            40,
        )
        assert stats["execution_count"] == sum(size["compute_infer"]["count"] for size in stats["batch_stats"])
        assert sum(size["batch_size"] * size["compute_infer"]["count"] for size in stats["batch_stats"]) == 600
        assert stats["execution_count"] == value(page, 'fairlead_batches_total{model="m",version="1",code="ok"}')


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="Prometheus is not installed (Debian: prometheus)")
def test_prometheus_scrapes_it(tmp_path: Path) -> None:
    with served() as (address, _), socket.socket() as taken:
        ask(address, GOOD, 25)
        taken.bind(("127.0.0.1", 0))
        web = f"127.0.0.1:{taken.getsockname()[1]}"
        taken.close()
        jobs = [{"job_name": "fairlead", "scrape_interval": "200ms", "scrape_timeout": "200ms", "static_configs": [{"targets": [address]}]}]
        (tmp_path / "prometheus.yml").write_text(json.dumps({"scrape_configs": jobs}))  # JSON is YAML
        arguments = ["--config.file=prometheus.yml", f"--web.listen-address={web}", "--storage.tsdb.path=data"]
        with subprocess.Popen(["prometheus", *arguments], cwd=tmp_path, stderr=subprocess.DEVNULL) as prometheus:
            try:

                def query(expression: str) -> list:
                    with contextlib.suppress(OSError):
                        return json.loads(get(web, f"/api/v1/query?query={urllib.parse.quote(expression)}"))["data"]["result"]
                    return []

                wait_until(lambda: any(item["value"][1] == "25" for item in query('fairlead_requests_total{code="ok"}')), 60)
                (up,) = query("up")
                assert up["value"][1] == "1"
                assert query('histogram_quantile(0.99, fairlead_request_duration_seconds_bucket{model="m"})')
                assert query("fairlead_build_info")[0]["metric"]["job"] == "fairlead"
                types = json.loads(get(web, "/api/v1/metadata?metric=fairlead_batch_rows"))["data"]["fairlead_batch_rows"]
                assert types[0]["type"] == "histogram"
            finally:
                prometheus.kill()


def test_sinks_that_hang_never_touch_inference_and_nothing_secret_is_told() -> None:
    gate = threading.Event()
    with socket.socket() as collector:  # it takes connections and never answers
        collector.bind(("127.0.0.1", 0))
        collector.listen()
        settings = Settings(
            otlp_endpoint=f"http://127.0.0.1:{collector.getsockname()[1]}",
            otlp_headers=f"api-key={SECRET}",
            log_format="json",
            access_log=True,
        )
        pytest.importorskip("opentelemetry.proto", reason="the extra otel is not installed")
        with served(settings, write=lambda line: gate.wait(60)) as (address, _):
            trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
            assert ask(address, GOOD, 5000, headers=trace) == [200] * 5000
            page = get(address, "/metrics")
            assert value(page, 'fairlead_requests_total{model="m",version="1",transport="http",code="ok"}') == 5000
            assert value(page, 'fairlead_telemetry_dropped_total{sink="log"}') > 0
            assert value(page, 'fairlead_telemetry_dropped_total{sink="traces"}') > 0
            assert SECRET not in page
            gate.set()


def test_a_log_for_machines_is_json_line_by_line_whatever_is_asked() -> None:
    with served(Settings(log_format="json", access_log=True)) as (address, lines):
        ask(address, GOOD, 1, headers={"X-Request-Id": "mine", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
        ask(address, BAD, 1, headers={"X-Request-Id": "a\x9b\xff"})
        ask(address, GOOD, 1, path="/v2/models/%1b[31m%0d%0aX/infer")
        wait_until(lambda: sum("request_id" in line for line in lines) == 2)
    assert all(line.isascii() and line.isprintable() for line in lines)
    good, bad = (event for event in map(json.loads, lines) if event["event"] == "request")
    assert (good["request_id"], good["code"], good["trace_id"]) == ("mine", "ok", "0af7651916cd43dd8448eb211c80319c")
    assert (bad["code"], bad["level"]) == ("bad_request", "warning")
    assert bad["request_id"].isascii()


SERVER = """
import runpy, sys
from fairlead.app.observing import observing
from fairlead.serve.serve_job import ServeJob
from fairlead.serve.stage import serve
from fairlead.settings import Settings
here = runpy.run_path(sys.argv[1])
with observing(Settings(log_format="json", access_log=True), lambda name, number: ()) as seen:
    serve(ServeJob(here["OneModel"](), port=0, sink=seen.watcher, metrics=seen.metrics, report=seen.log.say,
                   on_listening=lambda url: print(url, flush=True)))
"""


@pytest.mark.parametrize("is_closed", [False, True], ids=["full", "closed"])
def test_a_log_that_nobody_reads_stops_neither_the_answers_nor_the_stop(is_closed) -> None:
    reader, writer = os.pipe()
    command = [sys.executable, "-c", SERVER, __file__]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=writer, text=True) as process:
        os.close(writer)
        if is_closed:
            os.close(reader)
        try:
            address = process.stdout.readline().strip().removeprefix("http://")
            wait_until(lambda: ask(address, GOOD, 1) == [200])
            assert ask(address, GOOD, 2000) == [200] * 2000  # 600 kB of log, into a pipe that holds 64 kB
            wait_until(
                lambda: value(get(address, "/metrics"), 'fairlead_requests_total{model="m",version="1",transport="http",code="ok"}') >= 2001
            )
            sent = value(get(address, "/metrics"), 'fairlead_telemetry_sent_total{sink="log"}')
            assert sent < 1000
            if is_closed:
                wait_until(lambda: value(get(address, "/metrics"), 'fairlead_telemetry_dropped_total{sink="log"}') >= 2000)
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()
            if not is_closed:
                os.close(reader)


LEFT = re.escape("\x1b[?25h\x1b[?1049l")  # the cursor is back, and the buffer that was there before
PROGRAM = "import sys; from fairlead.cli.main import main; main(sys.argv[1:])"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", PROGRAM, "top", *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_top_prints_for_pipes_and_programs() -> None:
    with served() as (address, _):
        ask(address, GOOD, 3)
        text, data = run(address, "--once", "--interval", "0.1"), run(address, "--once", "--json", "--interval", "0.1")
        assert (text.returncode, text.stderr) == (0, "")
        assert "m:1" in text.stdout
        assert "\x1b" not in text.stdout
        (version,) = json.loads(data.stdout)["versions"]
        assert (version["model"], version["is_ready"]) == ("m", True)
    away = run(address, "--once")
    assert away.returncode == 10
    assert f"http://{address} does not answer" in away.stderr
    assert run("ftp://x").returncode == 2


@contextlib.contextmanager
def top_on_a_terminal(*arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], Screen]]:
    mine, its = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "70", "LINES": "12"}
    command = [sys.executable, "-c", PROGRAM, "top", *arguments]
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment, start_new_session=True) as process:
        os.close(its)
        try:
            yield process, Screen(mine)
        finally:
            process.kill()
            os.close(mine)


def test_top_on_a_terminal_shows_a_server_that_goes_and_leaves_the_terminal_as_it_was() -> None:
    with contextlib.ExitStack() as stack:
        with served() as (address, _):
            process, screen = stack.enter_context(top_on_a_terminal(address, "--interval", "0.2"))
            ask(address, GOOD, 50)
            screen.wait_for(r"m:1 +[\d.]+")
        screen.wait_for("does not answer")
        screen.press("q")
        screen.wait_for(LEFT)
        assert process.wait(20) == 0


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_top_leaves_the_terminal_as_it_was_when_a_signal_ends_it(number, status) -> None:
    with served() as (address, _), top_on_a_terminal(address) as (process, screen):
        screen.wait_for("m:1")
        process.send_signal(number)
        screen.wait_for(LEFT)
        assert process.wait(20) == status


class Screen:
    """Everything that was written to a terminal."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._text = ""

    def press(self, key: str) -> None:
        os.write(self._terminal, key.encode())

    def wait_for(self, pattern: str) -> None:
        until = time.monotonic() + 30
        while not re.search(pattern, self._text):
            assert time.monotonic() < until, f"not seen: {pattern} in {self._text[-500:]!r}"
            if select.select([self._terminal], [], [], 0.1)[0]:
                try:
                    self._text += os.read(self._terminal, 65536).decode("utf-8", "replace")
                except OSError:  # the other side has closed
                    time.sleep(0.05)
