"""What training minimizes: L(θ), the distance from the right answers and from the original model's answers.

Takes the model's graph, its interface and the rows; gives an Objective that turns a network's values into one number. Probabilities are
trained on what stands before the Softmax or Sigmoid that makes them. Without right answers the original's are the only aim.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
import torch
from torch import Tensor
from torch.nn import functional

from fairlead.core.dataset import Dataset
from fairlead.core.interface import Array, Decision, DecisionKind, Interface
from fairlead.errors import DataError

_TINY = 1e-7  # below, a probability's logarithm says nothing in float32
_FLAT = 1e-6  # of the largest variance: an answer that varies less is taken for constant
_NEW_SOFTMAX = 13
_TEMPERATURE = 2.0  # Hinton, Vinyals, Dean (2015), https://arxiv.org/abs/1503.02531: soft answers show which mistakes are small


class Aim(enum.StrEnum):
    """What an output means, and so which distance fits it."""

    CLASSES = "classes"  # one score per class along the last axis: cross entropy
    YES_NO = "yes or no"  # one probability per element: binary cross entropy
    NUMBERS = "numbers"  # squared error, over the variance


@dataclass(frozen=True)
class Head:
    """An output and what it is trained on: `value` stands before the Softmax or Sigmoid, or is the output itself.

    `is_probability` says that `value` holds probabilities, not logits; `is_logarithm` that the output holds their logarithms. `spread` is
    the variance of each of the original's answers over the rows.
    """

    output: str
    aim: Aim
    value: str
    is_probability: bool = False
    is_logarithm: bool = False
    spread: Tensor | float = 1.0


@dataclass(frozen=True)
class Objective:
    """`decides` is the head that right answers belong to (None: there is none); `others` follow the original's answers alone.

    `teacher_ratio` is the weight of the original's answers beside the right ones.
    """

    decides: Head | None
    others: tuple[Head, ...]
    teacher_ratio: float
    wanted: tuple[str, ...] = field(default=())

    def loss(self, values: Mapping[str, Tensor], teacher: Mapping[str, Tensor], target: Tensor | None) -> Tensor:
        """Return the mean loss of a batch."""
        total = torch.zeros(())
        for head in self.others:
            total = total + _follow(head, values[head.value], teacher[head.output])
        head_ = self.decides
        if head_ is None:
            return total
        if target is None:
            return total + _follow(head_, values[head_.value], teacher[head_.output])
        total = total + (1 - self.teacher_ratio) * _right(head_, values[head_.value], target)
        if self.teacher_ratio > 0:
            total = total + self.teacher_ratio * _follow(head_, values[head_.value], teacher[head_.output])
        return total


def objective_of(
    model: onnx.ModelProto, interface: Interface | None, teacher: Mapping[str, Tensor], teacher_ratio: float, *, has_target: bool
) -> Objective:
    """Return what to minimize for `model`; `teacher` are the original's answers to the training rows."""
    rule = interface.decision if interface is not None else None
    deciding = _deciding(rule, tuple(teacher))
    heads = {name: _head(model, name, rule if name == deciding else None, answers) for name, answers in teacher.items()}
    decides = heads.pop(deciding, None)
    if decides is None and has_target:
        raise DataError(
            "It is not known which output the right answers belong to.", hint="Deploy with a task, or give training rows without answers."
        )
    named = [*heads.values(), *([decides] if decides is not None else [])]
    return Objective(decides, tuple(heads.values()), teacher_ratio, tuple(dict.fromkeys(head.value for head in named)))


def _deciding(rule: Decision | None, outputs: tuple[str, ...]) -> str:
    """Return the name of the float output that right answers are compared with; "" where that is not known."""
    if rule is not None:
        name = rule.scores if rule.kind is DecisionKind.LABEL else rule.output
        return name if name in outputs else ""
    return outputs[0] if len(outputs) == 1 else ""


def target_of(data: Dataset, interface: Interface | None) -> Array | None:
    """Return the right answers as class numbers or as numbers; None where the rows have none."""
    if data.target is None:
        return None
    rule = interface.decision if interface is not None else None
    target = np.asarray(data.target)
    if rule is not None and rule.kind is DecisionKind.LABEL and interface is not None:
        places = {label: place for place, label in enumerate(interface.labels)}
        unknown = [label for label in target.reshape(-1).tolist() if label not in places]
        if unknown:
            raise DataError(f"The training rows have the label '{unknown[0]}', which the model does not know.", hint="Name labels alike.")
        return np.array([places[label] for label in target.reshape(-1).tolist()], dtype=np.int64).reshape(target.shape)
    if rule is not None and rule.kind is DecisionKind.ARGMAX:
        return target.astype(np.int64)
    return target.astype(np.float32)


