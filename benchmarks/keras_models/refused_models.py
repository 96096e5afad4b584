"""Models that cannot be read without Keras, or not at all: the table has to say that they were refused."""

from __future__ import annotations

from typing import Any

from keras_models.case import Keras, cases


def dropout_that_stays_on(keras: Keras) -> Any:
    """Dropout that was called with training=True, so that answers are drawn."""
    x = keras.Input((6,))
    return keras.Model(x, keras.layers.Dropout(0.5)(keras.layers.Dense(4)(x), training=True))


def stateful_lstm(keras: Keras) -> Any:
    """LSTM that remembers the call before."""
    x = keras.Input(batch_shape=(1, 5, 3)) if keras.__name__ == "keras" else keras.Input((5, 3), batch_size=1)
    return keras.Model(x, keras.layers.LSTM(4, stateful=True)(x))


def bicubic_upsampling(keras: Keras) -> Any:
    """UpSampling2D with an interpolation that is rarely used."""
    x = keras.Input((4, 5, 2))
    return keras.Model(x, keras.layers.UpSampling2D(2, interpolation="bicubic")(x))


def convolutional_lstm(keras: Keras) -> Any:
    """ConvLSTM2D."""
    x = keras.Input((3, 6, 6, 2))
    return keras.Model(x, keras.layers.ConvLSTM2D(3, 3, padding="same")(x))


CASES = cases({dropout_that_stays_on: {}, stateful_lstm: {}, bicubic_upsampling: {}, convolutional_lstm: {}})
