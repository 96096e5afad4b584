"""How far sums are from what they should be: a loss with its first two derivatives, from right answers or from the model's own.

Takes a Link, and answers by row; gives an Objective over sums (rows, outputs). Squared distance for forests' shares (Brier 1950) and
numbers, log-loss for sigmoid and softmax, the Poisson likelihood for exponentials. Raises SpecError for answers that are none of the
model's classes. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fairlead.core.interface import Array, Label, shorten
from fairlead.errors import SpecError
from fairlead.optimize.trees.link import Function, Link

_LEAST = 1e-15  # of a probability inside of a logarithm


@dataclass(frozen=True)
class Objective:
    """`wanted` (rows, outputs) are the answers that the link should give."""

    link: Link
    wanted: Array = field(repr=False)

    def loss(self, sums: Array) -> float:
        """Return the mean loss of a row."""
        answer, wanted = self.link.answer(sums), self.wanted
        if self.link.function is Function.SIGMOID:
            shares = np.clip(answer, _LEAST, 1 - _LEAST)
            return float(-(wanted * np.log(shares) + (1 - wanted) * np.log(1 - shares)).sum(axis=1).mean())
        if self.link.function is Function.SOFTMAX:
            return float(-(wanted * np.log(np.maximum(answer, _LEAST))).sum(axis=1).mean())
        if self.link.function is Function.EXP:
            return float((answer - wanted * sums * self.link.scale).sum(axis=1).mean())
        return float(((answer - wanted) ** 2).sum(axis=1).mean() / 2)

    def derivatives(self, sums: Array) -> tuple[Array, Array]:
        """Return each row's first and second derivative by each sum (of softmax the diagonal), both (rows, outputs)."""
        answer, scale = self.link.answer(sums), self.link.scale
        first = scale * (answer - self.wanted)
        if self.link.function in (Function.SIGMOID, Function.SOFTMAX):
            return first, np.maximum(scale**2 * answer * (1 - answer), 1e-6)
        if self.link.function is Function.EXP:
            return first, np.maximum(scale**2 * answer, 1e-6)
        return first, np.full(answer.shape, scale**2)

    def only(self, rows: Array) -> Objective:
        """Return the objective of some rows."""
        return Objective(self.link, self.wanted[rows])


def from_model(link: Link, sums: Array) -> Objective:
    """Return the objective to answer as the model does that has these sums."""
    return Objective(link, link.answer(sums))


def from_answers(link: Link, target: Array, labels: Sequence[Label], outputs: int) -> Objective:
    """Return the objective to give the right answers; `labels` are the classes in order, empty where they are 0, 1, ..."""
    if not link.is_classifier:
        try:
            numbers = np.asarray(target, dtype=np.float64).reshape(len(target), -1)
        except ValueError:
            raise SpecError("The right answers of the training rows are not numbers.", hint="Give numbers for a regression.") from None
        if numbers.shape[1] != outputs or not np.isfinite(numbers).all():
            raise SpecError(f"The training rows have {numbers.shape[1]} answers each, and the model gives {outputs}.")
        return Objective(link, numbers)
    classes = class_numbers(target, labels, max(outputs, 2))
    if outputs == 1:
        return Objective(link, (classes == 1).astype(np.float64)[:, np.newaxis])
    return Objective(link, np.eye(outputs)[classes])


def class_numbers(target: Array, labels: Sequence[Label], count: int) -> Array:
    """Return the class number of each right answer."""
    known = {_plain(label): number for number, label in enumerate(labels)} or {str(number): number for number in range(count)}
    found = [known.get(_plain(value), -1) for value in np.asarray(target).reshape(-1).tolist()]
    if -1 in found:
        unknown = np.asarray(target).reshape(-1)[found.index(-1)]
        raise SpecError(
            f"The training rows have the answer '{shorten(str(unknown))}', which is none of the model's classes.",
            hint=f"Its classes are: {shorten(', '.join(known), 200)}.",
        )
    if max(found, default=0) >= count:
        raise SpecError(f"The model tells {count} classes apart, and the training rows have {max(found) + 1}.")
    return np.asarray(found, dtype=np.int64)


def _plain(value: object) -> str:
    """One text for 1, 1.0, b"1" and "1": files and frames do not agree on types."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, bool):
        return str(int(value))
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
