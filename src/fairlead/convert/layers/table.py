"""Which function converts which kind of layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fairlead.convert.graph_builder import Value
from fairlead.convert.layer_use import LayerUse
from fairlead.convert.layers import (
    activations,
    attention,
    convolution,
    dense,
    merging,
    normalization,
    pooling,
    recurrent,
    resizing,
    shape,
    wrappers,
)
from fairlead.core.layer_kinds import IDENTITY_KINDS

LayerConverter = Callable[[LayerUse, Sequence[Value]], list[Value]]

_MERGES = ("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract")


def _in_dimensions(prefix: str, suffix: str, ranks: Sequence[int], convert: LayerConverter) -> dict[str, LayerConverter]:
    return {f"{prefix}{rank}D{suffix}": convert for rank in ranks}


LAYER_CONVERTERS: Mapping[str, LayerConverter] = {
    **dict.fromkeys(IDENTITY_KINDS, shape.convert_identity),
    **dict.fromkeys(_MERGES, merging.convert_merge),
    **dict.fromkeys(("GRU", "LSTM", "SimpleRNN"), recurrent.convert_recurrent),
    **_in_dimensions("Conv", "", (1, 2, 3), convolution.convert_convolution),
    **_in_dimensions("Conv", "Transpose", (1, 2, 3), convolution.convert_transposed),
    **_in_dimensions("DepthwiseConv", "", (1, 2), convolution.convert_depthwise),
    **_in_dimensions("SeparableConv", "", (1, 2), convolution.convert_separable),
    **_in_dimensions("MaxPooling", "", (1, 2, 3), pooling.convert_max_pooling),
    **_in_dimensions("AveragePooling", "", (1, 2, 3), pooling.convert_average_pooling),
    **_in_dimensions("GlobalMaxPooling", "", (1, 2, 3), pooling.convert_global_max_pooling),
    **_in_dimensions("GlobalAveragePooling", "", (1, 2, 3), pooling.convert_global_average_pooling),
    **_in_dimensions("ZeroPadding", "", (1, 2, 3), resizing.convert_zero_padding),
    **_in_dimensions("Cropping", "", (1, 2, 3), resizing.convert_cropping),
    **_in_dimensions("UpSampling", "", (1, 2, 3), resizing.convert_upsampling),
    "Activation": activations.convert_activation,
    "AdditiveAttention": attention.convert_additive_attention,
    "Attention": attention.convert_attention,
    "BatchNormalization": normalization.convert_batch_normalization,
    "Bidirectional": wrappers.convert_bidirectional,
    "Concatenate": merging.convert_concatenate,
    "Dense": dense.convert_dense,
    "Dot": merging.convert_dot,
    "ELU": activations.convert_elu,
    "EinsumDense": dense.convert_einsum_dense,
    "Embedding": dense.convert_embedding,
    "Flatten": shape.convert_flatten,
    "GroupNormalization": normalization.convert_group_normalization,
    "LayerNormalization": normalization.convert_layer_normalization,
    "LeakyReLU": activations.convert_leaky_relu,
    "MultiHeadAttention": attention.convert_multi_head_attention,
    "Normalization": normalization.convert_normalization,
    "PReLU": activations.convert_prelu,
    "Permute": shape.convert_permute,
    "RMSNormalization": normalization.convert_rms_normalization,
    "ReLU": activations.convert_relu,
    "RepeatVector": shape.convert_repeat_vector,
    "Rescaling": normalization.convert_rescaling,
    "Reshape": shape.convert_reshape,
    "Softmax": activations.convert_softmax,
    "TimeDistributed": wrappers.convert_time_distributed,
    "UnitNormalization": normalization.convert_unit_normalization,
}
