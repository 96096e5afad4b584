from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairlead.core.artifact import Artifact, ArtifactForm, SourceFormat
from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.layer_graph import GRAPH_INPUT, Call, Layer, LayerGraph, ValueRef
from fairlead.core.layer_kinds import KNOWN_KINDS
from fairlead.core.manifest import Manifest
from fairlead.engines import layer_graph_engine
from fairlead.engines.layer_graph_engine import LayerGraphEngine, open_reference
from fairlead.engines.layer_graph_file import write_layer_graph
from fairlead.errors import RequestError, UnavailableError, UnsupportedError

WEIGHTS = {"k": np.array([[1.0, -1.0], [2.0, 0.5]], np.float32), "b": np.array([0.5, 0.25], np.float32)}
INTERFACE = Interface(
    (TensorSpec("x", DType.FP32, (None, 2)),), (TensorSpec("y", DType.FP32, (None, 2)), TensorSpec("z", DType.FP32, (None, 2)))
)


def config(kind: str, **options: Any) -> dict[str, Any]:
    return {**KNOWN_KINDS[kind].config, **options}


def two_layers(calls: tuple[Call, ...] = ()) -> LayerGraph:
    """y = relu(x k + b); z = y + x."""
    layers = {
        "dense": Layer("dense", "Dense", config("Dense", units=2, activation="relu"), {"kernel": "k", "bias": "b"}),
        "sum": Layer("sum", "Add", config("Add")),
    }
    start = ValueRef(GRAPH_INPUT)
    calls = calls or (Call("dense", (start,)), Call("sum", (ValueRef(0), start)))
    return LayerGraph("two", layers, calls, INTERFACE.inputs, (("y", ValueRef(0)), ("z", ValueRef(1))))


X = np.array([[1.0, 2.0], [-3.0, 0.5], [0.0, 0.0]], np.float32)
Y = np.maximum(X @ WEIGHTS["k"] + WEIGHTS["b"], 0)


def test_a_graph_gives_all_its_outputs_in_the_interfaces_types() -> None:
    outputs = LayerGraphEngine(two_layers(), WEIGHTS, INTERFACE).run({"x": X})
    assert list(outputs) == ["y", "z"]
    assert all(output.dtype == np.float32 for output in outputs.values())
    np.testing.assert_allclose(outputs["y"], Y, rtol=1e-6)
    np.testing.assert_allclose(outputs["z"], Y + X, rtol=1e-6)


def test_rows_are_answered_the_same_alone_and_together() -> None:
    engine = LayerGraphEngine(two_layers(), WEIGHTS, INTERFACE)
    together = engine.run({"x": X}, ["z"])["z"]
    alone = [engine.run({"x": X[row : row + 1]}, ["z"])["z"] for row in range(len(X))]
    np.testing.assert_array_equal(np.concatenate(alone), together)


@pytest.mark.parametrize("rows_per_piece", [1, 2, 100])
def test_rows_that_go_through_in_pieces_give_the_same_answers(monkeypatch: pytest.MonkeyPatch, rows_per_piece: int) -> None:
    engine = LayerGraphEngine(two_layers(), WEIGHTS, INTERFACE)
    whole = engine.run({"x": X})
    seen: list[int] = []
    run_piece = engine._run_piece
    monkeypatch.setattr(engine, "_run_piece", lambda inputs, names: seen.append(len(inputs["x"])) or run_piece(inputs, names))
    monkeypatch.setattr(layer_graph_engine, "_PIECE_BYTES", rows_per_piece * X.shape[1] * 8)
    pieces = engine.run({"x": X})
    assert max(seen) == min(rows_per_piece, len(X))
    assert sum(seen) == len(X)
    assert list(pieces) == list(whole)
    for name, array in whole.items():
        np.testing.assert_array_equal(pieces[name], array)


def test_an_unknown_output_is_refused() -> None:
    with pytest.raises(RequestError, match="no output 'q'"):
        LayerGraphEngine(two_layers(), WEIGHTS, INTERFACE).run({"x": X}, ["q"])


def test_an_input_of_the_wrong_type_is_refused() -> None:
    with pytest.raises(RequestError, match="float64"):
        LayerGraphEngine(two_layers(), WEIGHTS, INTERFACE).run({"x": X.astype(np.float64)})


def test_a_closed_engine_says_so() -> None:
    engine = LayerGraphEngine(two_layers(), WEIGHTS, INTERFACE)
    engine.close()
    engine.close()
    with pytest.raises(UnavailableError):
        engine.run({"x": X})


def test_a_layer_that_cannot_take_what_it_gets_is_named() -> None:
    weights = {**WEIGHTS, "k": np.ones((5, 2), np.float32)}
    with pytest.raises(RequestError, match=r"Layer 'dense' cannot take inputs of shape \[3, 2\]"):
        LayerGraphEngine(two_layers(), weights, INTERFACE).run({"x": X})


def test_a_call_while_training_is_refused_when_the_engine_is_opened() -> None:
    calls = (Call("dense", (ValueRef(GRAPH_INPUT),), {"training": True}), Call("sum", (ValueRef(0), ValueRef(GRAPH_INPUT))))
    with pytest.raises(UnsupportedError, match=r"'dense' .* called with 'training'"):
        LayerGraphEngine(two_layers(calls), WEIGHTS, INTERFACE)


def test_a_tensor_for_an_argument_that_no_one_looks_at_is_refused_when_the_engine_is_opened() -> None:
    start = ValueRef(GRAPH_INPUT)
    calls = (Call("dense", (start, start), argument_names=("inputs", "mask")), Call("sum", (ValueRef(0), start)))
    with pytest.raises(UnsupportedError, match="called with 'mask'"):
        LayerGraphEngine(two_layers(calls), WEIGHTS, INTERFACE)


class NoSandbox:
    """The reference must not need one."""

    def run(self, job: object) -> dict[str, Any]:
        raise AssertionError(job)

    def layers(self) -> dict[str, str]:
        raise AssertionError


def test_the_reference_is_opened_from_the_artifacts_folder_without_a_sandbox(tmp_path: Path) -> None:
    write_layer_graph(tmp_path / "graph", two_layers(), WEIGHTS)
    artifact = Artifact(
        SourceFormat.KERAS_H5, ArtifactForm.LAYER_GRAPH, tmp_path / "graph", tmp_path / "m.h5", Manifest(()), "keras 3", INTERFACE
    )
    engine = open_reference(artifact, tmp_path / "scratch", NoSandbox())
    np.testing.assert_allclose(engine.run({"x": X})["y"], Y, rtol=1e-6)
    assert "numpy" in engine.description
    assert not (tmp_path / "scratch").exists()
