"""A table as MLflow's ONNX flavor takes and gives it: one column per input of one value, one column per score.

MLflow hands a data frame to an ONNX model as one matrix, or column by column as vectors, and makes a data frame of whatever has one
value per row (mlflow/onnx/__init__.py, `_OnnxModelWrapper.predict`). Takes a model and its interface; gives the model with its inputs
reshaped and its scores split. Only moves values: every number is the one that was proven.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface, Tensors, TensorSpec

TYPES: Mapping[DType, str] = {
    DType.FP64: "double",
    DType.FP32: "float",
    DType.INT64: "long",
    DType.INT32: "integer",
    DType.BOOL: "boolean",
    DType.BYTES: "string",
}
_WIDTH_LIMIT = 1_000
_INSIDE = "fairlead/"


@dataclass(frozen=True)
class TableColumn:
    """A column: `position` in its tensor, or None where the tensor is the column."""

    name: str
    dtype: DType
    tensor: str
    position: int | None = None

    def of(self, tensors: Tensors) -> Array:
        """Return the column's values, (rows,)."""
        array = tensors[self.tensor]
        return array.reshape(-1) if self.position is None else array[:, self.position]


def input_columns(interface: Interface) -> tuple[TableColumn, ...]:
    """Return the columns of a table that the model takes; empty where it takes something else."""
    specs = interface.inputs
    if any(spec.dtype not in TYPES for spec in specs):
        return ()
    if len(specs) == 1 and len(specs[0].shape) == 2 and specs[0].columns:
        spec = specs[0]
        return tuple(TableColumn(name, spec.dtype, spec.name, position) for position, name in enumerate(spec.columns))
    if len(specs) > 1 and all(spec.shape[1:] == (1,) for spec in specs):
        names = [spec.columns[0] if spec.columns else spec.name for spec in specs]
        return tuple(TableColumn(name, spec.dtype, spec.name) for name, spec in zip(names, specs, strict=True))
    return ()


def output_columns(interface: Interface) -> tuple[TableColumn, ...]:
    """Return the columns that the model's answers make; empty where an output is no column or a few of them."""
    columns: list[TableColumn] = []
    for spec in interface.outputs:
        width = 1 if len(spec.shape) == 1 else spec.shape[1] if len(spec.shape) == 2 else None
        if width is None or width > _WIDTH_LIMIT or spec.dtype not in TYPES:
            return ()
        if width == 1:
            columns.append(TableColumn(spec.name, spec.dtype, spec.name))
            continue
        endings = [str(label) for label in interface.labels] if len(interface.labels) == width else [str(i) for i in range(width)]
        columns += [TableColumn(f"{spec.name}_{ending}", spec.dtype, spec.name, place) for place, ending in enumerate(endings)]
    names = [column.name for column in columns]
    return tuple(columns) if len(set(names)) == len(names) else ()


def as_table(model: onnx.ModelProto, interface: Interface) -> onnx.ModelProto:
    """Return `model` with columns in and out; the model itself where MLflow can use it as it is."""
    ins, outs = input_columns(interface), output_columns(interface)
    if len(interface.inputs) == 1 and all(column.position is None for column in outs):
        return model
    opsets = list(model.opset_import)
    wrapped = onnx.compose.add_prefix(model, _INSIDE)
    graph = wrapped.graph
    before = [helper.make_node("Reshape", [column.name, _INSIDE + "column"], [_INSIDE + column.tensor]) for column in ins]
    if len(interface.inputs) == 1:
        before = [helper.make_node("Identity", [interface.inputs[0].name], [_INSIDE + interface.inputs[0].name])]
    after = [_output_node(column) for column in outs]
    nodes = [*before, *graph.node, *after]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    constants = {_INSIDE + "column": [-1, 1], _INSIDE + "flat": [-1]}
    used = {name for node in (*before, *after) for name in node.input}
    graph.initializer.extend(numpy_helper.from_array(_integers(value), name) for name, value in constants.items() if name in used)
    places = sorted({column.position for column in outs if column.position is not None})
    graph.initializer.extend(numpy_helper.from_array(_integers(place), f"{_INSIDE}place{place}") for place in places)
    if len(interface.inputs) == 1:
        graph.input.append(_info(interface.inputs[0]))
    else:
        graph.input.extend(helper.make_tensor_value_info(column.name, _element(column.dtype), ["batch"]) for column in ins)
    graph.output.extend(helper.make_tensor_value_info(column.name, _element(column.dtype), ["batch"]) for column in outs)
    del wrapped.opset_import[:]
    wrapped.opset_import.extend(opsets)
    onnx.checker.check_model(wrapped)
    return wrapped


def _output_node(column: TableColumn) -> onnx.NodeProto:
    source = _INSIDE + column.tensor
    if column.position is None:
        return helper.make_node("Reshape", [source, _INSIDE + "flat"], [column.name])
    return helper.make_node("Gather", [source, f"{_INSIDE}place{column.position}"], [column.name], axis=1)


def _integers(values: int | list[int]) -> Array:
    return np.asarray(values, dtype=np.int64)


def _info(spec: TensorSpec) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(spec.name, _element(spec.dtype), ["batch", *spec.shape[1:]])


def _element(dtype: DType) -> int:
    return TensorProto.STRING if dtype is DType.BYTES else int(helper.np_dtype_to_tensor_dtype(dtype.numpy))
