"""Models of dense layers: activations, merges, arithmetic, nesting, several inputs and outputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_models.case import KERAS_3, Keras, cases

_COMMON_ACTIVATIONS = (
    "linear", "relu", "elu", "selu", "sigmoid", "tanh", "softmax", "softplus", "softsign", "exponential", "gelu", "swish", "mish",
)  # fmt: skip
_KERAS_3_ACTIVATIONS = (
    "relu6", "leaky_relu", "celu", "hard_sigmoid", "log_softmax", "silu", "hard_silu", "hard_swish", "log_sigmoid", "hard_tanh",
    "tanh_shrink", "soft_shrink", "hard_shrink", "squareplus",
)  # fmt: skip


def mlp(keras: Keras) -> Any:
    """Sequential dense, dropout, softmax."""
    layers = keras.layers
    return keras.Sequential(
        [keras.Input((12,)), layers.Dense(16, "relu"), layers.Dropout(0.5), layers.Dense(8, "tanh"), layers.Dense(4, "softmax")]
    )


def mlp_without_input_layer(keras: Keras) -> Any:
    """Sequential that learned its input shape when it was built."""
    model = keras.Sequential([keras.layers.Dense(8, "relu"), keras.layers.Dense(1, "sigmoid")])
    model.build((None, 6))
    return model


def activations(keras: Keras) -> Any:
    """Every activation that Keras 2 and 3 share, GELU among them."""
    return _all_activations(keras, _COMMON_ACTIVATIONS)


def activations_of_keras_3(keras: Keras) -> Any:
    """The activations that only Keras 3 has."""
    return _all_activations(keras, _KERAS_3_ACTIVATIONS)


def _all_activations(keras: Keras, names: tuple[str, ...]) -> Any:
    x = keras.Input((10,))
    as_layer = [keras.layers.Activation(name)(keras.layers.Dense(5)(x)) for name in names]
    as_option = [keras.layers.Dense(5, activation=name)(x) for name in names]
    return keras.Model(x, keras.layers.Concatenate()(as_layer + as_option))


def hard_sigmoid(keras: Keras) -> Any:
    """The hard sigmoid, which Keras 2 and 3 define differently."""
    x = keras.Input((10,))
    return keras.Model(x, keras.layers.Activation("hard_sigmoid")(keras.layers.Dense(5, activation="hard_sigmoid")(x)))


def activation_layers(keras: Keras) -> Any:
    """LeakyReLU, ELU, PReLU, ReLU with options, Softmax over an axis."""
    layers = keras.layers
    x = keras.Input((6, 5))
    named = {"alpha": 0.2} if keras.__name__ == "tf_keras" else {"negative_slope": 0.2}
    outputs = [
        layers.LeakyReLU(**named)(x),
        layers.ELU(alpha=0.7)(x),
        layers.PReLU()(x),
        layers.PReLU(shared_axes=[1])(x),
        layers.ReLU()(x),
        layers.ReLU(max_value=0.8)(x),
        layers.ReLU(max_value=6.0, negative_slope=0.1)(x),
        layers.ReLU(threshold=0.3, negative_slope=0.2)(x),
        layers.Softmax()(x),
        layers.Softmax(axis=1)(x),
    ]
    return keras.Model(x, layers.Concatenate(axis=-1)(outputs))


def several_inputs_and_outputs(keras: Keras) -> Any:
    """Functional, two inputs of different rank, three outputs, one of them an inner tensor."""
    layers = keras.layers
    table, image = keras.Input((6,), name="table"), keras.Input((8, 8, 2), name="image")
    left = layers.Dense(8, "relu", name="left")(table)
    right = layers.Flatten()(layers.Conv2D(3, 3, activation="relu")(image))
    both = layers.concatenate([left, layers.Dense(8)(right)])
    return keras.Model([table, image], [layers.Dense(3, "softmax", name="kind")(both), left, layers.Dense(1, name="size")(both)])


def named_inputs_and_outputs(keras: Keras) -> Any:
    """Inputs and outputs in dictionaries, not in the alphabet's order."""
    layers = keras.layers
    inputs = {"width": keras.Input((3,), name="width"), "age": keras.Input((2,), name="age")}
    x = layers.Concatenate()([inputs["width"], inputs["age"]])
    return keras.Model(inputs, {"price": layers.Dense(1, name="price")(x), "kind": layers.Dense(3, "softmax", name="kind")(x)})


def trained(keras: Keras) -> Any:
    """Compiled and trained, so that the file holds the optimizer's state, a loss and metrics."""
    layers = keras.layers
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.Dense(3, "softmax")(layers.BatchNormalization()(layers.Dense(8, "relu")(inputs))))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    draw = np.random.default_rng(5)
    model.train_on_batch(draw.normal(size=(16, 6)).astype(np.float32), draw.integers(0, 3, 16))
    return model


def residual_mlp(keras: Keras) -> Any:
    """Residual additions between dense layers with batch normalization."""
    layers = keras.layers
    inputs = x = keras.Input((10,))
    for _ in range(2):
        branch = layers.BatchNormalization()(layers.Dense(10, use_bias=False)(x))
        x = layers.Add()([x, layers.Activation("relu")(branch)])
    return keras.Model(inputs, layers.Dense(2)(x))


