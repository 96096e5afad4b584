import numpy as np
import pytest

from fairlead.errors import UnsupportedError

GATES = {"SimpleRNN": 1, "GRU": 3, "LSTM": 4}


def _cell(draw, kind, features, units, *, rows=1):
    gates = GATES[kind]
    bias = draw(gates * units) if rows == 1 else draw(2, gates * units)
    return {"kernel": draw(features, gates * units) / 2, "recurrent_kernel": draw(units, gates * units) / 2, "bias": bias}


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("goes_backwards", [False, True])
@pytest.mark.parametrize("returns_sequences", [False, True])
def test_a_recurrent_layer_agrees_with_numpy_at_every_length(row, draw, agree, kind, goes_backwards, returns_sequences):
    config = {"units": 4, "go_backwards": goes_backwards, "return_sequences": returns_sequences}
    case = row((None, 3), (kind, config, _cell(draw, kind, 3, 4, rows=2 if kind == "GRU" else 1)))
    for batch, length in ((1, 5), (2, 9), (7, 1)):
        agree(case, draw(batch, length, 3))


def test_a_gru_that_resets_before_the_product_has_one_bias(row, draw, agree):
    case = row((None, 3), ("GRU", {"units": 4, "reset_after": False}, _cell(draw, "GRU", 3, 4)))
    agree(case, draw(2, 6, 3))


@pytest.mark.parametrize("activation", ["relu", "linear", "hard_sigmoid", "leaky_relu", "elu", "softsign"])
def test_an_activation_inside_a_cell_is_keras_own(row, draw, agree, activation):
    agree(row((None, 3), ("LSTM", {"units": 4, "activation": activation}, _cell(draw, "LSTM", 3, 4))), draw(2, 6, 3) / 2)


@pytest.mark.parametrize("activation", ["gelu", "softplus"])  # softplus: ONNX Runtime overflows above 88 there
def test_an_activation_that_the_operator_lacks_is_refused_by_name(row, draw, activation):
    with pytest.raises(UnsupportedError, match=rf"'lstm_0' \(LSTM\) has the activation '{activation}'"):
        row((None, 3), ("LSTM", {"units": 4, "activation": activation}, _cell(draw, "LSTM", 3, 4))).model()


def test_initial_states_come_in_and_last_states_go_out(join, draw, agree):
    config = {"units": 4, "return_state": True, "return_sequences": True}
    case = join(
        "LSTM", [(None, 3), (4,), (4,)], config, _cell(draw, "LSTM", 3, 4), output_count=3,
        names=("sequences", "initial_state", "initial_state"),
    )  # fmt: skip
    agree(case, draw(2, 5, 3), draw(2, 4), draw(2, 4))


def test_stacked_layers_hand_over_time_first_without_a_transpose_between(row, draw):
    case = row(
        (None, 3),
        ("LSTM", {"units": 4, "return_sequences": True}, _cell(draw, "LSTM", 3, 4)),
        ("LSTM", {"units": 5}, _cell(draw, "LSTM", 4, 5)),
    )
    assert case.operators() == ["Transpose", "LSTM", "Squeeze", "LSTM", "Squeeze"]


