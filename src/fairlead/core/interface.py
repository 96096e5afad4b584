"""What a model takes and gives: names, element types and shapes, and how an output becomes a decision.

Pure values. Raises RequestError (from `check_inputs`) with the tensor's name, what was expected and what came; SpecError (from
`with_task`) where a task does not fit the outputs.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fairlead.core.dtype import DType
from fairlead.errors import RequestError, SpecError

Array: TypeAlias = npt.NDArray[Any]
Tensors: TypeAlias = Mapping[str, Array]
Label: TypeAlias = str | int | float | bool


class Task(enum.StrEnum):
    """What the model is for; it decides which metrics have a meaning."""

    CLASSIFICATION = "classification"
    REGRESSION = "regression"


class DecisionKind(enum.StrEnum):
    """How an output tensor becomes a decision for each row."""

    ARGMAX = "argmax"  # scores (rows, classes) -> index of the largest
    THRESHOLD = "threshold"  # each score -> score > threshold; (rows, 1) becomes (rows,)
    LABEL = "label"  # the output already holds the label
    VALUE = "value"  # the output is the number itself (regression)


@dataclass(frozen=True)
class TensorSpec:
    """One input or output. `shape` has None for a free dimension; the first dimension is the batch.

    `columns` names the features of a (batch, n) table input, in order; empty where features have no names. With `is_category`, a whole
    number stands for its text: 3 is "3".
    """

    name: str
    dtype: DType
    shape: tuple[int | None, ...]
    columns: tuple[str, ...] = ()
    is_category: bool = False

    def describe(self) -> str:
        """Return e.g. `x FP32 [batch, 28, 28, 1]`."""
        dims = ["batch" if axis == 0 and size is None else "?" if size is None else str(size) for axis, size in enumerate(self.shape)]
        return f"{self.name} {self.dtype.value} [{', '.join(dims)}]"


@dataclass(frozen=True)
class Decision:
    """Which output decides, and how. `scores` names the output with one score per class, where there is one."""

    kind: DecisionKind
    output: str
    scores: str = ""
    threshold: float = 0.5


@dataclass(frozen=True)
class Interface:
    """Inputs, outputs, the task, the decision rule and the class labels (index -> label; empty where there are none)."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    task: Task | None = None
    decision: Decision | None = None
    labels: tuple[Label, ...] = ()

    def input(self, name: str) -> TensorSpec:
        """Return the input called `name`; raises RequestError that lists the inputs."""
        for spec in self.inputs:
            if spec.name == name:
                return spec
        raise RequestError(f"The model has no input '{shorten(name)}'.", hint=f"Its inputs are: {', '.join(s.name for s in self.inputs)}.")

    def output(self, name: str) -> TensorSpec:
        """Return the output called `name`; raises RequestError that lists the outputs."""
        for spec in self.outputs:
            if spec.name == name:
                return spec
        raise RequestError(
            f"The model has no output '{shorten(name)}'.", hint=f"Its outputs are: {', '.join(s.name for s in self.outputs)}."
        )

    def check_inputs(self, tensors: Tensors) -> int:
        """Return the number of rows in `tensors`; raises RequestError where a tensor is missing, unknown, or does not fit."""
        rows: int | None = None
        for spec in self.inputs:
            tensor = tensors.get(spec.name)
            if tensor is None:
                self._check_names(tensors)
                raise RequestError(f"Input '{spec.name}' is missing.", hint=f"Expected {spec.describe()}.")
            check_tensor(spec, tensor)
            if rows is not None and tensor.shape[0] != rows:
                raise RequestError(f"Input '{spec.name}' has {tensor.shape[0]} rows, the inputs before it have {rows}.")
            rows = int(tensor.shape[0])
        if len(tensors) > len(self.inputs):
            self._check_names(tensors)
        if rows is None:
            raise RequestError("The model has no inputs.")
        return rows

    def _check_names(self, tensors: Tensors) -> None:
        for name in tensors:
            self.input(name)


def check_tensor(spec: TensorSpec, tensor: Array) -> None:
    """Raise RequestError unless `tensor` has the element type and shape of `spec` and at least one row."""
    wanted = spec.dtype.numpy
    if tensor.dtype is not wanted and tensor.dtype != wanted:  # numpy takes long to say that two types are equal
        raise RequestError(f"Input '{spec.name}' has type {tensor.dtype}, expected {spec.dtype.value}.")
    shape, wants = tensor.shape, spec.shape
    if (shape[1:] != wants[1:] or not shape or not wants or wants[0] is not None) and not _fits(shape, wants):
        raise RequestError(f"Input '{spec.name}' has shape {list(tensor.shape)}.", hint=f"Expected {spec.describe()}.")
    if shape[0] == 0:
        raise RequestError(f"Input '{spec.name}' has no rows.", hint="Send at least one row.")


def _fits(shape: tuple[int, ...], wants: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wants) and all(want is None or want == got for want, got in zip(wants, shape, strict=True))


def decide(interface: Interface, outputs: Tensors) -> Array:
    """Return one decision per row: a class index, a label or a number, shape (rows,) or (rows, ...) for per-position decisions.

    Raises ValueError where the interface has no decision rule.
    """
    rule = interface.decision
    if rule is None:
        raise ValueError("the interface has no decision rule")
    tensor = np.asarray(outputs[rule.output])
    if rule.kind is DecisionKind.ARGMAX:
        return np.asarray(np.argmax(tensor, axis=-1))
    if rule.kind is DecisionKind.THRESHOLD:
        return np.asarray(_squeeze(tensor) > rule.threshold, dtype=np.int64)
    return _squeeze(tensor)


def with_task(interface: Interface, task: Task) -> Interface:
    """Return `interface` for a `task` that the user gave, with a decision rule of that task: the reader's own where it agrees.

    Otherwise classification takes the largest score (one score per row: above 0.5), regression the number itself, of the output that
    decided before, or of the only one. Raises SpecError where there are several.
    """
    rule = interface.decision
    if rule is not None and (rule.kind is DecisionKind.VALUE) == (task is Task.REGRESSION):
        return replace(interface, task=task)
    if rule is None and len(interface.outputs) > 1:
        raise SpecError("The model has several outputs; it is not known which one decides.", hint="Deploy it without a task.")
    output = interface.output(rule.output) if rule is not None else interface.outputs[0]
    if task is Task.REGRESSION:
        return replace(interface, task=task, decision=Decision(DecisionKind.VALUE, output.name), labels=())
    kind = DecisionKind.THRESHOLD if len(output.shape) < 2 or output.shape[-1] == 1 else DecisionKind.ARGMAX
    return replace(interface, task=task, decision=Decision(kind, output.name, scores=output.name))


def with_columns(interface: Interface, columns: tuple[str, ...]) -> Interface:
    """Return `interface` with names for the features of its only input, so that records and tables are matched by name from now on."""
    (spec,) = interface.inputs
    return replace(interface, inputs=(replace(spec, columns=columns),))


def _squeeze(tensor: Array) -> Array:
    """(rows, 1, ...) of one value per row becomes (rows,); everything else stays."""
    return tensor.reshape((tensor.shape[0],)) if tensor.size == tensor.shape[0] else tensor


def shorten(text: str, limit: int = 64) -> str:
    """Return `text` fit to be echoed in an error: control characters escaped, at most `limit` characters."""
    safe = text.encode("unicode_escape").decode("ascii") if not text.isprintable() else text
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"
