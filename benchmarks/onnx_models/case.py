"""One ONNX model of the battery, and the building blocks that the others share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, DOUBLE, HALF, INT64, TEXT = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.INT64, TensorProto.STRING
ML = "ai.onnx.ml"
WORDS = np.array(["berlin", "größe", "", "非常", "unseen"], dtype=object)


@dataclass(frozen=True)
class Case:
    """`build` gives the model. `lengths` stand for free dimensions; `missing` puts NaN into float inputs. `is_refused`: on purpose.

    `save` writes it, where it is not one plain file.
    """

    name: str
    build: Callable[[], Any]
    lengths: tuple[int, ...] = (6,)
    missing: bool = False
    is_refused: bool = False
    save: Callable[[Any, Path], None] = onnx.save


def model(
    nodes: Sequence[Any],
    inputs: Sequence[tuple[str, int, Sequence[Any]]],
    outputs: Sequence[tuple[str, int, Sequence[Any]]],
    weights: dict[str, np.ndarray] | None = None,
    *,
    opset: int = 17,
    ir: int = 8,
) -> Any:
    """Return a model; inputs and outputs are (name, type, shape)."""
    graph = helper.make_graph(
        list(nodes),
        "battery",
        [helper.make_tensor_value_info(*each) for each in inputs],
        [helper.make_tensor_value_info(*each) for each in outputs],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(ML, 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir)


def weight(*shape: int, seed: int = 0, dtype: Any = np.float32) -> np.ndarray:
    """Return drawn weights."""
    return (np.random.default_rng([seed, *shape]).normal(size=shape) / np.sqrt(shape[-1])).astype(dtype)
