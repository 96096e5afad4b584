"""What the exam of the Engine port asks, and who sits it: small models of each kind, and for each engine how it comes to run one.

An examinee takes a kind and a folder and gives an engine that computes what the kind says, or None for a kind that it does not hold. Those
that take no ONNX bring a model of their own for the kinds that they sit, with rows and right answers in `OWN`. To add one, write its
function and put it into `EXAMINEES`.
"""

from __future__ import annotations

import importlib.util
import pickle
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from fairlead.core.artifact import Artifact, ArtifactForm, SourceFormat
from fairlead.core.conversion import BuildJob, Conversion
from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, Tensors, TensorSpec
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.ports import Engine
from fairlead.engines.onnx_reference_engine import open_reference
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.engines.resident_engine import RESIDENT_LIMITS, ResidentEngine
from fairlead.engines.sandboxed_engine import Worker
from fairlead.security.sandbox import OneShotSandbox

sys.path.append(str(Path(__file__).parents[1] / "unit" / "engines"))
from tiny_onnx import LINEAR, WEIGHTS, echo_model, linear_model, lookup_model, save

RANDOM = np.random.default_rng(2)
LEFT, RIGHT = RANDOM.normal(size=(2, 3)).astype(np.float32), RANDOM.normal(size=(4, 3)).astype(np.float32)


@dataclass(frozen=True)
class Kind:
    """One kind of model: `make` writes it as ONNX, `draw` gives that many rows, `answer` says what is right."""

    make: Callable[[Path], tuple[Path, Interface]]
    draw: Callable[[int], dict[str, np.ndarray]]
    answer: Callable[[Tensors], dict[str, np.ndarray]]


def _floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).normal(size=shape).astype(np.float32)


def _several(path: Path) -> tuple[Path, Interface]:
    """Two inputs, two outputs: m = relu(a @ LEFT + b @ RIGHT), total = its sum."""
    tensors = [numpy_helper.from_array(LEFT, "l"), numpy_helper.from_array(RIGHT, "r")]
    tensors.append(numpy_helper.from_array(np.array([1], dtype=np.int64), "axis"))
    nodes = [
        helper.make_node("MatMul", ["a", "l"], ["al"]),
        helper.make_node("MatMul", ["b", "r"], ["br"]),
        helper.make_node("Add", ["al", "br"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["m"]),
        helper.make_node("ReduceSum", ["m", "axis"], ["total"], keepdims=1),
    ]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size]) for name, size in (("a", 2), ("b", 4))]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size]) for name, size in (("m", 3), ("total", 1))]
    interface = Interface(
        (TensorSpec("a", DType.FP32, (None, 2)), TensorSpec("b", DType.FP32, (None, 4))),
        (TensorSpec("m", DType.FP32, (None, 3)), TensorSpec("total", DType.FP32, (None, 1))),
    )
    return save(path, helper.make_graph(nodes, "several", inputs, outputs, tensors)), interface


def _answer_several(rows: Tensors) -> dict[str, np.ndarray]:
    found = np.maximum(rows["a"] @ LEFT + rows["b"] @ RIGHT, 0)
    return {"m": found, "total": found.sum(axis=1, keepdims=True)}


def _lengths(path: Path) -> tuple[Path, Interface]:
    """A free second size: y = the mean over it."""
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=0)],
        "lengths",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "length", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
    )
    interface = Interface((TensorSpec("x", DType.FP32, (None, None, 3)),), (TensorSpec("y", DType.FP32, (None, 3)),))
    return save(path, graph), interface


def _texts(rows: int) -> dict[str, np.ndarray]:
    return {"x": np.array([["a", "日本\0"], ["", "é"]] * rows, dtype=object)[:rows]}


KINDS: Mapping[str, Kind] = {
    "floats": Kind(
        lambda path: (linear_model(path), LINEAR), lambda rows: {"x": _floats(rows, 4)}, lambda rows: {"y": rows["x"] @ WEIGHTS}
    ),
    "several": Kind(_several, lambda rows: {"a": _floats(rows, 2), "b": _floats(rows, 4)}, _answer_several),
    "ids": Kind(
        lookup_model,
        lambda rows: {"i": np.arange(rows) % 5},
        lambda rows: {"y": np.arange(10, dtype=np.float32).reshape(5, 2)[rows["i"]]},
    ),
    "texts": Kind(lambda path: echo_model(path, DType.BYTES), _texts, lambda rows: {"y": rows["x"]}),
    "free lengths": Kind(_lengths, lambda rows: {"x": _floats(rows, 6 + rows, 3)}, lambda rows: {"y": rows["x"].mean(axis=1)}),
}


def job(path: Path, interface: Interface) -> BuildJob:
    """What a builder is asked for the ONNX file at `path`."""
    source = Manifest((FileEntry(path.name, path.stat().st_size, "0" * 64),))
    artifact = Artifact(SourceFormat.ONNX, ArtifactForm.ONNX_FILE, path, path, source, "onnx", interface)
    return BuildJob(artifact, Conversion(path, interface, ()), path, path.parent / "build", OneShotSandbox())


