"""What a model costs for one row: parameters, operations, bytes, memory, trees, counted from its canonical ONNX file.

Takes a single-file ONNX model that Fairlead wrote, and its interface; gives ModelFacts. Reads the file, runs nothing. Raises SourceError
for a file that is no ONNX model. Shapes are inferred for one row; other free sizes are taken to be `free_size`, and the notes say so. What
cannot be counted (an unknown operator, a shape that depends on values, repetitions of a loop) is named in the notes, never guessed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import helper, shape_inference

from fairlead.core.facts import ModelFacts
from fairlead.core.interface import Interface
from fairlead.errors import SourceError
from fairlead.plan.operator_work import SHAPE_KEEPERS, VIEWS, Operator, Shape, UncountableError, work_of
from fairlead.plan.tree_facts import OPERATORS as TREE_OPERATORS
from fairlead.plan.tree_facts import TreeFacts, tree_facts

FREE_SIZE = 128
_TREES = "trees"
_NUMBERS = frozenset(
    getattr(onnx.TensorProto, name) for name in ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE", "INT8", "UINT8", "INT4", "UINT4")
)  # whole numbers of 32 and 64 bits are shapes and indices
_HALF_BYTE = (onnx.TensorProto.INT4, onnx.TensorProto.UINT4)
_LOOKED_UP = frozenset({"Gather", "GatherElements", "GatherND", "ArrayFeatureExtractor"})
_REPEATED = frozenset({"Loop", "Scan", "SequenceMap"})
_NOTE_LIMIT = 8


def model_facts(path: Path, interface: Interface, *, free_size: int = FREE_SIZE) -> ModelFacts:
    """Return what one row costs; `free_size` stands for every free size but the batch."""
    try:
        model = onnx.load(path)
    except (DecodeError, OSError) as error:
        raise SourceError(f"'{path.name}' is no ONNX model: {error}.") from None
    notes = _fix_shapes(model.graph, interface, free_size)
    try:
        model = shape_inference.infer_shapes(model, data_prop=True)
    except (shape_inference.InferenceError, RuntimeError, ValueError):
        notes.append("the shapes inside the model cannot be inferred")
    count = _Count()
    count.add(model.graph, {})
    return count.facts(_peak_bytes(model.graph, count.sizes), notes)


def _fix_shapes(graph: onnx.GraphProto, interface: Interface, free_size: int) -> list[str]:
    """Write one row, and `free_size` for other free sizes, into the inputs; outputs are left for inference to say."""
    notes = []
    batched = {spec.name for spec in interface.inputs if spec.shape[:1] == (None,)}
    for value in graph.input:
        dims = value.type.tensor_type.shape.dim
        for place, dim in enumerate(dims):
            if dim.HasField("dim_value") and dim.dim_value > 0:
                continue
            is_batch = place == 0 and value.name in batched
            if not is_batch:
                notes.append(f"the free size {place} of '{value.name}' is taken to be {free_size}")
            dim.Clear()
            dim.dim_value = 1 if is_batch else free_size
    for value in [*graph.output, *graph.value_info]:
        value.type.tensor_type.ClearField("shape")
    return notes


@dataclass(frozen=True)
class _Value:
    """A tensor between operators: its shape, None where it is not known, and the bytes of an element."""

    shape: Shape | None
    item_bytes: float

    @property
    def byte_count(self) -> int | None:
        return None if self.shape is None else math.ceil(math.prod(self.shape) * self.item_bytes)


@dataclass
class _Count:
    """Sums over a graph and the graphs inside it."""

    operations: Counter[str] = field(default_factory=Counter)
    flops: dict[str, float] = field(default_factory=dict)
    parameter_count: int = 0
    parameter_bytes: int = 0
    weight_bytes: int = 0
    activation_bytes: int = 0
    trees: list[TreeFacts] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    unsized_count: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def add(self, graph: onnx.GraphProto, outer: Mapping[str, _Value]) -> None:
        """Count a graph whose operators see `outer` values, too."""
        weights = {tensor.name: _Value(tuple(tensor.dims), _item_bytes(tensor.data_type)) for tensor in graph.initializer}
        values = {**outer, **_values(graph), **weights}
        for node in graph.node:
            if node.op_type in SHAPE_KEEPERS and node.input[0] in values:
                values[node.output[0]] = values[node.input[0]]
        for name, value in values.items():
            if name not in weights and value.byte_count is not None:
                self.sizes[name] = value.byte_count
        read = set()
        for tensor in graph.initializer:
            self._add_parameter(tensor)
        for node in graph.node:
            self.operations[node.op_type] += 1
            attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute if not item.ref_attr_name}
            if node.op_type == "Constant" and "value" in attributes:
                self._add_parameter(attributes["value"])
            self._add_work(node, attributes, values)
            read |= self._add_bytes(node, values, weights)
            for inner in _graphs(attributes.values()):
                self.add(inner, values)
                if node.op_type in _REPEATED:
                    self.notes.append(f"what a {node.op_type} repeats is counted once")
        self.weight_bytes += sum(weights[name].byte_count or 0 for name in read)
        given = {name for node in graph.node for name in node.output if name}
        self.unsized_count += sum(1 for name in given if name not in values or values[name].byte_count is None)

    def facts(self, peak_bytes: int, notes: Sequence[str]) -> ModelFacts:
        """Return the sums."""
        left_out = [f"{count} x {reason}" for reason, count in self.unknown.most_common(_NOTE_LIMIT)]
        if self.unsized_count:
            left_out.append(f"{self.unsized_count} values of unknown shape are not in the bytes")
        trees, nodes = sum(item.tree_count for item in self.trees), sum(item.node_count for item in self.trees)
        return ModelFacts(
            parameter_count=self.parameter_count,
            parameter_bytes=self.parameter_bytes,
            operation_count=dict(sorted(self.operations.items())),
            flops_by_kind=dict(sorted(self.flops.items())),
            weight_bytes=self.weight_bytes,
            activation_bytes=self.activation_bytes,
            activation_peak_bytes=peak_bytes,
            tree_count=trees,
            node_count=nodes,
            max_depth=max((item.max_depth for item in self.trees), default=0),
            mean_depth=sum(item.mean_depth * item.tree_count for item in self.trees) / trees if trees else 0.0,
            notes=(*notes, *dict.fromkeys(self.notes), *left_out),
        )

    def _add_parameter(self, tensor: onnx.TensorProto) -> None:
        if tensor.data_type in _NUMBERS:
            self.parameter_count += math.prod(tensor.dims)
            self.parameter_bytes += math.ceil(math.prod(tensor.dims) * _item_bytes(tensor.data_type))

    def _add_work(self, node: onnx.NodeProto, attributes: Mapping[str, Any], values: Mapping[str, _Value]) -> None:
        try:
            if node.op_type in TREE_OPERATORS:
                trees = tree_facts(node.op_type, attributes)
                self.trees.append(trees)
                kind, flops = _TREES, trees.comparison_count
            elif _is_container(attributes):
                return
            else:
                shapes = [[values[name].shape if name in values else None for name in names] for names in (node.input, node.output)]
                kind, flops = work_of(Operator(node.op_type, attributes, *shapes))
        except (UncountableError, KeyError, IndexError, ValueError) as error:
            reason = str(error) if isinstance(error, UncountableError) else "its shapes do not fit"
            self.unknown[f"{node.op_type} is not counted: {reason}"] += 1
            return
        if kind:
            self.flops[kind] = self.flops.get(kind, 0.0) + flops

    def _add_bytes(self, node: onnx.NodeProto, values: Mapping[str, _Value], weights: Mapping[str, _Value]) -> set[str]:
        """Add what one row passes through the operator; return the weights that it reads whole."""
        if node.op_type in VIEWS or node.op_type == "Constant":
            return set()
        moved = [values[name].byte_count or 0 for name in (*node.input, *node.output) if name in values and name not in weights]
        self.activation_bytes += sum(moved)
        constants = {name for name in node.input if name in weights}
        if node.op_type in _LOOKED_UP:  # reads as much of the table as it gives back
            self.activation_bytes += sum(
                values[name].byte_count or 0 for name in node.output if name in values and node.input[0] in constants
            )
            constants.discard(node.input[0])
        if node.op_type in TREE_OPERATORS and self.trees:
            facts = self.trees[-1]
            self.activation_bytes += math.ceil(facts.comparison_count * node.ByteSize() / max(facts.node_count, 1))
        return constants


def _is_container(attributes: Mapping[str, Any]) -> bool:
    return any(True for _ in _graphs(attributes.values()))


def _graphs(attributes: Any) -> Iterator[onnx.GraphProto]:
    for value in attributes:
        if isinstance(value, onnx.GraphProto):
            yield value
        elif isinstance(value, list):
            yield from (item for item in value if isinstance(item, onnx.GraphProto))


def _item_bytes(element_type: int) -> float:
    if element_type in _HALF_BYTE:
        return 0.5
    return float(helper.tensor_dtype_to_np_dtype(element_type).itemsize) if element_type != onnx.TensorProto.STRING else 0.0


def _values(graph: onnx.GraphProto) -> dict[str, _Value]:
    return {
        value.name: _value(value.type.tensor_type)
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.HasField("tensor_type") and value.type.tensor_type.elem_type
    }


def _value(kind: Any) -> _Value:
    if not kind.HasField("shape") or any(not dim.HasField("dim_value") for dim in kind.shape.dim):
        return _Value(None, _item_bytes(kind.elem_type))
    return _Value(tuple(dim.dim_value for dim in kind.shape.dim), _item_bytes(kind.elem_type))


def _peak_bytes(graph: onnx.GraphProto, sizes: Mapping[str, int]) -> int:
    """Return the most that is alive at once, operator by operator in the order of the file: a value lives from the operator that gives it
    to the last that takes it, and to the end where it is an output. What is only seen in another shape lives on as itself.
    """
    root: dict[str, str] = {}
    last: dict[str, int] = {}
    for number, node in enumerate(graph.node):
        if node.op_type in VIEWS and node.input:
            root[node.output[0]] = root.get(node.input[0], node.input[0])
        for name in node.input:
            last[root.get(name, name)] = number
    for value in graph.output:
        last[root.get(value.name, value.name)] = len(graph.node)
    alive = {value.name for value in graph.input if value.name in sizes}
    peak = sum(sizes[name] for name in alive)
    for number, node in enumerate(graph.node):
        alive |= {name for name in node.output if name in sizes and name not in root and node.op_type != "Constant"}
        peak = max(peak, sum(sizes[name] for name in alive))
        alive = {name for name in alive if last.get(name, -1) > number}
    return peak
