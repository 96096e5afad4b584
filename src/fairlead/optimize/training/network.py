"""An ONNX graph as a network of PyTorch: every operator one function, every float32 weight a parameter under its name in the graph.

Takes a canonical model, gives a Network that answers as ONNX Runtime does (`proof` shows it) and can be trained. Raises UnsupportedError
with the name of an operator that training does not know, and for models whose weights a pass has compressed. Never changes the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor
from torch.nn import functional

from fairlead.core.interface import Array
from fairlead.errors import UnsupportedError
from fairlead.optimize.training.operation import Call, Compute, calls_of, not_trainable
from fairlead.optimize.training.ops_elementwise import ELEMENTWISE
from fairlead.optimize.training.ops_layers import LAYERS
from fairlead.optimize.training.ops_recurrent import RECURRENT
from fairlead.optimize.training.ops_shape import SHAPE

_FUNCTIONS: Mapping[str, Compute] = {**ELEMENTWISE, **SHAPE, **LAYERS, **RECURRENT}
# Where a stored float tensor is a weight: operator -> positions of its inputs; None means all. Elsewhere it is a constant of the formula.
_WEIGHTS: Mapping[str, tuple[int, ...] | None] = {
    "Conv": (1, 2), "ConvTranspose": (1, 2), "Gemm": None, "MatMul": None, "Einsum": None, "Gather": (0,), "PRelu": (1,),
    "BatchNormalization": (1, 2), "LayerNormalization": (1, 2), "RMSNormalization": (1,), "InstanceNormalization": (1, 2),
    "GroupNormalization": (1, 2), "LSTM": (1, 2, 3, 5, 6), "GRU": (1, 2, 3, 5), "RNN": (1, 2, 3, 5), "Add": None, "Mul": None,
}  # fmt: skip
_LARGEST = 1e4  # a stored addend beyond is a mask
_COMPRESSED = frozenset(
    {TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4}
)
_MOMENTUM = 0.1  # of a batch's statistics are taken over, whatever the graph says: training is short
_SMALL = 256  # elements of a compressed tensor that may be something else than a weight


@dataclass
class Network:
    """`parameters` are what training changes, `statistics` the running means and variances of batch normalization, `constants` the rest.

    `outputs` are the model's float outputs: what else it gives (labels) is computed from them, or is not trained. `surface` are names of
    values that something else than `calls` reads, or gives. `is_training` makes batch normalization use each batch's own statistics and
    keep them. `taps` and `weight_taps` change a value or a weight before it is used.
    """

    model: onnx.ModelProto
    calls: tuple[Call, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    surface: frozenset[str]
    parameters: dict[str, Tensor]
    statistics: dict[str, Tensor]
    constants: dict[str, Tensor]
    is_training: bool = False
    taps: dict[str, Any] = field(default_factory=dict)
    weight_taps: dict[str, Any] = field(default_factory=dict)

    def forward(self, inputs: Mapping[str, Tensor], wanted: Iterable[str] = ()) -> dict[str, Tensor]:
        """Return the values called `wanted` (the outputs, unless any are named) for a batch of inputs."""
        names = tuple(wanted) or self.outputs
        weights = {name: self.weight_taps[name](value) if name in self.weight_taps else value for name, value in self.parameters.items()}
        values: dict[str, Tensor] = {**self.constants, **self.statistics, **weights}
        for name, value in inputs.items():
            values[name] = self.taps[name](value) if name in self.taps else value
        for call in self.calls:
            given = [values[name] if name else None for name in call.inputs]
            if call.operator == "BatchNormalization":
                results: Any = self._normalized(call, given)
            else:
                results = _FUNCTIONS[call.operator](call, *given)
            for name, value in zip(call.outputs, results if isinstance(results, tuple) else (results,), strict=False):
                values[name] = self.taps[name](value) if name in self.taps else value
        return {name: values[name] for name in names}

    def _normalized(self, call: Call, given: list[Tensor | None]) -> Tensor:
        value, scale, bias, mean, variance = given
        if value is None or mean is None or variance is None:
            raise not_trainable("BatchNormalization without its statistics")
        is_kept = self.is_training and call.inputs[3] in self.statistics and value.numel() // value.shape[1] > 1
        epsilon = float(call.get("epsilon", 1e-5))
        return functional.batch_norm(value, mean, variance, scale, bias, training=is_kept, momentum=_MOMENTUM, eps=epsilon)

    def state(self) -> dict[str, Tensor]:
        """Return a copy of everything that training changes."""
        return {name: value.detach().clone() for name, value in {**self.parameters, **self.statistics}.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` returned."""
        with torch.no_grad():
            for name, value in {**self.parameters, **self.statistics}.items():
                value.copy_(state[name])

    def stored(self) -> dict[str, Array]:
        """Return everything that training changes as arrays, by its name in the graph."""
        return {name: value.numpy() for name, value in self.state().items()}


