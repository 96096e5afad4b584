"""What an ensemble is compared with: its members as they are registered, asked one by one.

Takes the ensemble and the members' versions; gives an Engine. It shares no code with the engine of ensembles: each member is unpacked from
its own version, answers its own golden requests first, and what flows is looked up from the outputs backwards. Raises UnavailableError
where a member does not answer as it was proven to, and what a member raises.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np

from fairlead.app.model import open_version
from fairlead.app.wiring import House
from fairlead.core.ensemble import REQUEST, Ensemble, EnsembleStep, Source, StepKind
from fairlead.core.interface import Array, Decision, DecisionKind, Interface, Label, Tensors
from fairlead.core.ports import LoadedModel
from fairlead.core.version import Version
from fairlead.errors import DataError
from fairlead.serve.golden_check import answer_rightly


class MembersOneByOne:
    """Answers for the ensemble by asking its members. `versions` are theirs, in their order."""

    description = "its members, one by one"

    def __init__(self, ensemble: Ensemble, interface: Interface, versions: Sequence[Version], house: House) -> None:
        self.interface = interface
        self._ensemble = ensemble
        self._steps = {step.name: step for step in ensemble.steps}
        self._opened = ExitStack()
        with ExitStack() as undo:
            undo.callback(self._opened.close)
            self._members = [self._open(version, house) for version in versions]
            undo.pop_all()

    def run(self, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, Array]:
        """Return the named outputs (all where none are named); see core.ports.Engine for the errors."""
        answered: dict[str, dict[str, Array]] = {REQUEST: dict(inputs)}
        names = outputs or [spec.name for spec in self.interface.outputs]
        return {name: self._ask(self._ensemble.outputs[name], answered) for name in names}

    def close(self) -> None:
        """Close every member. Idempotent."""
        self._opened.close()

    def _open(self, version: Version, house: House) -> LoadedModel:
        loaded = open_version(version, house)
        if loaded.release is not None:
            self._opened.callback(loaded.release)
        self._opened.callback(loaded.engine.close)
        if loaded.golden is not None:
            answer_rightly(version.label, loaded.engine, loaded.golden)
        return loaded

    def _ask(self, source: Source, answered: dict[str, dict[str, Array]]) -> Array:
        if source.step not in answered:
            step = self._steps[source.step]
            takes = {name: self._ask(wire, answered) for name, wire in step.inputs.items()}
            if step.kind is StepKind.MODEL:
                answered[step.name] = self._members[step.member].engine.run(takes)
            else:
                answered[step.name] = {source.output: _combined(step, list(takes.values()))}
        return answered[source.step][source.output]


def _combined(step: EnsembleStep, tensors: Sequence[Array]) -> Array:
    weights = step.weights or (1.0,) * len(tensors)
    if step.kind is StepKind.CONCAT:
        return np.hstack(tensors)
    if step.kind is StepKind.AVERAGE:
        mean = np.average(np.stack([tensor.astype(np.float64) for tensor in tensors]), axis=0, weights=np.asarray(weights))
        return np.asarray(mean, dtype=tensors[0].dtype)
    ballots = [[_said(rule, row, step.classes) for row in tensor] for rule, tensor in zip(step.rules, tensors, strict=True)]
    chosen = [_most(list(row), weights, step.classes) for row in zip(*ballots, strict=True)]
    return np.asarray(chosen, dtype=object if isinstance(step.classes[0], str) else np.int64)


def _said(rule: Decision, row: Array, classes: Sequence[Label]) -> Label | None:
    """Return the label that one row of an output says; None where its scores are NaN."""
    if row.dtype.kind == "f" and rule.kind is not DecisionKind.LABEL and np.isnan(row).any():
        return None
    if rule.kind is DecisionKind.ARGMAX:
        return classes[int(np.argmax(row))]
    value = np.asarray(row).reshape(-1)[0]
    if rule.kind is DecisionKind.THRESHOLD:
        return classes[int(value > rule.threshold)]
    label: Label = value.item() if isinstance(value, np.generic) else value
    return label


def _most(said: Sequence[Label | None], weights: Sequence[float], classes: Sequence[Label]) -> Label:
    counts: dict[Label, float] = dict.fromkeys(classes, 0.0)
    for label, weight in zip(said, weights, strict=True):
        if label is not None:
            counts[label] += weight
    if all(label is None for label in said):
        raise DataError("No model of the vote decides a row: their scores are NaN.", hint="Give rows that the models can answer.")
    return max(classes, key=lambda label: counts[label])
