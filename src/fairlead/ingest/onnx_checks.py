"""What an ONNX file must be before any ONNX library touches it: tensors whose bytes fit their shapes, and operators that are known.

Takes a parsed protobuf and gives tensors and nodes, those of subgraphs and functions included. Raises SourceError for sizes that do not
add up, UnsafeContentError for operators that would need somebody's code, UnsupportedError for what Fairlead leaves out. All arithmetic is
Python's, so that no product overflows. Never reads external data, never runs anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx
from onnx import TensorProto

from fairlead.core.interface import shorten
from fairlead.errors import SourceError, UnsafeContentError, UnsupportedError

NODE_LIMIT = 1_000_000
_ELEMENT_LIMIT = 2**40
_DAMAGED = "The file is damaged, or made to do harm. Export the model again."
_STANDARD_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
# ONNX Runtime's own operators that compute and nothing else. Left out: those that load other files (EPContext), run code (PythonOp, ATen)
# or generate text. https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
_RUNTIME_DOMAIN = "com.microsoft"
_RUNTIME_OPERATORS = frozenset({
    "Attention", "BiasAdd", "BiasDropout", "BiasGelu", "BiasSoftmax", "BiasSplitGelu", "CDist", "ConvTransposeWithDynamicPads",
    "CropAndResize", "DequantizeLinear", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "EmbedLayerNormalization", "ExpandDims",
    "FastGelu", "FusedConv", "FusedGemm", "FusedMatMul", "FusedMatMulActivation", "GatherND", "GatedRelativePositionBias", "Gelu",
    "GemmFastGelu", "GridSample", "GroupNorm", "GroupQueryAttention", "Inverse", "MatMulInteger16", "MatMulIntegerToFloat",
    "MatMulNBits", "MultiHeadAttention", "NhwcConv", "NhwcFusedConv", "NhwcMaxPool", "Pad", "QAttention", "QGemm", "QLinearAdd",
    "QLinearAveragePool", "QLinearConcat", "QLinearConv", "QLinearGlobalAveragePool", "QLinearLeakyRelu", "QLinearMul",
    "QLinearReduceMean", "QLinearSigmoid", "QLinearSoftmax", "QLinearWhere", "QMoE", "QuantizeLinear", "QuickGelu", "Range",
    "RelativePositionBias", "RotaryEmbedding", "SkipGroupNorm", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization",
    "TransposeMatMul", "Trilu", "Unique",
})  # fmt: skip

# element type: (bits of one element in raw_data, field that may hold it instead)
_ELEMENTS: dict[int, tuple[int, str]] = {
    TensorProto.FLOAT: (32, "float_data"),
    TensorProto.UINT8: (8, "int32_data"),
    TensorProto.INT8: (8, "int32_data"),
    TensorProto.UINT16: (16, "int32_data"),
    TensorProto.INT16: (16, "int32_data"),
    TensorProto.INT32: (32, "int32_data"),
    TensorProto.INT64: (64, "int64_data"),
    TensorProto.BOOL: (8, "int32_data"),
    TensorProto.FLOAT16: (16, "int32_data"),
    TensorProto.BFLOAT16: (16, "int32_data"),
    TensorProto.DOUBLE: (64, "double_data"),
    TensorProto.UINT32: (32, "uint64_data"),
    TensorProto.UINT64: (64, "uint64_data"),
    TensorProto.UINT4: (4, "int32_data"),
    TensorProto.INT4: (4, "int32_data"),
}
_DATA_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")


def tensors(model: Any) -> Iterator[Any]:
    """Yield every tensor: initializers and attribute values of all graphs and functions. Raises UnsupportedError for sparse ones."""
    for graph in graphs(model):
        if graph.sparse_initializer:
            raise UnsupportedError("The model holds sparse weights.", hint="Export it with dense weights.")
        yield from graph.initializer
    for node in nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
                raise UnsupportedError(f"Node '{shorten(node.name)}' holds a sparse tensor.", hint="Export the model with dense weights.")
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def graphs(model: Any) -> Iterator[Any]:
    """Yield the graph and every subgraph, also those in functions."""
    yield model.graph
    for node in nodes(model):
        yield from _subgraphs(node)


def nodes(model: Any) -> Iterator[Any]:
    """Yield every node of all graphs and functions; raises UnsafeContentError above NODE_LIMIT."""
    stack = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    count = 0
    while stack:
        node = stack.pop()
        count += 1
        if count > NODE_LIMIT:
            raise UnsafeContentError(f"The model has more than {NODE_LIMIT} nodes.", hint=_DAMAGED)
        yield node
        for graph in _subgraphs(node):
            stack.extend(graph.node)


def _subgraphs(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def check_text(message: Any) -> None:
    """Raise SourceError where a text in `message` or in a part of it is not UTF-8: protobuf hands it on as bytes, whatever it should be."""
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING:
            found = value if field.is_repeated else (value,)
            if any(isinstance(item, bytes) for item in found):
                raise SourceError(f"The ONNX file holds a {field.name} that is not valid text.", hint=_DAMAGED)
        elif field.type == field.TYPE_MESSAGE:
            for part in value if field.is_repeated else (value,):
                check_text(part)


def size_bytes(tensor: Any) -> int:
    """Return how many bytes `raw_data` of the tensor has to have; raises SourceError for a shape or element type that cannot be."""
    if tensor.data_type not in _ELEMENTS:
        raise UnsupportedError(f"Tensor '{shorten(tensor.name)}' has the element type {tensor.data_type}.", hint="Export it as float32.")
    return (element_count(tensor) * _ELEMENTS[tensor.data_type][0] + 7) // 8


def element_count(tensor: Any) -> int:
    """Return the product of the tensor's dimensions."""
    count = 1
    for size in tensor.dims:
        if size < 0:
            raise SourceError(f"Tensor '{shorten(tensor.name)}' has a negative dimension.", hint=_DAMAGED)
        count *= max(size, 1)  # a zero somewhere does not make the rest possible
    if count > _ELEMENT_LIMIT:
        raise SourceError(f"Tensor '{shorten(tensor.name)}' claims {count} elements.", hint=_DAMAGED)
    return 0 if 0 in tensor.dims else count


