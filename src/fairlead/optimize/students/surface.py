"""What a student has to look like: the teacher's inputs and outputs, and how each output comes from a student's sums.

Takes an ONNX model and its answers on rows; gives a Surface. Inputs are tables of numbers (anything else is refused by name); outputs are
one of probabilities, a score or numbers, and the label that follows from it. Writes the student's graph around nodes that make sums from
one table of features. Raises UnsupportedError that names what does not fit.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fairlead.core.interface import Array, Interface, Label, Task, Tensors
from fairlead.errors import UnsupportedError
from fairlead.optimize.trees.link import Function, Link

FEATURE_LIMIT = 4096
_OPSET = 21
_IR_VERSION = 10
_CLOSE = 1e-3
_AGREEING = 0.99  # of the rows: ties may fall otherwise
_NUMBERS = {
    TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64,
    TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64, TensorProto.BOOL,
}  # fmt: skip


class Role(enum.StrEnum):
    """What an output shows."""

    PROBABILITIES = "probabilities"  # (rows, classes), each row adds up to 1
    SCORE = "score"  # (rows, 1) or (rows,): the probability of the second class
    NUMBERS = "numbers"
    LABEL = "label"


@dataclass(frozen=True)
class Surface:
    """`inputs` and `outputs` are the teacher's own value infos; `widths` how many features each input has; `roles` one per output.

    `link` leads from a student's sums to what `main` shows; without such an output the classes of the labels are taught. `classes` are the
    labels by number, as the label output holds them.
    """

    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    widths: tuple[int, ...]
    roles: tuple[Role, ...]
    link: Link
    output_count: int
    main: str = ""
    classes: Array = field(default_factory=lambda: np.zeros(0), repr=False)


def read_surface(model: Any, answers: Tensors, interface: Interface | None) -> Surface:
    """Return the surface of `model`, whose `answers` to some rows are given by output name."""
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = tuple(value for value in model.graph.input if value.name not in stored)
    outputs = tuple(model.graph.output)
    widths = tuple(_width(value) for value in inputs)
    if sum(widths) > FEATURE_LIMIT:
        raise UnsupportedError(f"The inputs have {sum(widths):,} numbers; students learn from up to {FEATURE_LIMIT:,}.")
    is_classifier = interface is not None and interface.task is Task.CLASSIFICATION
    roles = tuple(_role(value.name, np.asarray(answers[value.name]), is_classifier=is_classifier) for value in outputs)
    mains = [value.name for value, role in zip(outputs, roles, strict=True) if role is not Role.LABEL]
    labels = [value.name for value, role in zip(outputs, roles, strict=True) if role is Role.LABEL]
    if len(mains) > 1 or len(labels) > 1:
        extra = mains[1] if len(mains) > 1 else labels[1]
        raise UnsupportedError(
            f"A student gives one answer and its label; the output '{extra}' is another one.", hint="Leave students out."
        )
    main, label = "".join(mains), "".join(labels)
    role = roles[[value.name for value in outputs].index(main)] if main else Role.LABEL
    count = np.asarray(answers[main]).reshape(len(answers[main]), -1).shape[1] if main else 0
    classes = _classes(np.asarray(answers[label]), interface, count) if label else np.zeros(0)
    if main and label:
        _check_label(np.asarray(answers[main]), np.asarray(answers[label]), classes, role)
    link, sums = _link(role, main, count or len(classes))
    return Surface(inputs, outputs, widths, roles, link, sums, main, classes)


def _width(value: Any) -> int:
    kind = value.type.tensor_type
    if kind.elem_type not in _NUMBERS:
        raise UnsupportedError(f"The input '{value.name}' holds no numbers, and students learn from numbers.", hint="Leave students out.")
    sizes = [size.dim_value if size.HasField("dim_value") else 0 for size in kind.shape.dim]
    if not sizes or not all(sizes[1:]):
        raise UnsupportedError(f"The input '{value.name}' has rows of no fixed size, and students need one.", hint="Leave students out.")
    return int(np.prod(sizes[1:], dtype=np.int64))


def _role(name: str, answer: Array, *, is_classifier: bool) -> Role:
    if answer.dtype.kind in "OSUib":
        if answer.size != len(answer):
            raise UnsupportedError(f"The output '{name}' has several labels for a row.", hint="Leave students out.")
        return Role.LABEL
    if answer.dtype.kind != "f" or answer.ndim > 2 or not np.isfinite(answer).all():
        raise UnsupportedError(f"The output '{name}' is no table of finite numbers.", hint="Leave students out.")
    table = answer.reshape(len(answer), -1).astype(np.float64)
    is_share = bool((table >= -_CLOSE).all() and (table <= 1 + _CLOSE).all())
    if table.shape[1] > 1 and is_share and np.allclose(table.sum(axis=1), 1.0, atol=_CLOSE):
        return Role.PROBABILITIES
    return Role.SCORE if table.shape[1] == 1 and is_share and is_classifier else Role.NUMBERS


def _classes(label: Array, interface: Interface | None, count: int) -> Array:
    """Return the labels by number: the interface's, or 0, 1, ... where it has none."""
    known: Sequence[Label] = interface.labels if interface is not None else ()
    found = _texts(label) if label.dtype.kind in "OSU" else label.reshape(-1)
    if label.dtype.kind in "OSU":
        return np.array([str(item) for item in known], dtype=object) if known else np.array(sorted(set(found.tolist())), dtype=object)
    return np.asarray(known, dtype=label.dtype) if known else np.arange(max(count, int(found.max()) + 1, 2)).astype(label.dtype)


