"""A layer graph as a tf_keras model: what TensorFlow Model Optimization takes, from Keras 2 and Keras 3 files alike.

Takes core.layer_graph.LayerGraph with its weights; gives a tf_keras functional model whose layers have the graph's names, and reads the
weights back. Raises UnsupportedError by the layer's name and kind. Imports tf_keras: only the sandboxed child may import this module. It
never opens the user's file: tf_keras runs code of an .h5 file even in safe mode.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import tf_keras

from fairlead.core.dtype import DType
from fairlead.core.interface import Array
from fairlead.core.layer_graph import GRAPH_INPUT, Call, Layer, LayerGraph, ValueRef
from fairlead.core.layer_kinds import IDENTITY_KINDS, call_arguments
from fairlead.errors import UnsupportedError

_HINT = "Compress it with the passes that train on PyTorch, such as prune_magnitude."


def build_network(graph: LayerGraph, weights: Mapping[str, Array]) -> Any:
    """Return the tf_keras model with the graph's weights; its outputs are in the graph's order."""
    values: dict[ValueRef, Any] = {
        ValueRef(GRAPH_INPUT, place): tf_keras.Input(spec.shape[1:], name=f"input_{place}", dtype=_dtype(spec.dtype))
        for place, spec in enumerate(graph.inputs)
    }
    inputs = list(values.values())
    layers = {name: _layer(layer, weights) for name, layer in graph.layers.items() if layer.kind not in IDENTITY_KINDS}
    for number, call in enumerate(graph.calls):
        given = _given(graph.layers[call.layer], call, values)
        result = layers[call.layer](given) if call.layer in layers else given
        for place, value in enumerate(result if isinstance(result, (list, tuple)) else [result]):
            values[ValueRef(number, place)] = value
    model = tf_keras.Model(inputs, [values[ref] for _, ref in graph.outputs])
    for name, layer in graph.layers.items():
        for role, key in layer.weights.items():
            variable(layers[name], role, layer).assign(weights[key])
    return model


def variable(built: Any, role: str, layer: Layer) -> Any:
    """Return the variable of a built layer that plays `role`; raises UnsupportedError where the layer has none."""
    for owner in (built, getattr(built, "cell", None)):
        found = getattr(owner, role, None)
        if found is not None and hasattr(found, "assign"):
            return found
    raise UnsupportedError(f"Layer '{layer.name}' ({layer.kind}) has no weight '{role}' in tf_keras.", hint=_HINT)


def read_weights(owners: Mapping[str, Any], graph: LayerGraph) -> dict[str, Array]:
    """Return every weight of the graph by its key, from the layers by name in `owners`."""
    return {
        key: np.asarray(variable(owners[name], role, layer).numpy())
        for name, layer in graph.layers.items()
        for role, key in layer.weights.items()
    }


def _layer(layer: Layer, weights: Mapping[str, Array]) -> Any:
    kind = getattr(tf_keras.layers, layer.kind, None)
    if kind is None or any("/" in role for role in layer.weights):
        raise UnsupportedError(f"Layer '{layer.name}' ({layer.kind}) is not one that TensorFlow Model Optimization is given.", hint=_HINT)
    config = dict(layer.config)
    if layer.kind == "Normalization":
        config |= {role: weights[key] for role, key in layer.weights.items()}
    known = inspect.signature(kind.__init__).parameters
    taken = {name: value for name, value in config.items() if name in known}
    try:
        return kind(name=layer.name.replace("/", "_"), **taken)
    except (TypeError, ValueError) as error:
        raise UnsupportedError(f"tf_keras cannot build layer '{layer.name}' ({layer.kind}): {str(error)[:200]}", hint=_HINT) from None


def _given(layer: Layer, call: Call, values: Mapping[ValueRef, Any]) -> Any:
    arguments = call_arguments(layer.kind, call)
    if len(arguments) != 1 or call.constants:
        raise UnsupportedError(f"Layer '{layer.name}' ({layer.kind}) takes more than its inputs.", hint=_HINT)
    (refs,) = arguments.values()
    tensors = [values[ref] for ref in refs]
    return tensors if len(tensors) > 1 else tensors[0]


def _dtype(dtype: DType) -> str:
    return str(np.dtype(dtype.numpy).name)
