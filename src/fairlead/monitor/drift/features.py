"""From tensors, and from rows that a log kept, to the features that are watched. Pure.

A feature is called like the log's column without its side (`core.observation_log.columns_of`): a table's columns, or `x[3]`; what is no
table is watched by its summaries, `x.mean`. Answers are watched as `decision` with `confidence` (of several scores the largest) or
`score`, or as `value`; where an input is called so, as `value (answer)`. Nothing is raised: what is not there is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from fairlead.core.deciding import labelled
from fairlead.core.dtype import DType
from fairlead.core.interface import Array, DecisionKind, Interface, Tensors, TensorSpec
from fairlead.core.observation_log import INPUT, OUTPUT, columns_of, is_text, row_width
from fairlead.core.profile import FeatureKind, FeatureProfile, Profile
from fairlead.core.summary import summaries
from fairlead.monitor.drift.reference import is_free_text

DECISION, CONFIDENCE, SCORE, VALUE = "decision", "confidence", "score", "value"


class Column(NamedTuple):
    """One feature's values (rows,), from which input and what of it; `kind` where it is known."""

    values: Array
    input: str
    part: str = ""
    kind: FeatureKind | None = None


def input_features(interface: Interface, inputs: Tensors) -> dict[str, Column]:
    """Return the features of a model's inputs, name -> column."""
    found: dict[str, Column] = {}
    for spec in interface.inputs:
        found |= _tensor_features(spec, inputs[spec.name])
    return found


def answer_features(interface: Interface, outputs: Tensors) -> dict[str, Column]:
    """Return the features of a model's answers: empty where they say nothing about a row as a whole."""
    taken = {column.removeprefix(INPUT) for spec in interface.inputs for column in columns_of(spec, INPUT)}
    return {f"{name} (answer)" if name in taken else name: column for name, column in _answer_features(interface, outputs).items()}


def _answer_features(interface: Interface, outputs: Tensors) -> dict[str, Column]:
    rule = interface.decision
    if rule is None or rule.output not in outputs:
        return {}
    if rule.kind is DecisionKind.VALUE:
        values = np.asarray(outputs[rule.output])
        return {VALUE: Column(values.reshape(-1), rule.output, kind=FeatureKind.NUMBER)} if values.size == len(values) else {}
    decisions = labelled(interface, outputs).reshape(-1)
    if len(decisions) != len(outputs[rule.output]):
        return {}
    return {DECISION: Column(decisions, rule.output, kind=FeatureKind.CATEGORY)} | _score(interface, outputs)


def log_columns(profile: Profile, interface: Interface) -> tuple[str, ...]:
    """Return the columns of a log that the profile's features are worked out of."""
    wanted = [INPUT + feature.name for feature in profile.features]
    wanted += [INPUT + feature.input for feature in profile.features if feature.kind is FeatureKind.SUMMARY]
    if profile.predictions:
        wanted += [column for spec in interface.outputs for column in columns_of(spec, OUTPUT)]
    return tuple(dict.fromkeys(wanted))


def observed_features(profile: Profile, interface: Interface, piece: Mapping[str, Array]) -> dict[str, Array]:
    """Return the profile's features of rows that a log kept, name -> (rows,); a feature that was not kept is absent."""
    found: dict[str, Array] = {}
    worked_out: dict[str, Mapping[str, Array]] = {}
    for feature in profile.features:
        if INPUT + feature.name in piece:
            found[feature.name] = piece[INPUT + feature.name]
        elif feature.kind is FeatureKind.SUMMARY and INPUT + feature.input in piece:
            if feature.input not in worked_out:
                worked_out[feature.input] = summaries(_in_shape(interface, feature, piece[INPUT + feature.input]))
            if feature.part in worked_out[feature.input]:
                found[feature.name] = worked_out[feature.input][feature.part]
    if profile.predictions:
        answers = answer_features(interface, _outputs(interface, piece))
        found |= {item.name: answers[item.name].values for item in profile.predictions if item.name in answers}
    return found


def _tensor_features(spec: TensorSpec, tensor: Array) -> dict[str, Column]:
    width = row_width(spec)
    names = [name.removeprefix(INPUT) for name in columns_of(spec, INPUT)]
    if width != len(names) or (width == 1 and is_text(spec) and is_free_text(tensor.reshape(-1))):
        return {f"{spec.name}.{part}": Column(values, spec.name, part, FeatureKind.SUMMARY) for part, values in summaries(tensor).items()}
    kind = FeatureKind.CATEGORY if spec.is_category or is_text(spec) else FeatureKind.FLAG if spec.dtype is DType.BOOL else None
    flat = tensor.reshape(len(tensor), -1)
    return {name: Column(flat[:, place], spec.name, str(place) if width > 1 else "", kind) for place, name in enumerate(names)}


def _score(interface: Interface, outputs: Tensors) -> dict[str, Column]:
    """Return how sure the model was: the largest of a row's scores, or its only one."""
    rule = interface.decision
    name = "" if rule is None else rule.scores or (rule.output if rule.kind in (DecisionKind.ARGMAX, DecisionKind.THRESHOLD) else "")
    tensor = outputs.get(name)
    if tensor is None or tensor.dtype.kind != "f" or tensor.ndim > 2:
        return {}
    flat = tensor.reshape(len(tensor), -1)
    if flat.shape[1] == 1:
        return {SCORE: Column(flat[:, 0], name, kind=FeatureKind.NUMBER)}
    return {CONFIDENCE: Column(flat.max(axis=1), name, kind=FeatureKind.NUMBER)} if flat.shape[1] else {}


def _outputs(interface: Interface, piece: Mapping[str, Array]) -> dict[str, Array]:
    """Return the output tensors that a log kept."""
    found = {}
    for spec in interface.outputs:
        names = columns_of(spec, OUTPUT)
        if not all(name in piece for name in names):
            continue
        columns = [piece[name] for name in names]
        shape = tuple(size or 1 for size in spec.shape[1:])
        if len(columns) > 1 or not shape:
            tensor = np.stack(columns, axis=1) if len(columns) > 1 else columns[0]
            found[spec.name] = tensor.reshape(len(tensor), *shape)
        elif columns[0].dtype.kind != "O" or is_text(spec):
            found[spec.name] = columns[0].reshape(len(columns[0]), *shape) if None not in spec.shape[1:] else columns[0]
    return found


def _in_shape(interface: Interface, feature: FeatureProfile, values: Array) -> Array:
    """Return a column of lists in the tensor's own shape: neighbours in an image are neighbours then."""
    spec = next((item for item in interface.inputs if item.name == feature.input), None)
    if spec is None or None in spec.shape[1:] or values.ndim != 2:
        return values
    return values.reshape(len(values), *(size or 1 for size in spec.shape[1:]))
