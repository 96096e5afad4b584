"""Quantization played through in training: values are rounded as 8 bits would round them, slopes pass as if they were not.

Takes a network; gives a Quantization whose taps sit on the weights of convolutions and products, and on the values that these read and
write. Ranges of values are observed, and follow the first part of training. (Jacob et al. 2018, https://arxiv.org/abs/1712.05877.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fairlead.core.interface import Tensors
from fairlead.errors import UnsupportedError
from fairlead.optimize.training.network import Network
from fairlead.optimize.training.operation import Call

_PASSING = frozenset({"MaxPool", "Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Dropout"})
_ACTIVATIONS = frozenset({"Relu", "Clip"})  # ranges end where they do, so that what stands before needs none of its own
_LEVELS = 255
_FOLLOW = 0.05  # of a batch's range is taken over into the one that was observed
_TINY = 1e-8


@dataclass
class Range:
    """What a value lies between, with zero inside."""

    low: float = 0.0
    high: float = 0.0

    @property
    def scale(self) -> float:
        """The distance of neighbouring levels."""
        return max((self.high - self.low) / _LEVELS, _TINY)

    @property
    def zero(self) -> int:
        """The level that means 0."""
        return min(_LEVELS, max(0, round(-self.low / self.scale)))


@dataclass(frozen=True)
class Product:
    """A convolution or product with a stored weight: its units stand along `axis` of the weight."""

    call: Call
    axis: int

    @property
    def weight(self) -> str:
        """The weight's name."""
        return self.call.inputs[1]


@dataclass
class Quantization:
    """`products` compute in 8 bits, `ranges` belong to the values by name; several values may share one. `largest` is that of a weight."""

    products: tuple[Product, ...]
    ranges: dict[str, Range]
    largest: int
    is_observing: bool = field(default=False)
    is_following: bool = field(default=False)

    def weight_scales(self, product: Product, weight: Tensor) -> Tensor:
        """Return the scale of each unit of a weight, shaped to be multiplied with it."""
        others = [axis for axis in range(weight.ndim) if axis != product.axis]
        return weight.detach().abs().amax(others, keepdim=True).clamp_min(_TINY * self.largest) / self.largest

    def attach(self, network: Network) -> None:
        """Let `network` compute as the quantized model will."""
        for product in self.products:
            network.weight_taps[product.weight] = self._weight_tap(product)
        for name, bounds in self.ranges.items():
            network.taps[name] = self._value_tap(bounds)

    def follow(self, progress: float) -> None:
        """Let ranges follow the values in the first half of training; afterwards they stay."""
        self.is_following = progress < 0.5

    def _weight_tap(self, product: Product) -> Callable[[Tensor], Tensor]:
        def tap(weight: Tensor) -> Tensor:
            if self.is_observing:
                return weight
            scales = self.weight_scales(product, weight)
            rounded = torch.clamp(torch.round(weight / scales), -self.largest, self.largest) * scales
            return weight + (rounded - weight).detach()

        return tap

    def _value_tap(self, bounds: Range) -> Callable[[Tensor], Tensor]:
        def tap(value: Tensor) -> Tensor:
            if self.is_observing:
                bounds.low, bounds.high = min(bounds.low, float(value.detach().min())), max(bounds.high, float(value.detach().max()))
                return value
            if self.is_following and value.requires_grad:
                bounds.low += _FOLLOW * (min(0.0, float(value.detach().min())) - bounds.low)
                bounds.high += _FOLLOW * (max(0.0, float(value.detach().max())) - bounds.high)
            scale, zero = bounds.scale, bounds.zero
            levels = torch.clamp(torch.round(value / scale) + zero, 0, _LEVELS)
            inside = torch.clamp(value, -zero * scale, (_LEVELS - zero) * scale)  # its slope is 0 where the range ends
            return inside + ((levels - zero) * scale - inside).detach()

        return tap


def plan_quantization(network: Network, rows: Tensors, weight_bits: int) -> Quantization:
    """Return what to quantize, with ranges observed on `rows`; raises UnsupportedError where there is nothing."""
    users: dict[str, list[Call]] = {}
    for call in network.calls:
        for name in call.inputs:
            users.setdefault(name, []).append(call)
    products = tuple(
        Product(call, _unit_axis(call)) for call in network.calls if _is_product(call, network) and len(users[call.inputs[1]]) == 1
    )
    if not products:
        raise UnsupportedError("The model has no convolutions or products with stored weights to quantize.", hint="Leave the pass out.")
    ranges = _ranges(network, products, users)
    quantization = Quantization(products, ranges, 2 ** (weight_bits - 1) - 1, is_observing=True)
    quantization.attach(network)
    with torch.no_grad():
        network.forward({name: torch.from_numpy(rows[name]) for name in network.inputs})
    quantization.is_observing = False
    return quantization


def _is_product(call: Call, network: Network) -> bool:
    if call.operator not in ("Conv", "Gemm", "MatMul") or call.inputs[1] not in network.parameters or call.inputs[0] in network.parameters:
        return False
    weight = network.parameters[call.inputs[1]]
    is_plain = call.get("alpha", 1.0) == call.get("beta", 1.0) == 1.0 and not call.get("transA", 0)
    bias = call.inputs[2] if len(call.inputs) > 2 else ""
    has_bias = not bias or (bias in network.parameters and network.parameters[bias].ndim == 1)
    return is_plain and has_bias and (weight.ndim == 4 if call.operator == "Conv" else weight.ndim == 2)


def _unit_axis(call: Call) -> int:
    return 0 if call.operator == "Conv" or call.get("transB", 0) else 1


def _ranges(network: Network, products: tuple[Product, ...], users: dict[str, list[Call]]) -> dict[str, Range]:
    """Give a range to every value that a product reads or writes, and the same one to what is only moved on."""
    ranges: dict[str, Range] = {}
    makers = {name: call for call in network.calls for name in call.outputs}
    wanted = set()
    for product in products:
        wanted.add(product.call.inputs[0])
        result = product.call.outputs[0]
        following = users.get(result, [])
        is_joined = len(following) == 1 and following[0].operator in _ACTIVATIONS and result not in network.surface
        wanted.add(following[0].outputs[0] if is_joined else result)
    for call in reversed(network.calls):  # what is moved before it is read is quantized where it was computed
        if call.operator in _PASSING and call.outputs[0] in wanted:
            wanted.add(call.inputs[0])
    for name in [*network.inputs, *(name for call in network.calls for name in call.outputs)]:
        if name not in wanted or name in network.outputs:
            continue
        maker = makers.get(name)
        moved = maker is not None and maker.operator in _PASSING and maker.inputs[0] in ranges
        ranges[name] = ranges[maker.inputs[0]] if moved and maker is not None else Range()
    return ranges
