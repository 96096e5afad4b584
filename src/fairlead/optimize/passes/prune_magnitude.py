"""Sets the smallest weights to zero, more and more of them while the rest is trained. Lossy; the file shrinks only when it is compressed.

The share of zeros grows along a cubic curve (Zhu and Gupta 2017, https://arxiv.org/abs/1710.01878) over the first part of training; then it
is held while the others settle. Matrices and filters only: biases and scales stay. Neither the stored file nor an answer gets faster: zeros
are stored and multiplied like other numbers. What gets smaller is what an archive or a network carries. Refuses models that training does
not know, and those without large weights.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fairlead.errors import IdlePassError, SpecError
from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.training.course import begin, count, fraction
from fairlead.optimize.training.fit import Schedule, torch_threads
from fairlead.optimize.training.network import Network
from fairlead.optimize.training.prepare import with_weights

_SMALLEST = 128  # elements; smaller tensors win nothing
_GROWN = 0.6  # of training, after which the share of zeros stays
_STEPS = 40  # times the masks are chosen anew
_SCOPES = ("global", "layer")


def prune_magnitude(job: PassJob) -> PassResult:
    """Write the model of `job` with `sparsity` of its large weights at zero."""
    sparsity = fraction(job.settings, "sparsity", default=0.8)
    epochs = count(job.settings, "epochs", default=24)
    scope = str(job.settings.get("scope", "global"))
    if scope not in _SCOPES:
        raise SpecError(f"'scope' is '{scope}'.", hint=f"Known: {', '.join(_SCOPES)}.")
    with torch_threads(job.thread_count):
        course = begin(job)
        masks = _Masks(course.network, sparsity, is_global=scope == "global")
        fit = course.train(course.network, Schedule(epochs, after_step=masks.grow, judge_from=_GROWN, patience=epochs))
        masks.grow(1.0)
        zeros, total = masks.counts()
        notes = (
            f"{zeros} of {total} weights in {len(masks.weights)} tensors are zero, chosen by size ({scope})",
            "the gain shows where the file is compressed: neither the file itself nor its answers get smaller or faster",
        )
        return course.finish(course.network, with_weights(course.network.model, course.network.stored()), [fit], notes)


class _Masks:
    """Which weights are zero. `grow` is called after each step: it lets the share follow the curve and keeps what is zero at zero."""

    def __init__(self, network: Network, sparsity: float, *, is_global: bool) -> None:
        self.weights = [value for value in network.parameters.values() if value.ndim > 1 and value.numel() >= _SMALLEST]
        if not self.weights:
            raise IdlePassError("The model has no weights large enough to thin out.", hint="Leave the pass 'prune_magnitude' out.")
        self._masks = [torch.ones_like(value, dtype=torch.bool) for value in self.weights]
        self._sparsity, self._is_global, self._chosen = sparsity, is_global, -1

    def grow(self, progress: float) -> None:
        """Bring the weights to the share of zeros that belongs to `progress`, from 0 to 1."""
        stage = round(min(1.0, progress / _GROWN) * _STEPS)
        with torch.no_grad():
            if stage != self._chosen:
                self._chosen = stage
                self._choose(self._sparsity * (1 - (1 - stage / _STEPS) ** 3))
            for weight, mask in zip(self.weights, self._masks, strict=True):
                weight.mul_(mask)

    def _choose(self, share: float) -> None:
        sizes = [weight.detach().abs() for weight in self.weights]
        if self._is_global:
            limit = _quantile(torch.cat([size.reshape(-1) for size in sizes]), share)
            self._masks = [size > limit for size in sizes]
        else:
            self._masks = [size > _quantile(size.reshape(-1), share) for size in sizes]

    def counts(self) -> tuple[int, int]:
        """Return how many weights are zero, and how many there are."""
        return sum(int((weight == 0).sum()) for weight in self.weights), sum(weight.numel() for weight in self.weights)


def _quantile(values: Tensor, share: float) -> Tensor:
    """Return the value that `share` of the values do not exceed; -1 for none."""
    place = round(share * values.numel())
    return values.new_tensor(-1.0) if place == 0 else torch.kthvalue(values, place).values
