"""Models of convolutions, pooling, upsampling, padding and cropping."""

from __future__ import annotations

from typing import Any

from keras_models.case import KERAS_3, Keras, cases


def cnn(keras: Keras) -> Any:
    """Sequential convolution, pooling, flatten, dense."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(8, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(12, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(10, "softmax"),
        ]
    )


def residual_cnn(keras: Keras) -> Any:
    """Residual blocks with strides, batch normalization and a projected shortcut."""
    layers = keras.layers
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(inputs)
    for filters, stride in ((8, 1), (12, 2)):
        y = layers.Activation("relu")(layers.BatchNormalization()(x))
        y = layers.Conv2D(filters, 3, stride, padding="same")(y)
        shortcut = layers.Conv2D(filters, 1, stride)(x) if stride > 1 else x
        x = layers.add([y, shortcut])
    return keras.Model(inputs, layers.Dense(4, "softmax")(layers.GlobalAveragePooling2D()(x)))


def convolutions_2d(keras: Keras) -> Any:
    """Groups, dilation, strides, rectangular kernels, both paddings."""
    layers = keras.layers
    x = keras.Input((11, 14, 4))
    outputs = [
        layers.Conv2D(6, 3, groups=2, padding="same")(x),
        layers.Conv2D(5, 3, dilation_rate=2, padding="same", activation="relu")(x),
        layers.Conv2D(5, 3, dilation_rate=(1, 2))(x),
        layers.Conv2D(3, (2, 5), strides=(3, 2), padding="same")(x),
        layers.Conv2D(3, 4, strides=2, use_bias=False)(x),
    ]
    return keras.Model(x, outputs)


def mobile_cnn(keras: Keras) -> Any:
    """Depthwise convolution with strides after zero padding, ReLU6, separable convolution."""
    layers = keras.layers
    inputs = keras.Input((17, 17, 3))
    x = layers.ReLU(6.0)(layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(inputs)))
    x = layers.DepthwiseConv2D(3, strides=2, depth_multiplier=2)(layers.ZeroPadding2D(((0, 1), (0, 1)))(x))
    x = layers.SeparableConv2D(8, 3, strides=2, padding="same", depth_multiplier=2, activation="relu")(x)
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalMaxPooling2D()(x)))


def depthwise_with_dilation(keras: Keras) -> Any:
    """Depthwise and separable convolution with dilation."""
    layers = keras.layers
    x = keras.Input((12, 12, 3))
    outputs = [layers.DepthwiseConv2D(3, dilation_rate=2, padding="same")(x), layers.SeparableConv2D(5, 3, dilation_rate=(2, 2))(x)]
    return keras.Model(x, outputs)


def convolutions_1d(keras: Keras) -> Any:
    """Causal, dilated, strided, grouped, depthwise and separable convolution over sequences of any length."""
    layers = keras.layers
    inputs = keras.Input((None, 4))
    x = layers.Conv1D(6, 3, padding="causal", dilation_rate=2, activation="relu")(inputs)
    x = layers.Conv1D(6, 4, padding="same", groups=2)(x)
    x = layers.DepthwiseConv1D(3, padding="same")(x)
    x = layers.SeparableConv1D(5, 3, padding="same", activation="tanh")(x)
    return keras.Model(inputs, [layers.Conv1D(3, 3, strides=2, padding="same")(x), layers.GlobalAveragePooling1D()(x)])


def convolutions_3d(keras: Keras) -> Any:
    """Convolution and pooling of volumes."""
    layers = keras.layers
    inputs = keras.Input((8, 9, 10, 2))
    x = layers.Conv3D(4, 3, activation="relu", padding="same")(inputs)
    x = layers.Conv3D(5, (1, 2, 3), strides=2)(layers.MaxPooling3D()(x))
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling3D()(x)))


def transposed_convolutions(keras: Keras) -> Any:
    """Transposed convolution in 1, 2 and 3 dimensions: both paddings, strides, output padding."""
    layers = keras.layers
    a, b, c = keras.Input((7, 3)), keras.Input((5, 6, 3)), keras.Input((3, 4, 5, 2))
    outputs = [
        layers.Conv1DTranspose(4, 3, strides=2, padding="same")(a),
        layers.Conv1DTranspose(4, 5, strides=3)(a),
        layers.Conv1DTranspose(2, 4, strides=2, padding="same", output_padding=1)(a),
        layers.Conv2DTranspose(4, 3, strides=2, padding="same", activation="relu")(b),
        layers.Conv2DTranspose(4, (2, 3), strides=(3, 1))(b),
        layers.Conv2DTranspose(3, 3, strides=2, output_padding=1)(b),
        layers.Conv2DTranspose(3, 3, strides=(2, 3), padding="same", use_bias=False)(b),
        layers.Conv2DTranspose(2, 1, strides=2)(b),
        layers.Conv3DTranspose(2, 3, strides=2, padding="same")(c),
    ]
    return keras.Model([a, b, c], outputs)


def transposed_with_dilation(keras: Keras) -> Any:
    """Transposed convolution with dilation."""
    layers = keras.layers
    x = keras.Input((5, 6, 3))
    return keras.Model(
        x, [layers.Conv2DTranspose(4, 3, dilation_rate=2)(x), layers.Conv2DTranspose(4, 3, padding="same", dilation_rate=2)(x)]
    )


def autoencoder(keras: Keras) -> Any:
    """Encoder and decoder with strided and transposed convolution."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            layers.Conv2D(6, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2DTranspose(6, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2DTranspose(1, 3, strides=2, padding="same", activation="sigmoid"),
        ]
    )


