"""Builds an ONNX graph tensor by tensor: nodes, constants without doubles, stable names, and transposes only where somebody needs them.

Takes what the layer converters ask for and gives a ModelProto. A Value may lie in memory in another axis order than Keras sees it;
`arranged` brings it into the order that an operator wants and remembers the result. Raises UnsupportedError for a model too large for one
file. Never looks at layers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from fairlead._version import __version__
from fairlead.core.dtype import DType
from fairlead.core.interface import Array, TensorSpec
from fairlead.errors import UnsupportedError

# Opset 20 brings Gelu; everything that later opsets add is not needed, and quantizers and other engines lag behind newer ones.
OPSET = 20
IR_VERSION = 10
Shape = tuple[int | None, ...]

ONNX_TYPES = {
    DType.BOOL: onnx.TensorProto.BOOL,
    DType.UINT8: onnx.TensorProto.UINT8,
    DType.UINT16: onnx.TensorProto.UINT16,
    DType.UINT32: onnx.TensorProto.UINT32,
    DType.UINT64: onnx.TensorProto.UINT64,
    DType.INT8: onnx.TensorProto.INT8,
    DType.INT16: onnx.TensorProto.INT16,
    DType.INT32: onnx.TensorProto.INT32,
    DType.INT64: onnx.TensorProto.INT64,
    DType.FP16: onnx.TensorProto.FLOAT16,
    DType.FP32: onnx.TensorProto.FLOAT,
    DType.FP64: onnx.TensorProto.DOUBLE,
    DType.BYTES: onnx.TensorProto.STRING,
}


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the graph. `shape` is Keras's (None: free). Memory axis i holds Keras axis `order[i]` (() for Keras's own order).

    `columns`, for a matrix only: memory column j holds Keras column `columns[j]` (a flattened tensor that was not in Keras's order).
    """

    name: str
    shape: Shape
    dtype: DType = DType.FP32
    order: tuple[int, ...] = ()
    columns: Array | None = None

    @property
    def rank(self) -> int:
        """How many axes it has."""
        return len(self.shape)

    @property
    def is_plain(self) -> bool:
        """Whether memory is in Keras's order."""
        return not self.order and self.columns is None

    def axis(self, keras_axis: int) -> int:
        """Return where in memory Keras's axis lies; negative ones count from the end."""
        axis = keras_axis % self.rank
        return self.order.index(axis) if self.order else axis


