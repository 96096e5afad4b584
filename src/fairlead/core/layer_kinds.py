"""Every Keras layer that Fairlead knows by itself: its inference config in one canonical form, and its tensor arguments. Pure values.

The reader translates any file's config into this form; the ONNX converter and the reference engine rely on it. A layer that does not
fit here is not wrong, it is left to Keras. The canonical form:

- every key of `LayerKind.config` is present; training-only keys (initializers, regularizers, rates, seeds) are absent;
- `kernel_size`, `strides`, `dilation_rate`, `pool_size`, `size` and `output_padding` (or None) are lists with one whole number per
  spatial axis, in one dimension too; pooling strides are never None;
- `padding` of convolutions and pooling is "valid", "same" or (Conv1D) "causal"; `padding` of ZeroPadding and `cropping` of Cropping are
  lists of [before, after], one per spatial axis;
- `data_format` is "channels_last" or "channels_first", never None;
- an activation is a name of ACTIVATIONS, "linear" for none;
- `axis` is a whole number or a list of them, as Keras has it, with negative ones left as they are;
- a wrapped layer is {"kind": ..., "config": ...} in this same form; Bidirectional always holds both `layer` and `backward_layer`.

Implicit masks do not exist here: a model in which Keras would carry one along (Masking, Embedding with mask_zero) is left to Keras.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fairlead.core.layer_graph import Call, ValueRef

# Keras 3 semantics and default parameters: leaky_relu has slope 0.2, elu and celu alpha 1, gelu is exact (erf), hard_sigmoid is
# relu6(x + 3) / 6, softmax and log_softmax run over the last axis. https://keras.io/api/layers/activations/
ACTIVATIONS = frozenset(
    {
        "linear", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "sigmoid", "hard_sigmoid", "tanh", "softmax",
        "log_softmax", "softplus", "softsign", "silu", "hard_silu", "exponential", "mish", "log_sigmoid", "hard_tanh", "tanh_shrink",
        "soft_shrink", "hard_shrink", "squareplus",
    }
)  # fmt: skip

# Layers that give back what they take once training is over.
IDENTITY_KINDS = frozenset(
    {
        "Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianNoise", "GaussianDropout", "AlphaDropout",
        "ActivityRegularization", "Identity",
    }
)  # fmt: skip

_INPUTS = ("inputs",)
_SEQUENCE = ("sequences", "initial_state")


@dataclass(frozen=True)
class LayerKind:
    """`config` holds every inference key with its default; `required` keys have none and must be in the file. `allowed` narrows the
    values of some keys. `arguments` are the tensor arguments in the signature's order; merging layers take several tensors for
    `inputs`, recurrent ones several for `initial_state`.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    allowed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    arguments: tuple[str, ...] = _INPUTS
    spatial_rank: int = 0


def _kind(
    *required: str, arguments: tuple[str, ...] = _INPUTS, rank: int = 0, allowed: Mapping[str, Any] | None = None, **config: Any
) -> LayerKind:
    return LayerKind(dict.fromkeys(required) | config, frozenset(required), allowed or {}, arguments, rank)


_LAST = "channels_last"
_PADDINGS = {"padding": ("valid", "same")}
_PLACES = {1: "1D", 2: "2D", 3: "3D"}


def _convolutions() -> dict[str, LayerKind]:
    kinds: dict[str, LayerKind] = {}
    for rank, place in _PLACES.items():
        common: dict[str, Any] = {
            "strides": [1] * rank,
            "padding": "valid",
            "data_format": _LAST,
            "dilation_rate": [1] * rank,
            "activation": "linear",
            "use_bias": True,
        }
        plain = {"padding": ("valid", "same", "causal") if rank == 1 else ("valid", "same")}
        kinds[f"Conv{place}"] = _kind("filters", "kernel_size", rank=rank, allowed=plain, groups=1, **common)
        kinds[f"Conv{place}Transpose"] = _kind("filters", "kernel_size", rank=rank, allowed=_PADDINGS, output_padding=None, **common)
        if rank < 3:
            kinds[f"DepthwiseConv{place}"] = _kind("kernel_size", rank=rank, allowed=_PADDINGS, depth_multiplier=1, **common)
            kinds[f"SeparableConv{place}"] = _kind("filters", "kernel_size", rank=rank, allowed=plain, depth_multiplier=1, **common)
    return kinds


def _spatial() -> dict[str, LayerKind]:
    """Return pooling, padding, cropping and upsampling."""
    kinds: dict[str, LayerKind] = {}
    for rank, place in _PLACES.items():
        pool: dict[str, Any] = {"pool_size": [2] * rank, "strides": [2] * rank, "padding": "valid", "data_format": _LAST}
        for how in ("Max", "Average"):
            kinds[f"{how}Pooling{place}"] = _kind(rank=rank, allowed=_PADDINGS, **pool)
            kinds[f"Global{how}Pooling{place}"] = _kind(rank=rank, data_format=_LAST, keepdims=False)
        kinds[f"ZeroPadding{place}"] = _kind(rank=rank, padding=[[1, 1]] * rank, data_format=_LAST)
        kinds[f"Cropping{place}"] = _kind(rank=rank, cropping=[[0, 0] if rank == 2 else [1, 1]] * rank, data_format=_LAST)
        kinds[f"UpSampling{place}"] = _kind(rank=rank, size=[2] * rank, data_format=_LAST)
    kinds["UpSampling2D"] = _kind(
        rank=2, size=[2, 2], data_format=_LAST, interpolation="nearest", allowed={"interpolation": ("nearest", "bilinear")}
    )
    return kinds


