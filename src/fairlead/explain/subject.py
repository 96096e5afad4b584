"""Which number of the answer is explained: the score of the class that the model decided for, or that somebody asks about.

Takes an interface and outputs; gives a core Subject and its numbers. Raises UnsupportedError for models that give no number per row, and
RequestError for a class that they do not know. Pure.
"""

from __future__ import annotations

import numpy as np

from fairlead.core.explanation import Subject
from fairlead.core.interface import Array, DecisionKind, Interface, Tensors, decide, shorten
from fairlead.errors import RequestError, UnsupportedError

_HINT = "Explanations need a number for each row: scores or probabilities, or the number that a regression gives."


def subjects(interface: Interface, outputs: Tensors, wanted: str | None = None) -> tuple[Subject, ...]:
    """Return what is explained of each row: the class `wanted` (a label, or the index of a class or of a number), else what it decided."""
    name = scores_name(interface)
    table = _table(outputs[name], name)
    rows, width = len(table), int(table.shape[1])
    if wanted is not None:
        return tuple([_subject(interface, name, _place(interface, wanted, width), width)] * rows)
    rule = interface.decision
    if (rule is None or rule.kind is DecisionKind.VALUE) and width > 1:
        raise UnsupportedError(
            f"The model gives {width} numbers for each row; it is not known which is to be explained.",
            hint=f'Say which: --of 0 to --of {width - 1}; in a request, "of".',
        )
    if width == 1:
        return tuple([_subject(interface, name, 0, 1)] * rows)
    return tuple(_subject(interface, name, int(place), width) for place in _decided(interface, outputs, table))


def scores_name(interface: Interface) -> str:
    """Return the output whose numbers are explained."""
    rule = interface.decision
    if rule is None:
        if len(interface.outputs) == 1 and interface.outputs[0].dtype.numpy.kind == "f":
            return interface.outputs[0].name
        raise UnsupportedError("It is not known which of the model's outputs decides.", hint="Deploy it with --task.")
    if rule.kind is DecisionKind.LABEL and not rule.scores:
        raise UnsupportedError("The model gives labels without scores, so no weight of a feature can be measured.", hint=_HINT)
    return rule.scores or rule.output


def score(subject: Subject, outputs: Tensors) -> Array:
    """Return the subject's number for each row, double precision (rows,)."""
    return np.asarray(_table(outputs[subject.output], subject.output)[:, subject.column], dtype=np.float64)


def _table(tensor: Array, name: str) -> Array:
    if tensor.dtype.kind not in "fiub" or tensor.ndim > 2:
        raise UnsupportedError(
            f"Output '{shorten(name)}' has shape {list(tensor.shape[1:])} for each row and is no table of numbers.", hint=_HINT
        )
    return tensor.reshape(len(tensor), -1)


def _decided(interface: Interface, outputs: Tensors, table: Array) -> Array:
    """Return the column of each row's decision."""
    largest = np.argmax(np.where(np.isnan(table), -np.inf, table) if table.dtype.kind == "f" else table, axis=1)
    rule = interface.decision
    if rule is None or rule.kind is not DecisionKind.LABEL or len(interface.labels) != table.shape[1]:
        return np.asarray(largest)
    places = {str(label): place for place, label in enumerate(interface.labels)}
    return np.array([places.get(str(label), int(best)) for label, best in zip(decide(interface, outputs), largest, strict=True)])


def _place(interface: Interface, wanted: str, width: int) -> int:
    """Return the column of a class by its label, or by its index where there are no labels."""
    labels = [str(label) for label in interface.labels]
    if width > 1 and len(labels) == width and wanted in labels:
        return labels.index(wanted)
    if (not labels or width == 1 or len(labels) != width) and wanted.isdecimal() and int(wanted) < width:
        return int(wanted)
    if width == 1 and labels and wanted == labels[-1]:
        return 0
    known = ", ".join(labels[:10]) if len(labels) == width else f"0 to {width - 1}"
    raise RequestError(f"The model has no score for '{shorten(wanted)}'.", hint=f"It has: {known}.")


def _subject(interface: Interface, name: str, place: int, width: int) -> Subject:
    rule = interface.decision
    if rule is None or rule.kind is DecisionKind.VALUE:
        return Subject(name, place, f"number {place} of the answer" if width > 1 else "the answer", is_value=rule is not None)
    if width > 1:
        label = str(interface.labels[place]) if len(interface.labels) == width else str(place)
        return Subject(name, place, f"the score of class '{shorten(label)}'")
    label = str(interface.labels[-1]) if len(interface.labels) == 2 else "1"
    return Subject(name, 0, f"the score of class '{shorten(label)}'")
