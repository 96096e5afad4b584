"""An estimator that no converter holds: deployed, served by scikit-learn in a process of its own, and that process killed under way."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

import joblib
from process_tree import descendants
from sklearn.datasets import load_iris
from sklearn.neighbors import LocalOutlierFactor

from fairlead.cli.main import run

pytestmark = pytest.mark.slow  # it deploys and serves in the real sandbox
RESTART_S = 30.0  # a new process has to import scikit-learn; this machine may be busy


@pytest.fixture(scope="module")
def outliers() -> tuple[np.ndarray, LocalOutlierFactor]:
    rows, _ = load_iris(return_X_y=True)
    return rows, LocalOutlierFactor(novelty=True).fit(rows)


@pytest.fixture(scope="module")
def home(outliers: tuple[np.ndarray, LocalOutlierFactor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry in which the detector is in production."""
    folder = tmp_path_factory.mktemp("outliers")
    rows, detector = outliers
    joblib.dump(detector, folder / "outliers.joblib")
    np.savez(folder / "rows.npz", x=np.concatenate([rows, rows * 10]))
    os.environ["FAIRLEAD_HOME"] = str(folder / "home")
    try:
        assert run(["deploy", str(folder / "outliers.joblib"), "--data", str(folder / "rows.npz"), "--name", "outliers"]) == 0
    finally:
        del os.environ["FAIRLEAD_HOME"]
    return folder / "home"


@contextlib.contextmanager
def serving(home: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run `fairlead serve outliers` and give its process and port."""
    command = [sys.executable, "-m", "fairlead", "serve", "outliers", "--port", "0"]
    environment = {**os.environ, "FAIRLEAD_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process, _port(process)
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[tuple[int, int]]:
    """Return pid and port of a server that all tests share."""
    with serving(home) as (process, port):
        yield process.pid, port


def _port(process: subprocess.Popen[str]) -> int:
    said = []
    for line in process.stdout:
        said.append(line)
        if "http://" in line:
            port = int(line.partition("http://")[2].partition(":")[2].split("/")[0].split()[0].rstrip(".,;"))
            deadline = time.monotonic() + RESTART_S
            while _get(port, "/v2/health/ready") != 200:
                assert time.monotonic() < deadline, said
                time.sleep(0.05)
            return port
    raise AssertionError(said)


def _get(port: int, path: str) -> int:
    return _exchange(port, "GET", path)[0]


def ask(port: int, rows: np.ndarray) -> tuple[int, Any]:
    body = {"inputs": [{"name": "x", "datatype": "FP64", "shape": list(rows.shape), "data": rows.tolist()}]}
    status, content = _exchange(port, "POST", "/v2/models/outliers/infer", json.dumps(body))
    return status, json.loads(content)


def _exchange(port: int, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as link:
        link.request(method, path, body, {"Content-Type": "application/json"})
        answer = link.getresponse()
        return answer.status, answer.read()


def labels(answer: Any) -> list[int]:
    return next(output["data"] for output in answer["outputs"] if output["name"] == "label")


def has_loaded(pid: int) -> bool:
    """Whether a native part of scikit-learn is mapped into the process."""
    try:
        return "/sklearn/" in Path(f"/proc/{pid}/maps").read_text()
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return False


def model_process(server_pid: int) -> int:
    return next(iter(pid for pid in descendants(server_pid) if has_loaded(pid)), 0)


def test_the_verdict_is_green_and_says_why_it_is_no_onnx(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIRLEAD_HOME", str(home))
    assert run(["show", "outliers:1", "--json"]) == 0
    shown = capsys.readouterr().out
    assert "No ONNX form: LocalOutlierFactor" in shown
    assert "model.estimator" in shown
    assert "model.onnx" not in shown


def test_its_process_is_killed_and_the_next_request_is_answered(
    server: tuple[int, int], outliers: tuple[np.ndarray, LocalOutlierFactor]
) -> None:
    (pid, port), (rows, detector) = server, outliers
    asked = np.concatenate([rows, rows * 3])
    expected = detector.predict(asked).tolist()
    assert set(expected) == {-1, 1}
    assert labels(ask(port, asked)[1]) == expected

    first = model_process(pid)
    assert first
    assert not has_loaded(pid)  # law 3; `first` is the control that the maps would show it
    os.kill(first, signal.SIGKILL)
    while Path(f"/proc/{first}").exists():
        time.sleep(0.01)

    began = time.monotonic()
    status, answer = ask(port, asked)
    assert (status, labels(answer)) == (200, expected)
    assert time.monotonic() - began < RESTART_S
    second = model_process(pid)
    assert second not in {0, first}
    assert not has_loaded(pid)
    assert _get(port, "/v2/health/live") == 200


def test_rows_that_scikit_learn_refuses_are_the_clients_error(server: tuple[int, int]) -> None:
    _, port = server
    status, answer = ask(port, np.full((1, 3), 1.0))
    assert status == 400
    assert "x" in answer["error"]


def test_a_server_that_is_killed_leaves_no_process(home: Path) -> None:
    with serving(home) as (process, _):
        below = descendants(process.pid)
        assert below
        process.kill()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in below) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in below if Path(f"/proc/{pid}").exists()]
