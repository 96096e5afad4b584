from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.core.layer_kinds import ACTIVATIONS, IDENTITY_KINDS, KNOWN_KINDS
from fairlead.engines.layers.activation_functions import FUNCTIONS
from fairlead.engines.layers.convolution_layers import convolve, convolve_depthwise, convolve_transposed
from fairlead.engines.layers.layer_spec import LayerSpec
from fairlead.engines.layers.registry import build
from fairlead.engines.layers.value import Inputs
from fairlead.engines.layers.windows import Window
from fairlead.errors import RequestError, UnsupportedError

DRAW = np.random.default_rng(7)


def evaluate(kind: str, *tensors: np.ndarray, weights: dict[str, Any] | None = None, **config: Any) -> np.ndarray:
    """Evaluate one layer with the canonical config of its kind, changed by `config`."""
    spec = LayerSpec("layer", kind, {**KNOWN_KINDS[kind].config, **config}, {role: np.asarray(w) for role, w in (weights or {}).items()})
    return build(spec)(Inputs({"inputs": tensors}))[0]


def test_every_activation_that_the_reader_may_write_can_be_evaluated() -> None:
    assert set(FUNCTIONS) >= ACTIVATIONS


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("gelu", lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2)))),
        ("hard_sigmoid", lambda x: min(max(x + 3, 0), 6) / 6),
        ("elu", lambda x: x if x > 0 else math.exp(x) - 1),
        ("softplus", lambda x: math.log1p(math.exp(x))),
        ("sigmoid", lambda x: 1 / (1 + math.exp(-x))),
        ("log_sigmoid", lambda x: -math.log1p(math.exp(-x))),
        ("mish", lambda x: x * math.tanh(math.log1p(math.exp(x)))),
        ("soft_shrink", lambda x: x - 0.5 if x > 0.5 else x + 0.5 if x < -0.5 else 0.0),
        ("squareplus", lambda x: (x + math.sqrt(x * x + 4)) / 2),
        ("leaky_relu", lambda x: x if x > 0 else 0.2 * x),
    ],
)
def test_an_activation_is_its_formula(name: str, formula: Any) -> None:
    x = np.linspace(-5, 5, 101)
    np.testing.assert_allclose(FUNCTIONS[name](x), [formula(float(value)) for value in x], atol=1e-14)


@pytest.mark.parametrize("name", ["sigmoid", "softplus", "softmax", "log_softmax", "elu", "gelu", "silu", "mish"])
def test_an_activation_of_huge_numbers_is_finite_and_raises_no_warning(name: str) -> None:
    with np.errstate(all="raise", under="ignore"):
        assert np.isfinite(FUNCTIONS[name](np.array([-1e4, 1e4]))).all()