@pytest.mark.parametrize("merge_mode", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("returns_sequences", [False, True])
def test_both_directions_are_merged_as_keras_merges_them(row, draw, agree, merge_mode, returns_sequences):
    config = _pair("LSTM", merge_mode, return_sequences=returns_sequences)
    case = row((None, 3), ("Bidirectional", config, _both(draw, "LSTM", 4, 4)), output_count=2 if merge_mode is None else 1)
    agree(case, draw(2, 5, 3))
    agree(case, draw(1, 8, 3))


def test_directions_of_different_width_run_side_by_side(row, draw, agree):
    config = _pair("LSTM", "concat")
    config["backward_layer"]["config"]["units"] = 2
    agree(row((None, 3), ("Bidirectional", config, _both(draw, "LSTM", 4, 2))), draw(2, 5, 3))


def _pair(kind, merge_mode, **changes):
    from fairlead.core.layer_kinds import KNOWN_KINDS

    config = {**KNOWN_KINDS[kind].config, "units": 4, **changes}
    return {
        "layer": {"kind": kind, "config": config},
        "backward_layer": {"kind": kind, "config": {**config, "go_backwards": True}},
        "merge_mode": merge_mode,
    }


def _both(draw, kind, forward_units, backward_units):
    sides = {"forward": forward_units, "backward": backward_units}
    return {f"{side}/{role}": array for side, units in sides.items() for role, array in _cell(draw, kind, 3, units).items()}


@pytest.mark.parametrize(
    ("inner", "weights", "shape"),
    [
        ({"kind": "Dense", "config": {"units": 2, "activation": "relu", "use_bias": True}}, {"kernel": (3, 2), "bias": (2,)}, (None, 3)),
        (
            {
                "kind": "Conv2D",
                "config": {
                    "filters": 2, "kernel_size": [2, 2], "strides": [1, 1], "padding": "valid", "data_format": "channels_last",
                    "dilation_rate": [1, 1], "groups": 1, "activation": "linear", "use_bias": False,
                },
            },
            {"kernel": (2, 2, 1, 2)},
            (None, 4, 4, 1),
        ),
        ({"kind": "Flatten", "config": {"data_format": "channels_last"}}, {}, (5, 2, 3)),
        ({"kind": "Activation", "config": {"activation": "softmax"}}, {}, (None, 3)),
    ],
)  # fmt: skip
def test_a_layer_is_applied_to_every_step(row, draw, agree, inner, weights, shape):
    arrays = {f"layer/{role}": draw(*size) for role, size in weights.items()}
    case = row(shape, ("TimeDistributed", {"layer": inner}, arrays))
    agree(case, draw(2, *(5 if size is None else size for size in shape)))


def _attention_weights(draw, *, features=6, heads=2, key_dim=3):
    weights = {}
    for role in ("query", "key", "value"):
        weights |= {f"{role}/kernel": draw(features, heads, key_dim) / 2, f"{role}/bias": draw(heads, key_dim)}
    return weights | {"attention_output/kernel": draw(heads, key_dim, features) / 2, "attention_output/bias": draw(features)}


@pytest.mark.parametrize("constants", [{}, {"use_causal_mask": True}])
def test_multi_head_attention_agrees_with_numpy_at_free_lengths(join, draw, agree, constants):
    case = join(
        "MultiHeadAttention", [(None, 6), (None, 6)], {"num_heads": 2, "key_dim": 3}, _attention_weights(draw), constants=constants,
        names=("query", "value"),
    )  # fmt: skip
    agree(case, draw(2, 5, 6), draw(2, 7, 6))
    assert "Einsum" not in case.operators()


def test_a_causal_mask_hides_what_comes_later(join, draw):
    case = join(
        "MultiHeadAttention", [(None, 6), (None, 6)], {"num_heads": 2, "key_dim": 3}, _attention_weights(draw),
        constants={"use_causal_mask": True}, names=("query", "value"),
    )  # fmt: skip
    x = draw(1, 6, 6)
    changed = x.copy()
    changed[:, 4:] += 1
    first, second = case.run(x, x)[0], case.run(changed, changed)[0]
    np.testing.assert_allclose(first[:, :4], second[:, :4], atol=1e-6)
    assert np.abs(first[:, 4:] - second[:, 4:]).max() > 1e-3


def test_an_argument_that_nobody_honours_is_refused_by_name(join, draw):
    case = join(
        "MultiHeadAttention", [(None, 6), (None, 6)], {"num_heads": 2, "key_dim": 3}, _attention_weights(draw),
        constants={"sparkle": True}, names=("query", "value"),
    )  # fmt: skip
    with pytest.raises(UnsupportedError, match="is called with 'sparkle'"):
        case.model()
