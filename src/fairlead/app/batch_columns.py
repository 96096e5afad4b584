"""What a model gave, as columns of a table: the decision, a score for each class, or what outputs there are.

Takes an interface and outputs by name; gives an Arrow table whose columns depend on the interface and the options alone. NaN stays NaN.
Raises SpecError where two columns would have the same name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fairlead.core.deciding import named, undecided
from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface, Tensors, TensorSpec, shorten
from fairlead.errors import SpecError

PREDICTION, SCORES = "prediction", "scores"
_SCORE_COLUMNS = 100  # more classes become one column of lists


@dataclass(frozen=True)
class ColumnPlan:
    """`outputs` are given as they are, under their names; before them the decision, and scores by class where `has_scores`."""

    interface: Interface
    outputs: tuple[str, ...]
    has_decision: bool
    scores: str
    classes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Every column that will come out."""
        scores = [f"score_{label}" for label in self.classes] if self.classes else [SCORES] if self.scores else []
        return (*([PREDICTION] if self.has_decision else []), *scores, *self.outputs)

    @property
    def needed(self) -> tuple[str, ...]:
        """The outputs that have to be computed."""
        rule = self.interface.decision
        decided = [rule.output] if rule is not None and self.has_decision else []
        return tuple(dict.fromkeys([*decided, *([self.scores] if self.scores else []), *self.outputs]))


def plan_columns(interface: Interface, outputs: Sequence[str], kept: Sequence[str]) -> ColumnPlan:
    """Return what comes out: with `outputs`, those alone; else the decision and its scores, or every output of a model without one."""
    for name in outputs:
        interface.output(name)
    rule = interface.decision
    if outputs or rule is None:
        plan = ColumnPlan(
            interface, tuple(outputs) or tuple(spec.name for spec in interface.outputs), has_decision=False, scores="", classes=()
        )
    else:
        scores = rule.scores if rule.scores and len(interface.output(rule.scores).shape) == 2 else ""
        plan = ColumnPlan(interface, (), has_decision=True, scores=scores, classes=_classes(interface, scores))
    names = (*kept, *plan.names)
    double = [name for number, name in enumerate(names) if name in names[:number]]
    if double:
        raise SpecError(f"Two columns would be called '{shorten(double[0])}'.", hint="Rename the column that is kept, or do not keep it.")
    return plan


def to_table(plan: ColumnPlan, outputs: Tensors) -> pa.Table:
    """Return the columns for `outputs`, which has what `plan.needed` says."""
    columns: dict[str, Any] = {}
    if plan.has_decision:
        columns[PREDICTION] = _decided(plan.interface, outputs)
    if plan.classes:
        scores = outputs[plan.scores]
        columns |= {f"score_{label}": pa.array(np.ascontiguousarray(scores[:, place])) for place, label in enumerate(plan.classes)}
    elif plan.scores:
        columns[SCORES] = _column(outputs[plan.scores])
    columns |= {name: _column(_plain(outputs[name], plan.interface.output(name))) for name in plan.outputs}
    return pa.table(columns)


def _decided(interface: Interface, outputs: Tensors) -> pa.Array:
    """The decision of each row, null where it has none; the column's type does not depend on that."""
    decided = _column(named(interface, outputs))
    missing = undecided(interface, outputs)
    return pc.if_else(pa.array(missing), pa.scalar(None, decided.type), decided) if missing.any() else decided


def no_rows(plan: ColumnPlan) -> pa.Table:
    """Return the same columns without a row."""
    one = {name: _one_row(plan.interface.output(name)) for name in plan.needed}
    return to_table(plan, one).slice(0, 0)


def _one_row(spec: TensorSpec) -> Array:
    shape = (1, *(1 if size is None else size for size in spec.shape[1:]))
    return np.full(shape, "" if spec.dtype is DType.BYTES else 0, spec.dtype.numpy)


def _classes(interface: Interface, scores: str) -> tuple[str, ...]:
    """Return what the scores' columns are called after: labels, else class numbers; nothing where there are too many."""
    count = interface.output(scores).shape[1] if scores else None
    if count is None or count > _SCORE_COLUMNS:
        return ()
    labels = [str(label) for label in interface.labels] if len(interface.labels) == count else list(map(str, range(count)))
    return tuple(labels) if len(set(labels)) == count else ()


def _plain(array: Array, spec: TensorSpec) -> Array:
    """(rows, 1, ...) of one value per row becomes (rows,), where the model says that it is always one."""
    return array.reshape(len(array)) if all(size == 1 for size in spec.shape[1:]) else array


def _column(array: Array) -> pa.Array:
    """(rows,) becomes plain values, everything else lists."""
    if array.dtype.kind == "O":
        return _text_column(array)
    if array.ndim == 1:
        return pa.array(np.ascontiguousarray(array))
    column = pa.array(np.ascontiguousarray(array).reshape(-1))
    for axis in range(array.ndim - 1, 0, -1):
        count, size = int(np.prod(array.shape[:axis])), array.shape[axis]
        column = pa.ListArray.from_arrays(pa.array(np.arange(count + 1, dtype=np.int32) * size), column)
    return column


def _text_column(array: Array) -> pa.Array:
    """Labels come as objects: texts, numbers or booleans, of one kind."""
    values = array.tolist()
    if all(isinstance(value, str) for value in array.flat):
        kind: pa.DataType = pa.string()
        for _ in array.shape[1:]:
            kind = pa.list_(kind)
        return pa.array(values, kind)
    return pa.array(values)
