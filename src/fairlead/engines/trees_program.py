"""A tree ensemble in the memory that the compiled kernel reads, and the call of the kernel.

Takes a checked TreeEnsemble and the loaded kernel; gives, for rows, an `Answer`: one piece of memory that holds labels, sums, values and
probabilities as trees_kernel.c lays them out. Raises MemoryError. Holds no state between calls, so threads may share a program.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Array
from fairlead.core.tree_ensemble import Transform, TreeEnsemble
from fairlead.engines.trees_layout import lay_out

# Those that the kernel knows, by its numbers. Of the others it gives the sums.
TRANSFORMS = {Transform.IDENTITY: 0, Transform.SIGMOID: 1, Transform.SOFTMAX: 2, Transform.EXP: 3, Transform.HINGE: 4}
_NUMBERS = (
    "node_format", "sums_in_double", "transform", "is_averaged", "is_decided_by_sum",
    "tree_count", "output_count", "width", "feature_count", "column_count", "special_start", "special_count",
)  # fmt: skip
_ARRAYS = (
    "column_ends", "column_features", "nodes", "starts", "depths", "groups", "values", "base", "divisors", "specials", "categories",
)  # fmt: skip
_INDEX = np.dtype(np.int64)


class _Trees(ctypes.Structure):
    """`trees` of trees_kernel.c."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in _NUMBERS),
        ("scale", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in _ARRAYS),
    )


@dataclass(frozen=True)
class Answer:
    """What the kernel gave for `count` rows. The arrays are views of memory that belongs to them alone."""

    memory: Any
    count: int
    output_count: int
    dtype: np.dtype[Any]

    def labels(self) -> Array:
        """The index of each row's class: int64 (rows,)."""
        return np.ndarray((self.count,), _INDEX, self.memory)

    def sums(self) -> Array:
        """What the trees add up to: (rows, outputs)."""
        return np.ndarray((self.count, self.output_count), self.dtype, self.memory, self.count * 8)

    def values(self) -> Array:
        """What the transform makes of the sums: (rows, outputs)."""
        place = self.count * (8 + self.output_count * self.dtype.itemsize)
        return np.ndarray((self.count, self.output_count), self.dtype, self.memory, place)

    def pairs(self) -> Array:
        """[1 - value, value] of each row, where there is one output: (rows, 2)."""
        return np.ndarray((self.count, 2), self.dtype, self.memory, self.count * (8 + 2 * self.dtype.itemsize))


class Program:
    """An ensemble, laid out."""

    def __init__(self, trees: TreeEnsemble, kernel: ctypes.CDLL) -> None:
        layout = lay_out(trees)
        self._arrays = [np.ascontiguousarray(getattr(layout, name)) for name in _ARRAYS]  # the kernel reads them as long as this lives
        numbers = {
            "node_format": layout.node_format,
            "sums_in_double": trees.sum_dtype is DType.FP64,
            "transform": TRANSFORMS.get(trees.transform, TRANSFORMS[Transform.IDENTITY]),
            "is_averaged": trees.is_averaged,
            "is_decided_by_sum": trees.is_decided_by_sum,
            "tree_count": trees.tree_count,
            "output_count": trees.output_count,
            "width": trees.leaf_values.shape[1],
            "feature_count": trees.feature_count,
            "column_count": len(layout.column_features) + 1,
            "special_start": len(layout.column_features) + 1,
            "special_count": len(layout.specials),
        }
        addresses = {name: array.ctypes.data for name, array in zip(_ARRAYS, self._arrays, strict=True)}
        self._trees = _Trees(**{name: int(value) for name, value in numbers.items()}, scale=trees.scale, **addresses)
        self._address = ctypes.addressof(self._trees)
        self._call = kernel.fairlead_trees_run
        self._output_count = trees.output_count
        self._compare, self._sum = trees.compare_dtype.numpy, trees.sum_dtype.numpy
        self._row_bytes = 8 + (2 * trees.output_count + (2 if trees.output_count == 1 else 0)) * self._sum.itemsize
        self.steps_per_row = int(layout.depths.sum()) + len(layout.column_features)

    def compute(self, rows: Array) -> Answer:
        """Return the answer to `rows` (rows, features), of any type and order in memory; other threads of Python go on meanwhile."""
        if rows.dtype != self._compare:
            with np.errstate(over="ignore", invalid="ignore"):
                rows = rows.astype(self._compare)
        count = len(rows)
        memory = (ctypes.c_char * (count * self._row_bytes))()
        if self._call(self._address, rows.tobytes(), count, memory):
            raise MemoryError
        return Answer(memory, count, self._output_count, self._sum)
