"""Text, missing values and labels outside of ASCII, from a data file through the proof to every kind of answer. Needs the core only."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import fairlead
from fairlead.app.catalogue import show
from fairlead.app.serving import RegistrySource
from fairlead.app.wiring import build_house
from fairlead.cli.main import run
from fairlead.serve.server import ServeJob, ServerThread

WORDS = ["berlin", "größe", "", "非常"]
LABELS = ["nein", "größer", "非常"]
TABLE = np.array([[3, 0, 0], [0, 3, 0], [0, 0, 3], [0, 3, 1], [3, 1, 0]], dtype=np.float32)
CSV = 'city,age,answer\nberlin,1.5,nein\ngröße,,größer\n"",2,非常\n非常,-1,größer\nunseen,0,nein\n'
RIGHT = ["nein", "größer", "非常", "größer", "nein"]


def write_model(path: Path) -> None:
    """Text and a number that may be missing in; a label as text and three scores out."""
    nodes = [
        helper.make_node(
            "LabelEncoder", ["city"], ["code"], domain="ai.onnx.ml", keys_strings=WORDS, values_int64s=[0, 1, 2, 3], default_int64=4
        ),
        helper.make_node("Gather", ["table", "code"], ["looked"]),
        helper.make_node("Reshape", ["looked", "flat"], ["row"]),
        helper.make_node("Imputer", ["age"], ["known"], domain="ai.onnx.ml", imputed_value_floats=[0.5], replaced_value_float=float("nan")),
        helper.make_node("Tanh", ["known"], ["small"]),
        helper.make_node("Add", ["row", "small"], ["raw"]),
        helper.make_node(
            "LinearClassifier",
            ["raw"],
            ["label", "scores"],
            domain="ai.onnx.ml",
            coefficients=np.eye(3).ravel().tolist(),
            intercepts=[0.0] * 3,
            classlabels_strings=LABELS,
            multi_class=0,
            post_transform="SOFTMAX",
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "towns",
        [
            helper.make_tensor_value_info("city", TensorProto.STRING, ["n", 1]),
            helper.make_tensor_value_info("age", TensorProto.FLOAT, ["n", 1]),
        ],
        [
            helper.make_tensor_value_info("label", TensorProto.STRING, ["n"]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3]),
        ],
        [numpy_helper.from_array(TABLE, "table"), numpy_helper.from_array(np.array([-1, 3]), "flat")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


@pytest.fixture
def towns_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_model(tmp_path / "towns.onnx")
    (tmp_path / "rows.csv").write_text(CSV, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAIRLEAD_VERIFY_TIME_S", "0.1")
    return tmp_path


def deploy(*more: str) -> int:
    return run(["deploy", "towns.onnx", "--data", "rows.csv", "--target", "answer", "--engine", "onnxruntime", *more])


def ask(url: str, body: object) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as reply:
        return json.load(reply)


def test_missing_numbers_empty_texts_and_labels_are_proven_and_answered_as_they_are(
    towns_here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy("--require", "accuracy>=1") == 0, capsys.readouterr().err
    house = build_house()
    view = show("towns", house)
    assert "1 missing values in 'age'" in view.verdict.data_description
    assert view.verdict.parity.decision_flip_count == 0
    assert view.verdict.calibration is not None
    assert view.verdict.calibration.candidate_ece == pytest.approx(view.verdict.calibration.original_ece, abs=1e-6)
    assert {check.name for check in view.verdict.checks} >= {"accuracy", "decisions", "probabilities"}
    with fairlead.load("towns") as model:
        records = [
            {"city": city, "age": age} for city, age in zip(["berlin", "größe", "", "非常", "unseen"], [1.5, None, 2, -1, 0], strict=True)
        ]
        assert list(model.predict(records)) == RIGHT
    with ServerThread(ServeJob(RegistrySource(house, ("towns",)), port=0)) as running:
        plain = ask(f"{running.url}/predict", {"input": records})
        assert RIGHT in plain.values(), plain
        city = {"name": "city", "shape": [5, 1], "datatype": "BYTES", "data": [record["city"] for record in records]}
        age = {"name": "age", "shape": [5, 1], "datatype": "FP32", "data": [record["age"] for record in records]}
        outputs = ask(f"{running.url}/v2/models/towns/infer", {"inputs": [city, age]})["outputs"]
    (label,) = [output for output in outputs if output["datatype"] == "BYTES"]
    assert (label["name"], label["data"]) == ("label", RIGHT)


def test_an_empty_cell_of_a_text_column_is_refused_by_name(towns_here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (towns_here / "rows.csv").write_text(CSV.replace('"",2', ",2"), encoding="utf-8")
    assert deploy() != 0
    said = capsys.readouterr().err
    assert "Column 'city' holds a missing value in row 2" in said
    assert '"" in quotes is the empty text' in said
