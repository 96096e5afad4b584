"""Models of sequences: recurrent layers, embeddings, masks."""

from __future__ import annotations

from typing import Any

from keras_models.case import Keras, cases


def lstm(keras: Keras) -> Any:
    """LSTM over sequences of any length, stacked."""
    layers = keras.layers
    return keras.Sequential([keras.Input((None, 5)), layers.LSTM(8, return_sequences=True), layers.LSTM(6), layers.Dense(3, "softmax")])


def lstm_options(keras: Keras) -> Any:
    """LSTM without bias, with other activations, backwards, unrolled."""
    layers = keras.layers
    x = keras.Input((7, 5))
    outputs = [
        layers.LSTM(4, use_bias=False)(x),
        layers.LSTM(4, activation="relu", recurrent_activation="tanh", return_sequences=True)(x),
        layers.LSTM(4, go_backwards=True, return_sequences=True)(x),
        layers.LSTM(4, unroll=True, dropout=0.1)(x),
    ]
    return keras.Model(x, outputs)


def lstm_hard_sigmoid(keras: Keras) -> Any:
    """LSTM and GRU with the hard sigmoid, which Keras 2 and 3 define differently."""
    layers = keras.layers
    x = keras.Input((None, 5))
    return keras.Model(x, [layers.LSTM(4, recurrent_activation="hard_sigmoid")(x), layers.GRU(4, recurrent_activation="hard_sigmoid")(x)])


def gru(keras: Keras) -> Any:
    """GRU with the reset gate before and after the product, with and without bias."""
    layers = keras.layers
    x = keras.Input((None, 5))
    outputs = [
        layers.GRU(6)(x),
        layers.GRU(6, reset_after=False, return_sequences=True)(x),
        layers.GRU(6, use_bias=False)(x),
        layers.GRU(6, reset_after=False, use_bias=False)(x),
        layers.GRU(6, go_backwards=True, return_sequences=True)(x),
    ]
    return keras.Model(x, outputs)


def simple_rnn(keras: Keras) -> Any:
    """SimpleRNN forwards and backwards."""
    layers = keras.layers
    x = keras.Input((None, 5))
    outputs = [layers.SimpleRNN(6)(x), layers.SimpleRNN(4, activation="relu", go_backwards=True, return_sequences=True)(x)]
    return keras.Model(x, outputs)


def encoder_decoder(keras: Keras) -> Any:
    """LSTM states handed from one layer to another, GRU states returned."""
    layers = keras.layers
    source, target = keras.Input((None, 4)), keras.Input((None, 3))
    _, hidden, carry = layers.LSTM(6, return_state=True)(source)
    decoded = layers.LSTM(6, return_sequences=True)(target, initial_state=[hidden, carry])
    last, state = layers.GRU(5, return_state=True)(decoded)
    return keras.Model([source, target], [layers.TimeDistributed(layers.Dense(2))(decoded), last, layers.Dense(2)(state)])


def bidirectional(keras: Keras) -> Any:
    """Bidirectional LSTM, GRU and SimpleRNN with every way to merge."""
    layers = keras.layers
    x = keras.Input((None, 5))
    outputs = [
        layers.Bidirectional(layers.LSTM(4, return_sequences=True))(x),
        layers.Bidirectional(layers.LSTM(4))(x),
        layers.Bidirectional(layers.GRU(4, return_sequences=True), merge_mode="sum")(x),
        layers.Bidirectional(layers.GRU(4), merge_mode="ave")(x),
        layers.Bidirectional(layers.SimpleRNN(4, return_sequences=True), merge_mode="mul")(x),
    ]
    return keras.Model(x, outputs)


def bidirectional_options(keras: Keras) -> Any:
    """Bidirectional with its own backward layer, unmerged, and with returned states."""
    layers = keras.layers
    x = keras.Input((None, 5))
    own = layers.Bidirectional(layers.LSTM(4), backward_layer=layers.LSTM(3, go_backwards=True, activation="relu"))(x)
    both = layers.Bidirectional(layers.GRU(4, return_sequences=True), merge_mode=None)(x)
    states = layers.Bidirectional(layers.LSTM(3, return_state=True))(x)
    return keras.Model(x, [own, *both, *states])