@pytest.mark.parametrize("kind", sorted(IDENTITY_KINDS))
def test_a_training_layer_gives_back_what_it_takes(kind: str) -> None:
    x = DRAW.normal(size=(2, 3))
    np.testing.assert_array_equal(evaluate(kind, x), x)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 9), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.sampled_from(["valid", "same", "causal"]), st.booleans()
)
def test_a_convolution_is_the_sum_over_its_window(
    length: int, size: int, stride: int, dilation: int, padding: str, is_grouped: bool
) -> None:
    window = Window((size,), (stride,), padding, (dilation,))
    extent = (size - 1) * dilation + 1
    if padding == "valid" and length < extent:
        return
    groups = 2 if is_grouped else 1
    x, kernel = DRAW.normal(size=(2, length, 4)), DRAW.normal(size=(size, 4 // groups, 6))
    got = convolve(x, kernel, window, groups)
    count = {"valid": (length - extent) // stride + 1}.get(padding, -(-length // stride))
    before = {"valid": 0, "causal": extent - 1}.get(padding, max((count - 1) * stride + extent - length, 0) // 2)
    want = np.zeros((2, count, 6))
    for step, tap in itertools.product(range(count), range(size)):
        place = step * stride + tap * dilation - before
        if 0 <= place < length:
            for group in range(groups):
                ins, outs = slice(group * 4 // groups, (group + 1) * 4 // groups), slice(group * 6 // groups, (group + 1) * 6 // groups)
                want[:, step, outs] += x[:, place, ins] @ kernel[tap][:, outs]
    np.testing.assert_allclose(got, want, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 7), st.integers(1, 4), st.integers(1, 3), st.sampled_from(["valid", "same"]))
def test_a_transposed_convolution_is_the_adjoint_of_the_convolution(length: int, size: int, stride: int, padding: str) -> None:
    window = Window((size, 1), (stride, 1), padding, (1, 1))
    x, kernel = DRAW.normal(size=(1, length, 2, 3)), DRAW.normal(size=(size, 1, 4, 3))
    spread = convolve_transposed(x, kernel, window, None)
    assert spread.shape[1] == (length * stride if padding == "same" else (length - 1) * stride + max(size, stride))
    y = DRAW.normal(size=spread.shape)
    gathered = convolve(y, kernel, window)[:, :length]
    np.testing.assert_allclose(np.sum(spread * y), np.sum(x * gathered), atol=1e-10)


def test_a_depthwise_convolution_is_a_convolution_in_as_many_groups_as_channels() -> None:
    x, kernel = DRAW.normal(size=(2, 8, 9, 3)), DRAW.normal(size=(3, 2, 3, 2))
    window = Window((3, 2), (2, 1), "same", (1, 1))
    grouped = convolve(x, kernel.reshape(3, 2, 1, 6), window, groups=3)
    np.testing.assert_allclose(convolve_depthwise(x, kernel, window), grouped, atol=1e-12)


def test_channels_first_gives_the_same_numbers_in_another_order() -> None:
    x, kernel = DRAW.normal(size=(2, 8, 9, 3)), DRAW.normal(size=(3, 3, 3, 5))
    options: dict[str, Any] = {"filters": 5, "kernel_size": [3, 3], "use_bias": False, "weights": {"kernel": kernel}}
    last = evaluate("Conv2D", x, **options)
    first = evaluate("Conv2D", np.moveaxis(x, -1, 1), data_format="channels_first", **options)
    np.testing.assert_allclose(np.moveaxis(first, 1, -1), last, atol=1e-12)


def test_average_pooling_does_not_count_the_padding() -> None:
    pooled = evaluate("AveragePooling1D", np.ones((1, 5, 1)), pool_size=[4], strides=[1], padding="same")
    np.testing.assert_allclose(pooled, np.ones((1, 5, 1)))


def test_max_pooling_of_negative_numbers_ignores_the_padding() -> None:
    assert evaluate("MaxPooling1D", np.full((1, 5, 1), -3.0), pool_size=[4], strides=[1], padding="same").max() == -3.0


def test_bilinear_upsampling_keeps_a_straight_line_straight_between_the_centres() -> None:
    line = np.arange(4.0).reshape(1, 4, 1, 1)
    got = evaluate("UpSampling2D", line, size=[2, 1], interpolation="bilinear")[0, :, 0, 0]
    np.testing.assert_allclose(got, [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])


def test_an_lstm_with_open_gates_and_no_memory_of_itself_adds_up() -> None:
    steps, units = 4, 1
    kernel = np.array([[0.0, 0.0, 1.0, 0.0]])  # input, forget, candidate, output
    bias = np.array([100.0, 100.0, 0.0, 100.0])  # all gates open
    weights = {"kernel": kernel, "recurrent_kernel": np.zeros((units, 4)), "bias": bias}
    x = np.ones((1, steps, 1))
    got = evaluate("LSTM", x, weights=weights, units=1, activation="linear", return_sequences=True)
    np.testing.assert_allclose(got[0, :, 0], [1, 2, 3, 4])


def test_a_gru_whose_update_gate_is_open_keeps_its_state() -> None:
    weights = {"kernel": np.zeros((1, 3)), "recurrent_kernel": np.zeros((1, 3)), "bias": np.array([[100.0, 0.0, 5.0], [0.0, 0.0, 0.0]])}
    got = evaluate("GRU", np.ones((1, 3, 1)), np.full((1, 1), 0.7), weights=weights, units=1)
    np.testing.assert_allclose(got, [[0.7]])


def test_backwards_is_forwards_over_the_turned_sequence() -> None:
    x = DRAW.normal(size=(2, 5, 3))
    weights = {"kernel": DRAW.normal(size=(3, 4)), "recurrent_kernel": DRAW.normal(size=(4, 4)), "bias": DRAW.normal(size=4)}
    options: dict[str, Any] = {"weights": weights, "units": 4, "return_sequences": True}
    np.testing.assert_allclose(evaluate("SimpleRNN", x, go_backwards=True, **options), evaluate("SimpleRNN", x[:, ::-1], **options))


def test_attention_with_equal_scores_is_the_mean() -> None:
    value = DRAW.normal(size=(2, 5, 3))
    np.testing.assert_allclose(evaluate("Attention", np.zeros((2, 4, 3)), value), np.repeat(value.mean(1, keepdims=True), 4, 1))


def test_causal_attention_never_sees_what_comes_later() -> None:
    x = DRAW.normal(size=(1, 6, 4))
    weights = {f"{part}/kernel": DRAW.normal(size=(4, 2, 3)) for part in ("query", "key", "value")}
    weights["attention_output/kernel"] = DRAW.normal(size=(2, 3, 4))
    config = {**KNOWN_KINDS["MultiHeadAttention"].config, "num_heads": 2, "key_dim": 3, "use_bias": False}
    attend = build(LayerSpec("attention", "MultiHeadAttention", config, weights))
    changed = x.copy()
    changed[:, 3:] += 1.0
    whole, other = (attend(Inputs({"query": (t,), "value": (t,)}, {"use_causal_mask": True}))[0] for t in (x, changed))
    np.testing.assert_allclose(whole[:, :3], other[:, :3])
    assert np.abs(whole[:, 3:] - other[:, 3:]).max() > 1e-3


def test_batch_normalization_uses_the_moving_statistics() -> None:
    weights = {"moving_mean": [2.0], "moving_variance": [4.0], "gamma": [3.0], "beta": [1.0]}
    got = evaluate("BatchNormalization", np.array([[6.0]]), weights=weights, epsilon=0.0)
    np.testing.assert_allclose(got, [[7.0]])


def test_layer_normalization_has_mean_0_and_variance_1() -> None:
    got = evaluate("LayerNormalization", DRAW.normal(3.0, 5.0, (4, 6)), axis=[1], center=False, scale=False, epsilon=0.0)
    np.testing.assert_allclose([got.mean(1), got.var(1)], [np.zeros(4), np.ones(4)], atol=1e-12)


def test_group_normalization_with_one_group_per_channel_normalizes_each_channel() -> None:
    got = evaluate("GroupNormalization", DRAW.normal(3.0, 5.0, (2, 7, 4)), groups=-1, center=False, scale=False, epsilon=0.0)
    np.testing.assert_allclose([got.mean(1), got.var(1)], [np.zeros((2, 4)), np.ones((2, 4))], atol=1e-12)


@pytest.mark.parametrize("number", [-1, 3])
def test_an_id_outside_of_the_embedding_is_refused(number: int) -> None:
    with pytest.raises(RequestError, match="outside of 0 to 2"):
        evaluate("Embedding", np.array([[number]]), weights={"embeddings": np.ones((3, 2))}, input_dim=3, output_dim=2)


def test_an_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="'odd' is a Swirl"):
        build(LayerSpec("odd", "Swirl", {}, {}))


def test_an_option_that_nobody_asked_for_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match=r"Dense\) has twist=3"):
        evaluate("Dense", np.ones((1, 2)), weights={"kernel": np.ones((2, 1))}, units=1, use_bias=False, twist=3)


def test_a_weight_that_nobody_asked_for_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="weight 'lora'"):
        evaluate("Dense", np.ones((1, 2)), weights={"kernel": np.ones((2, 1)), "lora": [1.0]}, units=1, use_bias=False)


def test_a_missing_weight_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="lacks the weight 'bias'"):
        evaluate("Dense", np.ones((1, 2)), weights={"kernel": np.ones((2, 1))}, units=1)


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("Activation", {"activation": "swirl"}),
        ("Conv2D", {"filters": 1, "kernel_size": [3, 3], "padding": "reflect"}),
        ("Conv2D", {"filters": 1, "kernel_size": [3]}),
        ("UpSampling2D", {"interpolation": "bicubic"}),
        ("ZeroPadding2D", {"padding": [[1, 1]]}),
        ("ReLU", {"threshold": "high"}),
        ("Dense", {"units": 1, "use_bias": 1}),
    ],
)
def test_a_value_without_meaning_is_refused(kind: str, config: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match="not known here"):
        evaluate(kind, np.ones((1, 4, 4, 1)), weights={"kernel": np.ones((3, 3, 1, 1))}, **config)
