"""The exact clean-up: it takes out what changes no answer, keeps every bit, and finds nothing to do the second time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.plan import Candidate
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.errors import CorruptError, UnsupportedError
from fairlead.optimize import stage as optimize_stage
from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.passes.clean_graph import clean_graph
from fairlead.optimize.stage import optimize

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(64, 8)).astype(np.float32)


def weight(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array(RNG.normal(size=shape).astype(np.float32), name)


def save(path: Path, nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto], inputs: tuple[str, ...] = ("x",)) -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 8]) for name in inputs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 8])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def answers(path: Path, rows: np.ndarray = ROWS) -> np.ndarray:
    interface = Interface((TensorSpec("x", DType.FP32, (None, 8)),), (TensorSpec("y", DType.FP32, (None, 8)),))
    return OnnxRuntimeEngine(path, interface, optimization="none").run({"x": rows})["y"]


def untidy(path: Path) -> Path:
    """An identity in the middle and one at the end, a dropout, a dead branch, a constant product, two equal weights."""
    shared = weight("w1", 8, 8)
    twin = onnx.TensorProto()
    twin.CopyFrom(shared)
    twin.name = "w2"
    nodes = [
        helper.make_node("Identity", ["x"], ["a"]),
        helper.make_node("MatMul", ["a", "w1"], ["b"]),
        helper.make_node("Dropout", ["b"], ["c"]),
        helper.make_node("MatMul", ["c", "w2"], ["d"]),
        helper.make_node("Constant", [], ["half"], value=numpy_helper.from_array(np.float32(0.5))),
        helper.make_node("Mul", ["bias", "half"], ["scaled"]),
        helper.make_node("Add", ["d", "scaled"], ["e"]),
        helper.make_node("Relu", ["b"], ["dead"]),
        helper.make_node("Identity", ["e"], ["y"]),
    ]
    return save(path, nodes, [shared, twin, weight("bias", 8), weight("unused", 100, 100)])


def test_what_changes_no_answer_is_taken_out(tmp_path: Path) -> None:
    source = untidy(tmp_path / "a.onnx")
    result = clean_graph(PassJob(source, tmp_path / "b.onnx"))
    graph = onnx.load(tmp_path / "b.onnx").graph
    assert [node.op_type for node in graph.node] == ["MatMul", "MatMul", "Add"]
    assert len(graph.initializer) == 2
    assert (tmp_path / "b.onnx").stat().st_size < source.stat().st_size / 10
    assert "9 operators became 3" in result.notes[0]


def test_every_answer_keeps_its_bits(tmp_path: Path) -> None:
    source = untidy(tmp_path / "a.onnx")
    clean_graph(PassJob(source, tmp_path / "b.onnx"))
    assert answers(source).tobytes() == answers(tmp_path / "b.onnx").tobytes()


def test_a_second_pass_writes_the_same_bytes(tmp_path: Path) -> None:
    clean_graph(PassJob(untidy(tmp_path / "a.onnx"), tmp_path / "b.onnx"))
    clean_graph(PassJob(tmp_path / "b.onnx", tmp_path / "c.onnx"))
    assert (tmp_path / "b.onnx").read_bytes() == (tmp_path / "c.onnx").read_bytes()


def test_the_names_of_inputs_and_outputs_stay(tmp_path: Path) -> None:
    source = save(tmp_path / "a.onnx", [helper.make_node("Identity", ["x"], ["y"])], [])
    clean_graph(PassJob(source, tmp_path / "b.onnx"))
    graph = onnx.load(tmp_path / "b.onnx").graph
    assert (graph.input[0].name, graph.output[0].name) == ("x", "y")
    assert np.array_equal(answers(tmp_path / "b.onnx"), ROWS)


def test_a_dropout_that_trains_is_kept(tmp_path: Path) -> None:
    weights = [numpy_helper.from_array(np.float32(0.5), "ratio"), numpy_helper.from_array(np.array(1, dtype=bool), "training")]
    source = save(tmp_path / "a.onnx", [helper.make_node("Dropout", ["x", "ratio", "training"], ["y"], seed=1)], weights)
    clean_graph(PassJob(source, tmp_path / "b.onnx"))
    assert [node.op_type for node in onnx.load(tmp_path / "b.onnx").graph.node] == ["Dropout"]


def test_random_numbers_are_not_frozen(tmp_path: Path) -> None:
    nodes = [helper.make_node("RandomNormalLike", ["w"], ["noise"]), helper.make_node("Add", ["x", "noise"], ["y"])]
    clean_graph(PassJob(save(tmp_path / "a.onnx", nodes, [weight("w", 8)]), tmp_path / "b.onnx"))
    assert "RandomNormalLike" in [node.op_type for node in onnx.load(tmp_path / "b.onnx").graph.node]


def test_a_constant_that_would_make_the_file_large_is_left_to_the_runtime(tmp_path: Path) -> None:
    shape = numpy_helper.from_array(np.array([1000, 8], dtype=np.int64), "shape")
    nodes = [
        helper.make_node("Expand", ["w", "shape"], ["wide"]),
        helper.make_node("ReduceSum", ["wide", "axes"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    source = save(tmp_path / "a.onnx", nodes, [weight("w", 8), shape, numpy_helper.from_array(np.array([0], dtype=np.int64), "axes")])
    clean_graph(PassJob(source, tmp_path / "b.onnx"))
    assert (tmp_path / "b.onnx").stat().st_size <= source.stat().st_size
    assert answers(source).tobytes() == answers(tmp_path / "b.onnx").tobytes()


def test_values_that_a_branch_uses_are_kept(tmp_path: Path) -> None:
    def branch(name: str, operator: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(operator, ["a"], [f"{name}_out"])], name, [], [out])

    nodes = [
        helper.make_node("Identity", ["x"], ["a"]),
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Greater", ["largest", "limit"], ["is_large"]),
        helper.make_node("If", ["is_large"], ["y"], then_branch=branch("then", "Neg"), else_branch=branch("else", "Abs")),
    ]
    source = save(tmp_path / "a.onnx", nodes, [numpy_helper.from_array(np.float32(3.0), "limit")])
    clean_graph(PassJob(source, tmp_path / "b.onnx"))
    for rows in (ROWS, ROWS * 10):
        assert answers(source, rows).tobytes() == answers(tmp_path / "b.onnx", rows).tobytes()


def test_the_stage_writes_an_unbroken_chain_and_leaves_its_input_alone(tmp_path: Path) -> None:
    source = untidy(tmp_path / "a.onnx")
    before = source.read_bytes()
    candidate = Candidate("twice", ("clean_graph", "clean_graph"), "onnxruntime", 1, "")
    path, steps = optimize(candidate, source, tmp_path / "work")
    assert source.read_bytes() == before
    assert steps[0].output_digest == steps[1].input_digest == steps[1].output_digest
    assert path.parent == tmp_path / "work"


def test_a_candidate_without_passes_is_the_converted_file_itself(tmp_path: Path) -> None:
    source = untidy(tmp_path / "a.onnx")
    assert optimize(Candidate("plain", (), "onnxruntime", 1, ""), source, tmp_path / "work") == (source, ())


def test_a_pass_that_renames_an_output_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bad_pass(job: PassJob) -> PassResult:
        model = onnx.load(job.source)
        model.graph.output[0].name = "other"
        model.graph.node[-1].output[0] = "other"
        onnx.save(model, job.destination)
        return PassResult()

    class Fake:
        def load(self, name: str) -> object:
            return bad_pass

    monkeypatch.setattr(optimize_stage, "PASSES", Fake())
    with pytest.raises(CorruptError, match="inputs or outputs"):
        optimize(Candidate("bad", ("bad",), "onnxruntime", 1, ""), untidy(tmp_path / "a.onnx"), tmp_path / "work")


def test_an_unknown_pass_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="no pass 'magic'"):
        optimize(Candidate("bad", ("magic",), "onnxruntime", 1, ""), untidy(tmp_path / "a.onnx"), tmp_path / "work")
