"""What a user does in the first ten minutes, on real digits, through the front door."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

import fairlead
from fairlead.cli.main import run
from fairlead.errors import RejectedError

KERAS = ["deploy", "model.h5", "--name", "digits", "--data", "digits.npz", "--require", "accuracy>=0.9", "--require", "p99_ms<=100"]
# The same network where the test is not about Keras, which takes seconds to start and answer for the original.
DEPLOY = ["deploy", "model.onnx", *KERAS[2:]]


def ask(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=60) as answer:
        return json.load(answer)


class RunningServer:
    """`fairlead serve` in a process of its own, ready when entered."""

    def __init__(self, *arguments: str) -> None:
        self._command = [sys.executable, "-m", "fairlead", "serve", *arguments, "--port", "0"]

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(self._command, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
        said = []
        for line in self.process.stderr:  # which port it took
            said.append(line)
            if found := re.search(r"on (http://127\.0\.0\.1:[0-9]+)", line):
                self.url = found[1]
                break
        else:
            self.process.wait(30)
            pytest.fail(f"the server did not start: {''.join(said)}")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                ask(f"{self.url}/v2/health/ready")
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.05)
            else:
                return self
        self.process.kill()
        pytest.fail(f"the server did not start: {self.process.communicate()[1]}")

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=60)
        assert self.process.returncode == 0


def test_from_a_model_file_to_an_answer_and_back(digits_here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(KERAS) == 0
    printed = capsys.readouterr()
    assert "digits:1 is in @production" in printed.out
    assert "optimizer state dropped" in printed.err
    with np.load(digits_here / "digits.npz") as file:
        images, labels = file["x"], file["y"]
    with RunningServer("digits") as server:
        one = images[:1].tolist()
        scores = ask(f"{server.url}/predict", {"input": one})["prediction"]
        assert np.argmax(scores[0]) == labels[0]
        tensor = {"name": "x", "shape": [1, 28, 28, 1], "datatype": "FP32", "data": images[:1].ravel().tolist()}
        answer = ask(f"{server.url}/v2/models/digits/infer", {"inputs": [tensor]})
        assert answer["model_name"] == "digits"
        assert answer["model_version"] == "1"
        assert np.allclose(answer["outputs"][0]["data"], scores[0], atol=1e-6)
        assert np.allclose(ask(f"{server.url}/v1/models/digits:predict", {"instances": one})["predictions"], scores, atol=1e-6)
        assert ask(f"{server.url}/openapi.json")["openapi"].startswith("3.")
    with fairlead.load("digits") as model:
        assert np.mean(model.predict_labels(images) == labels) >= 0.9
        assert np.allclose(model.predict(images[:1]), scores, atol=1e-6)


def test_a_running_server_follows_a_rollback(digits_here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(DEPLOY) == 0
    assert run([*DEPLOY, "--require", "size_mb<=5"]) == 0
    with RunningServer() as server:
        assert ask(f"{server.url}/v2/models/digits/ready")["ready"] is True
        body = {"inputs": [{"name": "x", "shape": [1, 28, 28, 1], "datatype": "FP32", "data": [0.0] * 784}]}
        assert ask(f"{server.url}/v2/models/digits/infer", body)["model_version"] == "2"
        assert run(["rollback", "digits"]) == 0
        deadline = time.monotonic() + 60
        while ask(f"{server.url}/v2/models/digits/infer", body)["model_version"] != "1":
            assert time.monotonic() < deadline, "the server did not follow"
            time.sleep(0.05)
    capsys.readouterr()
    assert run(["show", "digits", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["version"]["number"] == 1
    assert [move["reason"] for move in shown["history"]] == ["deploy", "deploy", "rollback"]
    assert run(["models"]) == 0
    assert "digits:1" in capsys.readouterr().out


def test_a_version_can_be_registered_without_making_it_live(digits_here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*DEPLOY, "--no-release"]) == 0
    printed = capsys.readouterr()
    assert "digits:1 is registered; no alias was moved." in printed.out
    assert "fairlead promote digits:1 --canary" in printed.out
    assert "@production" not in printed.err
    assert run(["show", "digits:1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["aliases"] == []
    assert run(["promote", "digits:1"]) == 0
    assert run([*DEPLOY, "--no-release", "--serve"]) == 2
    assert "Leave one of them out" in capsys.readouterr().err


def test_a_red_verdict_registers_nothing_and_says_by_how_much(digits_here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = run([*DEPLOY[:6], "--require", "accuracy>=0.999", "--report", "report.html"])
    assert status == 4
    said = capsys.readouterr().err
    assert "accuracy is 0.9" in said
    assert "needed >= 0.999" in said
    assert "accuracy" in (digits_here / "report.html").read_text()
    assert run(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_the_same_through_python(digits_here: Path) -> None:
    with np.load(digits_here / "digits.npz") as file:
        images, labels = file["x"], file["y"]
    deployed = fairlead.deploy("model.onnx", name="digits", data=(images, labels), require=["accuracy>=0.9"])
    assert deployed.version.label == "digits:1"
    assert deployed.verdict.is_green
    with pytest.raises(RejectedError, match="accuracy"):
        fairlead.deploy("model.onnx", name="digits", data="digits.npz", require=["accuracy>=0.9999"])


def test_the_same_through_one_file_with_flags_on_top(digits_here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (digits_here / "fairlead.yaml").write_text("model: model.onnx\nname: digits\ndata: digits.npz\nrequire: [accuracy>=0.9]\n")
    assert run(["deploy", "--json"]) == 0
    deployed = json.loads(capsys.readouterr().out)
    assert deployed["version"] == "digits:1"
    assert run(["deploy", "--require", "accuracy>=0.99999"]) == 4


def test_without_data_rows_are_drawn_and_quality_cannot_be_required(digits_here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["deploy", "model.onnx", "--require", "p99_ms<=100"]) == 0
    assert "model:1 is in @production" in capsys.readouterr().out
    assert run(["deploy", "model.onnx", "--require", "accuracy>=0.9"]) == 2
    assert "--data" in capsys.readouterr().err


def test_two_deployments_of_one_name_at_once_leave_both_versions_and_tell_the_second(digits_here: Path) -> None:
    first = fairlead.deploy("model.onnx", name="digits", data="digits.npz")
    assert first.previous == 0
    command = [sys.executable, "-m", "fairlead", *DEPLOY]
    both = [subprocess.Popen([*command, "--require", f"size_mb<={size}"], stderr=subprocess.PIPE, text=True) for size in (5, 6)]
    ended = [(process.communicate()[1], process.returncode) for process in both]
    statuses = sorted(status for _, status in ended)
    assert statuses in ([0, 0], [0, 6]), ended
    model = fairlead.load("digits")
    assert model.version.number in (2, 3)
    model.close()
    if statuses == [0, 6]:
        assert any("another deployment moved @production meanwhile" in said for said, _ in ended)
        assert any("fairlead promote digits:" in said for said, _ in ended)


def test_predict_reads_rows_from_a_file(digits_here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(DEPLOY) == 0
    capsys.readouterr()
    assert run(["predict", "digits", "--input", "digits.npz"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1001
    assert lines[0].startswith("prediction,score_0,")


def test_doctor_says_what_this_machine_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) == 0
    diagnosis = json.loads(capsys.readouterr().out)
    assert diagnosis["machine"]["core_count"] >= 1
    assert diagnosis["engines"]["onnxruntime"]
    assert diagnosis["sandbox_layers"]
    assert run(["doctor"]) == 0


def test_inspect_says_what_a_file_is_without_opening_it(digits_here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", "model.h5"]) == 0
    said = capsys.readouterr().out
    assert "x FP32 [batch, 28, 28, 1]" in said
    assert "nothing unsafe found" in said


def test_an_exported_version_runs_without_fairlead(digits_here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import onnxruntime

    assert run(DEPLOY) == 0
    assert run(["export", "digits", "--out", "exported"]) == 0
    model = next((digits_here / "exported").rglob("model.onnx"))
    with np.load(digits_here / "digits.npz") as file:
        images = file["x"][:3]
    (scores,) = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": images})
    with fairlead.load("digits") as loaded:
        assert np.allclose(loaded.predict(images), scores, atol=1e-6)
