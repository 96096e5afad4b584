"""A model that computes as long as it is told to."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

sys.path.append(str(Path(__file__).parents[2] / "engines"))
from tiny_onnx import save

from fairlead.core.dtype import DType
from fairlead.core.golden import Golden
from fairlead.core.interface import Interface, TensorSpec

COUNTED = Interface((TensorSpec("n", DType.INT64, (None, 1)),), (TensorSpec("y", DType.INT64, (None, 1)),))
ONE = np.array([[1]])
GOLDEN = Golden({"n": ONE}, {"y": ONE})
FOR_EVER = np.array([[10**15]])


def counting_model(path: Path) -> Path:
    """y = n, after max(n) turns of a loop that does nothing."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Identity", ["v"], ["w"])],
        "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("go", TensorProto.BOOL, []),
         helper.make_tensor_value_info("v", TensorProto.INT64, ["batch", 1])],
        [helper.make_tensor_value_info("go_on", TensorProto.BOOL, []), helper.make_tensor_value_info("w", TensorProto.INT64, ["batch", 1])],
    )  # fmt: skip
    graph = helper.make_graph(
        [helper.make_node("ReduceMax", ["n"], ["turns"], keepdims=0), helper.make_node("Loop", ["turns", "yes", "n"], ["y"], body=body)],
        "counting",
        [helper.make_tensor_value_info("n", TensorProto.INT64, ["batch", 1])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, ["batch", 1])],
        [numpy_helper.from_array(np.array(True), "yes")],
    )
    return save(path, graph)