def _recurrent() -> dict[str, LayerKind]:
    shared: dict[str, Any] = {
        "activation": "tanh", "use_bias": True, "return_sequences": False, "return_state": False, "go_backwards": False,
    }  # fmt: skip
    return {
        "SimpleRNN": _kind("units", arguments=_SEQUENCE, **shared),
        "LSTM": _kind("units", arguments=_SEQUENCE, recurrent_activation="sigmoid", **shared),
        "GRU": _kind("units", arguments=_SEQUENCE, recurrent_activation="sigmoid", reset_after=True, **shared),
        # Several initial states: LSTM hidden then cell; Bidirectional those of the forward layer, then those of the backward layer.
        "Bidirectional": _kind(
            "layer", "backward_layer", arguments=_SEQUENCE, merge_mode="concat",
            allowed={"merge_mode": ("concat", "sum", "mul", "ave", None)},
        ),
        "TimeDistributed": _kind("layer"),
    }  # fmt: skip


def _normalizations() -> dict[str, LayerKind]:
    return {
        "BatchNormalization": _kind(axis=-1, epsilon=0.001, center=True, scale=True),
        "LayerNormalization": _kind(axis=-1, epsilon=0.001, center=True, scale=True),
        "GroupNormalization": _kind(groups=32, axis=-1, epsilon=0.001, center=True, scale=True),
        "UnitNormalization": _kind(axis=-1),
        "RMSNormalization": _kind(axis=-1, epsilon=1e-6),
        # mean and variance are always weights here, also where the file has them in the config; they broadcast against the input.
        "Normalization": _kind(axis=-1, invert=False),
        "Rescaling": _kind("scale", offset=0.0),  # numbers, or lists that broadcast against the last axes
    }


def _attention() -> dict[str, LayerKind]:
    return {
        # attention_mask, where there is one: (batch, queries, keys), bool, True takes part.
        # Constants: use_causal_mask and return_attention_scores, False where absent.
        "MultiHeadAttention": _kind(
            "num_heads", "key_dim", arguments=("query", "value", "key", "attention_mask"), value_dim=None, use_bias=True,
            output_shape=None, attention_axes=None, allowed={"attention_axes": (None, [1])},
        ),
        "Attention": _kind(
            arguments=("query", "value", "key"), use_scale=False, score_mode="dot", allowed={"score_mode": ("dot", "concat")}
        ),
        "AdditiveAttention": _kind(arguments=("query", "value", "key"), use_scale=True),
    }  # fmt: skip


def _plain() -> dict[str, LayerKind]:
    merges = {name: _kind() for name in ("Add", "Multiply", "Average", "Maximum", "Minimum")}
    return merges | {
        "Subtract": _kind(),
        "Concatenate": _kind(axis=-1),
        "Dot": _kind("axes", normalize=False),
        "Dense": _kind("units", activation="linear", use_bias=True),
        "EinsumDense": _kind("equation", "output_shape", activation="linear", bias_axes=None),
        "Embedding": _kind("input_dim", "output_dim"),
        "Activation": _kind("activation"),
        "ReLU": _kind(max_value=None, negative_slope=0.0, threshold=0.0),
        "LeakyReLU": _kind(negative_slope=0.3),
        "ELU": _kind(alpha=1.0),
        "PReLU": _kind(shared_axes=None),
        "Softmax": _kind(axis=-1),
        "Flatten": _kind(data_format=_LAST),
        "Reshape": _kind("target_shape"),
        "Permute": _kind("dims"),
        "RepeatVector": _kind("n"),
    }


KNOWN_KINDS: Mapping[str, LayerKind] = (
    _plain()
    | _convolutions()
    | _spatial()
    | _recurrent()
    | _normalizations()
    | _attention()
    | {name: _kind() for name in sorted(IDENTITY_KINDS)}
)


def kind_problem(kind: str, config: Mapping[str, Any]) -> str:
    """Return why Fairlead does not know this layer by itself ("" where it does); `config` is in the canonical form."""
    known = KNOWN_KINDS.get(kind)
    if known is None:
        return f"the layer {kind} is not known"
    for key in sorted(set(known.config) ^ set(config)):
        return f"{kind} {'lacks' if key in known.config else 'has'} '{key}'"
    for key, values in known.allowed.items():
        if config[key] not in values:
            return f"{kind} with {key}={config[key]!r} is not known"
    for key in ("activation", "recurrent_activation"):
        if key in config and config[key] not in ACTIVATIONS:
            return f"{kind} with {key}={config[key]!r} is not known"
    for key in ("layer", "backward_layer"):
        if key in config and (problem := kind_problem(config[key]["kind"], config[key]["config"])):
            return f"{kind}: {problem}"
    return ""


def call_arguments(kind: str, call: Call) -> dict[str, tuple[ValueRef, ...]]:
    """Return the tensors of a call by argument name; arguments that were left out are absent.

    Without `argument_names`, tensors stand for the arguments in order, and the last argument takes all that are left.
    """
    names = call.argument_names
    if not names:
        known = KNOWN_KINDS[kind].arguments
        names = tuple(known[min(position, len(known) - 1)] for position in range(len(call.inputs)))
    arguments: dict[str, tuple[ValueRef, ...]] = {}
    for name, ref in zip(names, call.inputs, strict=True):
        arguments[name] = (*arguments.get(name, ()), ref)
    return arguments