def _onnx(kind: str, folder: Path) -> Engine:
    return OnnxRuntimeEngine(*KINDS[kind].make(folder / "m.onnx"))


def _ort(kind: str, folder: Path) -> Engine:
    from fairlead.convert.onnx_to_ort import build_ort

    path, interface = KINDS[kind].make(folder / "m.onnx")
    return OnnxRuntimeEngine(build_ort(job(path, interface)).path, interface)


def _openvino(kind: str, folder: Path) -> Engine | None:
    if kind == "texts":
        return None
    if importlib.util.find_spec("openvino") is None:  # never imported here: it would report that to its maker
        pytest.skip("openvino is not installed")
    from fairlead.convert.onnx_to_openvino import build_openvino
    from fairlead.engines.openvino_engine import OpenVinoEngine

    path, interface = KINDS[kind].make(folder / "m.onnx")
    return OpenVinoEngine(build_openvino(job(path, interface)).path, interface)


def _resident(kind: str, folder: Path) -> Engine:
    path, interface = KINDS[kind].make(folder / "m.onnx")
    arguments = {"path": str(path), "interface": msgspec.to_builtins(interface)}
    worker = Worker("resident_entries:run_onnx", path, "onnxruntime 1 in a process of its own", arguments, RESIDENT_LIMITS)
    return ResidentEngine(worker, interface, OneShotSandbox(import_paths=(Path(__file__).parent,)))


def _original(kind: str, folder: Path) -> Engine:
    path, interface = KINDS[kind].make(folder / "m.onnx")
    return open_reference(job(path, interface).artifact, folder / "scratch", OneShotSandbox())


def _ensemble(kind: str, folder: Path) -> Engine:
    """One step that runs the model."""
    from fairlead.core.ensemble import Member
    from fairlead.core.ensemble_wiring import Draft, StepKind, wire
    from fairlead.engines.ensemble_engine import EnsembleEngine

    path, interface = KINDS[kind].make(folder / "member-1.model.onnx")
    wires = {spec.name: f"input.{spec.name}" for spec in interface.inputs}
    members = [Member("m:1", "0" * 64, interface, "onnxruntime", path.name)]
    outputs = {spec.name: f"only.{spec.name}" for spec in interface.outputs}
    ensemble, whole = wire([Draft("only", StepKind.MODEL, wires, 0)], outputs, members)
    (folder / "ensemble.json").write_bytes(msgspec.json.encode(ensemble))
    return EnsembleEngine(folder / "ensemble.json", whole)


LITERT = Path(__file__).parents[1] / "data" / "tensorflow" / "litert"


def _litert(kind: str, _: Path) -> Engine | None:
    if kind != "floats":
        return None
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
    from fairlead.engines.litert_engine import LiteRtEngine

    inputs, outputs = (TensorSpec("keras_tensor", DType.FP32, (None, 12)),), (TensorSpec("output_0", DType.FP32, (None, 4)),)
    return LiteRtEngine(LITERT / "mlp.float.tflite", Interface(inputs, outputs))


def _litert_rows(rows: int) -> dict[str, np.ndarray]:
    with np.load(LITERT / "mlp.float.npz") as file:
        return {"keras_tensor": file["5/7/in/keras_tensor"][np.arange(rows) % 7]}


def _litert_answers(rows: Tensors) -> dict[str, np.ndarray]:
    with np.load(LITERT / "mlp.float.npz") as file:
        known, answers = file["5/7/in/keras_tensor"], file["5/7/out/output_0"]
    return {"output_0": np.stack([answers[int(np.abs(known - row).sum(axis=1).argmin())] for row in rows["keras_tensor"]])}


def _python(kind: str, folder: Path) -> Engine | None:
    """A linear model with the weights of the others: x @ WEIGHTS, in double precision."""
    if kind != "floats":
        return None
    linear = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed").LinearRegression(fit_intercept=False)
    from fairlead.engines.python_engine import PythonEngine

    rows = np.random.default_rng(3).normal(size=(30, 4))
    path = folder / "model.estimator"
    path.write_bytes(pickle.dumps(linear.fit(rows, rows @ WEIGHTS[:, 0])))
    interface = Interface((TensorSpec("x", DType.FP64, (None, 4)),), (TensorSpec("prediction", DType.FP64, (None, 1)),))
    return PythonEngine(path, interface, sandbox=OneShotSandbox())


BOOSTERS = Path(__file__).parents[1] / "data" / "trees"
CATEGORIES, LEAVES = BOOSTERS / "categories.cbm", BOOSTERS / "linear.txt"
TEXTS = ("Rome", "Köln", "", "Atlantis", "非常")


def _booster(kind: str, _: Path) -> Engine | None:
    """CatBoost with categories, and LightGBM with linear leaves, each in a process of its own."""
    if kind not in ("floats", "texts"):
        return None
    library = "lightgbm" if kind == "floats" else "catboost"
    pytest.importorskip(library, reason=f"{library} is not installed")
    from fairlead.engines.booster_engine import BoosterEngine
    from fairlead.ingest.catboost_reader import read_in_sandbox

    if kind == "floats":
        outputs = (TensorSpec("prediction", DType.FP64, (None, 1)),)
        return BoosterEngine(LEAVES, Interface((TensorSpec("x", DType.FP64, (None, 4)),), outputs), sandbox=OneShotSandbox())
    described = read_in_sandbox({"path": str(CATEGORIES), "scratch": ""})
    return BoosterEngine(CATEGORIES, msgspec.convert(described["interface"], Interface), sandbox=OneShotSandbox())