def unet(keras: Keras) -> Any:
    """Skip connections, upsampling and concatenation, on images of any size."""
    layers = keras.layers
    inputs = keras.Input((None, None, 2))
    down = layers.Conv2D(6, 3, padding="same", activation="relu")(inputs)
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.MaxPooling2D()(down))
    x = layers.Concatenate()([layers.UpSampling2D(interpolation="bilinear")(x), down])
    return keras.Model(inputs, layers.Conv2D(3, 1, activation="softmax")(x))


def image_of_any_size(keras: Keras) -> Any:
    """Fully convolutional with transposed convolution on images of any size."""
    layers = keras.layers
    inputs = keras.Input((None, None, 3))
    x = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu")(inputs)
    x = layers.AveragePooling2D(2, strides=1, padding="same")(layers.BatchNormalization()(x))
    y = layers.Conv2DTranspose(2, 3, strides=2, padding="same")(x)
    return keras.Model(inputs, [y, layers.Dense(3)(layers.GlobalMaxPooling2D()(x))])


def inception(keras: Keras) -> Any:
    """Parallel branches and squeeze-and-excitation."""
    layers = keras.layers
    inputs = keras.Input((12, 12, 4))
    branches = [
        layers.Conv2D(3, 1, activation="relu")(inputs),
        layers.Conv2D(3, 5, padding="same", activation="relu")(inputs),
        layers.MaxPooling2D(3, strides=1, padding="same")(inputs),
    ]
    x = layers.Concatenate()(branches)
    scale = layers.Dense(10, "sigmoid")(layers.Dense(4, "relu")(layers.GlobalAveragePooling2D()(x)))
    return keras.Model(inputs, layers.Multiply()([x, layers.Reshape((1, 1, 10))(scale)]))


def pooling(keras: Keras) -> Any:
    """Max and average pooling in 1, 2 and 3 dimensions, both paddings, several strides."""
    layers = keras.layers
    a, b, c = keras.Input((11, 3)), keras.Input((9, 10, 3)), keras.Input((5, 6, 7, 2))
    outputs = []
    for kind in (layers.MaxPooling1D, layers.AveragePooling1D):
        outputs += [kind(3, strides=2, padding="same")(a), kind(2)(a), kind(4, strides=1)(a)]
    for kind in (layers.MaxPooling2D, layers.AveragePooling2D):
        outputs += [kind((2, 3), padding="same")(b), kind(3, strides=(2, 1))(b)]
    for kind in (layers.MaxPooling3D, layers.AveragePooling3D):
        outputs += [kind(2, padding="same")(c), kind((1, 2, 3), strides=2)(c)]
    return keras.Model([a, b, c], outputs)


