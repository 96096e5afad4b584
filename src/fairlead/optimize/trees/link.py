"""What a model makes of its trees' sums, found out by looking at answers: no pattern of nodes has to be known.

Takes sums (rows, outputs) and the model's answers to the same rows; gives a Link, or None where the answers are none of the known functions
of the sums. Pure.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np

from fairlead.core.interface import Array, Tensors

_CLOSE = 1e-4
_SURE = 1e-9  # shares of 0 or 1 say nothing about the scale of what they come from


class Function(enum.StrEnum):
    """From sums to answers; `scale` is `a`."""

    SHARES = "shares"  # a * sums are probabilities: forests
    SIGMOID = "sigmoid"  # 1 / (1 + exp(-a * sum)) is the probability of the second class
    SOFTMAX = "softmax"
    NUMBER = "number"  # a * sums are the answer
    EXP = "exp"  # exp(sums) are


@dataclass(frozen=True)
class Link:
    """The function, its scale, and the output that shows it."""

    function: Function
    scale: float
    output: str

    @property
    def is_classifier(self) -> bool:
        """Whether the answer is a probability for each class."""
        return self.function in (Function.SHARES, Function.SIGMOID, Function.SOFTMAX)

    def answer(self, sums: Array) -> Array:
        """Return (rows, outputs): probabilities (of the second class, where there is one output) or numbers."""
        scaled = np.asarray(sums * self.scale, dtype=np.float64)
        if self.function is Function.SIGMOID:
            return np.asarray(1.0 / (1.0 + np.exp(-np.clip(scaled, -500, 500))))
        if self.function is Function.SOFTMAX:
            powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
            return np.asarray(powers / powers.sum(axis=1, keepdims=True))
        return np.exp(np.minimum(scaled, 500)) if self.function is Function.EXP else scaled


def find_link(sums: Array, answers: Tensors) -> Link | None:
    """Return what makes the answers from the sums: of probabilities before other numbers."""
    numbers = {name: np.asarray(value, dtype=np.float64) for name, value in answers.items() if np.asarray(value).dtype.kind == "f"}
    tables = {name: value.reshape(len(value), -1) for name, value in numbers.items() if value.ndim in (1, 2)}
    for function in Function:
        for name, table in tables.items():
            scale = _scale(function, sums, table)
            if scale is not None and _agrees(Link(function, scale, name), sums, table):
                return Link(function, scale, name)
    return None


def _scale(function: Function, sums: Array, table: Array) -> float | None:
    """Return the scale that the function would need; None where the shapes do not fit."""
    outputs = sums.shape[1]
    if function in (Function.SOFTMAX, Function.EXP):
        return 1.0 if table.shape[1] == outputs and (outputs > 1 or function is Function.EXP) else None
    if function is Function.SIGMOID:
        if outputs != 1 or table.shape[1] not in (1, 2):
            return None
        share = table[:, -1]
        is_open = (share > _SURE) & (share < 1 - _SURE)
        if (share < 0).any() or (share > 1).any() or not is_open.any():
            return None
        odds = np.log(share[is_open] / (1 - share[is_open]))
        return _ratio(sums[is_open, 0], odds)
    if table.shape[1] != outputs or (function is Function.SHARES and not _are_shares(table)):
        return None
    return _ratio(sums.ravel(), table.ravel())


def _ratio(given: Array, wanted: Array) -> float | None:
    total = float(given @ given)
    return float(given @ wanted) / total if total > 0 else None


def _are_shares(table: Array) -> bool:
    return table.shape[1] > 1 and bool((table >= -_CLOSE).all() and np.allclose(table.sum(axis=1), 1.0, atol=_CLOSE))


def _agrees(link: Link, sums: Array, table: Array) -> bool:
    answer = link.answer(sums)
    if link.function is Function.SIGMOID:
        table = table[:, -1:]
    room = _CLOSE * max(1.0, float(np.abs(table).max(initial=0)))
    return answer.shape == table.shape and np.allclose(answer, table, rtol=0, atol=room)
