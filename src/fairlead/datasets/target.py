"""Brings the right answers into the form of the model's decisions, so that both can be compared. Pure; raises DataError.

With class scores (argmax, threshold) the target becomes class indices; with a label output it becomes labels of the output's own type; with
a number output it becomes float64.
"""

from __future__ import annotations

import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, DecisionKind, Interface, Label, shorten
from fairlead.datasets.cast import check_finite
from fairlead.datasets.objects import settle
from fairlead.errors import DataError


def bind_target(answers: Array, interface: Interface, rows: int, said: list[str]) -> Array:
    """Return one answer per decision; appends to `said` what was decided. Labels, class counts, rows and missing values are checked."""
    if answers.ndim == 0 or answers.shape[0] != rows:
        count = answers.shape[0] if answers.ndim else 0
        raise DataError(f"The target has {count} rows, the inputs have {rows}.", hint="Each row needs its answer.")
    answers = settle(answers, "The target")
    _check_known(answers)
    rule = interface.decision
    want = _answer_shape(interface)
    if not want and answers.shape[1:] and all(size == 1 for size in answers.shape[1:]):
        answers = answers.reshape(rows)
    if rule is None or rule.kind is DecisionKind.VALUE:
        bound = _numbers(answers)
    elif rule.kind is DecisionKind.LABEL:
        bound = _labels(answers, interface)
    else:
        bound = _indices(answers, interface, said)
    got = bound.shape[1:]
    if len(got) != len(want) or any(size not in (None, other) for size, other in zip(want, got, strict=True)):
        shown = ", ".join(["rows", *("?" if size is None else str(size) for size in want)])
        raise DataError(
            f"The target has shape {list(answers.shape)}; the model's decisions have [{shown}].", hint="Give one answer per decision."
        )
    return bound


def _answer_shape(interface: Interface) -> tuple[int | None, ...]:
    """The shape of one row's decisions: () for one decision per row."""
    rule = interface.decision
    output = interface.output(rule.output) if rule is not None else interface.outputs[0]
    if rule is not None and rule.kind is DecisionKind.ARGMAX:
        return output.shape[1:-1]
    return () if all(size == 1 for size in output.shape[1:]) else output.shape[1:]


def _check_known(answers: Array) -> None:
    if answers.dtype.kind == "M":
        raise DataError("The target holds dates; a model answers with numbers or labels.", hint="Which column holds the right answers?")
    check_finite(answers, "The target", allow_missing=False)
    if answers.dtype.kind == "O":
        for row, answer in enumerate(answers.flat):
            if answer is None:
                raise DataError(f"The target has no answer in row {row}.", hint="Drop the rows without an answer.")


def _numbers(answers: Array) -> Array:
    if answers.dtype.kind not in "biuf":
        raise DataError(f"The target holds text ('{shorten(str(answers.flat[0]), 32)}'); the model gives numbers.", hint="Use numbers.")
    return answers.astype(np.float64)


def _labels(answers: Array, interface: Interface) -> Array:
    """Labels of the type that the label output has."""
    output = interface.output(interface.decision.output) if interface.decision else interface.outputs[0]
    if output.dtype is DType.BYTES:
        texts = np.empty(answers.shape, dtype=object)
        texts[...] = np.reshape([_text_of(answer) for answer in answers.flat], answers.shape) if answers.size else texts
        _check_labels(texts, tuple(str(label) for label in interface.labels))
        return texts
    whole = _whole(answers)
    _check_labels(whole, interface.labels)
    return whole


def _indices(answers: Array, interface: Interface, said: list[str]) -> Array:
    """Class indices for scores."""
    class_count = _class_count(interface)
    if answers.ndim >= 2 and class_count > 1 and answers.shape[-1] == class_count and _is_one_hot(answers):
        said.append("one-hot target read as class numbers")
        return np.asarray(np.argmax(answers, axis=-1))
    if interface.labels and not _looks_like_index(answers, interface.labels):
        index = {_key(label): position for position, label in enumerate(interface.labels)}
        keys = [_key(answer) for answer in answers.flat]
        _check_labels(np.asarray(keys, dtype=object), tuple(index))
        return np.reshape(np.asarray([index[key] for key in keys], dtype=np.int64), answers.shape)
    whole = _whole(answers)
    bad = (whole < 0) | (whole >= class_count)
    if class_count and bad.any():
        position = tuple(np.argwhere(bad)[0])
        raise DataError(
            f"The target has class {whole[position]} in row {position[0]}; the model has {class_count} classes (0 to {class_count - 1}).",
            hint="Number the classes as in training.",
        )
    if interface.labels:
        said.append("target read as class numbers")
    return whole


def _class_count(interface: Interface) -> int:
    """How many classes the deciding output has; 0 where that is not known."""
    rule = interface.decision
    if rule is None:
        return 0
    if rule.kind is DecisionKind.THRESHOLD:
        return 2
    return interface.output(rule.output).shape[-1] or len(interface.labels)


def _is_one_hot(answers: Array) -> bool:
    if answers.dtype.kind not in "biuf":
        return False
    return bool(np.isin(answers, (0, 1)).all() and (answers.astype(np.int64).sum(axis=-1) == 1).all())


def _looks_like_index(answers: Array, labels: tuple[Label, ...]) -> bool:
    """Numbers where the labels are texts are class numbers."""
    return answers.dtype.kind in "biuf" and all(isinstance(label, str) for label in labels)


def _whole(answers: Array) -> Array:
    if answers.dtype.kind not in "biuf":
        raise DataError(
            f"The target holds '{shorten(str(answers.flat[0]), 32)}'; the model gives class numbers.", hint="Use class numbers."
        )
    if answers.dtype.kind == "f" and (answers != np.floor(answers)).any():
        row = int(np.argwhere(answers != np.floor(answers))[0][0])
        raise DataError(f"The target holds {answers.flat[row]} in row {row}; the model gives classes.", hint="Is it a regression target?")
    return answers.astype(np.int64)


def _check_labels(answers: Array, labels: tuple[Label, ...]) -> None:
    if not labels:
        return
    known = set(labels)
    for row, answer in enumerate(answers.flat):
        if answer not in known:
            shown = ", ".join(shorten(str(label), 24) for label in labels[:10]) + ("..." if len(labels) > 10 else "")
            raise DataError(
                f"The target has the label '{shorten(str(answer), 32)}' in row {row}, which the model does not know.",
                hint=f"It knows: {shown}.",
            )


def _key(label: object) -> str | float:
    """Equal labels have equal keys, whatever the width of their numbers."""
    if isinstance(label, np.generic):
        label = label.item()
    return _text_of(label) if isinstance(label, str | bytes) else float(label) if isinstance(label, int | float) else str(label)


def _text_of(label: object) -> str:
    return label.decode("utf-8", errors="replace") if isinstance(label, bytes) else str(label)
