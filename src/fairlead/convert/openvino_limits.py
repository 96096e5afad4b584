"""Where OpenVINO's CPU plugin would silently compute something else than ONNX says: such a model is refused here, by name.

Measured with 2026.4: float64 is computed as float32 and int64 as int32, whole numbers are compared in float32, an index outside of a
table gives zeros, NaN is lost in Relu, Max and comparisons. Takes a parsed canonical model and follows the values that depend on its
inputs; gives the model with a guard that says for each request whether all indices lie inside. Raises UnsupportedError. Never runs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fairlead.core.interface import shorten
from fairlead.errors import UnsupportedError

EXACT_LIMIT = 2**24  # float32 holds every whole number up to here
_HINT = "Use another engine for this model; ONNX Runtime computes it as it is."
_SHAPE_BOUND = 2**22  # what is computed from sizes of tensors
_INTEGERS: dict[int, int] = {  # the largest value of each
    TensorProto.INT32: 2**31 - 1,
    TensorProto.INT64: 2**63 - 1,
    TensorProto.INT16: 2**15,
    TensorProto.UINT16: 2**16 - 1,
    TensorProto.INT8: 2**7,
    TensorProto.UINT8: 2**8 - 1,
}
_PLAIN: set[int] = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BOOL}
_NAMED: dict[int, str] = {TensorProto.DOUBLE: "double precision", TensorProto.STRING: "text"}
# Operators that move whole numbers and change none: at which places they take them.
_MOVERS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Split", "Gather", "GatherElements",
                     "Expand", "Tile", "TopK", "Dropout", "DepthToSpace", "SpaceToDepth"), (0,)),
    "Where": (1, 2), "Pad": (0, 2), "OneHot": (2,),
}  # fmt: skip
_COMPARED = frozenset({"Max", "Min", "Clip", "ReduceMax", "ReduceMin"})
_COUNTED = frozenset({"ArgMax", "ArgMin", "NonZero"})
_GUARDED = frozenset({"Gather", "GatherElements"})
_UNGUARDED = frozenset({"GatherND", "ScatterElements", "ScatterND", "Scatter"})
_RANDOM = frozenset({"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"})


@dataclass
class _State:
    """What is known of the values so far: element types, constants, those that depend on the inputs, and the largest whole number."""

    types: dict[str, int]
    shapes: dict[str, list[int | None]]
    constants: dict[str, Any]  # an array, or None where only a computation would tell
    live: set[str] = field(default_factory=set)
    bounds: dict[str, int] = field(default_factory=dict)


def check_exact(model: Any, input_limit: int) -> list[Any]:
    """Return the nodes whose indices need a guard; `input_limit` bounds the whole numbers that the engine lets in."""
    if model.functions:
        raise _refusal("it defines functions of its own")
    for node in model.graph.node:
        _check_operator(node)
    state = _start(model, input_limit)
    guarded = []
    for node in model.graph.node:
        if node.op_type in _UNGUARDED and node.input[1] not in state.constants:
            raise _refusal(f"{node.op_type} with an index out of range gives an answer instead of an error")
        if _needs_guard(node, state):
            guarded.append(node)
        _follow(node, state)
    return guarded


def with_guard(model: Any, nodes: Sequence[Any], guard: str, limit: int) -> Any:
    """Return a copy of `model` with one more output, `guard`: a scalar that is true where the indices of all `nodes` lie in their tables
    and every number that a Cast makes whole is at most `limit`.
    """
    if not nodes:
        return model
    guarded = onnx.ModelProto()
    guarded.CopyFrom(model)
    verdicts = [_guard_node(guarded.graph, node, f"{guard}_{number}", limit) for number, node in enumerate(nodes)]
    last = verdicts[0]
    for number, verdict in enumerate(verdicts[1:]):
        last = _add(guarded.graph, "And", [last, verdict], f"{guard}_all{number}")
    _add(guarded.graph, "Identity", [last], guard, is_final=True)
    guarded.graph.output.append(helper.make_tensor_value_info(guard, TensorProto.BOOL, []))
    return guarded


def _start(model: Any, input_limit: int) -> _State:
    try:
        inferred = onnx.shape_inference.infer_shapes(model).graph
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise _refusal(f"the types of its values cannot be inferred ({shorten(str(error), 200)})") from None
    values = [*inferred.value_info, *inferred.input, *inferred.output]
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    shapes = {
        value.name: [dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim]
        for value in values
        if value.type.tensor_type.HasField("shape")
    }
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for tensor in model.graph.initializer:
        types[tensor.name], shapes[tensor.name] = tensor.data_type, list(tensor.dims)
    state = _State(types, shapes, constants)
    for value in model.graph.input:
        if value.name not in constants:
            _take(value.name, types[value.name], input_limit, state, f"the input '{shorten(value.name)}'")
    return state


def _check_operator(node: Any) -> None:
    if node.domain == "ai.onnx.ml":
        raise _refusal(f"it has no trees and no other operators of ai.onnx.ml ({node.op_type})")
    if node.domain not in ("", "ai.onnx"):
        raise _refusal(f"{shorten(node.domain)}.{shorten(node.op_type)} is not a standard operator")
    if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
        raise _refusal(f"what happens inside of {node.op_type} cannot be followed")
    if node.op_type in _RANDOM:
        raise _refusal(f"{node.op_type} draws random numbers")
    if node.op_type in ("IsNaN", "IsInf"):
        raise _refusal("the model treats missing values itself, and NaN is lost on the way")


def _needs_guard(node: Any, state: _State) -> bool:
    if node.op_type in _GUARDED:
        return node.input[1] not in state.constants
    return (
        node.op_type == "Cast"
        and node.input[0] in state.live
        and _is_float(state.types.get(node.input[0]))
        and _casts_to(node) in _INTEGERS
    )


def _follow(node: Any, state: _State) -> None:
    """Note what the node's outputs are."""
    inputs = [name for name in node.input if name]
    if node.op_type == "Constant":
        state.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t) if node.attribute[0].name == "value" else None
    elif all(name in state.constants for name in inputs):
        state.constants.update(dict.fromkeys(filter(None, node.output)))
    elif node.op_type not in ("Shape", "Size") and state.live.intersection(inputs):
        for place, name in enumerate(node.output):
            if name:
                kind = state.types.get(name, 0)
                bound = _bound(node, place, state) if kind in _INTEGERS else 0
                _take(name, kind, bound, state, f"the operator {node.op_type}")


