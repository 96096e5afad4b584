"""`fairlead bench NAME`: a registered model, on a server of its own that is gone afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

FAIRLEAD = [sys.executable, "-m", "fairlead"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with `double`, which multiplies by two."""
    folder = tmp_path_factory.mktemp("bench")
    weight = numpy_helper.from_array(np.array([2], np.float32), "w")
    ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2])] for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Mul", ["x", "w"], ["y"])], "double", *ends, [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "double.onnx")
    command = [*FAIRLEAD, "deploy", str(folder / "double.onnx"), "--name", "double", "--home", str(folder / "home")]
    subprocess.run(command, capture_output=True, check=True)
    return folder / "home"


def bench(home: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [*FAIRLEAD, "bench", "double", "--home", str(home), "--duration", "0.5", "--warm-up", "0.1", "--concurrency", "4", "--json"]
    return subprocess.run([*command, *options], capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.slow
def test_a_registered_model_is_loaded_by_name_with_rows_and_answers_of_ones_own(home, tmp_path) -> None:
    rows = np.arange(20, dtype=np.float32).reshape(10, 2)
    np.savez(tmp_path / "rows.npz", x=rows)
    np.savez(tmp_path / "right.npz", y=rows * np.float32(2))
    np.savez(tmp_path / "wrong.npz", y=rows)
    data = ["--data", str(tmp_path / "rows.npz"), "--rows", "2"]
    done = bench(home, *data, "--expect", str(tmp_path / "right.npz"), "--payload", "binary")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["result"]["right_count"] > 0
    assert (report["result"]["wrong_count"], report["result"]["errors"]) == (0, {})
    assert (report["setup"]["request_count"], report["setup"]["rows"], report["setup"]["payload"]) == (5, 2, "binary")
    refused = bench(home, *data, "--expect", str(tmp_path / "wrong.npz"))
    assert refused.returncode == 3
    assert "request 1 is not the expected one" in refused.stderr


@pytest.mark.slow
def test_a_registered_model_is_loaded_over_grpc(home) -> None:
    done = bench(home, "--protocol", "grpc")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["result"]["right_count"] > 0
    assert report["result"]["errors"] == {}
    assert report["setup"]["payload"] == "raw"


def test_an_unknown_name_is_not_found(tmp_path) -> None:
    done = bench(tmp_path / "home")
    assert done.returncode == 5
    assert "double" in done.stderr
