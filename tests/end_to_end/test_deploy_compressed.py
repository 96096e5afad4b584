"""`fairlead deploy` with a promise that the converted model does not keep: a compressed one is found, proven, registered and answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import fairlead
from fairlead.app.catalogue import show
from fairlead.app.wiring import build_house
from fairlead.cli.main import run
from fairlead.core.ledger import Ledger
from fairlead.core.search import PointStatus, SearchResult
from fairlead.core.strategy import Need, Strategy
from fairlead.stores.document import load
from fairlead.stores.version_files import read_file

RNG = np.random.default_rng(11)


@pytest.fixture
def net_here(tmp_path: Path, fairlead_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network of two layers whose decisions are the right answers, and 500 rows."""
    monkeypatch.chdir(tmp_path)
    weights = [RNG.normal(size=shape).astype(np.float32) for shape in ((16, 128), (128, 128), (128, 3))]
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["p"]),
        helper.make_node("Relu", ["p"], ["q"]),
        helper.make_node("MatMul", ["q", "b"], ["r"]),
        helper.make_node("Relu", ["r"], ["s"]),
        helper.make_node("MatMul", ["s", "c"], ["t"]),
        helper.make_node("Softmax", ["t"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(tensor, name) for tensor, name in zip(weights, "abc", strict=True)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "net.onnx")
    rows = RNG.normal(size=(500, 16)).astype(np.float32)
    hidden = np.maximum(np.maximum(rows @ weights[0], 0) @ weights[1], 0) @ weights[2]
    np.savez(tmp_path / "rows.npz", x=rows, y=hidden.argmax(axis=1))
    return tmp_path


def deploy(*more: str) -> int:
    return run(["deploy", "net.onnx", "--data", "rows.npz", "--task", "classification", *more])


@pytest.mark.slow
def test_a_promise_on_size_is_kept_by_a_compressed_model_that_is_looked_for(net_here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    original = (net_here / "net.onnx").stat().st_size
    bound = original / 2 / 1e6
    assert (
        deploy("--require", f"size_mb<={bound}", "--require", "accuracy_drop<=0.02", "--report", "report.html", "--need", "regulated") == 0
    )
    said = capsys.readouterr().err
    assert "does not keep the promise" in said
    house = build_house()
    view = show("net", house)
    assert view.verdict.is_green
    assert view.verdict.size_bytes <= original / 2
    assert any(step.room == "optimize" for step in view.lineage.steps)
    assert view.lineage.is_unbroken()
    search = load(read_file(view.version, "search.json", house.blobs), SearchResult)
    assert search.best == view.verdict.candidate
    assert any(point.status is PointStatus.KEPT for point in search.points)
    ledger = load(read_file(view.version, "ledger.json", house.blobs), Ledger)
    assert view.verdict.candidate in ledger.feasible
    assert "as-converted" in {entry.candidate for entry in ledger.entries}
    strategy = load(read_file(view.version, "strategy.json", house.blobs), Strategy)
    assert (strategy.needs, strategy.security.is_approver_required) == ((Need.REGULATED,), True)
    kept = {entry.name: entry.digest for entry in view.version.manifest.files}
    converted = next(step for step in reversed(view.lineage.steps) if step.room == "convert")
    assert kept["twin.onnx"] == converted.output_digest != view.verdict.model_digest
    traits = house.records.traits("net", 1)
    assert (traits["publisher"], traits["parameter_count"]) == (house.settings.user, 16 * 128 + 128 * 128 + 128 * 3)
    assert traits["gzip_bytes"] < original
    assert traits["size_bytes"] == view.verdict.size_bytes
    page = (net_here / "report.html").read_text(encoding="utf-8")
    assert "What was tried to make it smaller and faster" in page
    assert "Why not the others?" in page
    rows = np.load("rows.npz")
    with fairlead.load("net") as model:
        right = model.predict(rows["x"]).argmax(axis=1) == rows["y"]
    assert right.mean() >= 0.98


def test_without_a_search_the_smallest_relaxation_is_said_and_typing_it_works(net_here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy("--require", "size_mb<=0.05", "--require", "accuracy_drop<=0.02", "--budget", "0", "--require", "p99_ms<=10000") == 4
    said = capsys.readouterr().err
    assert "does not keep the promise" not in said
    relaxed = said.partition("--require '")[2].partition("'")[0]
    assert relaxed.startswith("size_mb<=0.0")
    assert deploy("--require", relaxed, "--require", "accuracy_drop<=0.02", "--budget", "0", "--require", "p99_ms<=10000") == 0
    view = show("net", build_house())
    assert {"twin.onnx", "strategy.json"}.isdisjoint({entry.name for entry in view.version.manifest.files})


def test_rows_to_train_on_that_also_prove_are_refused(net_here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy("--train", "rows.npz", "--budget", "30s", "--require", "accuracy_drop<=0.02") == 3
    assert "training" in capsys.readouterr().err


def test_nothing_is_lost_where_no_requirement_says_what_may_be(net_here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy("--require", "size_mb<=0.05") == 4
    said = capsys.readouterr().err
    assert "search" not in said
    assert "nothing was registered" in said.lower()


def test_a_search_that_nobody_asked_for_never_hides_why_the_verdict_is_red(
    net_here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIRLEAD_SEARCH_TIME_S", "0.1")
    assert deploy("--require", "size_mb<=0.05", "--require", "accuracy_drop<=0.02") == 4
    said = capsys.readouterr().err
    assert "none can be looked for: The budget of 0.1 s is too short for one trial." in said
    assert "The verdict is red: size_mb" in said
    assert "nothing was registered" in said.lower()


def test_a_plan_to_release_with_care_is_said_by_deploy(net_here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy("--budget", "0", "--scenario", "logistics") == 0
    assert "planned" not in capsys.readouterr().out  # nothing was live that it could be compared with
    assert deploy("--budget", "0", "--scenario", "logistics") == 0
    assert 'planned was:   --canary "5%,25%,50%"' in capsys.readouterr().out
