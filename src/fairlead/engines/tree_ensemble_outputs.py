"""From what the trees add up to, to what the interface promises: transform, probabilities, labels. One convention for every library.

Takes sums (rows, outputs) in the ensemble's own type; gives tensors by the interface's names: `label`, `probabilities`, `prediction` and
`scores`. Transforms follow the library that the type belongs to: XGBoost in single, LightGBM and CatBoost in double precision. Pure; raises
UnsupportedError for an output of another name.
"""

from __future__ import annotations

import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface, Tensors
from fairlead.core.tree_ensemble import Transform, TreeEnsemble
from fairlead.errors import UnsupportedError

LABEL, PROBABILITIES, PREDICTION, SCORES = "label", "probabilities", "prediction", "scores"
LARGEST_EXPONENT = np.float32(88.7)  # XGBoost's own bound against overflow in the sigmoid


def outputs_of(
    trees: TreeEnsemble, interface: Interface, sums: Array, names: Tensors | list[str] | tuple[str, ...] = ()
) -> dict[str, Array]:
    """Return the named outputs (all where none are named) for sums (rows, outputs)."""
    values = transformed(trees, sums)
    wanted = list(names) or [spec.name for spec in interface.outputs]
    return {name: _output(trees, interface, name, sums, values) for name in wanted}


def _output(trees: TreeEnsemble, interface: Interface, name: str, sums: Array, values: Array) -> Array:
    spec = interface.output(name)
    if name == LABEL:
        index = class_index(trees, sums, values)
        if not interface.labels:
            return index.astype(spec.dtype.numpy)
        labels = np.array([str(label) for label in interface.labels], dtype=object) if spec.dtype is DType.BYTES else interface.labels
        return np.asarray(labels, dtype=spec.dtype.numpy)[index]
    if name == PROBABILITIES and trees.output_count == 1:
        return np.concatenate([1 - values, values], axis=1, dtype=spec.dtype.numpy)
    if name in (PROBABILITIES, PREDICTION, SCORES):
        return values.astype(spec.dtype.numpy)
    raise UnsupportedError(f"Trees give no output '{name}'.", hint="Import the model again.")


def class_index(trees: TreeEnsemble, sums: Array, values: Array) -> Array:
    """Return the index of each row's class, int64 (rows,)."""
    decisive = sums if trees.is_decided_by_sum else values
    if trees.output_count == 1:
        return np.asarray(decisive[:, 0] > (0.0 if trees.is_decided_by_sum else 0.5), dtype=np.int64)
    return np.asarray(np.argmax(decisive, axis=1), dtype=np.int64)


def transformed(trees: TreeEnsemble, sums: Array) -> Array:
    """Return what the library's own predict makes of the sums; shape and type stay."""
    kind = trees.transform
    with np.errstate(over="ignore", under="ignore"):
        if kind is Transform.IDENTITY:
            return sums
        if kind is Transform.SIGMOID:
            return _sigmoid(sums, trees.scale)
        if kind is Transform.SOFTMAX:
            return _softmax(sums)
        if kind is Transform.EXP:
            return _exp(sums)
        if kind is Transform.SIGN_SQUARE:
            return np.asarray(np.sign(sums) * sums * sums)
        if kind is Transform.HINGE:
            return (sums > 0).astype(sums.dtype)
        if kind is Transform.LOG1P_EXP:
            return np.asarray(np.log1p(np.exp(sums)))
        each = _sigmoid(sums, trees.scale)
        return each if kind is Transform.ONE_VS_ALL else np.asarray(each / each.sum(axis=1, keepdims=True))


def _exp(values: Array) -> Array:
    """Rounded once from double: what a good C library gives for single precision; numpy's own is off by up to 2 units."""
    return np.exp(values.astype(np.float64)).astype(values.dtype)


def _sigmoid(sums: Array, scale: float) -> Array:
    if sums.dtype == np.float32:
        return np.asarray(np.float32(1) / (_exp(np.minimum(-sums, LARGEST_EXPONENT)) + np.float32(1)))
    return np.asarray(1.0 / (1.0 + np.exp(-scale * sums)))


def _softmax(sums: Array) -> Array:
    powers = _exp(sums - sums.max(axis=1, keepdims=True))
    total = np.zeros(len(sums), dtype=np.float64)
    for column in range(sums.shape[1]):
        total += powers[:, column]
    return np.asarray(powers / total.astype(sums.dtype)[:, np.newaxis])
