"""The models that the benchmarks of worker processes run, written as ONNX: one of 100 MB, one that computes for about ten milliseconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec

WIDTH, LAYERS = 1600, 10  # 10 matrices of 1600 x 1600 FP32: 102 MB
SIDE = 160
_BLOCKS = ((16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))  # channels, repeats, stride
LARGE = Interface((TensorSpec("x", DType.FP32, (None, WIDTH)),), (TensorSpec("y", DType.FP32, (None, WIDTH)),))
MOBILE = Interface((TensorSpec("x", DType.FP32, (None, 3, SIDE, SIDE)),), (TensorSpec("y", DType.FP32, (None, 1000)),))


class _Graph:
    """Collects nodes and weights; every method returns the name of what it added."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, *shape: int) -> str:
        fan = int(np.prod(shape[1:])) or 1
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array((self._random.normal(size=shape) * (2 / fan) ** 0.5).astype(np.float32), name))
        return name

    def add(self, kind: str, *inputs: str, **attributes: object) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def conv(self, x: str, channels: int, into: int, *, side: int, stride: int = 1, groups: int = 1, is_linear: bool = False) -> str:
        weight = self.weight(into, channels // groups, side, side)
        pad = side // 2
        y = self.add("Conv", x, weight, group=groups, strides=[stride, stride], pads=[pad, pad, pad, pad])
        return y if is_linear else self.add("Relu", y)

    def save(self, path: Path, interface: Interface, last: str) -> Path:
        self.nodes.append(helper.make_node("Identity", [last], ["y"]))
        ends = [
            [helper.make_tensor_value_info(spec.name, TensorProto.FLOAT, ["batch", *spec.shape[1:]]) for spec in specs]
            for specs in (interface.inputs, interface.outputs)
        ]
        graph = helper.make_graph(self.nodes, path.stem, *ends, self.weights)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return path


def large(path: Path) -> Path:
    """Ten dense layers: 102 MB of weights."""
    graph, x = _Graph(), "x"
    for _ in range(LAYERS):
        x = graph.add("Relu", graph.add("MatMul", x, graph.weight(WIDTH, WIDTH)))
    return graph.save(path, LARGE, x)


def mobile(path: Path) -> Path:
    """Inverted residual blocks as in MobileNetV2 (https://arxiv.org/abs/1801.04381), 160 x 160 pixels."""
    graph = _Graph()
    x, channels = graph.conv("x", 3, 32, side=3, stride=2), 32
    for into, repeats, first_stride in _BLOCKS:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            wide = channels * 6
            y = graph.conv(graph.conv(x, channels, wide, side=1), wide, wide, side=3, stride=stride, groups=wide)
            y = graph.conv(y, wide, into, side=1, is_linear=True)
            x = graph.add("Add", x, y) if stride == 1 and channels == into else y
            channels = into
    x = graph.add("Flatten", graph.add("GlobalAveragePool", graph.conv(x, channels, 1280, side=1)))
    return graph.save(path, MOBILE, graph.add("MatMul", x, graph.weight(1280, 1000)))
