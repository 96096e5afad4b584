"""A tree ensemble and its interface -> an ONNX model that decides as the library does.

Takes core values, gives a ModelProto with a free batch and the interface's names. Raises UnsupportedError for outputs and label types that
it does not know. Transforms are those of engines.tree_ensemble_outputs, which states their source; exponentials are taken in double and
rounded once, as a good C library rounds them.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from fairlead._version import __version__
from fairlead.convert.graph_builder import IR_VERSION, ONNX_TYPES, OPSET
from fairlead.convert.trees.columns import columns_of, prepare
from fairlead.convert.trees.ensemble_node import ML_OPSET, attributes_of, node_dtype
from fairlead.convert.trees.nodes import Nodes
from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface, TensorSpec
from fairlead.core.tree_ensemble import Transform, TreeEnsemble
from fairlead.engines.tree_ensemble_outputs import LABEL, LARGEST_EXPONENT, PREDICTION, PROBABILITIES, SCORES
from fairlead.errors import UnsupportedError

_DOUBLE = onnx.TensorProto.DOUBLE


def build_model(trees: TreeEnsemble, interface: Interface, weights: Array | None = None) -> onnx.ModelProto:
    """Return the model: one input of rows, the outputs that `interface` names.

    `weights` (features + 1, outputs; the last row are biases) are those of XGBoost's linear booster, whose base and transform `trees` has.
    """
    nodes = Nodes()
    (spec,) = interface.inputs
    sums = _sums(nodes, trees, spec) if weights is None else _linear_sums(nodes, trees, spec, weights)
    values = _transformed(nodes, trees, sums)
    for output in interface.outputs:
        _add_output(nodes, trees, interface, output, sums, values)
    graph = helper.make_graph(
        nodes.nodes,
        "trees",
        [_value_info(spec)],
        [_value_info(output) for output in interface.outputs],
        nodes.constants,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="fairlead", producer_version=__version__)


def _value_info(spec: TensorSpec) -> onnx.ValueInfoProto:
    shape = ["batch" if size is None else size for size in spec.shape]
    return helper.make_tensor_value_info(spec.name, ONNX_TYPES[spec.dtype], shape)


def _sums(nodes: Nodes, trees: TreeEnsemble, spec: TensorSpec) -> str:
    """What the trees add up to, (rows, outputs) in `sum_dtype`."""
    table = spec.name
    if spec.dtype is not trees.compare_dtype:
        table = nodes.cast(table, ONNX_TYPES[trees.compare_dtype])
    columns = columns_of(trees)
    table = prepare(nodes, table, columns, trees.compare_dtype)
    kind = node_dtype(trees)
    if kind is not trees.compare_dtype:
        table = nodes.cast(table, ONNX_TYPES[kind])
    sums = nodes.add("TreeEnsemble", [table], domain="ai.onnx.ml", **attributes_of(trees, columns.numbers))
    if kind is not trees.sum_dtype:
        sums = nodes.cast(sums, ONNX_TYPES[trees.sum_dtype])
    if trees.is_averaged:
        sums = nodes.add("Div", [sums, nodes.constant(_tree_counts(trees))])
    return sums


def _linear_sums(nodes: Nodes, trees: TreeEnsemble, spec: TensorSpec, weights: Array) -> str:
    """What XGBoost's linear booster adds up to: bias and base first, then feature after feature, each rounded to single precision; what is
    missing adds nothing. XGBoost takes the first output's base score for all of them (measured with 3.2).
    """
    zero = nodes.constant(np.asarray(0, np.float32))
    rows = nodes.add("Where", [nodes.add("IsNaN", [spec.name]), zero, spec.name])
    products = nodes.add("Mul", [nodes.add("Unsqueeze", [rows, nodes.constant(np.asarray([2], np.int64))]), nodes.constant(weights[:-1])])
    first = np.zeros((1, *weights.shape), np.float32)
    first[0, 0] = weights[-1] + trees.base[0].astype(np.float32)
    room = nodes.constant(np.asarray([0, 1, 0, 0, 0, 0], np.int64))
    terms = nodes.add("Add", [nodes.add("Pad", [products, room]), nodes.constant(first)])
    # CumSum adds in order; ReduceSum and MatMul do not say in which.
    sums = nodes.add("CumSum", [terms, nodes.constant(np.asarray(1, np.int64))])
    last = nodes.add("Gather", [sums, nodes.constant(np.asarray([len(weights) - 1], np.int64))], axis=1)
    return nodes.add("Squeeze", [last, nodes.constant(np.asarray([1], np.int64))])


def _tree_counts(trees: TreeEnsemble) -> Array:
    is_vector = trees.leaf_values.shape[1] > 1
    counts = np.full(trees.output_count, trees.tree_count) if is_vector else np.bincount(trees.groups, minlength=trees.output_count)
    return np.asarray(np.maximum(counts, 1), dtype=trees.sum_dtype.numpy)


def _transformed(nodes: Nodes, trees: TreeEnsemble, sums: str) -> str:
    """What the library's own predict makes of the sums, in `sum_dtype`."""
    kind, dtype = trees.transform, trees.sum_dtype

    def number(value: float) -> str:
        return nodes.constant(np.asarray(value, dtype.numpy))

    if kind is Transform.IDENTITY:
        return sums
    if kind is Transform.SIGMOID:
        return _sigmoid(nodes, trees, sums)
    if kind is Transform.SOFTMAX:
        largest = nodes.add("ReduceMax", [sums, nodes.constant(np.asarray([1], np.int64))], keepdims=1)
        powers = _exp(nodes, nodes.add("Sub", [sums, largest]), dtype)
        return nodes.add("Div", [powers, _row_sum(nodes, powers, dtype)])
    if kind is Transform.EXP:
        return _exp(nodes, sums, dtype)
    if kind is Transform.SIGN_SQUARE:
        return nodes.add("Mul", [nodes.add("Mul", [nodes.add("Sign", [sums]), sums]), sums])
    if kind is Transform.HINGE:
        return nodes.cast(nodes.add("Greater", [sums, number(0.0)]), ONNX_TYPES[dtype])
    if kind is Transform.LOG1P_EXP:
        return nodes.add("Log", [nodes.add("Add", [number(1.0), _exp(nodes, sums, dtype)])])
    each = _sigmoid(nodes, trees, sums)
    return each if kind is Transform.ONE_VS_ALL else nodes.add("Div", [each, _row_sum(nodes, each, dtype)])


