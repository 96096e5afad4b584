"""The memory probe: a larger model takes more, and a model that cannot be loaded is an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_onnx import LINEAR, linear_model, save

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.engines.memory_probe import MemoryReading, measure_memory
from fairlead.errors import EnvironmentalError


def test_the_weights_of_a_model_are_in_its_memory(tmp_path: Path) -> None:
    weights = np.ones((1000, 8000), np.float32)  # 32 MB
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "wide",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1000])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 8000])],
        [numpy_helper.from_array(weights, "w")],
    )
    interface = Interface((TensorSpec("x", DType.FP32, (None, 1000)),), (TensorSpec("y", DType.FP32, (None, 8000)),))
    large = measure_memory(save(tmp_path / "large.onnx", graph), interface, {"x": np.zeros((1, 1000), np.float32)})
    small = measure_memory(linear_model(tmp_path / "small.onnx"), LINEAR, {"x": np.zeros((1, 4), np.float32)})
    assert large.model_bytes > weights.nbytes
    assert small.model_bytes < weights.nbytes


def test_a_model_that_cannot_be_loaded_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"broken")
    with pytest.raises(EnvironmentalError, match="cannot be measured"):
        measure_memory(tmp_path / "m.onnx", LINEAR, {"x": np.zeros((1, 4), np.float32)})


def test_noise_never_makes_the_difference_negative() -> None:
    assert MemoryReading(peak_bytes=10, bare_bytes=20).model_bytes == 0
