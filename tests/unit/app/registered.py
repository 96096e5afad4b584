"""Registers small models as deploy would, in milliseconds: what is proven here is what comes after a deployment."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from fairlead.app.wiring import House, build_house
from fairlead.core.conversion import TWIN_FILE
from fairlead.core.dtype import DType
from fairlead.core.golden import Golden
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec
from fairlead.core.lineage import Lineage, Step
from fairlead.core.plan import Candidate, Plan
from fairlead.core.strategy import Strategy
from fairlead.core.target import Machine, Target
from fairlead.core.verdict import Check, OutputParity, Parity, Speed, Verdict
from fairlead.core.version import Version
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.register.aliases import promote
from fairlead.register.stage import Registration, register
from fairlead.stores.document import dump
from fairlead.stores.golden_rows import write_golden

MACHINE = Machine("Linux", "a processor", 2, 2**33)
CANDIDATE = Candidate("onnx", (), "onnxruntime", 1, "the only one")
CHECK = Check("batch invariance", is_met=True, measured=0.0, bound="<= 1e-05")


def write_model(path: Path, make: Callable[..., list], inputs: list, outputs: list, constants: dict[str, np.ndarray]) -> Path:
    """Write ONNX with (name, type, shape) inputs and outputs."""
    infos = [[helper.make_tensor_value_info(*one) for one in part] for part in (inputs, outputs)]
    graph = helper.make_graph(make(), "g", *infos, [numpy_helper.from_array(value, name) for name, value in constants.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def scaler(path: Path, width: int = 4, *, factor: float = 0.5, name: str = "x") -> tuple[Path, Interface]:
    """y = (x - 1) * factor."""
    constants = {"one": np.float32([1.0]), "factor": np.float32([factor])}
    nodes = lambda: [helper.make_node("Sub", [name, "one"], ["d"]), helper.make_node("Mul", ["d", "factor"], ["y"])]
    write_model(path, nodes, [(name, TensorProto.FLOAT, ["b", width])], [("y", TensorProto.FLOAT, ["b", width])], constants)
    columns = tuple(f"c{number}" for number in range(width))
    return path, Interface((TensorSpec(name, DType.FP32, (None, width), columns),), (TensorSpec("y", DType.FP32, (None, width)),))


def classifier(
    path: Path, width: int = 4, *, seed: int = 0, labels: tuple = ("cat", "dog", "owl"), columns: tuple = ("c0", "c1", "c2", "c3")
) -> tuple[Path, Interface]:
    """scores = softmax(x @ w), one for each label."""
    weights = np.random.default_rng(seed).normal(size=(width, len(labels))).astype(np.float32)
    nodes = lambda: [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Softmax", ["m"], ["scores"])]
    ends = [("scores", TensorProto.FLOAT, ["b", len(labels)])]
    write_model(path, nodes, [("x", TensorProto.FLOAT, ["b", width])], ends, {"w": weights})
    spec = TensorSpec("x", DType.FP32, (None, width), columns)
    rule = Decision(DecisionKind.ARGMAX, "scores", scores="scores")
    return path, Interface((spec,), (TensorSpec("scores", DType.FP32, (None, len(labels))),), Task.CLASSIFICATION, rule, labels)


def lookup(path: Path) -> tuple[Path, Interface]:
    """The row of a table of five, by index: a row whose index is 5 or more cannot be answered."""
    nodes = lambda: [helper.make_node("Gather", ["table", "i"], ["y"])]
    table = {"table": np.arange(10, dtype=np.float32).reshape(5, 2)}
    write_model(path, nodes, [("i", TensorProto.INT64, ["b"])], [("y", TensorProto.FLOAT, ["b", 2])], table)
    return path, Interface((TensorSpec("i", DType.INT64, (None,)),), (TensorSpec("y", DType.FP32, (None, 2)),))


def draw(interface: Interface, rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        spec.name: (
            random.integers(0, 5, (rows, *spec.shape[1:])).astype(spec.dtype.numpy)
            if spec.dtype.is_integer
            else random.normal(size=(rows, *(size or 3 for size in spec.shape[1:]))).astype(spec.dtype.numpy)
        )
        for spec in interface.inputs
    }


def verdict_of(path: Path, engine: str) -> Verdict:
    parity = Parity(4, 0, (OutputParity("y", 0.0, 0.0, 0.0),), 0, {"1": 0.0}, is_deterministic=True, tolerance=1e-5)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    speed = (Speed(1, 0.01, 0.01, 0.01, 0.01, 1e5, 100, 1),)
    return Verdict("onnx", engine, "original", (CHECK,), parity, (), speed, 1, 1, 1, digest, "", "4 rows", 4, 0, MACHINE)


def add_version(
    house: House,
    name: str,
    model: tuple[Path, Interface],
    *,
    alias: str = "production",
    golden: Golden | None = None,
    strategy: Strategy | None = None,
    has_twin: bool = False,
) -> Version:
    """Register the ONNX file `model` with its interface, and point `alias` at it ("" for none)."""
    path, interface = model
    folder = path.parent / f"evidence-{name}-{time.monotonic_ns()}"
    folder.mkdir()
    shutil.copyfile(path, folder / "model.onnx")
    engine = OnnxRuntimeEngine(path, interface)
    rows = draw(interface, 3)
    verdict = verdict_of(path, engine.description)
    source = "0" * 64
    lineage = Lineage(source, path.name, (Step("ingest", "onnx", source, source), Step("convert", "copy", source, verdict.model_digest)))
    documents = {
        "interface.json": interface,
        "engine.json": CANDIDATE,
        "verdict.json": verdict,
        "plan.json": Plan((), Target(), (CANDIDATE,)),
        "lineage.json": lineage,
    }
    for file, value in documents.items():
        (folder / file).write_bytes(dump(value))
    if strategy is not None:
        (folder / "strategy.json").write_bytes(dump(strategy))
    if has_twin:
        shutil.copyfile(path, folder / TWIN_FILE)
    write_golden(folder / "golden.npz", golden or Golden(rows, engine.run(rows)))
    (folder / "report.html").write_text("<p>report</p>")
    (folder / "card.md").write_text("# card")
    files = {entry.name: entry for entry in folder.iterdir()}
    version = register(Registration(name, files, verdict), records=house.records, blobs=house.blobs, clock=time.time)
    if alias:
        promote(name, version.number, alias=alias, records=house.records, clock=time.time)
    return version


def new_house(folder: Path) -> House:
    house = build_house(folder)
    return replace(house, settings=replace(house.settings, verify_call_count=20, verify_time_s=0.05))


def wait_until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, "did not happen in time"
        time.sleep(0.02)