def _take(name: str, kind: int, bound: int, state: _State, where: str) -> None:
    if kind in _INTEGERS:
        state.bounds[name] = min(bound, _INTEGERS[kind])
        if state.bounds[name] > EXACT_LIMIT:
            raise _refusal(f"{where} gives whole numbers above {EXACT_LIMIT}")
    elif kind not in _PLAIN:
        what = _NAMED.get(kind) or f"the element type {_type_name(kind)}"
        raise _refusal(f"{where} needs {what}")
    state.live.add(name)


def _bound(node: Any, place: int, state: _State) -> int:
    """Return how large the whole numbers of an output may be, either side of zero."""
    operator = node.op_type
    if operator in _COUNTED or (operator == "TopK" and place == 1):
        return _SHAPE_BOUND
    if operator == "Cast":
        return _bound_of_cast(node, state)
    if operator == "QuantizeLinear":
        return _INTEGERS[TensorProto.UINT8]
    if operator in _MOVERS:
        return max(_known(node.input[at], state) for at in _MOVERS[operator] if at < len(node.input) and node.input[at])
    known = [_known(name, state) for name in node.input if name]
    if operator == "Concat":
        return max(known)
    if operator in _COMPARED:
        reachable = [bound for bound in known if bound <= EXACT_LIMIT]  # a limit beyond never binds
        return max(reachable, default=EXACT_LIMIT + 1)
    if state.types.get(node.output[place]) in (TensorProto.INT32, TensorProto.INT64):
        if operator in ("Neg", "Abs"):
            return known[0]
        if operator in ("Add", "Sub"):
            return known[0] + known[1]
        if operator == "Mul":
            return known[0] * known[1]
    raise _refusal(f"{operator} computes with whole numbers, which is in 32 bits or in floating point")


def _bound_of_cast(node: Any, state: _State) -> int:
    kind = state.types.get(node.input[0])
    if kind == TensorProto.BOOL:
        return 1
    bound = _known(node.input[0], state) if kind in _INTEGERS else EXACT_LIMIT // 2  # floats are guarded
    if bound > _INTEGERS[_casts_to(node)]:
        raise _refusal("a Cast to fewer bits may not fit")
    return bound


def _known(name: str, state: _State) -> int:
    if name in state.bounds:
        return state.bounds[name]
    value = state.constants.get(name)
    if value is not None and value.dtype.kind in "iu":
        return max((abs(int(value.min())), abs(int(value.max())))) if value.size else 0
    return _SHAPE_BOUND


def _guard_node(graph: Any, node: Any, name: str, limit: int) -> str:
    if node.op_type == "Cast":
        size = _add(graph, "Abs", [node.input[0]], f"{name}_size")
        single = _add(graph, "Cast", [size], f"{name}_single", to=TensorProto.FLOAT)
        top = _add(graph, "ReduceMax", [single], f"{name}_top", keepdims=0)
        return _add(graph, "LessOrEqual", [top, _constant(graph, f"{name}_limit", np.float32(limit))], f"{name}_is_small")
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
    shape = _add(graph, "Shape", [node.input[0]], f"{name}_shape")
    size = _add(graph, "Gather", [shape, _constant(graph, f"{name}_axis", np.int64(axis))], f"{name}_size", axis=0)
    index = _add(graph, "Cast", [node.input[1]], f"{name}_index", to=TensorProto.INT64)
    low = _add(graph, "ReduceMin", [index], f"{name}_low", keepdims=0)
    high = _add(graph, "ReduceMax", [index], f"{name}_high", keepdims=0)
    lowest = _add(graph, "Neg", [size], f"{name}_lowest")
    above = _add(graph, "GreaterOrEqual", [low, lowest], f"{name}_is_above")
    below = _add(graph, "Less", [high, size], f"{name}_is_below")
    return _add(graph, "And", [above, below], f"{name}_is_inside")


def _add(graph: Any, operator: str, inputs: list[str], name: str, *, is_final: bool = False, **attributes: Any) -> str:
    output = name if is_final else f"{name}_value"
    graph.node.append(helper.make_node(operator, inputs, [output], name=name, **attributes))
    return output


def _constant(graph: Any, name: str, value: Any) -> str:
    graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return name


def _casts_to(node: Any) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "to"), 0)


def _is_float(kind: int | None) -> bool:
    return kind in (TensorProto.FLOAT, TensorProto.FLOAT16)


def _type_name(kind: int) -> str:
    return str(TensorProto.DataType.Name(kind))


def _refusal(why: str) -> UnsupportedError:
    return UnsupportedError(f"OpenVINO would not compute this model as it is: {why}.", hint=_HINT)