def _texts(label: Array) -> Array:
    return np.array([item.decode() if isinstance(item, bytes) else str(item) for item in label.reshape(-1)], dtype=object)


def class_places(label: Array, classes: Array) -> Array:
    """Return the number of each label's class, -1 for none."""
    found = _texts(label) if classes.dtype == object else label.reshape(-1)
    places = {item: place for place, item in enumerate(classes.tolist())}
    return np.array([places.get(item, -1) for item in found.tolist()])


def _check_label(main: Array, label: Array, classes: Array, role: Role) -> None:
    table = main.reshape(len(main), -1)
    chosen = (table[:, 0] > 0.5).astype(np.int64) if role is Role.SCORE else table.argmax(axis=1)
    if role is Role.NUMBERS and table.shape[1] == 1:
        chosen = (table[:, 0] > 0).astype(np.int64)
    if float((class_places(label, classes) == chosen).mean()) < _AGREEING:
        raise UnsupportedError("The model's label does not follow from its scores, as a student's does.", hint="Leave students out.")


def _link(role: Role, main: str, count: int) -> tuple[Link, int]:
    """Return the link of a student, and how many sums it has."""
    if role is Role.NUMBERS:
        return Link(Function.NUMBER, 1.0, main), count
    if role is Role.SCORE or count == 2:
        return Link(Function.SIGMOID, 1.0, main), 1
    return Link(Function.SOFTMAX, 1.0, main), count


def wanted_of(surface: Surface, answers: Tensors) -> Array:
    """Return (rows, sums) what the student's link should give: the teacher's answers, or its labels as sure answers."""
    if surface.main:
        table = np.asarray(answers[surface.main], dtype=np.float64).reshape(len(answers[surface.main]), -1)
    else:
        label = next(value.name for value, role in zip(surface.outputs, surface.roles, strict=True) if role is Role.LABEL)
        places = class_places(np.asarray(answers[label]), surface.classes)
        if (places < 0).any():
            raise UnsupportedError("The model gives labels that its interface does not know.", hint="Leave students out.")
        table = np.eye(len(surface.classes))[places]
    return table[:, -1:] if surface.link.function is Function.SIGMOID else table


