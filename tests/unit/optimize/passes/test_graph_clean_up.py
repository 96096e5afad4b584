"""Branches that are known, notes of exporters, and what onnxslim takes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from graph_examples import MODELS, answers, difference, of_kind, operators, rows_for, run, save, tree, value, weight
from onnx import helper, numpy_helper

from fairlead.errors import UnsupportedError


def branch(name: str, scale: float) -> Any:
    """A branch that has a weight of its own, uses an outer value, and calls its values as the other branch does."""
    nodes = [helper.make_node("Mul", ["m", "scale"], ["inner"]), helper.make_node("Relu", ["inner"], ["result"])]
    return helper.make_graph(nodes, name, [], [value("result", "batch", 32)], [numpy_helper.from_array(np.float32(scale), "scale")])


@pytest.mark.parametrize("is_true", [True, False])
def test_the_branch_of_a_known_condition_takes_the_place_of_the_if(is_true: bool, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("If", ["condition"], ["picked"], then_branch=branch("then", 2.0), else_branch=branch("else", -3.0)),
        helper.make_node("Add", ["picked", "m"], ["y"]),
    ]
    tensors = [weight("w", 32, 32), numpy_helper.from_array(np.array(is_true), "condition")]
    source = save(tmp_path / "a.onnx", nodes, [value("x", "batch", 32)], [value("y", "batch", 32)], tensors)
    run("clean_graph", source, tmp_path / "b.onnx")
    assert operators(tmp_path / "b.onnx") == ["MatMul", "Mul", "Relu", "Add"]
    rows = rows_for(source)
    assert answers(source, rows)[0].tobytes() == answers(tmp_path / "b.onnx", rows)[0].tobytes()
    onnx.checker.check_model(onnx.load(tmp_path / "b.onnx"))


def test_a_branch_that_depends_on_the_input_stays(tmp_path: Path) -> None:
    run("clean_graph", MODELS["branching"](tmp_path / "a.onnx"), tmp_path / "b.onnx")
    assert "If" in operators(tmp_path / "b.onnx")


def test_what_exporters_note_for_people_goes(tmp_path: Path) -> None:
    source = MODELS["dense"](tmp_path / "a.onnx")
    model = onnx.load(source)
    model.graph.node[0].metadata_props.add(key="pkg.torch.onnx.stack_trace", value="File /home/somebody/secret.py, line 3")
    model.graph.node[1].doc_string = "written on somebody's machine"
    model.metadata_props.add(key="author", value="somebody")
    onnx.save(model, source)
    run("clean_graph", source, tmp_path / "b.onnx")
    assert b"somebody" in source.read_bytes()
    assert b"somebody" not in (tmp_path / "b.onnx").read_bytes()


@pytest.mark.parametrize("opset", [13, 21])
@pytest.mark.parametrize("model", MODELS)
def test_the_clean_up_keeps_every_bit_and_refuses_nothing(model: str, opset: int, tmp_path: Path) -> None:
    source = MODELS[model](tmp_path / "a.onnx", opset)
    run("clean_graph", source, tmp_path / "b.onnx")
    for count in (1, 9):
        rows = rows_for(source, count)
        for before, after in zip(answers(source, rows), answers(tmp_path / "b.onnx", rows), strict=True):
            assert before.tobytes() == after.tobytes()


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_other_precisions_are_cleaned_too(kind: type, tmp_path: Path) -> None:
    source = of_kind(tmp_path / "a.onnx", kind)
    run("clean_graph", source, tmp_path / "b.onnx", rows={})
    rows = rows_for(source)
    assert answers(source, rows)[0].tobytes() == answers(tmp_path / "b.onnx", rows)[0].tobytes()


def channels_last(path: Path) -> Path:
    """A convolution with transposes around it that cancel with those of its neighbour."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["a"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["a", "k1"], ["b"]),
        helper.make_node("Transpose", ["b"], ["c"], perm=[0, 2, 3, 1]),
        helper.make_node("Transpose", ["c"], ["d"], perm=[0, 3, 1, 2]),
        helper.make_node("BatchNormalization", ["d", "g", "g", "g", "g"], ["n"]),
        helper.make_node("Conv", ["n", "k2"], ["y"]),
    ]
    tensors = [weight("k1", 8, 3, 3, 3), weight("k2", 4, 8, 3, 3), numpy_helper.from_array(np.ones(8, np.float32), "g")]
    return save(path, nodes, [value("x", "batch", 10, 10, 3)], [value("y", "batch", 4, 6, 6)], tensors)


def test_onnxslim_takes_out_transposes_that_cancel(tmp_path: Path) -> None:
    pytest.importorskip("onnxslim", reason="the extra 'slim' is not installed")
    source = channels_last(tmp_path / "a.onnx")
    result = run("slim_graph", source, tmp_path / "b.onnx")
    assert operators(tmp_path / "b.onnx").count("Transpose") <= 1
    assert difference(source, tmp_path / "b.onnx", rows_for(source)) < 1e-5
    assert "operators became" in result.notes[0]
    assert onnx.load(source).graph.output == onnx.load(tmp_path / "b.onnx").graph.output


@pytest.mark.parametrize("model", [MODELS["dense"], tree], ids=["dense", "tree"])
def test_onnxslim_is_refused_where_it_finds_nothing(model: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxslim", reason="the extra 'slim' is not installed")
    with pytest.raises(UnsupportedError, match="finds no operator") as caught:
        run("slim_graph", model(tmp_path / "a.onnx"), tmp_path / "b.onnx", rows={})
    assert "slim_graph" in caught.value.hint
    assert capfd.readouterr().out == ""


def test_a_graph_that_onnxslim_cannot_follow_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnxslim = pytest.importorskip("onnxslim", reason="the extra 'slim' is not installed")

    def fail(_model: Any) -> None:
        raise KeyError("shape")

    monkeypatch.setattr(onnxslim, "slim", fail)
    with pytest.raises(UnsupportedError, match="cannot follow this graph"):
        run("slim_graph", MODELS["dense"](tmp_path / "a.onnx"), tmp_path / "b.onnx")
