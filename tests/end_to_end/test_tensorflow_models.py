"""SavedModels and .tflite files from ingest to answers: in one process for speed, and one through the real sandbox."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fairlead.app.references import open_reference
from fairlead.convert.build import build
from fairlead.convert.stage import convert
from fairlead.core.conversion import BuildJob, RuntimeForm
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.errors import UnsupportedError
from fairlead.ingest.stage import ingest
from fairlead.security.sandbox import OneShotSandbox

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data" / "tensorflow"
needs_tensorflow = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("tensorflow", "tf2onnx", "ai_edge_litert")),
    reason="needs the extras tensorflow and litert",
)
# An XLA function, drawn lengths, erfc, names in a hard order, a GPU's placements, Keras 2.
FOLDERS = (
    ("keras", "convolutions_1d"),
    ("functions", "gelu"),
    ("functions", "same_shapes"),
    ("functions", "on_gpu"),
    ("tf_keras", "several_inputs_and_outputs"),
    ("tf_keras", "transformer_encoder"),
)
CHECK = """
import json, sys
from pathlib import Path
from tensorflow_models.checking import HereSandbox, check
for name, source, answers in json.loads(sys.argv[1]):
    line = check(name, "", Path(source), Path(answers), HereSandbox(), {})
    print("LINE", json.dumps([line.model, line.outcome, line.way, line.detail]))
"""


def unpack(kind, name, folder):
    with zipfile.ZipFile(next(DATA.glob(f"{kind}-tensorflow-*/{name}.zip"))) as archive:
        archive.extractall(folder)
    return folder / name


@needs_tensorflow
@pytest.mark.slow
def test_saved_models_and_tflite_files_answer_as_their_frameworks_did(tmp_path):
    work = []
    for kind, name in FOLDERS:
        folder = unpack(kind, name, tmp_path / kind)
        work.append((f"{kind} {name}", str(folder), str(folder.with_suffix(".npz"))))
    work += [(path.name, str(path), str(path.with_suffix(".npz"))) for path in sorted((DATA / "litert").glob("*.tflite"))]
    paths = os.pathsep.join((str(ROOT / "src"), str(ROOT / "benchmarks")))
    command = [sys.executable, "-c", CHECK, json.dumps(work)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": paths}, timeout=600)
    lines = [json.loads(line.removeprefix("LINE ")) for line in done.stdout.splitlines() if line.startswith("LINE ")]
    assert [line for line in lines if line[1] != "right"] == []
    assert len(lines) == len(work)


@needs_tensorflow
@pytest.mark.slow
def test_a_model_placed_on_a_gpu_gives_the_same_answers_through_the_sandbox(tmp_path):
    sandbox = OneShotSandbox()
    folder = unpack("functions", "on_gpu", tmp_path)
    artifact = ingest(folder, tmp_path / "ingest", sandbox=sandbox)
    conversion = convert(artifact, tmp_path / "convert", sandbox=sandbox)
    with np.load(tmp_path / "on_gpu.npz") as file:
        rows, wanted = file["5/7/in/features"], file["5/7/out/probabilities"]
    reference = open_reference(artifact, tmp_path / "reference", sandbox)
    np.testing.assert_allclose(reference.run({"features": rows})["probabilities"], wanted, atol=1e-6)
    engine = OnnxRuntimeEngine(conversion.path, conversion.interface)
    np.testing.assert_allclose(engine.run({"features": rows})["probabilities"], wanted, atol=1e-6)
    assert "tensorflow" in reference.description


def test_a_model_of_another_framework_has_no_tflite_form(tmp_path):
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
    )
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), tmp_path / "m.onnx")
    sandbox = OneShotSandbox()
    artifact = ingest(tmp_path / "m.onnx", tmp_path / "ingest", sandbox=sandbox)
    conversion = convert(artifact, tmp_path / "convert", sandbox=sandbox)
    with pytest.raises(UnsupportedError, match="LiteRT needs a model from Keras or TensorFlow"):
        build(RuntimeForm.TFLITE, BuildJob(artifact, conversion, conversion.path, tmp_path / "build", sandbox))
