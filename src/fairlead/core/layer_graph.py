"""A Keras model as data: layers, the calls that connect them, and weights as plain arrays. No code from the file, no Keras.

Written by the Keras readers, read by the ONNX converter and by the reference engine. On disk it is a directory with `graph.json`
(this value) and `weights.npz` (arrays by key, read with allow_pickle=False).

Nested models are inlined by the reader (layer names become `outer/inner`); wrappers (Bidirectional, TimeDistributed) stay one layer
whose config holds the wrapped layer's. Kinds and config keys are those of Keras 3; readers translate older files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fairlead.core.interface import TensorSpec

GRAPH_INPUT = -1


@dataclass(frozen=True)
class ValueRef:
    """Output number `output` of call number `call`, or graph input number `output` where `call` is GRAPH_INPUT."""

    call: int
    output: int = 0


@dataclass(frozen=True)
class Layer:
    """One layer: its Keras class name, its config, and its weights by role -> key in weights.npz.

    Roles are Keras's own variable names (kernel, bias, gamma, beta, moving_mean, moving_variance, depthwise_kernel,
    pointwise_kernel, embeddings, recurrent_kernel, mean, variance, alpha, ...), nested with '/': forward/kernel, backward/bias,
    query/kernel, attention_output/bias, layer/kernel (TimeDistributed).
    """

    name: str
    kind: str
    config: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """One use of a layer. A layer used twice has two calls. `inputs` are tensor arguments in the order of the layer's own signature
    (MultiHeadAttention: query, value, key); `constants` are arguments that are plain data, by argument name.

    `argument_names` says for each input which argument it is for (`core.layer_kinds.call_arguments`); several inputs may be for one
    (a list: `initial_state`). Empty means in the signature's order; needed where one is left out (`mask` without `initial_state`).
    """

    layer: str
    inputs: tuple[ValueRef, ...]
    constants: Mapping[str, Any] = field(default_factory=dict)
    output_count: int = 1
    argument_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class LayerGraph:
    """`calls` are in an order in which every call's inputs come before it. `outputs` are (name, value) in the model's order."""

    name: str
    layers: Mapping[str, Layer]
    calls: tuple[Call, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[tuple[str, ValueRef], ...]
    framework: str = ""  # e.g. "keras 3.15.1", as the file says
