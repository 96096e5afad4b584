"""What was answered lately while a release ran, so that right answers that come later can be compared with it.

Takes answers and late labels; gives which of them were right. Raises RequestError for a label that cannot be compared. Laws: it holds at
most so many rows, the oldest answers go first; a label counts once; an id that several requests had says nothing about any of them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from fairlead.core.deciding import labelled
from fairlead.core.dtype import DType
from fairlead.core.interface import DecisionKind, Interface, Label, Tensors, shorten
from fairlead.core.traffic_event import LateLabel
from fairlead.errors import RequestError

_ROW_LIMIT = 1024  # of one request; nobody labels more by hand, and they would push out many others
_SHOWN = 10
_KEPT_COUNT = 64


class Remembered(msgspec.Struct, eq=False, gc=False):
    """An answer: who gave it, and what it decided for each row (None: nothing). `is_drawn`: by chance, so that it is evidence."""

    release: str
    step: int
    arm: str
    is_drawn: bool
    decisions: tuple[Label | None, ...]
    interface: Interface
    is_labelled: bool = False
    is_ambiguous: bool = False


class AnswerMemory:
    """Holds the decisions of at most `limit` rows."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rows = 0
        self._answers: OrderedDict[tuple[str, str], Remembered] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def keep(self, model: str, ids: Iterable[str], answer: Remembered) -> None:
        """Remember an answer under each of its ids."""
        for identity in ids:
            if identity:
                self._keep((model, identity), answer)

    def _keep(self, key: tuple[str, str], answer: Remembered) -> None:
        former = self._answers.pop(key, None)
        if former is not None:
            self._rows -= len(former.decisions)
            if former is answer:  # both of its ids are one
                former = None
        self._answers[key] = answer if former is None else msgspec.structs.replace(answer, is_ambiguous=True)
        self._rows += len(answer.decisions)
        while self._rows > self._limit:
            _, gone = self._answers.popitem(last=False)
            self._rows -= len(gone.decisions)

    def find(self, model: str, identity: str) -> Remembered | None:
        """Return the answer to that request."""
        return self._answers.get((model, identity))

    def forget(self, model: str) -> None:
        """Forget the answers of a model."""
        for key in [key for key in self._answers if key[0] == model]:
            self._rows -= len(self._answers.pop(key).decisions)


def decisions_of(interface: Interface, outputs: Tensors) -> tuple[Label | None, ...] | None:
    """Return what an answer decided, row by row; None where it decides nothing that a label could be compared with."""
    rule = interface.decision
    if rule is None or rule.kind is DecisionKind.VALUE or rule.output not in outputs:
        return None
    tensor = outputs[rule.output]
    if len(tensor) > _ROW_LIMIT:
        return None
    if rule.kind is DecisionKind.ARGMAX and len(tensor) == 1 and tensor.ndim == 2:  # most requests: a fifth of the time
        index = int(tensor.argmax())
        score = tensor[0, index]
        if score != score:  # noqa: PLR0124 - NaN; np.isnan takes ten times as long
            return (None,)
        return (interface.labels[index] if interface.labels else index,)
    found = labelled(interface, outputs)
    return tuple(_plain(item) for item in found) if found.ndim == 1 else None


def _plain(item: object) -> Label | None:
    value = item.item() if isinstance(item, np.generic) else item
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if value is None or isinstance(value, str | int | float) else str(value)


def check_labels(answer: Remembered, given: LateLabel) -> None:
    """Raise RequestError where `given` cannot be compared with the answer: not one for each row, or of another type."""
    request, rows = shorten(given.request_id), len(answer.decisions)
    if len(given.labels) != rows:
        raise RequestError(f"Request '{request}' has {rows} row{'s' * (rows != 1)}, {len(given.labels)} labels came for it.")
    for label in given.labels:
        problem = unfit(answer.interface, label)
        if problem:
            raise RequestError(f"The label of request '{request}' {problem}.")


_WORDS: dict[int, tuple[Interface, frozenset[str]]] = {}


def _words(interface: Interface) -> frozenset[str]:
    """Return the labels of an interface in their one form; kept, since an interface takes longer to compare than a label to look up."""
    found = _WORDS.get(id(interface))
    if found is None:
        if len(_WORDS) >= _KEPT_COUNT:
            _WORDS.clear()
        found = _WORDS[id(interface)] = (interface, frozenset(map(_text, interface.labels)))
    return found[1]


def unfit(interface: Interface, label: Label) -> str:
    """Return why `label` can be no decision of the model, "" where it can."""
    if interface.labels:
        if _text(label) in _words(interface):
            return ""
        known = [_text(item) for item in interface.labels[:_SHOWN]]
        return f"is '{shorten(str(label))}', none of {', '.join(known)}{', …' if len(interface.labels) > _SHOWN else ''}"
    rule = interface.decision
    if rule is not None and rule.kind is DecisionKind.LABEL:
        is_text = interface.output(rule.output).dtype is DType.BYTES
        return "" if isinstance(label, str) == is_text else f"is no {'text' if is_text else 'number'}, as the model's are"
    return "" if isinstance(label, int) and not isinstance(label, bool) else "is no whole number, as the model's classes are"


def right_count(answer: Remembered, labels: Sequence[Label]) -> int:
    """Return how many rows were decided as the labels say."""
    return sum(decision is not None and _text(decision) == _text(label) for decision, label in zip(answer.decisions, labels, strict=True))


def _text(label: Label) -> str:
    """One form for labels that mean the same: 3, 3.0 and "3"."""
    if isinstance(label, bool):
        return str(label).lower()
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)