def global_pooling(keras: Keras) -> Any:
    """Every global pooling layer, with and without kept dimensions."""
    layers = keras.layers
    a, b, c = keras.Input((None, 3)), keras.Input((9, 10, 3)), keras.Input((5, 6, 7, 2))
    outputs = []
    for x, place in ((a, "1D"), (b, "2D"), (c, "3D")):
        for how in ("Max", "Average"):
            kind = getattr(layers, f"Global{how}Pooling{place}")
            outputs += [kind()(x), kind(keepdims=True)(x)]
    return keras.Model([a, b, c], outputs)


def upsampling(keras: Keras) -> Any:
    """UpSampling in 1, 2 and 3 dimensions, nearest and bilinear."""
    layers = keras.layers
    a, b, c = keras.Input((5, 3)), keras.Input((4, 5, 3)), keras.Input((2, 3, 4, 2))
    outputs = [
        layers.UpSampling1D(3)(a),
        layers.UpSampling2D((2, 3))(b),
        layers.UpSampling2D((3, 2), interpolation="bilinear")(b),
        layers.UpSampling3D((2, 1, 3))(c),
    ]
    return keras.Model([a, b, c], outputs)


def padding_and_cropping(keras: Keras) -> Any:
    """ZeroPadding and Cropping in 1, 2 and 3 dimensions, uneven."""
    layers = keras.layers
    a, b, c = keras.Input((6, 3)), keras.Input((6, 7, 3)), keras.Input((5, 6, 7, 2))
    outputs = [
        layers.ZeroPadding1D((1, 3))(a),
        layers.Cropping1D((2, 1))(a),
        layers.ZeroPadding2D(((1, 0), (2, 3)))(b),
        layers.Cropping2D(((1, 2), (0, 3)))(b),
        layers.ZeroPadding3D((1, 2, 0))(c),
        layers.Cropping3D(((1, 1), (2, 0), (0, 3)))(c),
    ]
    return keras.Model([a, b, c], outputs)


def channels_first(keras: Keras) -> Any:
    """Convolution, pooling, normalization and flatten with channels first."""
    layers, first = keras.layers, {"data_format": "channels_first"}
    inputs = keras.Input((3, 12, 14))
    x = layers.Conv2D(6, 3, padding="same", activation="relu", **first)(inputs)
    x = layers.BatchNormalization(axis=1)(layers.MaxPooling2D(2, **first)(x))
    x = layers.SeparableConv2D(5, 3, **first)(layers.ZeroPadding2D(1, **first)(x))
    x = layers.Conv2DTranspose(4, 3, strides=2, padding="same", **first)(layers.UpSampling2D(2, **first)(x))
    y = layers.Dense(3)(layers.Flatten(**first)(layers.AveragePooling2D(4, **first)(x)))
    return keras.Model(inputs, [y, layers.GlobalAveragePooling2D(**first)(x)])


def image_of_bytes(keras: Keras) -> Any:
    """Pixels as whole numbers of one byte, rescaled inside the model."""
    layers = keras.layers
    x = inputs = keras.Input((8, 8, 3), dtype="uint8")
    x = layers.Conv2D(4, 3, activation="relu")(layers.Rescaling(1 / 127.5, offset=-1)(x))
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


def mobilenet_v2(keras: Keras) -> Any:
    """MobileNetV2 from keras.applications, narrow and small."""
    return keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=10)


def mobilenet_v3(keras: Keras) -> Any:
    """MobileNetV3 from keras.applications: rescaling, arithmetic, squeeze-and-excitation, hard swish."""
    return keras.applications.MobileNetV3Small((32, 32, 3), alpha=0.35, minimalistic=False, weights=None, classes=10)


CASES = cases(
    {
        cnn: {},
        residual_cnn: {},
        convolutions_2d: {},
        mobile_cnn: {},
        depthwise_with_dilation: {},
        convolutions_1d: {},
        convolutions_3d: {},
        transposed_convolutions: {},
        transposed_with_dilation: {},
        autoencoder: {},
        unet: {"sizes": (8, 12)},
        image_of_any_size: {"sizes": (9, 14)},
        inception: {},
        pooling: {},
        global_pooling: {},
        upsampling: {},
        padding_and_cropping: {},
        channels_first: {"frameworks": KERAS_3},
        image_of_bytes: {"vocabulary": 256},
        mobilenet_v2: {},
        mobilenet_v3: {},
    }
)
