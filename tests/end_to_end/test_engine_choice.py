"""The engine is chosen by measurement: all that are installed are timed, an absent one is said and passed over, one can be asked for."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import fairlead
from fairlead.app.catalogue import show
from fairlead.app.wiring import build_house
from fairlead.cli.main import run
from fairlead.core.catalog import Variant
from fairlead.engines import catalog

sys.path.append(str(Path(__file__).parents[1] / "unit" / "engines"))
from tiny_onnx import linear_model


@pytest.fixture
def line_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    linear_model(tmp_path / "line.onnx")
    np.savez(tmp_path / "rows.npz", x=np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAIRLEAD_ENGINES", "")
    monkeypatch.setenv("FAIRLEAD_ENGINE_CHOICE_TIME_S", "0.05")
    monkeypatch.setenv("FAIRLEAD_VERIFY_TIME_S", "0.1")
    return tmp_path


def deploy(capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """Deploy the line and return what was said on the way."""
    status = run(["deploy", "line.onnx", "--data", "rows.npz", *more])
    said = capsys.readouterr().err
    assert status == 0, said
    return said


def test_every_engine_is_timed_on_the_rows_and_the_evidence_keeps_the_times(line_here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("openvino")
    said = deploy(capsys, "--require", "p50_ms@8<=1000")
    assert "goes first" in said
    view = show("line", build_house())
    choice = view.plan.choice
    assert choice is not None
    assert {timing.candidate for timing in choice.timings} == {"as-converted", "openvino"}
    assert {timing.batch for timing in choice.timings} == {8}
    assert all(timing.p50_ms > 0 and timing.call_count > 0 for timing in choice.timings)
    assert view.verdict.candidate == choice.order[0]
    assert "OpenVINO" in view.report.read_text(encoding="utf-8") or "openvino" in view.report.read_text(encoding="utf-8")


@pytest.mark.slow
def test_an_engine_can_be_asked_for_and_its_version_answers_and_is_served_by_it(
    line_here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openvino")
    deploy(capsys, "--engine", "openvino")
    view = show("line", build_house())
    assert view.verdict.engine.startswith("openvino")
    names = {entry.name for entry in view.version.manifest.files}
    assert names >= {"model.xml", "model.bin", "model.onnx"}  # the ONNX file stays for export
    rows = np.load("rows.npz")["x"]
    with fairlead.load("line") as model:
        answer = model.predict(rows)
    deploy(capsys, "--engine", "onnxruntime")
    with fairlead.load("line") as model:
        assert model.version.number == 2
        np.testing.assert_allclose(model.predict(rows), answer, atol=1e-5)


def test_an_absent_engine_is_said_with_its_cure_and_the_rest_goes_on(
    line_here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    variants = dict(catalog.ENGINES.variants) | {"openvino": Variant("no_such_library_here:Engine", extra="openvino")}
    monkeypatch.setattr("fairlead.engines.opening.ENGINES", catalog.Catalog("engine", "none", variants))
    monkeypatch.setattr("fairlead.convert.build.BUILDERS", catalog.Catalog("form", "none", {"openvino": variants["openvino"]}))
    said = deploy(capsys)
    assert "without openvino: pip install 'fairlead[openvino]'" in said
    assert show("line", build_house()).verdict.engine.startswith("onnxruntime")


def test_an_unknown_engine_is_refused_before_any_work(line_here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["deploy", "line.onnx", "--engine", "warp"]) == 2
    assert "There is no engine 'warp'." in capsys.readouterr().err


def test_convert_writes_the_files_and_says_how_they_compare(line_here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["convert", "line.onnx", "--to", "ort", "--out", "small", "--data", "rows.npz", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert sorted(path.name for path in Path("small").iterdir()) == ["interface.json", "model.ort", "verdict.json"]
    assert told["verdict"]["parity"]["outputs"][0]["max_abs"] <= 1e-5
    assert run(["models"]) == 0
    assert "line" not in capsys.readouterr().out  # nothing was registered
    assert run(["convert", "line.onnx", "--to", "ort", "--out", "small"]) == 2
    assert "not an empty folder" in capsys.readouterr().err


def test_convert_says_where_a_model_has_no_such_form(line_here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["convert", "line.onnx", "--to", "trees", "--out", "out"]) != 0
    assert "trees" in capsys.readouterr().err
    assert not Path("out").exists()