def network_of(model: onnx.ModelProto) -> Network:
    """Return the network of a canonical model; raises UnsupportedError."""
    outputs = tuple(value.name for value in model.graph.output if value.type.tensor_type.elem_type == TensorProto.FLOAT)
    calls = calls_of(model, outputs)
    for call in calls:
        if call.operator not in _FUNCTIONS and call.operator != "BatchNormalization":
            raise not_trainable(call.operator)
        if call.operator == "BatchNormalization" and (call.get("training_mode", 0) or sum(bool(name) for name in call.outputs) > 1):
            raise not_trainable("BatchNormalization in training mode")
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    _check_stored(tensors, calls)
    trained, normal = _roles(tensors, calls)
    if not trained:
        raise UnsupportedError("The model has no float32 weights to train.", hint="Leave the passes that train out for this model.")
    arrays = {name: torch.from_numpy(np.array(numpy_helper.to_array(tensor))) for name, tensor in tensors.items()}
    return Network(
        model,
        calls,
        tuple(value.name for value in model.graph.input if value.name not in tensors),
        outputs,
        _surface(model, calls),
        {name: arrays[name].requires_grad_() for name in trained},
        {name: arrays[name] for name in normal},
        {name: value for name, value in arrays.items() if name not in trained and name not in normal},
    )


def _surface(model: onnx.ModelProto, calls: tuple[Call, ...]) -> frozenset[str]:
    followed = {call.place for call in calls}
    read = {name for place, node in enumerate(model.graph.node) if place not in followed for name in node.input if name}
    return frozenset(read | {value.name for value in (*model.graph.input, *model.graph.output)})


def _check_stored(tensors: Mapping[str, TensorProto], calls: tuple[Call, ...]) -> None:
    fed = {name for call in calls if call.operator in ("Cast", "DequantizeLinear", "Gather") for name in call.inputs}
    for name, tensor in tensors.items():
        if name in fed and tensor.data_type in _COMPRESSED and int(np.prod(tensor.dims, dtype=np.int64)) >= _SMALL:
            raise UnsupportedError(
                "The model's weights are stored in fewer bits, so there is nothing to train.", hint="Put the passes that train first."
            )


def _roles(tensors: Mapping[str, TensorProto], calls: tuple[Call, ...]) -> tuple[list[str], list[str]]:
    """Return the names of stored tensors that are weights, and of those that are statistics of batch normalization, in their order."""
    weights: set[str] = set()
    statistics: set[str] = set()
    others: set[str] = set()
    for call in calls:
        positions = _WEIGHTS.get(call.operator, ())
        for place, name in enumerate(call.inputs):
            if name not in tensors:
                continue
            if call.operator == "BatchNormalization" and place in (3, 4):
                statistics.add(name)
            elif positions is None or place in positions:
                (weights if _is_weight(call, tensors[name]) else others).add(name)
            else:
                others.add(name)
    return [name for name in tensors if name in weights - others - statistics], [
        name for name in tensors if name in statistics - weights - others
    ]


def _is_weight(call: Call, tensor: TensorProto) -> bool:
    if tensor.data_type != TensorProto.FLOAT:
        return False
    if call.operator not in ("Add", "Mul"):
        return True
    values = numpy_helper.to_array(tensor)
    return values.size > 1 and bool((np.abs(values) <= _LARGEST).all())
