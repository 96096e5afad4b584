"""What a network's activations look like on rows: ranges, which 8 bits have to cover, and second moments.

Takes a float32 model and rows by input name; gives (lowest, highest) or a matrix by value name. Rows pass in small batches, and for ranges
twice: once for the extremes, once for a histogram where the method asks for one, so that memory does not grow with the rows. Raises
UnsupportedError without rows, DataError where an activation is not finite. Deterministic; changes nothing.

Methods. minmax: everything seen. percentile: without the 0.01 % of values at either end. mse: the cut of both ends that loses the smallest
sum of squares when 256 levels cover the rest. entropy: the cut whose levels keep most of the information, by the Kullback-Leibler
divergence of Migacz, 8-bit Inference with TensorRT (GTC 2017); what lies at 0, where a Relu puts half of all values, counts as its
neighbours do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime

from fairlead.core.interface import Array, Tensors, shorten
from fairlead.errors import DataError, UnsupportedError

METHODS = ("minmax", "percentile", "mse", "entropy")
ROW_LIMIT = 512  # more rows widen ranges and take longer
_BATCH = 32
_BATCH_BYTES = 2**26  # of activations at a time
_WIDEST = 4096  # channels with a second moment
_BINS = 2048
_LEVELS = 256
_NARROWEST = 1e-6  # of the values themselves: nothing to cut
_TAIL = 1e-4  # of the values, at either end
_CUTS = np.geomspace(1.0, 0.13, 60)  # of the range that is kept
Range = tuple[float, float]


def measure_ranges(model: Any, rows: Tensors | None, operators: Sequence[str], method: str = "minmax") -> dict[str, Range]:
    """Return the range of every float activation at an input or output of `operators`, by `method`."""
    used = first_rows(rows)
    names = _activations(model.graph, frozenset(operators))
    session = _session(model, names)
    extremes: dict[str, Range] = {}
    for outputs in _run(session, names, used):
        for name, values in outputs.items():
            if not np.isfinite(values).all():
                raise DataError(
                    f"The value '{shorten(name)}' is not finite on the calibration rows, so it has no range.",
                    hint="Calibrate on rows without missing values for which the model gives numbers.",
                )
            low, high = extremes.get(name, (np.inf, -np.inf))
            extremes[name] = min(low, float(values.min(initial=np.inf))), max(high, float(values.max(initial=-np.inf)))
    extremes = {name: found for name, found in extremes.items() if found[0] <= found[1]}
    spread = {name for name, (low, high) in extremes.items() if high - low > _NARROWEST * max(abs(low), abs(high))}
    if method == "minmax" or not spread:
        return extremes
    counts = {name: np.zeros(_BINS, np.int64) for name in spread}
    for outputs in _run(session, names, used):
        for name in spread & outputs.keys():
            counts[name] += np.histogram(outputs[name].astype(np.float64), _BINS, range=extremes[name])[0]
    return {name: _cut(method, counts[name], found) if name in spread else found for name, found in extremes.items()}


def second_moments(model: Any, channels: Mapping[str, int], rows: Tensors) -> dict[str, Array]:
    """Return x x^T averaged over `rows` for the values named in `channels`, x along the axis given there: (channels, channels) each.

    Left out are values with more than 4096 channels, which would not fit, and those that are not finite or not float32.
    """
    names = list(channels)
    sums: dict[str, Array] = {}
    counts: Counter[str] = Counter()
    for outputs in _run(_session(model, names), names, rows):
        for name, values in outputs.items():
            flat = np.moveaxis(values, channels[name], -1).reshape(-1, values.shape[channels[name]]).astype(np.float64)
            if flat.shape[1] <= _WIDEST and len(flat):
                sums[name] = sums.get(name, 0.0) + flat.T @ flat
                counts[name] += len(flat)
    return {name: total / counts[name] for name, total in sums.items() if np.isfinite(total).all()}


def first_rows(rows: Tensors | None, limit: int = ROW_LIMIT) -> dict[str, Array]:
    """Return at most `limit` rows; raises UnsupportedError where there are none."""
    count = min((len(tensor) for tensor in (rows or {}).values()), default=0)
    if count == 0:
        raise UnsupportedError("The pass needs rows to measure ranges on.", hint="Give data with the model.")
    return {name: tensor[: min(count, limit)] for name, tensor in (rows or {}).items()}


def batches(rows: Tensors, size: int = _BATCH) -> Iterator[dict[str, Array]]:
    """Yield `rows` in pieces of at most `size`."""
    count = min(len(tensor) for tensor in rows.values())
    for start in range(0, count, size):
        yield {name: tensor[start : start + size] for name, tensor in rows.items()}


def _activations(graph: Any, operators: frozenset[str]) -> list[str]:
    stored = {tensor.name for tensor in graph.initializer}
    named = {name: None for node in graph.node if node.op_type in operators for name in (*node.input, *node.output)}
    return [name for name in named if name and name not in stored]


def _session(model: Any, names: Sequence[str]) -> Any:
    """A session that gives every value of `names`, as the model computes it without the runtime's rewriting."""
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    del probed.graph.output[:]
    probed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(probed.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _run(session: Any, names: Sequence[str], rows: Tensors) -> Iterator[Mapping[str, Array]]:
    """Yield the float values of each batch, in batches that fit."""
    first = session.run(None, next(batches(rows, 1)))
    size = int(np.clip(_BATCH_BYTES // max(sum(values.nbytes for values in first), 1), 1, _BATCH))
    for batch in batches(rows, size):
        values = session.run(None, batch)
        yield {name: value for name, value in zip(names, values, strict=True) if value.dtype == np.float32}


def _cut(method: str, counts: Array, found: Range) -> Range:
    edges = np.linspace(*found, _BINS + 1)
    if method == "percentile":
        share = np.cumsum(counts) / counts.sum()
        low, high = int(np.searchsorted(share, _TAIL)), int(np.searchsorted(share, 1 - _TAIL))
        return float(edges[low]), float(edges[min(high, _BINS - 1) + 1])
    loss = _squares_lost if method == "mse" else _information_lost
    low, high = min(_candidates(edges), key=lambda kept: loss(counts, edges, *kept))
    return float(edges[low]), float(edges[high])


def _candidates(edges: Array) -> Iterator[tuple[int, int]]:
    """Yield the bins (first, last exclusive) that are kept, from all to few; 0 stays where it was inside."""
    zero = int(np.clip(np.searchsorted(edges, 0.0), 0, _BINS))
    for cut in _CUTS:
        low, high = round(zero - zero * cut), round(zero + (_BINS - zero) * cut)
        if high - low >= _LEVELS:
            yield low, high


def _squares_lost(counts: Array, edges: Array, low: int, high: int) -> float:
    """What is cut off, squared, and the rounding within: step^2 / 12 each."""
    middles = (edges[:-1] + edges[1:]) / 2
    beyond = middles - np.clip(middles, edges[low], edges[high])
    step = (edges[high] - edges[low]) / (_LEVELS - 1)
    return float((counts * (np.square(beyond) + step * step / 12)).sum())


def _information_lost(counts: Array, edges: Array, low: int, high: int) -> float:
    """Divergence between the values, those cut off at the ends counted there, and the same through 256 levels."""
    zero = int(np.clip(np.searchsorted(edges, 0.0, side="right") - 1, 0, _BINS - 1))
    counts = counts.copy()
    beside = [counts[place] for place in (zero - 1, zero + 1) if 0 <= place < _BINS]
    counts[zero] = min(counts[zero], max(beside))
    wanted = counts[low:high].astype(np.float64)
    kept = wanted.copy()
    wanted[0] += counts[:low].sum()
    wanted[-1] += counts[high:].sum()
    level = (np.arange(high - low) * _LEVELS) // (high - low)
    filled = kept > 0
    sums, sizes = np.bincount(level, kept, _LEVELS), np.bincount(level, filled, _LEVELS)
    given = np.where(filled, (sums / np.maximum(sizes, 1))[level], 0.0)
    if given.sum() == 0:
        return np.inf
    p, q = wanted / wanted.sum(), given / given.sum()
    seen = p > 0
    return float((p[seen] * np.log(p[seen] / np.maximum(q[seen], 1e-12))).sum())
