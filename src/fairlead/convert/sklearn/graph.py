"""The ONNX graph under construction, and how families of estimators write into it.

Takes fitted estimators and blocks of columns; gives nodes, constants and names. All numbers are double, since scikit-learn's are: a
difference in the last bit in front of a threshold is another decision. Raises UnsupportedError that names what has no exact form.
It never opens a file and never runs a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fairlead.core.interface import Array
from fairlead.errors import UnsupportedError

Estimator = Any
LAST = -1
_IR_VERSION = 10
_OPSETS = {"": 21, "ai.onnx.ml": 4, "com.microsoft": 1}


@dataclass(frozen=True)
class Block:
    """`width` neighbouring columns as one tensor [batch, width] of double, or of text."""

    name: str
    width: int
    is_text: bool = False


Table = tuple[Block, ...]


@dataclass(frozen=True)
class Answer:
    """What a fitted predictor gives; "" for what it does not have.

    `index` int64 [batch] into its classes; `probabilities` and `scores` (decision_function) double [batch, n], a binary decision
    function being [batch, 1]; `value` double [batch, 1] for regression.
    """

    index: str = ""
    probabilities: str = ""
    scores: str = ""
    value: str = ""


Transform = Callable[["Builder", Estimator, Table], Table]
Predict = Callable[["Builder", Estimator, Table], Answer]


class Builder:
    """Nodes and constants so far, and the converters by exact class (a subclass may compute something else)."""

    def __init__(self, transformers: Mapping[type, Transform], predictors: Mapping[type, Predict]) -> None:
        self._transformers = transformers
        self._predictors = predictors
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._initializers: list[onnx.TensorProto] = []
        self.notes: list[str] = []

    def transform(self, estimator: Estimator, table: Table) -> Table:
        """Return what `estimator.transform` makes of `table`; None and "passthrough" leave it."""
        if estimator is None or (isinstance(estimator, str) and estimator == "passthrough"):
            return table
        convert = self._transformers.get(type(estimator))
        if convert is None:
            raise unsupported(estimator, "there is no exact ONNX form of this transformer")
        return convert(self, estimator, table)

    def predict(self, estimator: Estimator, table: Table) -> Answer:
        """Return what the fitted predictor says about `table`."""
        convert = self._predictors.get(type(estimator))
        if convert is None:
            raise unsupported(estimator, "there is no exact ONNX form of this predictor")
        return convert(self, estimator, table)

    def add(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output and return the output's name."""
        return self.add_many(op, inputs, 1, domain=domain, **attributes)[0]

    def add_many(self, op: str, inputs: tuple[str, ...], output_count: int, *, domain: str = "", **attributes: Any) -> list[str]:
        """Add a node and return its outputs' names."""
        number = len(self._nodes)
        outputs = [f"v{number}_{position}" for position in range(output_count)]
        self._nodes.append(helper.make_node(op, list(inputs), outputs, name=f"n{number}_{op}", domain=domain, **attributes))
        return outputs

    def constant(self, values: object, dtype: type[np.generic] | None = np.float64) -> str:
        """Return the name of a constant; equal constants are stored once. Strings are given with dtype None."""
        array = np.asarray(values, dtype=object if dtype is None else dtype)
        content = "\x1f".join(map(str, array.flat)).encode() if dtype is None else array.tobytes()
        key = (str(array.dtype), array.shape, content)
        if key not in self._constants:
            name = f"c{len(self._constants)}"
            self._constants[key] = name
            self._initializers.append(_tensor(name, array))
        return self._constants[key]

    def integers(self, *values: int) -> str:
        """Return a constant int64 vector."""
        return self.constant(values, np.int64)

    def numbers(self, table: Table, owner: Estimator) -> Block:
        """Return the whole table as one double block; raises UnsupportedError where `owner` would have to read text as numbers."""
        for block in table:
            if block.is_text:
                raise unsupported(owner, "it is given text columns, which ONNX cannot read as numbers")
        return self.joined(table)

    def joined(self, table: Table) -> Block:
        """Return blocks of one kind side by side."""
        if len(table) == 1:
            return table[0]
        if not table:
            raise UnsupportedError("A step of the pipeline has no columns.", hint="Remove the transformer that selects nothing.")
        name = self.add("Concat", *(block.name for block in table), axis=1)
        return Block(name, sum(block.width for block in table), table[0].is_text)

    def columns(self, table: Table, indices: list[int]) -> Table:
        """Return the columns at `indices`, in that order, neighbours of one block together."""
        owner = [(block, offset) for block in table for offset in range(block.width)]
        chosen: list[tuple[Block, list[int]]] = []
        for index in indices:
            block, offset = owner[index]
            if chosen and chosen[-1][0] == block:
                chosen[-1][1].append(offset)
            else:
                chosen.append((block, [offset]))
        return tuple(self._narrow(block, offsets) for block, offsets in chosen)

    def _narrow(self, block: Block, offsets: list[int]) -> Block:
        if offsets == list(range(block.width)):
            return block
        return Block(self.add("Gather", block.name, self.integers(*offsets), axis=1), len(offsets), block.is_text)

    def sum_in_order(self, name: str, axis: int = 1) -> str:
        """Add up along `axis` from first to last, as a loop in C does, and drop that axis.

        ReduceSum may add in another order, which changes the last bit and so breaks ties differently.
        """
        running = self.add("CumSum", name, self.constant(axis, np.int64))
        return self.add("Gather", running, self.constant(LAST, np.int64), axis=axis)

    def column_of(self, name: str) -> str:
        """[batch] becomes [batch, 1]."""
        return self.add("Unsqueeze", name, self.integers(1))

    def flat(self, name: str) -> str:
        """[batch, 1] becomes [batch]."""
        return self.add("Squeeze", name, self.integers(1))

    def doubles(self, name: str) -> str:
        """Cast to double."""
        return self.add("Cast", name, to=TensorProto.DOUBLE)

    def argmax(self, name: str) -> str:
        """The first largest of each row, int64 [batch], as numpy's argmax."""
        return self.add("ArgMax", name, axis=1, keepdims=0)

    def is_positive(self, name: str, *, or_zero: bool = False) -> str:
        """[batch, 1] scores to class index 0 or 1 [batch]."""
        above = self.add("GreaterOrEqual" if or_zero else "Greater", self.flat(name), self.constant(0.0))
        return self.add("Cast", above, to=TensorProto.INT64)

    def both_sides(self, positive: str) -> str:
        """Probability of the second class [batch, 1] to that of both [batch, 2]."""
        return self.add("Concat", self.add("Sub", self.constant(1.0), positive), positive, axis=1)

    def model(self, inputs: list[onnx.ValueInfoProto], outputs: list[tuple[str, onnx.ValueInfoProto]]) -> onnx.ModelProto:
        """Return the whole model; `outputs` are (inner name, outer value)."""
        ends = [helper.make_node("Identity", [inner], [value.name]) for inner, value in outputs]
        graph = helper.make_graph([*self._nodes, *ends], "fairlead", inputs, [value for _, value in outputs], self._initializers)
        used = {node.domain for node in graph.node} | {""}
        opsets = [helper.make_opsetid(domain, version) for domain, version in _OPSETS.items() if domain in used]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="fairlead")


def unsupported(estimator: Estimator, reason: str) -> UnsupportedError:
    """Return the error that names an estimator and why it cannot be converted."""
    return UnsupportedError(
        f"{type(estimator).__name__}: {reason}.",
        hint="Use another option or estimator, or export the model to ONNX yourself and deploy that.",
    )


def _tensor(name: str, array: Array) -> onnx.TensorProto:
    if array.dtype == object:
        texts: Any = [str(element).encode() for element in array.flat]
        return helper.make_tensor(name, TensorProto.STRING, array.shape, texts)
    return numpy_helper.from_array(array, name)