def text_classifier(keras: Keras) -> Any:
    """Embedding, bidirectional LSTM, dense."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            layers.Embedding(20, 6),
            layers.Bidirectional(layers.LSTM(5)),
            layers.Dense(4, "relu"),
            layers.Dense(1, "sigmoid"),
        ]
    )


def text_cnn(keras: Keras) -> Any:
    """Embedding, parallel convolutions, global pooling."""
    layers = keras.layers
    words = keras.Input((None,), dtype="int32")
    x = layers.Embedding(20, 6)(words)
    pooled = [layers.GlobalMaxPooling1D()(layers.Conv1D(4, size, activation="relu")(x)) for size in (2, 3, 4)]
    return keras.Model(words, layers.Dense(3, "softmax")(layers.Concatenate()(pooled)))


def embedding_of_floats(keras: Keras) -> Any:
    """Embedding of ids that come as float32, averaged."""
    layers = keras.layers
    return keras.Sequential([keras.Input((6,)), layers.Embedding(20, 5), layers.GlobalAveragePooling1D(), layers.Dense(2)])


def wide_and_deep(keras: Keras) -> Any:
    """Embeddings of categories beside numbers."""
    layers = keras.layers
    numbers, kinds = keras.Input((4,), name="numbers"), keras.Input((1,), dtype="int32", name="kinds")
    embedded = layers.Flatten()(layers.Embedding(20, 3)(kinds))
    deep = layers.Dense(6, "relu")(layers.Concatenate()([numbers, embedded]))
    return keras.Model([numbers, kinds], layers.Dense(1)(layers.Concatenate()([numbers, deep])))


def conv_lstm_stack(keras: Keras) -> Any:
    """Convolution, pooling and GRU over sequences."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((None, 4)),
            layers.Conv1D(6, 3, padding="same", activation="relu"),
            layers.MaxPooling1D(2, padding="same"),
            layers.GRU(5, return_sequences=True),
            layers.TimeDistributed(layers.Dense(3, "softmax")),
        ]
    )


def time_distributed_cnn(keras: Keras) -> Any:
    """A convolution for every frame of a video, then LSTM."""
    layers = keras.layers
    inputs = keras.Input((None, 8, 8, 2))
    x = layers.TimeDistributed(layers.Conv2D(3, 3, activation="relu"))(inputs)
    x = layers.TimeDistributed(layers.Flatten())(layers.TimeDistributed(layers.MaxPooling2D())(x))
    return keras.Model(inputs, layers.LSTM(4)(x))


def embedding_with_mask(keras: Keras) -> Any:
    """Embedding that masks id 0, LSTM over it."""
    layers = keras.layers
    return keras.Sequential(
        [keras.Input((None,), dtype="int32"), layers.Embedding(20, 6, mask_zero=True), layers.LSTM(5), layers.Dense(1, "sigmoid")]
    )


def masked_sequences(keras: Keras) -> Any:
    """Masks through recurrent, bidirectional, time-distributed and pooling layers."""
    layers = keras.layers
    words = keras.Input((None,), dtype="int32")
    x = layers.Dropout(0.1)(layers.Embedding(20, 6, mask_zero=True)(words))
    sequences = layers.Bidirectional(layers.GRU(4, return_sequences=True))(x)
    outputs = [
        layers.TimeDistributed(layers.Dense(3))(sequences),
        layers.GlobalAveragePooling1D()(sequences),
        layers.LSTM(4, return_sequences=True)(layers.LayerNormalization()(sequences)),
        layers.SimpleRNN(3, go_backwards=True)(layers.Dense(4, "relu")(x)),
    ]
    return keras.Model(words, outputs)


def masking_layer(keras: Keras) -> Any:
    """Masking of steps that hold one value, GRU over them."""
    layers = keras.layers
    inputs = keras.Input((None, 3))
    x = layers.Masking(0.0)(layers.ReLU()(inputs))
    return keras.Model(inputs, [layers.GRU(4)(x), layers.Bidirectional(layers.LSTM(3))(x)])


CASES = cases(
    {
        lstm: {},
        lstm_options: {},
        lstm_hard_sigmoid: {},
        gru: {},
        simple_rnn: {},
        encoder_decoder: {},
        bidirectional: {},
        bidirectional_options: {},
        text_classifier: {},
        text_cnn: {},
        embedding_of_floats: {"has_float_ids": True},
        wide_and_deep: {},
        conv_lstm_stack: {},
        time_distributed_cnn: {},
        embedding_with_mask: {"padded": 0.5},
        masked_sequences: {"padded": 0.5},
        masking_layer: {},
    }
)
