"""From what a model gave to what it says about each row: a label, a number, or nothing where its scores are NaN. Pure.

Law: a row with NaN among the scores that decide has no decision, wherever it is asked for: the largest of such scores says nothing, and
would be the first class. Where there is no rule, there is nothing to be undecided about.
"""

from __future__ import annotations

import numpy as np

from fairlead.core.interface import Array, DecisionKind, Interface, Tensors, decide


def undecided(interface: Interface, outputs: Tensors) -> Array:
    """Return which rows have no decision, bool (rows,): NaN stands among what decides, or among the scores beside a label.

    A number that is the answer itself (regression) is always a decision, also where it is NaN.
    """
    rule = interface.decision
    deciding = np.asarray(outputs[rule.output if rule is not None else interface.outputs[0].name])
    found = np.zeros(len(deciding), np.bool_)
    if rule is None or rule.kind is DecisionKind.VALUE:
        return found
    beside = outputs.get(rule.scores) if rule.kind is DecisionKind.LABEL else None
    for tensor in (deciding, beside):
        if tensor is not None and tensor.dtype.kind == "f":
            found |= np.isnan(tensor).reshape(len(found), -1).any(axis=1)
    return found


def named(interface: Interface, outputs: Tensors) -> Array:
    """Return what decides each row by its label where the interface has labels, else as it is; `undecided` says which of it means nothing.

    Shape (rows,), or (rows, ...) for decisions per position; where there is no decision rule, the first output.
    """
    rule = interface.decision
    if rule is None:
        return np.asarray(outputs[interface.outputs[0].name])
    decisions = decide(interface, outputs)
    if rule.kind in (DecisionKind.ARGMAX, DecisionKind.THRESHOLD) and interface.labels:
        return np.asarray(interface.labels, dtype=object)[decisions]
    return decisions


def labelled(interface: Interface, outputs: Tensors) -> Array:
    """Return what `named` returns, as an array of objects with None in the rows that have no decision, where there are such rows."""
    found = named(interface, outputs)
    missing = undecided(interface, outputs)
    if missing.any():
        found = found.astype(object)
        found[missing] = None
    return found
