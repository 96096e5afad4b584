"""Adam (Kingma and Ba 2015, https://arxiv.org/abs/1412.6980), and gradients held to a largest norm.

PyTorch's own optimizers load its compiler, which takes seconds in every process that trains for a few.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_FIRST, _SECOND, _TINY = 0.9, 0.999, 1e-8


class Adam:
    """Steps over `weights`, in place. Weights without a gradient stay."""

    def __init__(self, weights: Sequence[Tensor]) -> None:
        self._weights = weights
        self._means = [torch.zeros_like(weight) for weight in weights]
        self._squares = [torch.zeros_like(weight) for weight in weights]
        self._steps = 0

    def forget_gradients(self) -> None:
        """Take the gradients away, before the next are computed."""
        for weight in self._weights:
            weight.grad = None

    def step(self, rate: float, largest_norm: float) -> None:
        """Take a step with the learning rate `rate`, the gradient first shortened to `largest_norm`."""
        self._steps += 1
        known = [weight.grad for weight in self._weights if weight.grad is not None]
        norm = math.sqrt(sum(float(torch.sum(slope * slope)) for slope in known))
        shorter = min(1.0, largest_norm / max(norm, _TINY))
        with torch.no_grad():
            for weight, mean, square in zip(self._weights, self._means, self._squares, strict=True):
                slope = weight.grad
                if slope is None:
                    continue
                slope.mul_(shorter)
                mean.lerp_(slope, 1 - _FIRST)
                square.mul_(_SECOND).addcmul_(slope, slope, value=1 - _SECOND)
                length = square.div(1 - _SECOND**self._steps).sqrt_().add_(_TINY)
                weight.addcdiv_(mean, length, value=-rate / (1 - _FIRST**self._steps))
