"""What a counterfactual is after: how the row is decided, which other decisions are wanted, and which way the answer has to move.

Takes an engine, one row and what is wanted; gives an `Aim`. Raises RequestError where that makes no sense or is so already, and
UnsupportedError for models whose rows have no single decision, DataError for a row that the model answers with NaN.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fairlead.core.deciding import labelled
from fairlead.core.explanation import Subject
from fairlead.core.interface import Array, DecisionKind, Interface, Label, Tensors, shorten
from fairlead.errors import DataError, RequestError, UnsupportedError
from fairlead.explain.subject import score, subjects

_BOUND = re.compile(r"\s*(<=|>=|<|>)\s*(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*")


@dataclass(frozen=True)
class Aim:
    """`before` is the row's decision, or its number where `subject.is_value`. `is_wanted` says which decisions of other rows are wanted.

    `gain` says of scores how much nearer they are to a wanted decision than the row's own is.
    """

    before: Label
    subject: Subject
    is_wanted: Callable[[Array], Array]
    own: float
    sign: float

    def decided(self, interface: Interface, outputs: Tensors) -> Array:
        """Return each row's decision, or its number."""
        return score(self.subject, outputs) if self.subject.is_value else labelled(interface, outputs)

    def gain(self, scores: Array) -> Array:
        """Return how far scores (rows,) have moved the right way; NaN has not moved."""
        return np.where(np.isnan(scores), 0.0, (scores - self.own) * self.sign)


def aim_at(interface: Interface, outputs: Tensors, wanted: str | None, of: str | None = None) -> Aim:
    """Return the aim for the one row that was answered with `outputs`: the class `wanted`, any other for None; for a number a bound like
    ">=200", of the number `of` where there are several.
    """
    rule = interface.decision
    if rule is not None and rule.kind is DecisionKind.VALUE:
        return _number(interface, outputs, wanted, of)
    before = single_decision(interface, outputs)
    labels = [str(label) for label in interface.labels]
    if wanted is not None and labels and wanted not in labels:
        raise RequestError(f"The model knows no class '{shorten(wanted)}'.", hint=f"It knows: {', '.join(labels[:10])}.")
    if wanted == str(before):
        raise RequestError(f"The row is decided '{shorten(wanted)}' already.", hint="Ask for another class.")

    def is_wanted(decisions: Array) -> Array:
        texts = [None if item is None else str(item) for item in decisions]
        return np.array(
            [text is not None and (text != str(before) if wanted is None else text == wanted) for text in texts], dtype=np.bool_
        )

    (subject,) = subjects(interface, outputs)
    width = outputs[subject.output].reshape(1, -1).shape[1]
    if width > 1 and wanted is not None:
        (subject,) = subjects(interface, outputs, wanted)
        sign = 1.0
    else:  # away from the decision: of two classes with one score, that is the second's
        sign = 1.0 if width == 1 and not _is_second(interface, before) else -1.0
    return Aim(before, subject, is_wanted, float(score(subject, outputs)[0]), sign)


def single_decision(interface: Interface, outputs: Tensors) -> Label:
    """Return the decision of the one row that was answered with `outputs`."""
    if interface.decision is None:
        raise UnsupportedError("It is not known how the model's answers become decisions.", hint="Deploy it with --task classification.")
    found = labelled(interface, outputs)[0]
    plain = found.item() if isinstance(found, np.generic) else found
    if plain is None:
        raise DataError("The model answers this row with NaN, so nothing is decided.", hint="Give a row that it answers.")
    if not isinstance(plain, str | int | float | bool):
        raise UnsupportedError("The model decides several things of a row at once.", hint="Explain the scores of one: --of CLASS.")
    return plain


def _number(interface: Interface, outputs: Tensors, wanted: str | None, of: str | None) -> Aim:
    match = _BOUND.fullmatch(wanted or "")
    if match is None:
        raise RequestError(
            "The model gives a number; it has to be said which numbers are wanted.", hint="Say it like --to '>=200'; in a request, \"to\"."
        )
    (subject,) = subjects(interface, outputs, of)
    own = float(score(subject, outputs)[0])
    sign, number = match[1], float(match[2])

    def is_wanted(values: Array) -> Array:
        numbers = values.astype(np.float64)
        above = numbers >= number if sign == ">=" else numbers > number
        below = numbers <= number if sign == "<=" else numbers < number
        return np.asarray(above if sign[0] == ">" else below)

    if np.isnan(own):
        raise DataError("The model answers this row with NaN.", hint="Give a row that it answers.")
    if is_wanted(np.array([own]))[0]:
        raise RequestError(f"The answer is {own:.6g} already.", hint="Ask for another bound.")
    return Aim(own, subject, is_wanted, own, 1.0 if sign[0] == ">" else -1.0)


def _is_second(interface: Interface, before: Label) -> bool:
    """Whether one score speaks for what was decided."""
    return str(before) == str(interface.labels[-1]) if len(interface.labels) == 2 else bool(before)
