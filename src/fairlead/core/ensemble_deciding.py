"""How the answers of several models become one: what may be averaged or voted on, and the vote itself. Pure.

Raises SpecError where models do not decide between the same classes, DataError where none decides a row. A rule is carried as the
Interface that has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fairlead.core.deciding import undecided
from fairlead.core.dtype import DType
from fairlead.core.ensemble import COMBINED, Source
from fairlead.core.interface import Array, Decision, DecisionKind, Interface, Label, Task, TensorSpec, decide
from fairlead.errors import DataError, SpecError

ABSTAINS = -2  # the vote of a model whose scores are NaN
_LABEL = COMBINED["vote"]


def combined_rule(rules: Sequence[Interface | None], output: str) -> Interface | None:
    """Return the rule by which the average decides: that of the models, where they all decide alike between the same classes."""
    first = rules[0]
    if first is None or first.decision is None or first.decision.kind is DecisionKind.LABEL:
        return None
    for other in rules:
        if other is None or other.decision is None:
            return None
        alike = (other.decision.kind, other.decision.threshold) == (first.decision.kind, first.decision.threshold)
        if not alike or other.labels != first.labels:
            return None
    scores = output if first.decision.scores == first.decision.output else ""
    return replace(first, decision=replace(first.decision, output=output, scores=scores))


def vote_spec(
    specs: Sequence[TensorSpec], rules: Sequence[Interface | None], sources: Sequence[Source], where: str
) -> tuple[TensorSpec, Interface]:
    """Return what a vote gives, and its rule; raises SpecError unless all decide between the same classes, once per row."""
    classes: tuple[Label, ...] | None = None
    for spec, rule, source in zip(specs, rules, sources, strict=True):
        found = None if rule is None else classes_of(rule, spec)
        if not found:
            raise SpecError(f"{where} cannot count {source}: no classes are known that it decides between.", hint="Vote on what decides.")
        if classes is not None and found != classes:
            raise SpecError(f"{where}: {source} decides between other classes than {sources[0]}.", hint="All have to know the same labels.")
        classes = found
    labels = classes or ()
    dtype = DType.BYTES if all(isinstance(label, str) for label in labels) else DType.INT64
    rule = Interface((), (), Task.CLASSIFICATION, Decision(DecisionKind.LABEL, _LABEL), labels)
    return TensorSpec(_LABEL, dtype, (specs[0].shape[0],)), rule


def classes_of(interface: Interface, spec: TensorSpec) -> tuple[Label, ...]:
    """Return what the model decides between: its labels, else class numbers; empty where that is not known or it decides no classes."""
    rule = interface.decision
    if rule is None or rule.kind is DecisionKind.VALUE:
        return ()
    per_row = [size for size in spec.shape[1:-1] if size != 1] if rule.kind is DecisionKind.ARGMAX else spec.shape[1:]
    if any(size != 1 for size in per_row):
        return ()
    labels = interface.labels
    if not labels and rule.kind is not DecisionKind.LABEL:
        count = 2 if rule.kind is DecisionKind.THRESHOLD else spec.shape[-1] or 0
        labels = tuple(range(count))
    is_uniform = all(isinstance(label, str) for label in labels) or all(isinstance(label, int) and label is not True for label in labels)
    return labels if is_uniform else ()


def votes(rule: Interface, output: Array, classes: Sequence[Label]) -> Array:
    """Return the place among `classes` that `output` decides for by the decision of `rule`, (rows,).

    It is -1 for a label not among them, and ABSTAINS where the scores are NaN.
    """
    if rule.decision is None:
        raise ValueError("nothing says how the output decides")
    outputs = {rule.decision.output: output}
    flat = decide(rule, outputs).reshape(len(output))
    if rule.decision.kind is not DecisionKind.LABEL:
        return np.where(undecided(rule, outputs), ABSTAINS, flat)
    places = {label: place for place, label in enumerate(classes)}
    return np.asarray([places.get(label, -1) for label in flat.tolist()], dtype=np.int64)


def class_array(classes: Sequence[Label]) -> Array:
    """Return what is voted on as a vote gives it: texts as objects, numbers as INT64."""
    return np.asarray(classes, dtype=object if all(isinstance(label, str) for label in classes) else np.int64)


def majority(ballots: Sequence[Array], weights: Sequence[float], classes: Array) -> Array:
    """Return the label with the largest weight of votes in each row; of several, the first among `classes`.

    Raises DataError for a row in which all abstain.
    """
    rows = np.arange(len(ballots[0]))
    counts = np.zeros((len(rows), len(classes)))
    for ballot, weight in zip(ballots, weights or [1.0] * len(ballots), strict=True):
        counts[rows, np.maximum(ballot, 0)] += np.where(ballot == ABSTAINS, 0.0, weight)
    silent = np.all([ballot == ABSTAINS for ballot in ballots], axis=0)
    if silent.any():
        raise DataError(
            f"No model of the vote decides row {int(silent.argmax())}: their scores are NaN.", hint="Send rows that the models can answer."
        )
    return np.asarray(classes[counts.argmax(axis=1)])
