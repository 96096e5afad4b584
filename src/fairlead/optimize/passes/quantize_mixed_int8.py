"""Computes in 8 bits what may be, and leaves the layers that cost accuracy in float32. Lossy, within a budget measured on the rows.

As quantize_static_int8 where that keeps the budget. Else each layer is quantized alone to see what it changes (`sensitivity`); sums, means
and products of two activations stay in float32, and layers return to it, those with the most squared error for each byte saved first,
until the answers differ by no more than the budget allows.

Settings. `max_error`: root mean square of the difference relative to that of the answers. `float_layers`: exactly so many layers stay, the
budget not asked (-1: as few as the budget allows). `method`, `per_channel`, `weight_bits`: as for quantize_static_int8. Refuses a model
without layers to quantize, and a budget that leaves none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import onnxruntime

from fairlead.core.interface import shorten
from fairlead.errors import IdlePassError, SpecError, UnsupportedError
from fairlead.optimize.calibration import first_rows, measure_ranges
from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.quantizing import (
    HEAVY,
    OPERATORS,
    Quantization,
    chosen_method,
    finish,
    precision_of,
    prepared,
    quantized,
    weighted_nodes,
)
from fairlead.optimize.sensitivity import Change, Judge, LayerSensitivity, in_order_of_harm, judged_rows, measure_sensitivity

_NAME = "quantize_mixed_int8"
_MADE = frozenset({"QuantizeLinear"})
_SHOWN = 8  # layers that the notes name


def quantize_mixed_int8(job: PassJob) -> PassResult:
    """Write the quantized model of `job.source` to `job.destination`."""
    precision, method = precision_of(_NAME, job.settings), chosen_method(_NAME, job.settings)
    max_error, wanted = float(job.settings.get("max_error", 0.02)), int(job.settings.get("float_layers", -1))
    if max_error <= 0 or wanted < -1:
        raise SpecError(
            f"{_NAME} cannot keep an error of {max_error:g} with {wanted} float layers.",
            hint="max_error is above 0; float_layers is 0 or more, or -1 for as few as max_error allows.",
        )
    rows = first_rows(job.rows)
    model = prepared(job.source, _NAME)
    weighted = weighted_nodes(model.graph, OPERATORS["all"])
    if not weighted:
        raise IdlePassError(
            "The model has no convolutions or matrix products with stored weights to quantize.", hint="Leave the pass out for this model."
        )
    how = Quantization(measure_ranges(model, rows, OPERATORS["all"], method), precision, OPERATORS["all"])
    judged, target = judged_rows(rows, job.training)
    judge = Judge(model, judged, job.interface, target)
    found = _Found((), *_tried(model, how, judge, ()))
    if wanted > 0 or (wanted < 0 and found.change.error > max_error):
        ladder = _Ladder(model, replace(how, operators=OPERATORS["layers"]), judge, measure_sensitivity(model, how, judge, job.report))
        found = ladder.fewest(max_error) if wanted < 0 else ladder.exactly(wanted)
    finish(found.model, job.source, job.destination, _MADE)
    sizes = job.source.stat().st_size, job.destination.stat().st_size
    count = len(found.floating)
    notes = (
        f"{len(weighted) - count} of {len(weighted)} layers in 8 bits: {sizes[0]} bytes became {sizes[1]}; {_said(found.change)}",
        *_reasons(found.floating),
    )
    return PassResult({"onnxruntime": onnxruntime.__version__}, {"float_layer_count": count, "error": round(found.change.error, 6)}, notes)


@dataclass(frozen=True)
class _Found:
    """A variant: the layers that stay float, the model, and what it changes."""

    floating: tuple[LayerSensitivity, ...]
    model: Any
    change: Change


class _Ladder:
    """Variants with ever more layers in float32, in the order in which they cost most for what they save."""

    def __init__(self, model: Any, how: Quantization, judge: Judge, layers: Sequence[LayerSensitivity]) -> None:
        self._model, self._how, self._judge = model, how, judge
        self._layers = in_order_of_harm(layers)
        named = {layer.node for layer in layers}
        self._weightless = [node.name for node in model.graph.node if node.op_type in HEAVY and node.name not in named]

    def fewest(self, max_error: float) -> _Found:
        """Return the variant with the fewest float layers within the budget: bisected, since each takes its error away."""
        low, high = 0, len(self._layers)  # fewer than `low` are not enough; `high` are, or would leave nothing quantized
        best: _Found | None = None
        while low < high:
            middle = (low + high) // 2
            found = self._variant(middle)
            if found.change.error <= max_error:
                high, best = middle, found
            else:
                low = middle + 1
        if best is None:
            raise UnsupportedError(
                f"Whichever layer is quantized, the answers differ by more than {max_error:g}.",
                hint="Allow more (max_error), or leave the pass out for this model.",
            )
        return best

    def exactly(self, count: int) -> _Found:
        """Return the variant with so many float layers."""
        if count >= len(self._layers):
            raise UnsupportedError(
                f"{count} layers are to stay float, and the model has {len(self._layers)}.",
                hint="Leave fewer as they are, or leave the pass out.",
            )
        return self._variant(count)

    def _variant(self, count: int) -> _Found:
        floating = tuple(self._layers[:count])
        without = [*self._weightless, *(layer.node for layer in floating)]
        return _Found(floating, *_tried(self._model, self._how, self._judge, without))


def _tried(model: Any, how: Quantization, judge: Judge, without: Sequence[str]) -> tuple[Any, Change]:
    variant = quantized(model, how, without=without)
    return variant, judge.compare(variant)


def _reasons(layers: Sequence[LayerSensitivity]) -> list[str]:
    said = [f"'{shorten(layer.node)}' ({layer.operator}) stays float32: alone, {_said(layer.change)}" for layer in layers[:_SHOWN]]
    return [*said, *([f"{len(layers) - _SHOWN} more layers stay float32"] if len(layers) > _SHOWN else [])]


def _said(change: Change) -> str:
    parts = [f"answers differ by {change.error:.2%}"]
    parts += [f"{change.flip_count} decisions flip"] if change.flip_count is not None else []
    parts += [f"the loss rises by {change.loss_rise:.3g}"] if change.loss_rise is not None else []
    return ", ".join(parts)