def check_tensor(tensor: Any) -> None:
    """Raise SourceError unless the bytes that the tensor holds are those of its shape. External tensors hold none."""
    name = shorten(tensor.name)
    if tensor.HasField("segment"):
        raise UnsupportedError(f"Tensor '{name}' is split into segments.", hint="Export the model again.")
    filled = [field for field in _DATA_FIELDS if len(getattr(tensor, field))]
    has_raw = bool(tensor.raw_data)
    if tensor.data_location == TensorProto.EXTERNAL:
        if filled or has_raw:
            raise SourceError(f"Tensor '{name}' has data here and elsewhere.", hint=_DAMAGED)
        return
    if len(filled) + has_raw > 1:
        raise SourceError(f"Tensor '{name}' has its data twice.", hint=_DAMAGED)
    if tensor.data_type == TensorProto.STRING:
        wanted, got = element_count(tensor), len(tensor.string_data)
        is_right = not has_raw and filled in ([], ["string_data"]) and wanted == got
    elif has_raw or not filled:
        wanted, got = size_bytes(tensor), len(tensor.raw_data)
        is_right = wanted == got
    else:
        size_bytes(tensor)
        bits, field = _ELEMENTS[tensor.data_type]
        wanted, got = element_count(tensor) if bits >= 8 else size_bytes(tensor), len(getattr(tensor, filled[0]))
        is_right = filled == [field] and wanted == got
    if not is_right:
        raise SourceError(f"Tensor '{name}' should hold {wanted} and holds {got}: its data does not fit its shape.", hint=_DAMAGED)


def check_operators(model: Any) -> None:
    """Raise unless every operator is standard, one of ONNX Runtime's plain ones, or a function that the model itself defines."""
    own = {(function.domain, function.name) for function in model.functions}
    if len(own) != len(model.functions):
        raise UnsafeContentError("The model defines a function twice.", hint=_DAMAGED)
    for domain, name in own:
        if _is_standard(domain, name) or domain == _RUNTIME_DOMAIN:
            raise UnsafeContentError(f"The model redefines the operator {shorten(name)}.", hint=_DAMAGED)
    for node in nodes(model):
        key = (node.domain, node.op_type)
        if key in own or _is_standard(*key) or (node.domain == _RUNTIME_DOMAIN and node.op_type in _RUNTIME_OPERATORS):
            continue
        shown = shorten(f"{node.domain or 'ai.onnx'}.{node.op_type}", 120)
        raise UnsafeContentError(
            f"The operator {shown} is not one that Fairlead runs.",
            hint="Export the model with standard operators (ai.onnx, ai.onnx.ml) only; libraries of custom operators are never loaded.",
        )
    _check_recursion(model)


def _is_standard(domain: str, name: str) -> bool:
    return domain in _STANDARD_DOMAINS and bool(onnx.defs.has(name, "" if domain == "ai.onnx" else domain))


def _check_recursion(model: Any) -> None:
    calls: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for function in model.functions:
        found = set()
        stack = list(function.node)
        while stack:
            node = stack.pop()
            found.add((node.domain, node.op_type))
            stack.extend(inner for graph in _subgraphs(node) for inner in graph.node)
        calls[function.domain, function.name] = found
    done: set[tuple[str, str]] = set()
    while True:
        ready = [key for key, needs in calls.items() if key not in done and not ((needs & calls.keys()) - done)]
        if not ready:
            break
        done.update(ready)
    if len(done) != len(calls):
        raise UnsafeContentError("The model's functions call each other in a circle.", hint=_DAMAGED)