def table_of(surface: Surface, rows: Tensors) -> Array:
    """Return (rows, features) in single precision, as the student's graph sees them: inputs side by side, each row flat."""
    parts = [np.asarray(rows[value.name]) for value in surface.inputs]
    with np.errstate(over="ignore"):
        return np.concatenate([part.reshape(len(part), -1).astype(np.float32) for part in parts], axis=1)


class StudentGraph:
    """The graph under construction: features in, sums out, then the teacher's outputs."""

    def __init__(self, surface: Surface) -> None:
        self._surface = surface
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, kind: str, inputs: Sequence[str], *, output: str = "", **attributes: Any) -> str:
        """Add a node with one output and return its name."""
        name = output or f"student_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, value: Array) -> str:
        """Add a constant and return its name."""
        name = f"student_constant_{len(self.constants)}"
        if value.dtype == object:
            texts = [str(item).encode() for item in value]
            self.constants.append(TensorProto(name=name, data_type=TensorProto.STRING, dims=value.shape, string_data=texts))
        else:
            self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def features(self) -> str:
        """Return the name of the table of features, float [batch, features]."""
        parts = []
        for value, width in zip(self._surface.inputs, self._surface.widths, strict=True):
            name = value.name
            if value.type.tensor_type.elem_type != TensorProto.FLOAT:
                name = self.add("Cast", [name], to=TensorProto.FLOAT)
            if len(value.type.tensor_type.shape.dim) != 2:
                name = self.add("Reshape", [name, self.constant(np.array([-1, width], dtype=np.int64))])
            parts.append(name)
        return self.add("Concat", parts, axis=1) if len(parts) > 1 else parts[0]

    def finished(self, sums: str, title: str, opset_ml: int = 0) -> Any:
        """Return the model whose outputs come from `sums`, float [batch, sums]; `opset_ml` is that of ai.onnx.ml where a node is of it."""
        surface, function = self._surface, self._surface.link.function
        answer = sums
        if function is Function.SIGMOID:
            answer = self.add("Sigmoid", [sums])
        elif function is Function.SOFTMAX:
            answer = self.add("Softmax", [sums], axis=1)
        for value, role in zip(surface.outputs, surface.roles, strict=True):
            if role is Role.LABEL:
                self._add_label(value, sums)
            else:
                both = function is Function.SIGMOID and role is Role.PROBABILITIES
                self._add_main(value, self._both(answer) if both else answer)
        graph = helper.make_graph(self.nodes, title, list(surface.inputs), list(surface.outputs), self.constants)
        opsets = [helper.make_opsetid("", _OPSET), *([helper.make_opsetid("ai.onnx.ml", opset_ml)] if opset_ml else [])]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="fairlead")
        onnx.checker.check_model(model)
        return model

    def _both(self, second: str) -> str:
        one = self.constant(np.ones(1, np.float32))
        return self.add("Concat", [self.add("Sub", [one, second]), second], axis=1)

    def _add_main(self, value: Any, answer: str) -> None:
        if len(value.type.tensor_type.shape.dim) == 1:
            answer = self.add("Squeeze", [answer, self.constant(np.array([1], dtype=np.int64))])
        self.add("Cast", [answer], output=value.name, to=value.type.tensor_type.elem_type)

    def _add_label(self, value: Any, sums: str) -> None:
        if self._surface.output_count == 1:
            above = self.add("Greater", [sums, self.constant(np.zeros(1, np.float32))])
            index = self.add("Squeeze", [self.add("Cast", [above], to=TensorProto.INT64), self.constant(np.array([1], dtype=np.int64))])
        else:
            index = self.add("ArgMax", [sums], axis=1, keepdims=0)
        if len(value.type.tensor_type.shape.dim) == 2:
            index = self.add("Unsqueeze", [index, self.constant(np.array([1], dtype=np.int64))])
        self.add("Gather", [self.constant(self._surface.classes), index], output=value.name, axis=0)
