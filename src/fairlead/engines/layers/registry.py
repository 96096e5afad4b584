"""Kind of layer -> how to evaluate it. Takes a `LayerSpec`, gives an `Evaluate`; raises UnsupportedError for what is not known."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fairlead.core.interface import Array
from fairlead.engines.layers import (
    activation_layers,
    attention_layers,
    convolution_layers,
    dense_layers,
    merge_layers,
    normalization_layers,
    pooling_layers,
    recurrent_layers,
    resizing_layers,
    shape_layers,
)
from fairlead.engines.layers.layer_spec import LayerSpec
from fairlead.engines.layers.value import Evaluate, Inputs, on_first
from fairlead.errors import UnsupportedError


def build(spec: LayerSpec) -> Evaluate:
    """Return the evaluation of one layer; every option and weight of it is known and used, or UnsupportedError names it."""
    builder = _BUILDERS.get(spec.kind)
    if builder is None:
        raise UnsupportedError(f"Layer '{spec.name}' is a {spec.kind}, which Fairlead cannot evaluate by itself.")
    evaluate = builder(spec)
    spec.finish()
    return evaluate


def _time_distributed(spec: LayerSpec) -> Evaluate:
    """The wrapped layer sees every step as a row of its own."""
    inner = build(spec.inner("layer", "layer"))

    def distribute(x: Array) -> Array:
        (result,) = inner(Inputs({"inputs": (x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]),)}))
        return result.reshape(*x.shape[:2], *result.shape[1:])

    return on_first(distribute)


_BUILDERS: Mapping[str, Callable[[LayerSpec], Evaluate]] = {
    "TimeDistributed": _time_distributed,
    **activation_layers.LAYERS,
    **attention_layers.LAYERS,
    **convolution_layers.LAYERS,
    **dense_layers.LAYERS,
    **merge_layers.LAYERS,
    **normalization_layers.LAYERS,
    **pooling_layers.LAYERS,
    **recurrent_layers.LAYERS,
    **resizing_layers.LAYERS,
    **shape_layers.LAYERS,
}
