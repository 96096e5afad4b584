"""Two answers to one request: whether they decide differently, and how far their numbers are apart. Pure.

Takes the interfaces and outputs of both. Raises nothing. Laws: answers are compared by what they decide, by label where both models have
labels, so that two models that number their classes differently are compared rightly; a row without a decision (NaN) differs from one with
a decision; an answer never differs from itself.
"""

from __future__ import annotations

import math

import numpy as np

from fairlead.core.deciding import named, undecided
from fairlead.core.interface import Array, DecisionKind, Interface, Tensors, decide

_INDEXED = (DecisionKind.ARGMAX, DecisionKind.THRESHOLD)


def is_flip(one: Interface, outputs: Tensors, other: Interface, others: Tensors) -> bool:
    """Whether any row is decided differently; False where one of the two decides nothing (regression, or other outputs were asked for)."""
    if not (_decides(one, outputs) and _decides(other, others)):
        return False
    first, second = _decisions(one, outputs, other), _decisions(other, others, one)
    if first.shape != second.shape:
        return True
    missing, absent = undecided(one, outputs), undecided(other, others)
    if (missing != absent).any():
        return True
    differs = np.asarray(first != second)
    return bool((differs[~missing] if missing.any() else differs).any())


def largest_difference(outputs: Tensors, others: Tensors) -> float:
    """Return the largest absolute difference of a number that stands in both; infinite where NaN stands against a number, or shapes differ.

    0.0 where there are no numbers to compare: texts.
    """
    largest = 0.0
    for name, tensor in outputs.items():
        other = others.get(name)
        if other is None or tensor.dtype.kind == "O" or other.dtype.kind == "O":
            continue
        if tensor.shape != other.shape:
            return math.inf
        largest = max(largest, _apart(tensor, other))
    return largest


def _apart(tensor: Array, other: Array) -> float:
    wide, right = tensor.astype(np.float64), other.astype(np.float64)
    with np.errstate(invalid="ignore"):
        apart = np.abs(wide - right)
    if np.isnan(apart).any():  # NaN, or infinities: equal ones are no difference
        is_same = (wide == right) | (np.isnan(wide) & np.isnan(right))
        apart = np.where(is_same, 0.0, np.where(np.isnan(apart), np.inf, apart))
    return float(apart.max()) if apart.size else 0.0


def _decides(interface: Interface, outputs: Tensors) -> bool:
    rule = interface.decision
    return rule is not None and rule.kind is not DecisionKind.VALUE and rule.output in outputs


def _decisions(interface: Interface, outputs: Tensors, other: Interface) -> Array:
    """Return decisions that can be compared with the other's: by index where both count the same classes, else by label."""
    rule, facing = interface.decision, other.decision
    both_count = rule is not None and facing is not None and rule.kind in _INDEXED and facing.kind in _INDEXED
    if both_count and (interface.labels == other.labels or not (interface.labels and other.labels)):
        return decide(interface, outputs)
    return named(interface, outputs)