def _leaves_answers(rows: Tensors) -> dict[str, np.ndarray]:
    booster = importlib.import_module("lightgbm").Booster(model_file=str(LEAVES))
    return {"prediction": booster.predict(rows["x"], num_threads=1)[:, np.newaxis]}


def _booster_rows(rows: int) -> dict[str, np.ndarray]:
    texts = np.array([[TEXTS[row % len(TEXTS)]] for row in range(rows)], dtype=object)
    kinds = np.array([["ab"[row % 2]] for row in range(rows)], dtype=object)
    return {
        "city": texts,
        "age": 40 + 30 * _floats(rows, 1),
        "kind": kinds,
        "zip": np.array([[str(row)] for row in range(rows)], dtype=object),
    }


def _booster_answers(rows: Tensors) -> dict[str, np.ndarray]:
    catboost = importlib.import_module("catboost")
    table = [
        [part.item() if isinstance(part, np.generic) else part for part in row]
        for row in np.hstack([rows[name].astype(object) for name in rows])
    ]
    pool, model = catboost.Pool(table, cat_features=[0, 2, 3]), catboost.CatBoostClassifier().load_model(str(CATEGORIES))
    return {"label": model.predict(pool).reshape(-1).astype(object), "probabilities": model.predict_proba(pool)}


STUMP_LEAVES = np.array([0.25, -2.0], dtype=np.float32)


def _trees(kind: str, folder: Path) -> Engine | None:
    """One split for each of two outputs: 0.5 + a leaf for x[0] below 0.1, and 0.5 + a leaf for x[3] below 0.1."""
    if kind != "floats":
        return None
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    from fairlead.core.tree_ensemble import TreeEnsemble
    from fairlead.engines.tree_ensemble_file import write_tree_ensemble
    from fairlead.engines.trees_engine import TreesEngine

    none, leaves = np.zeros(6), np.array([0, *STUMP_LEAVES, 0, *STUMP_LEAVES])
    trees = TreeEnsemble(
        4, 2, np.array([0, 3]), np.array([0, 1]), np.array([1, 0, 0, 1, 0, 0]), np.array([0, 0, 0, 3, 0, 0]),
        np.array([1, 0, 0, 1, 0, 0]) * float(np.float32(0.1)), np.array([1, 0, 0, 4, 0, 0]), np.array([2, 0, 0, 5, 0, 0]), none, none > 0,
        leaves[:, np.newaxis], np.array([0.5, 0.5]), np.zeros(7, np.int32), np.zeros(0, np.int32), none > 0,
    )  # fmt: skip
    write_tree_ensemble(folder / "model.trees", trees)
    interface = Interface((TensorSpec("x", DType.FP32, (None, 4)),), (TensorSpec("prediction", DType.FP32, (None, 2)),))
    return TreesEngine(folder / "model.trees", interface)


OWN: Mapping[tuple[str, str], Kind] = {
    ("trees", "floats"): Kind(
        lambda path: (path, LINEAR),
        lambda rows: {"x": _floats(rows, 4)},
        lambda rows: {"prediction": 0.5 + np.where(rows["x"][:, [0, 3]] < np.float32(0.1), *STUMP_LEAVES)},
    ),
    ("litert", "floats"): Kind(lambda path: (path, LINEAR), _litert_rows, _litert_answers),
    ("booster", "floats"): Kind(lambda path: (path, LINEAR), lambda rows: {"x": _floats(rows, 4).astype(np.float64)}, _leaves_answers),
    ("booster", "texts"): Kind(lambda path: (path, LINEAR), _booster_rows, _booster_answers),
    ("python", "floats"): Kind(
        lambda path: (path, LINEAR),
        lambda rows: {"x": _floats(rows, 4).astype(np.float64)},
        lambda rows: {"prediction": rows["x"] @ WEIGHTS[:, :1].astype(np.float64)},
    ),
}


def kind_of(name: str, kind: str) -> Kind:
    """Return what the examinee called `name` is asked in place of `kind`, or the kind itself."""
    return OWN.get((name, kind), KINDS[kind])


EXAMINEES: Mapping[str, Callable[[str, Path], Engine | None]] = {
    "onnxruntime": _onnx,
    "onnxruntime with .ort": _ort,
    "openvino": _openvino,
    "litert": _litert,
    "trees": _trees,
    "python": _python,
    "booster": _booster,
    "ensemble": _ensemble,
    "in a process of its own": _resident,
    "onnx in the sandbox": _original,
}
ONE_SHOT = frozenset({"onnx in the sandbox"})  # a process per call: asked less often
SLOW_START = ONE_SHOT | {"python", "booster"}  # a process per engine: opened less often