def _row_sum(nodes: Nodes, values: str, dtype: DType) -> str:
    """Each row's sum, added in double and rounded once."""
    wide = values if dtype is DType.FP64 else nodes.cast(values, _DOUBLE)
    total = nodes.add("ReduceSum", [wide, nodes.constant(np.asarray([1], np.int64))], keepdims=1)
    return total if dtype is DType.FP64 else nodes.cast(total, ONNX_TYPES[dtype])


def _exp(nodes: Nodes, values: str, dtype: DType) -> str:
    if dtype is DType.FP64:
        return nodes.add("Exp", [values])
    return nodes.cast(nodes.add("Exp", [nodes.cast(values, _DOUBLE)]), ONNX_TYPES[dtype])


def _sigmoid(nodes: Nodes, trees: TreeEnsemble, sums: str) -> str:
    dtype = trees.sum_dtype
    one = nodes.constant(np.asarray(1.0, dtype.numpy))
    if dtype is DType.FP32:
        bounded = nodes.add("Min", [nodes.add("Neg", [sums]), nodes.constant(np.asarray(LARGEST_EXPONENT))])
        return nodes.add("Div", [one, nodes.add("Add", [_exp(nodes, bounded, dtype), one])])
    scaled = nodes.add("Mul", [nodes.constant(np.asarray(-trees.scale, dtype.numpy)), sums])
    return nodes.add("Div", [one, nodes.add("Add", [one, _exp(nodes, scaled, dtype)])])


def _add_output(nodes: Nodes, trees: TreeEnsemble, interface: Interface, spec: TensorSpec, sums: str, values: str) -> None:
    if spec.name == LABEL:
        _add_label(nodes, trees, interface, spec, sums, values)
        return
    if spec.name not in (PROBABILITIES, PREDICTION, SCORES):
        raise UnsupportedError(f"Trees give no output '{spec.name}'.", hint="Import the model again.")
    if spec.name == PROBABILITIES and trees.output_count == 1:
        one = nodes.constant(np.asarray(1.0, trees.sum_dtype.numpy))
        values = nodes.add("Concat", [nodes.add("Sub", [one, values]), values], axis=1)
    nodes.cast(values, ONNX_TYPES[spec.dtype], name=spec.name)


def _add_label(nodes: Nodes, trees: TreeEnsemble, interface: Interface, spec: TensorSpec, sums: str, values: str) -> None:
    decisive = sums if trees.is_decided_by_sum else values
    if trees.output_count == 1:
        bound = nodes.constant(np.asarray(0.0 if trees.is_decided_by_sum else 0.5, trees.sum_dtype.numpy))
        column = nodes.add("Squeeze", [decisive, nodes.constant(np.asarray([1], np.int64))])
        index = nodes.cast(nodes.add("Greater", [column, bound]), onnx.TensorProto.INT64)
    else:
        index = nodes.add("ArgMax", [decisive], axis=1, keepdims=0)
    if not interface.labels:
        nodes.cast(index, ONNX_TYPES[spec.dtype], name=spec.name)
        return
    labels = np.asarray(interface.labels, dtype=object if spec.dtype is DType.BYTES else spec.dtype.numpy)
    nodes.add("Gather", [nodes.constant(labels), index], name=spec.name, axis=0)
