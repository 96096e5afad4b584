"""Lets all weights of a tensor share a few values, and stores which one each has: an eighth of the size at 16 values. Lossy.

First training draws each weight towards the nearest of `k` centroids (Ω(θ) is the mean squared distance to them), then every weight takes
its centroid's value and the shared values themselves are trained. The file holds the values and, for each weight, a number of 4 or 8 bits;
a runtime puts them together once when it loads the model, so answers are as fast as before. Refuses models that training does not know, and
those without large weights.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto
from torch import Tensor

from fairlead.core.interface import Array
from fairlead.errors import IdlePassError
from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.training.course import Course, begin, count
from fairlead.optimize.training.fit import Fit, Schedule, torch_threads
from fairlead.optimize.training.network import Network
from fairlead.optimize.training.prepare import with_weights, write_model
from fairlead.optimize.weight_storage import Restoring, store_weights

_SMALLEST = 128  # elements; smaller tensors win nothing
_MOST = 256  # values that 8 bits tell apart
_FEW = 16  # values that 4 bits tell apart
_DRAWN = 0.4  # of the epochs, while weights are drawn towards centroids
_REFRESH = 20  # times the centroids move meanwhile
_LLOYD_STEPS = 25
_PULL = 5.0  # weight of Ω(θ), over each tensor's variance, at its end


def cluster_weights(job: PassJob) -> PassResult:
    """Write the model of `job` with at most `k` different values in each large weight."""
    k = count(job.settings, "k", default=16, smallest=2, largest=_MOST)
    epochs = count(job.settings, "epochs", default=24, smallest=2)
    with torch_threads(job.thread_count):
        course = begin(job)
        clusters = _Clusters(course.network, k)
        drawn = max(1, round(_DRAWN * epochs))
        fits = [
            course.train(
                course.network,
                Schedule(drawn, penalty=clusters.penalty, after_step=clusters.move, judge_from=1.0),
                share=_DRAWN,
            )
        ]
        clusters.settle()
        fits.append(course.train(course.network, Schedule(epochs - drawn, after_step=clusters.share)))
        clusters.share(1.0)
        return _write(course, clusters, fits, k)


def _write(course: Course, clusters: _Clusters, fits: list[Fit], k: int) -> PassResult:
    """Store the shared values; what cannot be stored so in less stays as it is, with its few values."""
    network = course.network
    notes: tuple[str, ...] = (f"{len(clusters.weights)} weights have at most {k} different values each",)
    model = with_weights(network.model, network.stored())
    with tempfile.TemporaryDirectory(prefix="fairlead-cluster-") as folder:
        plain = Path(folder) / "plain.onnx"
        write_model(model, plain)
        stored = Path(folder) / "stored.onnx"
        result = store_weights(replace(course.job, source=plain, destination=stored), _encode, name="cluster_weights", what="by number")
        written = onnx.load_model(stored)
    return course.finish(network, written, fits, (*notes, *result.notes[:1]))


def _encode(values: Array, form: Restoring) -> Array | None:
    """Store which of its few values each element has; None where there are too many."""
    shared, numbers = np.unique(values, return_inverse=True)
    numbers = numbers.reshape(-1).astype(np.uint8)
    if len(shared) > _MOST:
        return None
    if len(shared) <= _FEW:
        padded = np.pad(numbers, (0, numbers.size % 2)).reshape(2, -1)
        packed, four = form.keep(padded[0] | (padded[1] << 4), "_numbers"), form.constant(np.array(4, np.uint8))
        high = form.then("BitShift", packed, four, direction="RIGHT")
        low = form.then("BitShift", form.then("BitShift", packed, four, direction="LEFT"), four, direction="RIGHT")
        numbers_name = form.then("Concat", low, high, axis=0)
        if numbers.size % 2:
            numbers_name = form.then("Slice", numbers_name, *(form.constant(np.array([limit], np.int64)) for limit in (0, numbers.size)))
    else:
        numbers_name = form.keep(numbers, "_numbers")
    places = form.then("Cast", numbers_name, to=TensorProto.INT32)
    flat = form.then("Gather", form.keep(shared, "_values"), places, axis=0)
    form.then("Reshape", flat, form.constant(np.array(values.shape, np.int64)), last=True)
    return values


class _Clusters:
    """The centroids of each weight, and which one each element belongs to."""

    def __init__(self, network: Network, k: int) -> None:
        self.weights = {name: value for name, value in network.parameters.items() if value.ndim > 1 and value.numel() >= _SMALLEST}
        if not self.weights:
            raise IdlePassError("The model has no weights large enough to share values.", hint="Leave the pass 'cluster_weights' out.")
        self._k, self._progress, self._moved = k, 0.0, -1
        self._centroids: dict[str, Tensor] = {}
        self._members: dict[str, Tensor] = {}
        self.move(0.0)

    def move(self, progress: float) -> None:
        """Let the centroids follow the weights, from time to time."""
        self._progress = progress
        if round(progress * _REFRESH) == self._moved:
            return
        self._moved = round(progress * _REFRESH)
        for name, weight in self.weights.items():
            self._centroids[name] = _centroids(weight.detach(), self._k, self._centroids.get(name))
            self._members[name] = _nearest(weight.detach(), self._centroids[name])

    def penalty(self, network: Network) -> Tensor:
        """Return Ω(θ): the mean squared distance of weights from their centroids, over each tensor's variance, growing with progress."""
        total = torch.zeros(())
        for name in self.weights:
            weight = network.parameters[name]
            goal = self._centroids[name][self._members[name]]
            total = total + ((weight - goal) ** 2).mean() / weight.detach().var().clamp_min(1e-12)
        return _PULL * self._progress * total

    def settle(self) -> None:
        """Give each element its centroid's value; from now on it stays with those that share it."""
        self._moved = -1
        self.move(1.0)
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(self._centroids[name][self._members[name]])

    def share(self, _progress: float) -> None:
        """Give all elements of a cluster their mean: the step that the shared value takes."""
        with torch.no_grad():
            for name, weight in self.weights.items():
                members = self._members[name].reshape(-1)
                sums = torch.zeros(self._k).index_add(0, members, weight.reshape(-1))
                counts = torch.bincount(members, minlength=self._k).clamp_min(1)
                weight.copy_((sums / counts)[self._members[name]])


def _centroids(weight: Tensor, k: int, before: Tensor | None) -> Tensor:
    """Return k values, sorted, by Lloyd's steps from `before`, or from evenly spread ones."""
    values = weight.reshape(-1).sort().values
    spread = torch.linspace(float(values[0]), float(values[-1]), k) if before is None else before
    totals = torch.cat([values.new_zeros(1), values.double().cumsum(0).float()])
    for _ in range(_LLOYD_STEPS):
        edges = torch.searchsorted(values, (spread[1:] + spread[:-1]) / 2)
        ends = torch.cat([edges.new_zeros(1), edges, edges.new_tensor([len(values)])])
        counts = ends[1:] - ends[:-1]
        means = (totals[ends[1:]] - totals[ends[:-1]]) / counts.clamp_min(1)
        moved = torch.where(counts > 0, means, spread)
        if torch.equal(moved, spread):
            break
        spread = moved
    return spread.sort().values


def _nearest(weight: Tensor, centroids: Tensor) -> Tensor:
    return torch.bucketize(weight, (centroids[1:] + centroids[:-1]) / 2)
