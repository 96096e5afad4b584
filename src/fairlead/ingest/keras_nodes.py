"""How a functional Keras config writes calls: Keras 3's args and kwargs, and the nested lists of Keras 2, as one value.

Takes one entry of `inbound_nodes`, gives tensors by argument and constants. Raises LeftToKerasError where an argument is not known,
SourceError where the entry is not what Keras writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fairlead.core.interface import shorten
from fairlead.core.layer_kinds import KNOWN_KINDS
from fairlead.errors import SourceError, UnsupportedError
from fairlead.ingest.keras_layers import LeftToKerasError

_DAMAGED = "The file is damaged or was not written by Keras. Save the model again."
_RECURRENT = frozenset({"LSTM", "GRU", "SimpleRNN", "Bidirectional"})
_MERGING = frozenset({"Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Dot"})
_SIGNATURES: Mapping[str, tuple[str, ...]] = {
    "MultiHeadAttention": (
        "query", "value", "key", "query_mask", "value_mask", "key_mask", "attention_mask", "return_attention_scores", "training",
        "use_causal_mask",
    ),
    **dict.fromkeys(_RECURRENT, ("sequences", "initial_state", "mask", "training")),
    **dict.fromkeys(("Attention", "AdditiveAttention"), ("inputs", "mask", "training", "return_attention_scores", "use_causal_mask")),
    "BatchNormalization": ("inputs", "training", "mask"),
    "TimeDistributed": ("inputs", "training", "mask"),
    "Softmax": ("inputs", "mask"),
}  # fmt: skip
_KEPT_CONSTANTS = {"MultiHeadAttention": ("use_causal_mask", "return_attention_scores")}


@dataclass(frozen=True)
class TensorName:
    """Output `output` of call `node` of layer `layer`, as the config counts them."""

    layer: str
    node: int
    output: int


@dataclass
class NodeCall:
    """One call as the config has it: positional and keyword arguments, in which tensors are TensorName."""

    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)

    def tensors(self) -> Iterator[TensorName]:
        """Yield every tensor that the call takes."""
        stack: list[Any] = [*self.args, *self.kwargs.values()]
        while stack:
            value = stack.pop()
            if isinstance(value, TensorName):
                yield value
            elif isinstance(value, list):
                stack.extend(value)
            elif isinstance(value, dict):
                stack.extend(value.values())


@dataclass(frozen=True)
class Binding:
    """Tensors by argument name in the layer's order, and the constants that change the result."""

    arguments: Mapping[str, tuple[TensorName, ...]]
    constants: Mapping[str, Any]


def parse_node(layer: str, node: Any, known_layers: frozenset[str]) -> NodeCall:
    """Return one entry of `inbound_nodes` as a call."""
    if isinstance(node, dict):  # Keras 3
        args, kwargs = node.get("args", []), node.get("kwargs", {})
        if not isinstance(args, list) or not isinstance(kwargs, dict):
            raise SourceError(f"A call of layer '{shorten(layer)}' is not what Keras writes.", hint=_DAMAGED)
        return NodeCall([_keras3_value(arg) for arg in args], {key: _keras3_value(value) for key, value in kwargs.items()})
    if not isinstance(node, list) or not node:
        raise SourceError(f"A call of layer '{shorten(layer)}' is not what Keras writes.", hint=_DAMAGED)
    entries = [node] if isinstance(node[0], str) else node
    tensors, kwargs = [], {}
    for entry in entries:
        name = _legacy_tensor(entry[:3], known_layers) if isinstance(entry, list) else None
        if name is None:
            raise LeftToKerasError(layer, "it is called with something that is not a tensor of the model")
        tensors.append(name)
        if len(entry) > 3 and isinstance(entry[3], dict):
            kwargs |= {key: _legacy_value(value, known_layers) for key, value in entry[3].items()}
    return NodeCall([tensors[0] if len(tensors) == 1 else tensors], kwargs)


