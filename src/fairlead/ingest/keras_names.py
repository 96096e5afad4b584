"""The classes that a Keras file may name, by the module that Keras writes for them. Data, no behaviour beyond the look-up.

It is an allow-list: what is not here is refused. Nothing here takes a file name, a URL, a function or code in its config.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from fairlead.core.layer_kinds import KNOWN_KINDS

# Built into Keras, without a callable or a path in the config; Keras itself converts them where KNOWN_KINDS does not.
_OTHER_LAYERS = frozenset(
    {
        "AdaptiveAveragePooling1D", "AdaptiveAveragePooling2D", "AdaptiveAveragePooling3D", "AdaptiveMaxPooling1D",
        "AdaptiveMaxPooling2D", "AdaptiveMaxPooling3D", "CategoryEncoding", "CenterCrop", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D",
        "Discretization", "GRUCell", "GroupQueryAttention", "LSTMCell", "Masking", "MelSpectrogram", "RandomBrightness", "RandomContrast",
        "RandomCrop", "RandomFlip", "RandomRotation", "RandomTranslation", "RandomZoom", "Resizing", "RNN", "STFTSpectrogram",
        "SimpleRNNCell", "SpectralNormalization", "StackedRNNCells",
    }
)  # fmt: skip
# Older and alternative names of the same classes.
LAYER_ALIASES: Mapping[str, str] = {
    "AvgPool1D": "AveragePooling1D", "AvgPool2D": "AveragePooling2D", "AvgPool3D": "AveragePooling3D",
    "MaxPool1D": "MaxPooling1D", "MaxPool2D": "MaxPooling2D", "MaxPool3D": "MaxPooling3D",
    "GlobalAvgPool1D": "GlobalAveragePooling1D", "GlobalAvgPool2D": "GlobalAveragePooling2D",
    "GlobalAvgPool3D": "GlobalAveragePooling3D", "GlobalMaxPool1D": "GlobalMaxPooling1D", "GlobalMaxPool2D": "GlobalMaxPooling2D",
    "GlobalMaxPool3D": "GlobalMaxPooling3D", "Convolution1D": "Conv1D", "Convolution2D": "Conv2D", "Convolution3D": "Conv3D",
    "Convolution1DTranspose": "Conv1DTranspose", "Convolution2DTranspose": "Conv2DTranspose",
    "Convolution3DTranspose": "Conv3DTranspose", "SeparableConvolution1D": "SeparableConv1D",
    "SeparableConvolution2D": "SeparableConv2D", "BatchNormalizationV1": "BatchNormalization", "BatchNormalizationV2": "BatchNormalization",
    "LSTMV2": "LSTM", "GRUV2": "GRU",
}  # fmt: skip
MODEL_CLASSES = frozenset({"Sequential", "Functional", "Model"})
LAYER_CLASSES = frozenset(KNOWN_KINDS) | _OTHER_LAYERS | frozenset(LAYER_ALIASES) | {"InputLayer"}

# Operators on tensors that Keras 3 writes into functional models (x + y, x * 2).
OPERATIONS = frozenset(
    {
        "Absolute", "Add", "Clip", "Concatenate", "Divide", "Exp", "ExpandDims", "GetItem", "Log", "Matmul", "Max", "Maximum", "Mean",
        "Min", "Minimum", "Multiply", "Negative", "Power", "Relu", "Reshape", "Sigmoid", "Softmax", "Sqrt", "Square", "Squeeze", "Stack",
        "Subtract", "Sum", "Tanh", "Transpose", "TrueDivide",
    }
)  # fmt: skip
# Keras 3 writes the mask of Masking and of Embedding as operators too.
MASK_OPERATIONS = frozenset({"All", "Any", "Equal", "LogicalAnd", "LogicalNot", "LogicalOr", "NotEqual", "OnesLike", "Where"})
_INITIALIZERS = frozenset(
    {
        "Constant", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "Identity", "IdentityInitializer", "LecunNormal",
        "LecunUniform", "Ones", "Orthogonal", "OrthogonalInitializer", "RandomNormal", "RandomUniform", "TruncatedNormal",
        "VarianceScaling", "Zeros", "STFT", "STFTInitializer",
    }
)  # fmt: skip
_REGULARIZERS = frozenset({"L1", "L2", "L1L2", "OrthogonalRegularizer"})
_CONSTRAINTS = frozenset({"MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm", "RadialConstraint"})
_POLICIES = frozenset({"DTypePolicy", "FloatDTypePolicy", "Policy"})
ACTIVATION_FUNCTIONS = frozenset(
    {
        "celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh", "leaky_relu",
        "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink", "softmax", "softplus",
        "softsign", "sparse_plus", "sparse_sigmoid", "sparsemax", "squareplus", "swish", "tanh", "tanh_shrink", "threshold",
    }
)  # fmt: skip
# Markers that Keras writes for plain data.
DATA_MARKERS = frozenset({"__keras_tensor__", "__tuple__", "TensorShape", "__numpy__", "__tensor__", "__slice__", "__ellipsis__"})

# These hold code, or open whatever their config names.
CODE_CLASSES: Mapping[str, str] = {
    "Lambda": "holds code of its own",
    "__lambda__": "holds code of its own",
    "TFSMLayer": "opens another model by its path",
    "TorchModuleWrapper": "holds a pickled PyTorch module",
    "JaxLayer": "holds code of its own",
    "FlaxLayer": "holds code of its own",
}

# Operators of TensorFlow by name, as Keras 2 writes them into functional models. TensorFlow would look the name up.
OPERATOR_CLASSES = frozenset({"TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", "ClassMethod", "InstanceMethod", "InstanceProperty"})

_BY_KIND = (
    (r"keras(\.src)?\.layers(\.[a-z0-9_.]+)?", LAYER_CLASSES),
    (r"keras|keras\.models|keras\.src\.(models|engine)\.(functional|sequential|model|training)", MODEL_CLASSES),
    (r"keras\.engine\.(functional|sequential|training|input_layer)|keras\.src\.engine\.input_layer", MODEL_CLASSES | {"InputLayer"}),
    (r"keras(\.src)?\.ops(\.numpy|\.nn|\.core|\.math)?(\.[a-z_]+)?", OPERATIONS | MASK_OPERATIONS),
    (r"keras(\.src)?\.initializers(\.[a-z0-9_.]+)?", _INITIALIZERS),
    (r"keras(\.src)?\.regularizers(\.[a-z0-9_.]+)?", _REGULARIZERS),
    (r"keras(\.src)?\.constraints(\.[a-z0-9_.]+)?", _CONSTRAINTS),
    (r"keras|keras\.mixed_precision(\.policy)?|keras(\.src)?\.dtype_policies(\.dtype_policy)?", _POLICIES),
    (r"keras\.random|keras\.src\.random\.seed_generator", frozenset({"SeedGenerator"})),
)
_MODULES = tuple((re.compile(pattern), names) for pattern, names in _BY_KIND)
EVERY_CLASS = frozenset().union(*(names for _, names in _BY_KIND)) | DATA_MARKERS

_OPERATION_MODULE = re.compile(r"keras(\.src)?\.ops(\.(numpy|nn|core|math|linalg|image))?")


def is_operation(module: str, class_name: str) -> bool:
    """Whether this reads like an operator of Keras 3, known here or not: such a class has numbers and names as its config."""
    return _OPERATION_MODULE.fullmatch(module) is not None and class_name.isidentifier() and class_name[:1].isupper()


def is_allowed(module: str, class_name: str) -> bool:
    """Whether Keras writes `class_name` with `module` ("" where the file gives none, as .h5 files do)."""
    if not module:
        return class_name in EVERY_CLASS
    # Keras 2 in its last releases is called tf_keras, and lived in TensorFlow before.
    for prefix in ("tensorflow.python.", "tensorflow.", "tf_"):
        module = module.removeprefix(prefix)
    return any(pattern.fullmatch(module) and class_name in names for pattern, names in _MODULES)
