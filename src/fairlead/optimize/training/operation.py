"""One operator of an ONNX graph as training sees it, and the table of the functions that compute it. Pure; imports no PyTorch.

A function takes the call and the operator's inputs (None where an optional one is left out) and returns one tensor or a tuple of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import onnx

from fairlead.core.interface import shorten
from fairlead.errors import UnsupportedError

Compute: TypeAlias = Callable[..., Any]


@dataclass(frozen=True)
class Call:
    """An operator: what it reads and writes by name, its attributes as Python values, the operator set that gives it its meaning, and
    its place among the graph's nodes.
    """

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    opset: int = 0
    place: int = 0

    def get(self, name: str, default: Any = None) -> Any:
        """Return the attribute called `name`, or `default` where the operator does not carry it."""
        return self.attributes.get(name, default)


def calls_of(model: onnx.ModelProto, outputs: tuple[str, ...]) -> tuple[Call, ...]:
    """Return the operators that `outputs` need, in order; raises UnsupportedError for those of other domains and for control flow."""
    opset = max((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), default=0)
    calls = []
    needed = _needed(model, outputs)
    for place, node in enumerate(model.graph.node):
        if place not in needed:
            continue
        if node.domain not in ("", "ai.onnx"):
            raise not_trainable(f"{node.domain}.{node.op_type}")
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise not_trainable(node.op_type)
        attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        calls.append(Call(node.op_type, tuple(node.input), tuple(node.output), attributes, opset, place))
    return tuple(calls)


def _needed(model: onnx.ModelProto, outputs: tuple[str, ...]) -> set[int]:
    """Return the places of the nodes that `outputs` depend on."""
    wanted, places = set(outputs), set()
    for place in range(len(model.graph.node) - 1, -1, -1):
        node = model.graph.node[place]
        if wanted.intersection(node.output):
            places.add(place)
            wanted.update(name for name in node.input if name)
    return places


def not_trainable(operator: str) -> UnsupportedError:
    """The error for an operator, or a form of one, that training does not know."""
    return UnsupportedError(
        f"Training does not know the operator {shorten(operator)}.", hint="Leave out the passes that train, or put them before all others."
    )