def merges(keras: Keras) -> Any:
    """Add, Subtract, Multiply, Average, Maximum, Minimum, Concatenate over two axes."""
    layers = keras.layers
    inputs = [keras.Input((4, 3)) for _ in range(3)]
    kinds = [layers.Add, layers.Multiply, layers.Average, layers.Maximum, layers.Minimum]
    merged = [kind()(inputs) for kind in kinds] + [layers.Subtract()(inputs[:2])]
    return keras.Model(inputs, [layers.Concatenate()(merged), layers.Concatenate(axis=1)(inputs)])


def merges_that_broadcast(keras: Keras) -> Any:
    """Merges of tensors of different shape."""
    layers = keras.layers
    a, b = keras.Input((4, 3)), keras.Input((1, 3))
    return keras.Model([a, b], [layers.Multiply()([a, b]), layers.Add()([b, a]), layers.Subtract()([b, a])])


def merges_of_different_rank(keras: Keras) -> Any:
    """Merges of tensors with different numbers of axes."""
    a, b = keras.Input((4, 3)), keras.Input((3,))
    return keras.Model([a, b], keras.layers.Add()([a, b]))


def dots(keras: Keras) -> Any:
    """Dot products over several axes, with and without normalization."""
    layers = keras.layers
    a, b, c = keras.Input((4, 6)), keras.Input((5, 6)), keras.Input((6,))
    outputs = [
        layers.Dot(axes=2)([a, b]),
        layers.Dot(axes=(2, 2), normalize=True)([a, b]),
        layers.Dot(axes=(2, 1))([a, c]),
        layers.Dot(axes=1, normalize=True)([c, layers.Dense(6)(c)]),
    ]
    return keras.Model([a, b, c], outputs)


def arithmetic(keras: Keras) -> Any:
    """Operators between tensors and with numbers."""
    a, b = keras.Input((5,)), keras.Input((5,))
    return keras.Model([a, b], [a + b, a - b, a * b, 2.0 * a - 1.0, 1.0 - b, -a, b / 4.0])


def division(keras: Keras) -> Any:
    """One tensor over another."""
    a, b = keras.Input((5,)), keras.Input((5,))
    return keras.Model([a, b], a / (b * b + 1.0))


def nested_models(keras: Keras) -> Any:
    """A model inside a model inside a model, one of them used twice."""
    layers = keras.layers
    shared = keras.Sequential([keras.Input((4,)), layers.Dense(6, "relu"), layers.Dense(3)], name="shared")
    inner_input = keras.Input((4,))
    inner = keras.Model(inner_input, [shared(inner_input), layers.Dense(3, "tanh")(inner_input)], name="inner")
    a, b = keras.Input((4,)), keras.Input((4,))
    first, second = inner(a)
    return keras.Model([a, b], layers.Dense(2)(layers.Add()([first, second, shared(b)])))


def shared_layer(keras: Keras) -> Any:
    """One layer called on two inputs."""
    layers = keras.layers
    a, b = keras.Input((7,)), keras.Input((7,))
    tower = layers.Dense(5, "relu")
    return keras.Model([a, b], layers.Dense(1)(layers.Subtract()([tower(a), tower(b)])))


def einsum_dense(keras: Keras) -> Any:
    """EinsumDense with and without ellipsis, bias over several axes."""
    layers = keras.layers
    x = keras.Input((6, 8))
    y = layers.EinsumDense("abc,cde->abde", output_shape=(None, 2, 4), bias_axes="de")(x)
    z = layers.EinsumDense("...x,xy->...y", output_shape=5, bias_axes="y", activation="relu")(x)
    return keras.Model(x, [y, z, layers.EinsumDense("abc,cd->abd", output_shape=(None, 3))(x)])


def shapes(keras: Keras) -> Any:
    """Flatten, Reshape, Permute, RepeatVector."""
    layers = keras.layers
    x = keras.Input((4, 6))
    y = layers.Permute((2, 1))(layers.Reshape((-1, 3))(x))
    return keras.Model(x, [y, layers.Dense(2)(layers.Flatten()(y)), layers.RepeatVector(3)(layers.Flatten()(x))])


def dropouts(keras: Keras) -> Any:
    """Every layer that only works while training."""
    layers = keras.layers
    inputs = x = keras.Input((6, 4))
    for layer in (layers.Dropout(0.2), layers.SpatialDropout1D(0.2), layers.GaussianNoise(0.1), layers.GaussianDropout(0.1)):
        x = layer(x)
    return keras.Model(inputs, layers.Dense(2)(layers.AlphaDropout(0.1)(layers.ActivityRegularization(0.01)(x))))


CASES = cases(
    {
        mlp: {},
        mlp_without_input_layer: {},
        activations: {},
        activations_of_keras_3: {"frameworks": KERAS_3},
        hard_sigmoid: {},
        activation_layers: {},
        several_inputs_and_outputs: {},
        named_inputs_and_outputs: {},
        trained: {},
        residual_mlp: {},
        merges: {},
        merges_that_broadcast: {},
        dots: {},
        arithmetic: {},
        division: {},
        merges_of_different_rank: {},
        nested_models: {},
        shared_layer: {},
        einsum_dense: {},
        shapes: {},
        dropouts: {},
    }
)
