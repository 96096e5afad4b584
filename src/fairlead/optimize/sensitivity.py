"""How much a network's answers change when one layer alone is quantized: which layers cost accuracy.

Takes a prepared float32 model, how to quantize it, and rows; gives a LayerSensitivity for each layer with a stored weight, and judges any
other variant of the model on the same rows. Where the right answers are known, the rise of the loss is measured beside: cross entropy of
probabilities, squared error of numbers. Deterministic; writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime

from fairlead.core.dataset import Dataset
from fairlead.core.interface import Array, DecisionKind, Interface, Tensors, decide
from fairlead.optimize.calibration import batches
from fairlead.optimize.quantizing import Quantization, quantized, weighted_nodes

ROW_LIMIT = 128
_SMALLEST = 1e-12


@dataclass(frozen=True)
class Change:
    """What a variant answers otherwise: `error` is the root mean square of the difference relative to that of the answers, of the output
    where it is largest. `flip_count` counts decisions that differ; `loss_rise` is None where the right answers are not known.
    """

    error: float
    flip_count: int | None = None
    loss_rise: float | None = None


@dataclass(frozen=True)
class LayerSensitivity:
    """A layer by its node's name and operator, what changes when it alone is quantized, and how many bytes that saves."""

    node: str
    operator: str
    change: Change
    saved_bytes: int


class Judge:
    """Holds the answers of `model` on `rows` and compares variants with them."""

    def __init__(self, model: Any, rows: Tensors, interface: Interface | None = None, target: Array | None = None) -> None:
        self._rows, self._interface, self._target = rows, interface, target
        self._names = [item.name for item in model.graph.output]
        self._answers = self._run(model)

    def compare(self, variant: Any) -> Change:
        """Return what `variant` changes."""
        answers = self._run(variant)
        errors = [
            _relative_error(self._answers[name], answers[name])
            for name in self._names
            if self._answers[name].dtype.kind == "f" and self._answers[name].size
        ]
        flips = None
        if self._interface is not None and self._interface.decision is not None:
            before, after = (np.asarray(decide(self._interface, outputs)) for outputs in (self._answers, answers))
            flips = None if before.dtype.kind == "f" else int((before != after).sum())
        losses = [self._loss(outputs) for outputs in (self._answers, answers)]
        rise = None if losses[0] is None or losses[1] is None else losses[1] - losses[0]
        return Change(max(errors, default=0.0), flips, rise)

    def _loss(self, outputs: Tensors) -> float | None:
        rule = self._interface.decision if self._interface is not None else None
        if rule is None or self._target is None:
            return None
        values = np.asarray(outputs[rule.output])
        if rule.kind is DecisionKind.VALUE and values.size == self._target.size:
            return float(np.mean(np.square(values.reshape(-1) - self._target.reshape(-1))))
        if rule.kind is not DecisionKind.ARGMAX or values.ndim != 2 or self._target.dtype.kind not in "iu":
            return None
        if values.min() < 0 or abs(float(values.sum(axis=1).mean()) - 1) > 1e-2:
            return None  # scores, no probabilities
        return float(-np.log(np.maximum(np.take_along_axis(values, self._target[:, None], axis=1), _SMALLEST)).mean())

    def _run(self, model: Any) -> dict[str, Array]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        pieces = [session.run(self._names, batch) for batch in batches(self._rows)]
        return {name: np.concatenate(parts) for name, parts in zip(self._names, zip(*pieces, strict=True), strict=True)}


def judged_rows(rows: Tensors, training: Dataset | None) -> tuple[dict[str, Array], Array | None]:
    """Return at most ROW_LIMIT rows, spread over those that there are, with their right answers where `training` has them."""
    given = rows if training is None or training.target is None else training.inputs
    count = min(len(tensor) for tensor in given.values())
    places = np.unique(np.linspace(0, count - 1, min(count, ROW_LIMIT)).astype(np.int64))
    target = training.target[places] if training is not None and training.target is not None else None
    return {name: tensor[places] for name, tensor in given.items()}, target


def measure_sensitivity(model: Any, how: Quantization, judge: Judge, report: Callable[[str], None]) -> list[LayerSensitivity]:
    """Return each layer with a stored weight, those that change most first."""
    found = []
    nodes = weighted_nodes(model.graph, how.operators)
    sizes = {tensor.name: int(np.prod(tensor.dims, dtype=np.int64)) for tensor in model.graph.initializer}
    for number, node in enumerate(nodes, start=1):
        report(f"sensitivity of layer {number} of {len(nodes)}: {node.name}")
        change = judge.compare(quantized(model, how, only=[node.name]))
        found.append(LayerSensitivity(node.name, node.op_type, change, 3 * sizes[node.input[1]]))
    return sorted(found, key=lambda layer: (-layer.change.error, layer.node))


def _relative_error(before: Array, after: Array) -> float:
    if before.shape != after.shape or not np.isfinite(after).all():
        return float("inf")
    wide = before.astype(np.float64)
    known = np.isfinite(wide)
    scale = float(np.square(wide[known]).sum())
    lost = float(np.square(after.astype(np.float64) - wide)[known].sum())
    return float(np.sqrt(lost / scale)) if scale > 0 else float(np.sqrt(lost))


def in_order_of_harm(layers: Sequence[LayerSensitivity]) -> list[LayerSensitivity]:
    """Return the layers in the order in which they should stay float: most squared error for each byte that quantizing saves."""
    return sorted(layers, key=lambda layer: (-(layer.change.error**2) / max(layer.saved_bytes, 1), layer.node))
