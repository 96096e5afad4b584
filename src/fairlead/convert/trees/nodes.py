"""A list of ONNX nodes and constants with names of their own. Nothing else: no shapes, no types, no optimizations."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from fairlead.core.interface import Array


class Nodes:
    """Takes nodes in order; gives the names of what they compute."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, kind: str, inputs: list[str], *, name: str = "", domain: str = "", **attributes: Any) -> str:
        """Add a node with one output and return the output's name."""
        output = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], domain=domain, **attributes))
        return output

    def constant(self, value: Array) -> str:
        """Add a constant and return its name."""
        name = f"constant_{len(self.constants)}"
        plain = np.asarray(value)
        if plain.dtype.kind == "O":
            texts = [str(item).encode() for item in plain.flat]
            tensor = onnx.TensorProto(name=name, data_type=onnx.TensorProto.STRING, dims=plain.shape, string_data=texts)
            self.constants.append(tensor)
        else:
            self.constants.append(numpy_helper.from_array(np.ascontiguousarray(plain), name))
        return name

    def where(self, condition: str, first: str, second: str) -> str:
        """Choose elementwise."""
        return self.add("Where", [condition, first, second])

    def cast(self, value: str, elem_type: int, *, name: str = "") -> str:
        """Convert to another element type."""
        return self.add("Cast", [value], name=name, to=elem_type)
