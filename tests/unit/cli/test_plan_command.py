"""`fairlead plan` as it is typed: text for a person, JSON for a program, errors with a cure."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from fairlead.cli.main import run

SPEC = """
model: net.onnx
data: rows.npz
task: classification
require: [decision_flips<=3, p99_ms<=100, size_mb<=0.0001]
scenario: medicine
load: {rate_rps: 20}
budget: {per_month: 100}
strategy: {security: {network: private}}
catalogue: machines.yaml
"""
MACHINES = """
dated: 2026-11-22
offers:
  - {name: rented, kind: cpu, processor: x, cores: 2, memory_gb: 4, gflops: {FP32: 100}, bandwidth_gb_per_s: 10, price_per_hour: 0.05,
     region: here, price_is_estimate: true}
  - {name: board, kind: edge, processor: y, cores: 4, memory_gb: 8, gflops: {FP32: 50}, bandwidth_gb_per_s: 5, price_per_hour: 0.01}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    weights = numpy_helper.from_array(np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Softmax", ["m"], ["scores"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 3])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    np.savez(tmp_path / "rows.npz", x=np.ones((8, 64), np.float32))
    (tmp_path / "fairlead.yaml").write_text(SPEC)
    (tmp_path / "machines.yaml").write_text(MACHINES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAIRLEAD_HOME", str(tmp_path / "home"))
    return tmp_path


def test_the_plan_of_a_file_is_text_for_a_person(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "--no-measure"]) == 0
    printed = capsys.readouterr().out
    for said in (
        *("Model", "net.onnx", "Promise", "size_mb<=0.0001", "Candidates", "as-converted", "ruled out: store-fp16", "Hardware"),
        *("~", "a month", "Strategy (scenario medicine, needs regulated)", "asks for isolated", "To know"),
    ):
        assert said in printed
    assert max(len(line) for line in printed.splitlines()) <= 160


def test_everything_is_shown_where_all_is_asked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "--no-measure", "--all"]) == 0
    printed = capsys.readouterr().out
    assert "retention.version_count" in printed
    assert "not board:" in printed


def test_a_program_gets_all_of_it_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--rate", "5", "--p99", "50", "--catalogue", "machines.yaml", "--no-measure", "--json"]
    assert run(["plan", "net.onnx", "--data", "rows.npz", *asked]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["plan"]["candidates"][0]["name"] == "as-converted"
    assert found["hardware"]["options"][0]["is_predicted"] is True
    assert found["strategy"]["reasons"]["rollout.kind"]["origin"] == "default"
    assert found["demand"]["rate_rps"] == 5


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--require", "p99_ms<=0"], 2, "nothing runs in zero ms"),
        (["--require", "accuracy>=0.9", "--require", "accuracy>=0.8"], 2, "bound the same thing twice"),
        (["--scenario", "farming"], 2, "'finance'"),
        (["--catalogue", "absent.yaml"], 2, "Cannot read"),
        (["--train", "absent.npz"], 2, "no rows to train on"),
        (["--spec", "absent.yaml"], 2, "Cannot read"),
    ],
)
def test_what_is_wrong_is_said(folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, said: str) -> None:
    assert run(["plan", "net.onnx", "--no-measure", *arguments]) == status
    assert said in capsys.readouterr().err