class GraphBuilder:
    """Collects the graph. `scope` prefixes the names of what is added next (a layer's name)."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, Array] = {}
        self._constant_names: dict[tuple[str, tuple[int, ...], str], str] = {}
        self._used: set[str] = set()
        self._arranged: dict[tuple[str, tuple[int, ...], bytes, tuple[int, ...]], str] = {}
        self._inputs: list[TensorSpec] = []
        self._renamed: dict[str, str] = {}
        self.scope = ""

    def input(self, spec: TensorSpec) -> Value:
        """Add a graph input."""
        self._used.add(spec.name)
        self._inputs.append(spec)
        return Value(spec.name, (None, *spec.shape[1:]), spec.dtype)

    def reserve(self, names: Sequence[str]) -> None:
        """Keep names (of outputs) from being given to anything else."""
        self._used.update(names)

    def constant(self, array: Array, label: str = "constant") -> str:
        """Return the name of a constant tensor; equal ones are kept once."""
        array = np.array(array, order="C")  # a copy: also of read-only and zero-dimensional arrays, which stay so
        key = (array.dtype.str, array.shape, hashlib.sha256(array.tobytes()).hexdigest())
        if key not in self._constant_names:
            self._constant_names[key] = self._unique(label)
            self._constants[self._constant_names[key]] = array
        return self._constant_names[key]

    def floats(self, value: Any, label: str = "constant") -> str:
        """Return the name of a float32 constant; `value` may be float64, it is rounded once."""
        return self.constant(np.asarray(value, dtype=np.float32), label)

    def integers(self, value: Any, label: str = "shape") -> str:
        """Return the name of an int64 constant."""
        return self.constant(np.asarray(value, dtype=np.int64), label)

    def add(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node with one output and return its name."""
        return self.add_many(operator, inputs, 1, **attributes)[0]

    def add_many(self, operator: str, inputs: Sequence[str], output_count: int, **attributes: Any) -> list[str]:
        """Add a node with several outputs and return their names."""
        outputs = [self._unique(operator) for _ in range(output_count)]
        self._nodes.append(helper.make_node(operator, list(inputs), outputs, name=outputs[0], **attributes))
        return outputs

    def arranged(self, value: Value, order: Sequence[int] = ()) -> Value:
        """Return `value` with its memory in `order` (Keras's own by default)."""
        wanted = memory_order(order)
        if value.columns is not None:
            value = self._sorted_columns(value)
        if wanted == value.order:
            return value
        now = value.order or tuple(range(value.rank))
        permutation = tuple(now.index(axis) for axis in wanted or range(value.rank))
        key = (value.name, permutation, b"", value.order)
        if key not in self._arranged:
            self._arranged[key] = self.add("Transpose", [value.name], perm=permutation)
        return replace(value, name=self._arranged[key], order=wanted)

    def _sorted_columns(self, value: Value) -> Value:
        if value.columns is None:
            return value
        key = (value.name, (), np.asarray(value.columns).tobytes(), ())
        if key not in self._arranged:
            self._arranged[key] = self.add("Gather", [value.name, self.integers(np.argsort(value.columns), "columns")], axis=1)
        return replace(value, name=self._arranged[key], columns=None)

    def cast(self, value: Value, dtype: DType) -> Value:
        """Return `value` with another element type."""
        if value.dtype is dtype:
            return value
        return replace(value, name=self.add("Cast", [value.name], to=ONNX_TYPES[dtype]), dtype=dtype)

    def as_float(self, value: Value) -> Value:
        """Return `value` as float32."""
        return self.cast(value, DType.FP32)

    def reshape(self, value: Value, shape: Sequence[int | None]) -> Value:
        """Return plain `value` reshaped to `shape`, whose first axis is the batch; other free sizes are read at run time."""
        value = self.arranged(value)
        free = [axis for axis, size in enumerate(shape) if size is None and axis > 0]
        same_batch = bool(value.shape) and bool(shape) and shape[0] is None and value.shape[0] is None
        if not same_batch or len(free) > 1:
            raise UnsupportedError(f"A reshape to {list(shape)} leaves more than one size open.", hint="Fix the input's shape.")
        target = [0, *(-1 if size is None else size for size in shape[1:])]
        return Value(self.add("Reshape", [value.name, self.integers(target)]), tuple(shape), value.dtype)

    def finish(self, outputs: Sequence[tuple[TensorSpec, Value]]) -> onnx.ModelProto:
        """Return the model with `outputs` under their names. Raises UnsupportedError above what one file can hold."""
        tensors = [(spec.name, self.cast(self.arranged(value), spec.dtype).name) for spec, value in outputs]
        for name, tensor in tensors:
            self._name_output(name, tensor)
        self._drop_unused([name for name, _ in tensors])
        size = sum(array.nbytes for array in self._constants.values())
        if size > onnx.checker.MAXIMUM_PROTOBUF - 2**20:
            raise UnsupportedError(f"The model has {size / 2**30:.1f} GiB of weights.", hint="A single ONNX file holds less than 2 GiB.")
        graph = helper.make_graph(
            self._nodes,
            self._name,
            [_value_info(spec, spec.shape) for spec in self._inputs],
            [_value_info(spec, value.shape) for spec, value in outputs],
            [numpy_helper.from_array(array, name) for name, array in self._constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="fairlead")
        model.ir_version = IR_VERSION
        model.producer_version = __version__
        return model

    def _name_output(self, name: str, tensor: str) -> None:
        """Call a tensor `name`: by renaming where a node of ours makes it and it is no output yet, else by an Identity."""
        tensor = self._renamed.get(tensor, tensor)
        if tensor in self._renamed.values() or not any(tensor in node.output for node in self._nodes):
            self._nodes.append(helper.make_node("Identity", [tensor], [name], name=name))
            return
        for node in self._nodes:
            for names in (node.input, node.output):
                for place, used in enumerate(names):
                    if used == tensor:
                        names[place] = name
        self._renamed[tensor] = name

    def _drop_unused(self, outputs: Sequence[str]) -> None:
        """Remove nodes and constants that no output needs, such as the steps of a recurrent layer of which only the last is asked for."""
        needed, kept = set(outputs), []
        for node in reversed(self._nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                kept.append(node)
        self._nodes = kept[::-1]
        self._constants = {name: array for name, array in self._constants.items() if name in needed}

    def _unique(self, label: str) -> str:
        stem = f"{self.scope}/{label}" if self.scope else label
        name, number = stem, 1
        while name in self._used:
            number += 1
            name = f"{stem}_{number}"
        self._used.add(name)
        return name


def _value_info(spec: TensorSpec, shape: Shape) -> onnx.ValueInfoProto:
    dims: list[str | int] = ["batch", *(f"{spec.name}_{axis}" if size is None else size for axis, size in enumerate(shape[1:], 1))]
    return helper.make_tensor_value_info(spec.name, ONNX_TYPES[spec.dtype], dims)


def memory_order(order: Sequence[int]) -> tuple[int, ...]:
    """Return `order` as a Value holds it: () where it is Keras's own."""
    return () if list(order) == list(range(len(order))) else tuple(order)


def size_of(shape: Sequence[int | None]) -> int | None:
    """Return the product of sizes, None where one is free."""
    return None if None in shape else math.prod(size for size in shape if size is not None)
