"""Small networks as ONNX graphs with drawn weights, and a trained one: for the tests of training and of the passes that train."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fairlead.core.dataset import Dataset
from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec
from fairlead.optimize.job import PassJob

Weights = dict[str, tuple[int, ...]]


class Networks:
    """Builds models: nodes, and weights by name and shape, drawn alike every time."""

    def build(
        self, nodes: list[Any], weights: Weights, shape: list[int | None], outputs: int | None = None, **stored: Any
    ) -> onnx.ModelProto:
        random = np.random.default_rng(3)
        tensors = []
        for name, size in weights.items():
            values = random.normal(size=size) / np.sqrt(max(1, np.prod(size[1:]))) if len(size) > 1 else random.uniform(0.5, 1.5, size)
            tensors.append(numpy_helper.from_array(values.astype(np.float32), name))
        tensors += [numpy_helper.from_array(np.array(values), name) for name, values in stored.items()]
        sizes = ["batch" if axis == 0 else size or f"free{axis}" for axis, size in enumerate(shape)]
        graph = helper.make_graph(
            [helper.make_node(operator, inputs, outs, **attributes) for operator, inputs, outs, attributes in nodes],
            "network",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", outputs])],
            tensors,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def dense(self, inputs: int = 64, hidden: int = 32, classes: int = 10) -> onnx.ModelProto:
        nodes = [
            ("Gemm", ["x", "w1", "b1"], ["h"], {}),
            ("Relu", ["h"], ["a"], {}),
            ("Gemm", ["a", "w2", "b2"], ["z"], {}),
            ("Softmax", ["z"], ["y"], {}),
        ]
        weights = {"w1": (inputs, hidden), "b1": (hidden,), "w2": (hidden, classes), "b2": (classes,)}
        return self.build(nodes, weights, [None, inputs], classes)

    def convolutional(self) -> onnx.ModelProto:
        """Over 8 x 8 pictures: a convolution with normalization, pooling, flattening, two dense layers."""
        nodes = [
            ("Reshape", ["x", "picture"], ["p"], {}),
            ("Conv", ["p", "k", "kb"], ["c"], {"pads": [1, 1, 1, 1]}),
            ("BatchNormalization", ["c", "g", "b", "m", "v"], ["n"], {}),
            ("Relu", ["n"], ["r"], {}),
            ("MaxPool", ["r"], ["q"], {"kernel_shape": [2, 2], "strides": [2, 2]}),
            ("Flatten", ["q"], ["f"], {}),
            ("Gemm", ["f", "w1", "b1"], ["h"], {}),
            ("Relu", ["h"], ["a"], {}),
            ("Gemm", ["a", "w2", "b2"], ["z"], {}),
            ("Softmax", ["z"], ["y"], {}),
        ]
        weights = {"k": (16, 1, 3, 3), "kb": (16,), "g": (16,), "b": (16,), "m": (16,), "v": (16,)}
        weights |= {"w1": (256, 32), "b1": (32,), "w2": (32, 10), "b2": (10,)}
        return self.build(nodes, weights, [None, 64], 10, picture=np.array([-1, 1, 8, 8]))


@pytest.fixture(scope="session")
def networks() -> Networks:
    return Networks()


@pytest.fixture(scope="session")
def digits() -> tuple[Dataset, Dataset]:
    """1,400 real digits to train on and 397 others."""
    datasets = pytest.importorskip("sklearn.datasets", reason="real digits come with scikit-learn")
    data = datasets.load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    x, y = (data.data[order] / 16).astype(np.float32), data.target[order].astype(np.int64)
    return Dataset({"x": x[:1400]}, y[:1400]), Dataset({"x": x[1400:]}, y[1400:])


@pytest.fixture(scope="session")
def interface() -> Interface:
    inputs, outputs = (TensorSpec("x", DType.FP32, (None, 64)),), (TensorSpec("y", DType.FP32, (None, 10)),)
    return Interface(inputs, outputs, Task.CLASSIFICATION, Decision(DecisionKind.ARGMAX, "y", scores="y"))


@pytest.fixture(scope="session")
def trained(
    networks: Networks, digits: tuple[Dataset, Dataset], interface: Interface, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Return the path of a network of `networks`, trained on digits."""
    pytest.importorskip("torch", reason="the extra 'torch' is not installed")
    from fairlead.optimize.training.course import begin
    from fairlead.optimize.training.fit import Schedule
    from fairlead.optimize.training.prepare import with_weights, write_model

    folder, made = tmp_path_factory.mktemp("trained"), {}

    def make(name: str) -> Path:
        if name not in made:
            drawn, made[name] = folder / f"{name}-drawn.onnx", folder / f"{name}.onnx"
            onnx.save(getattr(networks, name)(), drawn)
            job = PassJob(drawn, made[name], {"teacher": 0.0}, training=digits[0], interface=interface)
            course = begin(job)
            course.train(course.network, Schedule(15))
            write_model(with_weights(course.network.model, course.network.stored()), made[name])
        return made[name]

    return make