def _head(model: onnx.ModelProto, output: str, rule: Decision | None, answers: Tensor) -> Head:
    maker, source = _last_operator(model, output)
    variance = answers.double().var(0, unbiased=False)
    spread = variance.clamp_min(max(float(variance.max()) * _FLAT, _TINY**2)).float()  # of each number that a row is answered with
    if maker in ("Softmax", "LogSoftmax"):
        return Head(output, Aim.CLASSES, source, is_logarithm=maker == "LogSoftmax")
    if maker == "Sigmoid":
        is_one_of_many = rule is not None and rule.kind is DecisionKind.ARGMAX
        return Head(output, Aim.CLASSES, output, is_probability=True) if is_one_of_many else Head(output, Aim.YES_NO, source)
    if rule is not None and rule.kind in (DecisionKind.ARGMAX, DecisionKind.LABEL):
        return Head(output, Aim.CLASSES, output, is_probability=_is_distribution(answers))
    if rule is not None and rule.kind is DecisionKind.THRESHOLD and bool(((answers >= 0) & (answers <= 1)).all()):
        return Head(output, Aim.YES_NO, output, is_probability=True)
    return Head(output, Aim.NUMBERS, output, spread=spread)


def _is_distribution(answers: Tensor) -> bool:
    return bool((answers >= 0).all()) and bool((answers.sum(-1) - 1).abs().max() < 1e-3)


def _last_operator(model: onnx.ModelProto, output: str) -> tuple[str, str]:
    """Return the operator that makes `output` and what it reads, looking through identities; ("", "") for a Softmax of another axis."""
    makers = {name: node for node in model.graph.node for name in node.output}
    node = makers.get(output)
    while node is not None and node.op_type in ("Identity", "Dropout"):
        node = makers.get(node.input[0])
    if node is None:
        return "", ""
    if node.op_type in ("Softmax", "LogSoftmax"):
        opset = max((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), default=0)
        axis = next((item.i for item in node.attribute if item.name == "axis"), -1 if opset >= _NEW_SOFTMAX else 1)
        shape = next((value.type.tensor_type.shape.dim for value in model.graph.output if value.name == output), ())
        if axis not in (-1, len(shape) - 1):
            return "", ""
    return node.op_type, node.input[0]


def _log_scores(head: Head, value: Tensor) -> Tensor:
    return torch.log(value.clamp_min(_TINY)) if head.is_probability else value


def _right(head: Head, value: Tensor, target: Tensor) -> Tensor:
    """The distance from the right answers."""
    if head.aim is Aim.CLASSES:
        scores = _log_scores(head, value)
        rows = scores.reshape(-1, scores.shape[-1])
        if target.shape == value.shape:  # a distribution for each decision
            return functional.cross_entropy(rows, target.reshape(rows.shape).to(rows.dtype))
        return functional.cross_entropy(rows, target.reshape(-1).to(torch.int64))
    target = target.reshape(value.shape).to(value.dtype)
    if head.aim is Aim.YES_NO:
        return _binary(head, value, target)
    return ((value - target) ** 2 / head.spread).mean()


def _follow(head: Head, value: Tensor, teacher: Tensor) -> Tensor:
    """The distance from the original's answers."""
    if head.aim is Aim.CLASSES:
        scores = functional.log_softmax(_log_scores(head, value) / _TEMPERATURE, dim=-1)
        soft = teacher if head.is_logarithm or not _gives_probabilities(head) else torch.log(teacher.clamp_min(_TINY))
        wanted = functional.log_softmax(soft / _TEMPERATURE, dim=-1)
        rows = scores.reshape(-1, scores.shape[-1]), wanted.reshape(-1, scores.shape[-1])
        return functional.kl_div(*rows, reduction="batchmean", log_target=True) * _TEMPERATURE**2
    if head.aim is Aim.YES_NO:
        return _binary(head, value, teacher.reshape(value.shape).clamp(0, 1))
    return ((value - teacher.reshape(value.shape)) ** 2 / head.spread).mean()


def _gives_probabilities(head: Head) -> bool:
    """Whether the output (not the trained value) holds probabilities."""
    return head.is_probability or head.value != head.output


def _binary(head: Head, value: Tensor, target: Tensor) -> Tensor:
    if head.is_probability:
        return functional.binary_cross_entropy(value.clamp(_TINY, 1 - _TINY), target)
    return functional.binary_cross_entropy_with_logits(value, target)
