"""Networks to learn from a teacher: a small dense network over a table, and fresh weights for a network that was cut.

Takes the teacher's model (any ONNX model, also trees) and its lessons; gives a model with the same inputs and outputs. Raises
UnsupportedError where the inputs or outputs are not those of a table.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from fairlead.core.interface import Array, DecisionKind, Interface
from fairlead.errors import UnsupportedError
from fairlead.optimize.training.lessons import Lessons
from fairlead.optimize.training.network import Network

_OPSET, _IR = 17, 8
_RECURRENT = ("LSTM", "GRU", "RNN")
_TINY = 1e-6


def dense_student(
    teacher: onnx.ModelProto, lessons: Lessons, interface: Interface | None, hidden: Sequence[int], seed: int
) -> onnx.ModelProto:
    """Return a network of `hidden` layers with Relu that takes one table of numbers and gives what `teacher` gives.

    It scales its input by the training rows. Probabilities come from a Softmax or Sigmoid; a label output is the label of the largest.
    """
    stored = {tensor.name for tensor in teacher.graph.initializer}
    inputs = [value for value in teacher.graph.input if value.name not in stored]
    scores = [value for value in teacher.graph.output if value.type.tensor_type.elem_type == TensorProto.FLOAT]
    labels = [value for value in teacher.graph.output if value.type.tensor_type.elem_type != TensorProto.FLOAT]
    table = lessons.inputs.get(inputs[0].name) if len(inputs) == 1 else None
    if table is None or table.ndim != 2 or not table.is_floating_point() or len(scores) != 1 or len(labels) > 1:
        raise UnsupportedError(
            "A dense student takes one table of float numbers and gives one table of scores.", hint="Use distill_network(student='same')."
        )
    answers = lessons.teacher[scores[0].name]
    wide = answers.reshape(len(answers), -1)
    builder = _Builder(torch.Generator().manual_seed(seed))
    seen = table[lessons.learned].double()
    spread = seen.std(0).clamp_min(_TINY)
    current = builder.node("Sub", inputs[0].name, builder.store(seen.mean(0).float().numpy()))
    current = builder.node("Div", current, builder.store(torch.where(spread <= _TINY, 1.0, spread).float().numpy()))
    sizes = [table.shape[1], *hidden, wide.shape[1]]
    for place, (before, after) in enumerate(itertools.pairwise(sizes)):
        current = builder.dense(current, before, after)
        current = builder.node("Relu", current) if place < len(sizes) - 2 else current
    current = _finish(builder, current, wide)
    if answers.ndim == 1:
        current = builder.node("Reshape", current, builder.store(np.array([-1], dtype=np.int64)))
    builder.nodes.append(helper.make_node("Identity", [current], [scores[0].name], name=scores[0].name))
    if labels:
        _add_labels(builder, scores[0].name, labels[0], interface)
    graph = helper.make_graph(builder.nodes, "student", inputs, list(teacher.graph.output), builder.tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)


def _finish(builder: _Builder, current: str, answers: Tensor) -> str:
    """Turn logits into what the teacher gives: a distribution, probabilities, or numbers of its own mean and spread."""
    is_probability = bool(((answers >= 0) & (answers <= 1)).all())
    if is_probability and answers.shape[1] > 1 and bool((answers.sum(1) - 1).abs().max() < 1e-3):
        return builder.node("Softmax", current, axis=-1)
    if is_probability:
        return builder.node("Sigmoid", current)
    spread = answers.double().std(0).clamp_min(_TINY).float().numpy()
    scaled = builder.node("Mul", current, builder.store(spread))
    return builder.node("Add", scaled, builder.store(answers.double().mean(0).float().numpy()))


def _add_labels(builder: _Builder, scores: str, output: onnx.ValueInfoProto, interface: Interface | None) -> None:
    known = interface.labels if interface is not None else ()
    rule = interface.decision if interface is not None else None
    if not known or rule is None or rule.kind is not DecisionKind.LABEL or rule.output != output.name:
        raise UnsupportedError(
            f"The output '{output.name}' is not one of scores, and its labels are not known.", hint="Leave the pass out."
        )
    values = np.array(known, dtype=object if isinstance(known[0], str) else np.int64)
    place = builder.node("ArgMax", scores, axis=-1, keepdims=0)
    stored = builder.store(values)
    builder.nodes.append(helper.make_node("Gather", [stored, place], [output.name], name=output.name, axis=0))


class _Builder:
    """Collects nodes and stored tensors."""

    def __init__(self, generator: torch.Generator) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self._generator = generator

    def node(self, operator: str, *inputs: str, **attributes: int) -> str:
        """Add an operator and return its output's name."""
        name = f"student/{len(self.nodes)}_{operator}"
        node = helper.make_node(operator, list(inputs), [name], name=name)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
        return name

    def store(self, values: Array) -> str:
        """Store a tensor and return its name."""
        name = f"student/value{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(values, name))
        return name

    def dense(self, current: str, before: int, after: int) -> str:
        """Add a dense layer with drawn weights."""
        weight = torch.randn(before, after, generator=self._generator) * math.sqrt(2.0 / before)
        return self.node("Gemm", current, self.store(weight.numpy()), self.store(np.zeros(after, np.float32)))


def draw_again(network: Network, seed: int) -> None:
    """Give `network` fresh weights: normal with the variance 2 / fan-in (He et al. 2015), biases 0, scales 1, no statistics.

    What is added or multiplied outside of a layer, and embeddings, keep their values: they have no layer to tell their size by.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn: dict[str, Tensor] = {}
    for call in network.calls:
        weights = {place: network.parameters[name] for place, name in enumerate(call.inputs) if name in network.parameters}
        for place, value in weights.items():
            fresh = _fresh(call.operator, place, value, call.attributes, generator)
            if fresh is not None:
                drawn[call.inputs[place]] = fresh
        if call.operator == "BatchNormalization":
            for place, number in ((3, 0.0), (4, 1.0)):
                drawn[call.inputs[place]] = torch.full_like(network.statistics[call.inputs[place]], number)
    with torch.no_grad():
        for name, value in {**network.parameters, **network.statistics}.items():
            if name in drawn:
                value.copy_(drawn[name])


def _fresh(operator: str, place: int, value: Tensor, attributes: Mapping[str, object], generator: torch.Generator) -> Tensor | None:
    if operator.endswith("Normalization"):
        return torch.ones_like(value) if place == 1 else torch.zeros_like(value)
    if operator in ("Conv", "ConvTranspose", "Gemm") and place == 2:
        return torch.zeros_like(value)
    if operator in _RECURRENT:
        bound = 1.0 / math.sqrt(value.shape[-1]) if value.ndim > 2 else 0.0
        return (torch.rand(value.shape, generator=generator) * 2 - 1) * bound
    if operator == "Conv":
        fan_in = math.prod(value.shape[1:])
    elif operator == "ConvTranspose":
        fan_in = value.shape[0]
    elif operator == "Gemm":
        fan_in = value.shape[1 if attributes.get("transB", 0) else 0] if place == 1 else 0
    elif operator in ("MatMul", "Einsum") and value.ndim >= 2:
        fan_in = value.shape[-2]
    else:
        fan_in = 0
    return torch.randn(value.shape, generator=generator) * math.sqrt(2.0 / fan_in) if fan_in else None
