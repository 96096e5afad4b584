"""How many floating-point operations one ONNX operator does for given shapes: a table of laws, by what the operator is for.

Takes an operator's type, attributes and shapes; gives its kind and its operations. Pure. Raises UncountableError where a shape is not
known or the operator's work cannot be told from shapes. A multiply-add is two operations; a comparison, a square root, an exponential one
each; moving data is none. The operators are those of https://onnx.ai/onnx/operators/ and those that ONNX Runtime fuses them to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CONVOLUTION, MATRIX, RECURRENT = "convolution", "matrix", "recurrent"
ELEMENTWISE, NORMALIZATION, POOLING = "elementwise", "normalization", "pooling"

Shape = tuple[int, ...]


class UncountableError(Exception):
    """The work cannot be told; the message says why."""


@dataclass(frozen=True)
class Operator:
    """One operator with the shapes of its inputs and outputs; None for a shape that is not known, or an input that is left out."""

    type: str
    attributes: Mapping[str, Any]
    inputs: Sequence[Shape | None]
    outputs: Sequence[Shape | None]

    def input(self, place: int) -> Shape:
        """Return the shape of an input that is needed."""
        shape = self.inputs[place] if place < len(self.inputs) else None
        if shape is None:
            raise UncountableError("a shape is not known")
        return shape

    @property
    def result(self) -> Shape:
        """The shape of the first output that is known."""
        for shape in self.outputs:
            if shape is not None:
                return shape
        raise UncountableError("a shape is not known")


def work_of(operator: Operator) -> tuple[str, float]:
    """Return (kind, operations); the kind is "" for an operator that only moves data."""
    if operator.type in MOVES:
        return "", 0.0
    law = _LAWS.get(operator.type)
    if law is None:
        raise UncountableError("its work is not known")
    return law[0], float(law[1](operator))


def _size(shape: Shape) -> int:
    return math.prod(shape)


def _per_output(count: float) -> Callable[[Operator], float]:
    return lambda operator: count * _size(operator.result)


def _per_input(count: float) -> Callable[[Operator], float]:
    return lambda operator: count * _size(operator.input(0))


def _conv(weight: int) -> Callable[[Operator], float]:
    """2 x outputs x (input channels of a group x kernel), and a bias per output. Weights are (out, in / groups, kernel...)."""

    def law(operator: Operator) -> float:
        outputs, bias = (
            _size(operator.result),
            weight + 1 if operator.type in {"Conv", "FusedConv", "QLinearConv"} else len(operator.inputs),
        )
        bias = 8 if operator.type == "QLinearConv" else bias
        has_bias = bias < len(operator.inputs) and operator.inputs[bias] is not None
        return 2.0 * outputs * _size(operator.input(weight)[1:]) + (outputs if has_bias else 0)

    return law


def _conv_transpose(operator: Operator) -> float:
    """2 x inputs x (output channels of a group x kernel), and a bias per output. Weights are (in, out / groups, kernel...)."""
    has_bias = len(operator.inputs) > 2 and operator.inputs[2] is not None
    return 2.0 * _size(operator.input(0)) * _size(operator.input(1)[1:]) + (_size(operator.result) if has_bias else 0)


def _gemm(operator: Operator) -> float:
    """2 x M x N x K, and M x N for what is added."""
    first = operator.input(0)
    inner = first[0] if operator.attributes.get("transA", 0) else first[-1]
    has_bias = len(operator.inputs) > 2 and operator.inputs[2] is not None
    return _size(operator.result) * (2.0 * inner + (1 if has_bias else 0))


def _matmul(operator: Operator) -> float:
    return 2.0 * _size(operator.result) * operator.input(0)[-1]


def _einsum(operator: Operator) -> float:
    """The product of all index sizes, times the number of operands (a multiplication each but the first, and an addition)."""
    equation = operator.attributes["equation"]
    text = (equation.decode() if isinstance(equation, bytes) else equation).replace(" ", "").partition("->")[0]
    if "." in text:
        raise UncountableError("its equation has an ellipsis")
    sizes: dict[str, int] = {}
    terms = text.split(",")
    for place, term in enumerate(terms):
        sizes.update(zip(term, operator.input(place), strict=True))
    return float(math.prod(sizes.values()) * len(terms))


def _recurrent(gate_count: int, point_count: int) -> Callable[[Operator], float]:
    """For each step, row and direction: 2 x gates x hidden x (input + hidden), and `point_count` operations per hidden unit."""

    def law(operator: Operator) -> float:
        steps_rows = operator.input(0)[0] * operator.input(0)[1]
        directions, _, size = operator.input(1)
        hidden = operator.input(2)[2]
        return float(steps_rows * directions * (2 * gate_count * hidden * (size + hidden) + point_count * hidden))

    return law


def _attention(operator: Operator) -> float:
    """Scores and weighted sums: 2 x queries x keys x (width of keys + width of values), and 5 for each score's softmax.

    Q, K and V are (rows, heads, length, width), or (rows, length, heads x width) with the number of heads as an attribute.
    """
    query, key, value = (operator.input(place) for place in range(3))
    if len(operator.inputs) > 4 and any(operator.inputs[4:6]):
        raise UncountableError("it has a memory of earlier keys")
    if len(query) == 4:
        rows, heads, length, width = query
        keys, value_width = key[2], value[3]
    else:
        rows, length, whole = query
        heads = int(operator.attributes.get("q_num_heads", operator.attributes.get("num_heads", 0)))
        key_heads = int(operator.attributes.get("kv_num_heads", heads))
        if not heads or not key_heads:
            raise UncountableError("its heads are not known")
        width, keys, value_width = whole // heads, key[1], value[2] // key_heads
    return float(rows * heads * length * keys * (2 * width + 2 * value_width + 5))


def _pool(operator: Operator) -> float:
    return float(_size(operator.result) * _size(tuple(operator.attributes.get("kernel_shape", ()))))


def _linear_model(operator: Operator) -> float:
    return 2.0 * len(operator.attributes.get("coefficients", ()))


def _words(text: str) -> list[str]:
    return text.split()


# What only moves, names or makes up data.
MOVES = frozenset(
    _words(
        "Cast CastLike CastMap Compress Concat Constant ConstantOfShape DepthToSpace Dropout Expand EyeLike Flatten Gather "
        "GatherElements GatherND Identity LabelEncoder OneHot OneHotEncoder Pad Range Reshape ReverseSequence Scatter "
        "ScatterElements ScatterND Shape Size Slice SpaceToDepth Split Squeeze Tile Transpose Trilu Unsqueeze "
        "ArrayFeatureExtractor FeatureVectorizer BitCast ReorderInput ReorderOutput ZipMap CategoryMapper"
    )
)
# What gives its input's bytes another shape, without a copy.
VIEWS = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Dropout"})
# What gives as much as it takes, though shape inference does not say so.
SHAPE_KEEPERS = frozenset({"Scaler", "Normalizer", "Imputer", "Binarizer"})

_ONE_EACH = _words(
    "Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Ceil Clip Cos Cosh "
    "Div Equal Erf Exp Floor Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Log Max Mean Min Mod Mul Neg Not Or PRelu "
    "Pow Reciprocal Relu Round Sign Sigmoid Sin Sinh Sqrt Sub Sum Tan Tanh ThresholdedRelu Where Xor LeakyRelu HardSigmoid "
    "Hardmax CumSum"
)
_TWO_EACH = _words("QuantizeLinear DequantizeLinear HardSwish Softsign Softplus Swish QuickGelu")
_REDUCTIONS = _words("ArgMax ArgMin ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare")
_LAWS: Mapping[str, tuple[str, Callable[[Operator], float]]] = {
    **{name: (ELEMENTWISE, _per_output(1)) for name in _ONE_EACH},
    **{name: (ELEMENTWISE, _per_output(2)) for name in _TWO_EACH},
    **{name: (ELEMENTWISE, _per_output(4)) for name in ("Celu", "Elu", "Selu", "Mish", "DynamicQuantizeLinear")},
    **{name: (ELEMENTWISE, _per_output(5)) for name in ("Softmax", "LogSoftmax", "Gelu", "BiasGelu", "FastGelu")},
    **{name: (ELEMENTWISE, _per_input(1)) for name in _REDUCTIONS},
    **{name: (ELEMENTWISE, _per_input(3)) for name in ("ReduceLogSum", "ReduceLogSumExp")},
    "BatchNormalization": (NORMALIZATION, _per_output(2)),
    **{
        name: (NORMALIZATION, _per_output(7))
        for name in ("LayerNormalization", "InstanceNormalization", "GroupNormalization", "MeanVarianceNormalization")
    },
    "SkipLayerNormalization": (NORMALIZATION, _per_output(8)),
    **{name: (NORMALIZATION, _per_output(4)) for name in ("RMSNormalization", "SimplifiedLayerNormalization", "LpNormalization")},
    "Normalizer": (NORMALIZATION, _per_input(4)),
    "Scaler": (ELEMENTWISE, _per_input(2)),
    **{name: (ELEMENTWISE, _per_input(1)) for name in ("Binarizer", "Imputer")},
    "LRN": (NORMALIZATION, lambda operator: _size(operator.result) * (2.0 * operator.attributes.get("size", 1) + 3)),
    **dict.fromkeys(("AveragePool", "MaxPool", "LpPool"), (POOLING, _pool)),
    **{name: (POOLING, _per_input(1)) for name in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")},
    **{name: (POOLING, _per_output(4)) for name in ("Resize", "Upsample")},
    **{name: (CONVOLUTION, _conv(1)) for name in ("Conv", "FusedConv", "ConvInteger")},
    "QLinearConv": (CONVOLUTION, _conv(3)),
    "ConvTranspose": (CONVOLUTION, _conv_transpose),
    **dict.fromkeys(("Gemm", "FusedGemm"), (MATRIX, _gemm)),
    **dict.fromkeys(_words("MatMul FusedMatMul MatMulInteger MatMulIntegerToFloat DynamicQuantizeMatMul QLinearMatMul"), (MATRIX, _matmul)),
    "MatMulNBits": (MATRIX, lambda operator: 2.0 * _size(operator.result) * int(operator.attributes["K"])),
    "Einsum": (MATRIX, _einsum),
    **dict.fromkeys(("Attention", "MultiHeadAttention"), (MATRIX, _attention)),
    **dict.fromkeys(("LinearClassifier", "LinearRegressor"), (MATRIX, _linear_model)),
    "LSTM": (RECURRENT, _recurrent(4, 13)),
    "GRU": (RECURRENT, _recurrent(3, 11)),
    "RNN": (RECURRENT, _recurrent(1, 2)),
}
