"""One-layer graphs: built by hand, converted, run in ONNX Runtime, and evaluated by the independent numpy engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from fairlead.convert.layer_graph_to_onnx import build_model
from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.layer_graph import GRAPH_INPUT, Call, Layer, LayerGraph, ValueRef
from fairlead.core.layer_kinds import KNOWN_KINDS
from fairlead.engines.layer_graph_engine import LayerGraphEngine


@dataclass
class Case:
    """A graph of layers in a row, or of one layer with several inputs."""

    graph: LayerGraph
    weights: dict[str, np.ndarray]
    outputs: tuple[TensorSpec, ...]

    def model(self) -> onnx.ModelProto:
        model = build_model(self.graph, self.weights, self.outputs)
        onnx.checker.check_model(model, full_check=True)
        return model

    def run(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """Answer with ONNX Runtime."""
        session = onnxruntime.InferenceSession(self.model().SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run([spec.name for spec in self.outputs], self._named(inputs))

    def evaluate(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """Answer with numpy."""
        engine = LayerGraphEngine(self.graph, self.weights, Interface(self.graph.inputs, self.outputs))
        answers = engine.run(self._named(inputs))
        return [answers[spec.name] for spec in self.outputs]

    def operators(self) -> list[str]:
        return [node.op_type for node in self.model().graph.node]

    def _named(self, inputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        return {spec.name: array for spec, array in zip(self.graph.inputs, inputs, strict=True)}


Step = tuple[str, Mapping[str, Any], Mapping[str, np.ndarray]]


def _layers(steps: Sequence[Step]) -> tuple[dict[str, Layer], dict[str, np.ndarray]]:
    layers: dict[str, Layer] = {}
    weights: dict[str, np.ndarray] = {}
    for number, (kind, config, own) in enumerate(steps):
        name = f"{kind.lower()}_{number}"
        keys = {role: f"{name}.{role}".replace("/", ".") for role in own}
        weights |= {keys[role]: np.asarray(array, dtype=np.float32) for role, array in own.items()}
        layers[name] = Layer(name, kind, {**KNOWN_KINDS[kind].config, **config}, keys)
    return layers, weights


@pytest.fixture
def row() -> Callable[..., Case]:
    """row(shape, (kind, config, weights), ...) -> layers one after the other."""

    def build(shape: Sequence[int | None], *steps: Step, dtype: DType = DType.FP32, output_count: int = 1) -> Case:
        layers, weights = _layers(steps)
        last = len(layers) - 1
        calls = tuple(
            Call(
                name, (ValueRef(GRAPH_INPUT) if number == 0 else ValueRef(number - 1),), output_count=output_count if number == last else 1
            )
            for number, name in enumerate(layers)
        )
        outputs = tuple((f"y{number}", ValueRef(last, number)) for number in range(output_count))
        graph = LayerGraph("row", layers, calls, (TensorSpec("x", dtype, (None, *shape)),), outputs, "keras 3.15.1")
        return Case(graph, weights, tuple(TensorSpec(name, DType.FP32, (None,)) for name, _ in outputs))

    return build


@pytest.fixture
def join() -> Callable[..., Case]:
    """join(kind, shapes, config, weights, names=..., constants=...) -> one layer of several inputs."""

    def build(
        kind: str, shapes: Sequence[Sequence[int | None]], config: Mapping[str, Any], weights: Mapping[str, np.ndarray], **call: Any
    ) -> Case:
        layers, arrays = _layers([(kind, config, weights)])
        inputs = tuple(TensorSpec(f"x{number}", DType.FP32, (None, *shape)) for number, shape in enumerate(shapes))
        count = call.pop("output_count", 1)
        refs = tuple(ValueRef(GRAPH_INPUT, number) for number in range(len(inputs)))
        calls = (Call(next(iter(layers)), refs, call.pop("constants", {}), count, tuple(call.pop("names", ()))),)
        outputs = tuple((f"y{number}", ValueRef(0, number)) for number in range(count))
        graph = LayerGraph("join", layers, calls, inputs, outputs, "keras 3.15.1")
        return Case(graph, arrays, tuple(TensorSpec(name, DType.FP32, (None,)) for name, _ in outputs))

    return build


@pytest.fixture
def draw() -> Callable[..., np.ndarray]:
    """draw(2, 3) -> normal float32 numbers, the same in every test."""
    generator = np.random.default_rng(20261122)
    return lambda *shape: generator.normal(size=shape).astype(np.float32)


@pytest.fixture
def agree() -> Callable[..., None]:
    """agree(case, x, ...) -> ONNX Runtime and numpy answer within 1e-5, absolute below 1 and relative above."""

    def check(case: Case, *inputs: np.ndarray) -> None:
        for got, want in zip(case.run(*inputs), case.evaluate(*inputs), strict=True):
            assert got.shape == want.shape
            assert np.max(np.abs(got - want) / np.maximum(1, np.abs(want)), initial=0) <= 1e-5

    return check