def _keras3_value(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            return parse_history(value.get("config", {}).get("keras_history"))
        return {key: _keras3_value(item) for key, item in value.items()}
    return [_keras3_value(item) for item in value] if isinstance(value, list) else value


def parse_history(value: Any) -> TensorName:
    """Return [layer, node, output]; raises SourceError."""
    if isinstance(value, list) and len(value) >= 3 and isinstance(value[0], str) and all(_is_index(item) for item in value[1:3]):
        return TensorName(value[0], value[1], value[2])
    raise SourceError(f"'{shorten(repr(value))}' does not name a tensor of the model.", hint=_DAMAGED)


def _legacy_tensor(value: Any, known_layers: frozenset[str]) -> TensorName | None:
    if isinstance(value, list) and len(value) == 3 and value[0] in known_layers and all(_is_index(item) for item in value[1:]):
        return TensorName(*value)
    return None


def _legacy_value(value: Any, known_layers: frozenset[str]) -> Any:
    tensor = _legacy_tensor(value[:3], known_layers) if isinstance(value, list) and value and isinstance(value[0], str) else None
    if tensor is not None:
        return tensor
    return [_legacy_value(item, known_layers) for item in value] if isinstance(value, list) else value


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def bind(layer: str, kind: str, call: NodeCall) -> Binding:
    """Return the tensors of `call` by argument of the layer `kind`."""
    signature = _SIGNATURES.get(kind, (*KNOWN_KINDS[kind].arguments, "training", "mask"))
    if len(call.args) > len(signature):
        raise LeftToKerasError(layer, f"{kind} is called with {len(call.args)} arguments")
    given = dict(zip(signature, call.args, strict=False)) | call.kwargs
    arguments: dict[str, tuple[TensorName, ...]] = {}
    constants: dict[str, Any] = {}
    for name in [*(name for name in signature if name in given), *(name for name in given if name not in signature)]:
        value = given[name]
        if isinstance(value, TensorName):
            arguments[name] = (value,)
        elif isinstance(value, list) and value and all(isinstance(item, TensorName) for item in value):
            arguments[name] = tuple(value)
        elif name == "training" and value:
            raise UnsupportedError(
                f"Layer '{shorten(layer)}' is called with training={shorten(repr(value))}: its answers are random.",
                hint="Build the model without it for deployment.",
            )
        elif name in _KEPT_CONSTANTS.get(kind, ()) and isinstance(value, bool):
            constants |= {name: True} if value else {}
        elif value not in (None, False) and value != [None] * len(value if isinstance(value, list) else ""):
            raise LeftToKerasError(layer, f"{kind} with {shorten(name)}={shorten(repr(value))} is not known")
    return Binding(_arrange(layer, kind, arguments), constants)


def _arrange(layer: str, kind: str, arguments: dict[str, tuple[TensorName, ...]]) -> dict[str, tuple[TensorName, ...]]:
    """Spread the lists that Keras takes as one argument over the arguments of core.layer_kinds."""
    known = KNOWN_KINDS[kind].arguments
    first = next(iter(arguments.values()), ())
    if not first:
        raise LeftToKerasError(layer, f"{kind} is called without a tensor")
    if kind in _RECURRENT and len(first) > 1:
        arguments = {"sequences": first[:1], "initial_state": first[1:] + arguments.get("initial_state", ())}
    elif kind in ("Attention", "AdditiveAttention") and "inputs" in arguments:
        arguments = dict(zip(known, ((tensor,) for tensor in first), strict=False)) | {
            name: value for name, value in arguments.items() if name != "inputs"
        }
    if kind == "MultiHeadAttention" and "value" not in arguments and len(first) > 1:
        raise LeftToKerasError(layer, "MultiHeadAttention is called with a list")
    if unknown := sorted(arguments.keys() - set(known)):
        raise LeftToKerasError(layer, f"{kind} with a tensor as {shorten(unknown[0])} is not known")
    if kind in ("MultiHeadAttention", "Attention", "AdditiveAttention"):
        if not {"query", "value"} <= arguments.keys():
            raise LeftToKerasError(layer, f"{kind} is called without query and value")
        arguments = {"query": arguments["query"], "value": arguments["value"], "key": arguments.get("key", arguments["value"])} | {
            name: value for name, value in arguments.items() if name not in ("query", "value", "key")
        }
    single = [name for name, tensors in arguments.items() if len(tensors) > 1 and name != "initial_state" and kind not in _MERGING]
    if single:
        raise LeftToKerasError(layer, f"{kind} with several tensors as {single[0]} is not known")
    return arguments
