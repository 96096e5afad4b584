"""Replaces dense layers by two thinner ones through a low-rank factorization, where that takes fewer numbers and operations. Lossy.

A weight W of k inputs and n outputs becomes A (k, r) and B (r, n) with r (k + n) < k n: the best such pair by the singular value
decomposition (Eckart and Young 1936). With rows, "best" means the layer's outputs on them: W is multiplied by a root of the second moment
of its inputs before it is decomposed, and A by the inverse (Wang et al. 2024, SVD-LLM: truncation-aware data whitening, arXiv 2403.07378,
section 3.1). MatMul, Gemm and convolutions of one point without groups.

Settings. `energy`: share of the sum of squared singular values that every layer keeps; it decides the rank. `rank_ratio`: the rank itself,
as a share of the full one (0: by energy). Refuses a model in which no layer gets smaller.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from fairlead.core.interface import Array, shorten
from fairlead.errors import IdlePassError, SpecError
from fairlead.optimize.calibration import first_rows, second_moments
from fairlead.optimize.graph_edit import (
    STANDARD_DOMAINS,
    constants_to_initializers,
    drop_unused_weights,
    free_name,
    names_of_surface,
    names_within,
    refuse_other_floats,
    taken_names,
    weights_of,
)
from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.offline_session import write

_NAME = "factorize_dense"
_SMALLEST = 4096  # elements
_WORTH = 0.7  # of a weight's numbers: what both factors may have
_RIDGE = 1e-4  # of the mean second moment: directions that no row took are not given up for free
_SHOWN = 8
_Cuts = tuple[float, float]


@dataclass(frozen=True)
class _Layer:
    """A dense layer: its node, its weight as (inputs, outputs), whether the node holds it as (outputs, inputs), and with how many axes of
    size 1 behind.
    """

    node: Any
    weight: Array
    is_transposed: bool = False
    point_axes: int = 0


@dataclass(frozen=True)
class _Factors:
    """`first` (inputs, rank) and `second` (rank, outputs), and the share of energy that they lose."""

    first: Array
    second: Array
    lost: float


def factorize_dense(job: PassJob) -> PassResult:
    """Write the model of `job.source` with thinner layers to `job.destination`."""
    cuts = _cuts(job)
    model = onnx.load_model(job.source)
    graph = model.graph
    refuse_other_floats(graph, _NAME)
    constants_to_initializers(graph)
    layers = _layers(graph)
    moments: Mapping[str, Array] = {}
    if job.rows and layers:
        wanted = {layer.node.input[0]: 1 if layer.node.op_type == "Conv" else -1 for layer in layers}
        moments = second_moments(model, wanted, first_rows(job.rows))
    taken = taken_names(graph)
    replaced: dict[str, list[Any]] = {}
    notes: list[str] = []
    for layer in layers:
        factors = _factorized(layer.weight, moments.get(layer.node.input[0]), cuts)
        if factors is None:
            continue
        replaced[layer.node.output[0]] = _nodes(graph, layer, factors, taken)
        full, rank = min(layer.weight.shape), factors.first.shape[1]
        notes.append(
            f"'{shorten(layer.node.output[0])}' ({layer.node.op_type}): rank {rank} of {full}, {factors.lost:.2%} of its energy lost"
        )
    if not replaced:
        raise IdlePassError(
            "No dense layer of the model gets smaller by factors of that rank.", hint="Ask for less energy, or leave it out."
        )
    nodes = [made for node in graph.node for made in (replaced.get(node.output[0], [node]) if node.output else [node])]
    del graph.node[:]
    graph.node.extend(nodes)
    drop_unused_weights(graph)
    write(model, job.destination)
    sizes = job.source.stat().st_size, job.destination.stat().st_size
    how = "as rows use them" if moments else "without rows"
    first = f"{len(replaced)} of {len(layers)} dense layers factorized, {how}: {sizes[0]} bytes became {sizes[1]}"
    more = [f"{len(notes) - _SHOWN} more layers factorized"] if len(notes) > _SHOWN else []
    return PassResult({"numpy": np.__version__}, {"layer_count": len(replaced)}, (first, *notes[:_SHOWN], *more))


def _cuts(job: PassJob) -> _Cuts:
    energy, ratio = float(job.settings.get("energy", 0.99)), float(job.settings.get("rank_ratio", 0.0))
    if not 0 < energy < 1 or not 0 <= ratio < 1:
        raise SpecError(
            f"{_NAME} cannot keep an energy of {energy:g} at a rank ratio of {ratio:g}.",
            hint="Energy lies between 0 and 1; rank_ratio too, or is 0.",
        )
    return energy, ratio


def _layers(graph: Any) -> list[_Layer]:
    """Return the layers whose weight nobody else uses."""
    uses = Counter([*(name for node in graph.node for name in node.input), *names_within(graph), *names_of_surface(graph)])
    weights = {tensor.name: tensor for tensor in weights_of(graph, least_elements=_SMALLEST, least_axes=2) if uses[tensor.name] == 1}
    layers = [_layer(node, weights[node.input[1]]) for node in graph.node if len(node.input) > 1 and node.input[1] in weights]
    return [layer for layer in layers if layer is not None]


def _layer(node: Any, tensor: Any) -> _Layer | None:
    """Return the layer; None for a node of another kind."""
    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    values = numpy_helper.to_array(tensor)
    found: _Layer | None = None
    if node.domain not in STANDARD_DOMAINS or not np.isfinite(values).all():
        return None
    if node.op_type == "MatMul" and values.ndim == 2:
        found = _Layer(node, values)
    elif node.op_type == "Gemm" and not attributes.get("transA"):
        is_transposed = bool(attributes.get("transB", 0))
        found = _Layer(node, values.T if is_transposed else values, is_transposed)
    elif node.op_type == "Conv" and all(size == 1 for size in values.shape[2:]) and attributes.get("group", 1) == 1:
        found = _Layer(node, values.reshape(values.shape[:2]).T, is_transposed=True, point_axes=values.ndim - 2)
    return found


def _factorized(weight: Array, moment: Array | None, cuts: _Cuts) -> _Factors | None:
    """Return the factors that keep what `cuts` ask for; None where they are no smaller."""
    wide = weight.astype(np.float64)
    root = None if moment is None else _root(moment)
    left, values, right = np.linalg.svd(wide if root is None else root @ wide, full_matrices=False)
    squares = np.square(values)
    total = float(squares.sum())
    if total == 0:
        return None
    energy, ratio = cuts
    full = int(values.size)
    rank = max(round(ratio * full), 1) if ratio else min(int(np.searchsorted(np.cumsum(squares) / total, energy)) + 1, full)
    if rank * sum(weight.shape) > _WORTH * weight.size:
        return None
    half = np.sqrt(values[:rank])
    first = left[:, :rank] * half if root is None else np.linalg.solve(root, left[:, :rank] * half)
    return _Factors(first.astype(np.float32), (half[:, None] * right[:rank]).astype(np.float32), float(squares[rank:].sum()) / total)


def _root(moment: Array) -> Array:
    """Return R with R^T R = `moment`, widened a little."""
    ridge = _RIDGE * max(float(np.trace(moment)) / len(moment), float(np.finfo(np.float32).tiny))
    return np.asarray(np.linalg.cholesky(moment + ridge * np.eye(len(moment))).T)


def _nodes(graph: Any, layer: _Layer, factors: _Factors, taken: set[str]) -> list[Any]:
    """Add the factors to `graph` and return the two nodes that take the layer's place; the second keeps the layer's bias and scaling."""
    node, axes = layer.node, (1,) * layer.point_axes
    names = [free_name(f"{node.input[1]}{suffix}", taken) for suffix in ("_in", "_out")]
    between = free_name(f"{node.output[0]}_thin", taken)
    second = onnx.NodeProto()
    second.CopyFrom(node)
    second.input[0], second.input[1] = between, names[1]
    if node.op_type == "Conv":  # steps and borders belong to the first
        first = helper.make_node("Conv", [node.input[0], names[0]], [between])
        first.attribute.extend(node.attribute)
        del second.attribute[:]
    else:
        first = helper.make_node("MatMul", [node.input[0], names[0]], [between])
    is_first_transposed = node.op_type == "Conv"
    for name, value, is_transposed in zip(names, (factors.first, factors.second), (is_first_transposed, layer.is_transposed), strict=True):
        held = value.T if is_transposed else value
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(held.reshape(*held.shape, *axes)), name))
    return [first, second]
