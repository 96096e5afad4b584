from __future__ import annotations

import pytest

from fairlead.core.layer_graph import Call, ValueRef
from fairlead.core.layer_kinds import KNOWN_KINDS, call_arguments, kind_problem
from fairlead.core.layer_shapes import output_shapes


def config(kind, **changes):
    return dict(KNOWN_KINDS[kind].config) | changes


# Shapes that Keras 3.15 gives for the same layers (EinsumDense: for a tensor, where its symbolic shape says less).
CASES = [
    ("Conv2D", {"filters": 4, "kernel_size": [3, 3], "strides": [2, 2], "padding": "same"}, (None, 7, 8, 3), (None, 4, 4, 4)),
    ("Conv2D", {"filters": 4, "kernel_size": [3, 2], "dilation_rate": [2, 1]}, (None, 7, 8, 3), (None, 3, 7, 4)),
    ("Conv1D", {"filters": 4, "kernel_size": [3], "padding": "causal", "strides": [2]}, (None, 7, 3), (None, 4, 4)),
    ("Conv1D", {"filters": 4, "kernel_size": [3]}, (None, None, 3), (None, None, 4)),
    ("Conv2D", {"filters": 4, "kernel_size": [3, 3], "data_format": "channels_first"}, (None, 3, 7, 8), (None, 4, 5, 6)),
    ("Conv2DTranspose", {"filters": 2, "kernel_size": [3, 3], "strides": [2, 2]}, (None, 4, 5, 3), (None, 9, 11, 2)),
    ("Conv2DTranspose", {"filters": 2, "kernel_size": [3, 3], "strides": [2, 2], "padding": "same"}, (None, 4, 5, 3), (None, 8, 10, 2)),
    (
        "Conv2DTranspose",
        {"filters": 2, "kernel_size": [3, 3], "strides": [2, 2], "padding": "same", "output_padding": [1, 0]},
        (None, 4, 5, 3),
        (None, 8, 9, 2),
    ),
    ("DepthwiseConv2D", {"kernel_size": [3, 3], "depth_multiplier": 2}, (None, 5, 5, 3), (None, 3, 3, 6)),
    ("SeparableConv2D", {"filters": 8, "kernel_size": [3, 3]}, (None, 5, 5, 3), (None, 3, 3, 8)),
    ("MaxPooling2D", {"pool_size": [2, 3], "strides": [2, 3]}, (None, 7, 7, 3), (None, 3, 2, 3)),
    ("GlobalMaxPooling3D", {"keepdims": True}, (None, 2, 3, 4, 5), (None, 1, 1, 1, 5)),
    ("ZeroPadding2D", {"padding": [[1, 2], [0, 3]]}, (None, 4, 4, 1), (None, 7, 7, 1)),
    ("Cropping1D", {"cropping": [[1, 2]]}, (None, 8, 2), (None, 5, 2)),
    ("UpSampling2D", {"size": [2, 3]}, (None, 4, 4, 1), (None, 8, 12, 1)),
    ("Reshape", {"target_shape": [-1, 2]}, (None, 3, 4), (None, 6, 2)),
    ("Flatten", {}, (None, 3, 4), (None, 12)),
    ("Flatten", {}, (None, None, 4), (None, None)),
    ("Permute", {"dims": [2, 1]}, (None, 3, 4), (None, 4, 3)),
    ("RepeatVector", {"n": 5}, (None, 3), (None, 5, 3)),
    ("Embedding", {"input_dim": 10, "output_dim": 4}, (None, 6), (None, 6, 4)),
    ("LSTM", {"units": 3}, (None, 6, 4), (None, 3)),
    ("GRU", {"units": 3, "return_sequences": True}, (None, None, 4), (None, None, 3)),
    ("EinsumDense", {"equation": "abc,cd->abd", "output_shape": [None, 8]}, (None, 6, 4), (None, 6, 8)),
]


@pytest.mark.parametrize(("kind", "changes", "shape", "expected"), CASES)
def test_a_layer_gives_the_shape_that_keras_gives(kind, changes, shape, expected):
    assert output_shapes(kind, config(kind, **changes), {"inputs": (shape,)}) == (expected,)


def test_bidirectional_joins_both_directions_and_lists_all_states():
    lstm = {"kind": "LSTM", "config": config("LSTM", units=3, return_state=True, return_sequences=True)}
    whole = config("Bidirectional", layer=lstm, backward_layer=lstm)
    assert output_shapes("Bidirectional", whole, {"sequences": ((None, 5, 2),)}) == ((None, 5, 6), *[(None, 3)] * 4)
    apart = config("Bidirectional", layer=lstm, backward_layer=lstm, merge_mode=None)
    assert output_shapes("Bidirectional", apart, {"sequences": ((None, 5, 2),)})[:2] == ((None, 5, 3), (None, 5, 3))


@pytest.mark.parametrize(
    ("kind", "changes", "shapes"),
    [
        ("Conv2D", {"filters": 1, "kernel_size": [9, 9]}, [(None, 4, 4, 1)]),
        ("Conv2D", {"filters": 1, "kernel_size": [3, 3]}, [(None, 4, 4)]),
        ("Add", {}, [(None, 4), (None, 5)]),
        ("Concatenate", {}, [(None, 4, 2), (None, 5, 2)]),
        ("Reshape", {"target_shape": [5]}, [(None, 3, 4)]),
        ("Permute", {"dims": [1, 1]}, [(None, 3, 4)]),
    ],
)
def test_inputs_that_do_not_fit_are_said(kind, changes, shapes):
    with pytest.raises(ValueError, match=r"\w"):
        output_shapes(kind, config(kind, **changes), {"inputs": shapes})


def test_every_known_kind_accepts_its_own_defaults():
    for kind, known in KNOWN_KINDS.items():
        needed = {"activation": "relu", "layer": {"kind": "LSTM", "config": config("LSTM", units=1)}}
        needed["backward_layer"] = needed["layer"]
        filled = known.config | {key: needed.get(key, 1) for key in known.required}
        assert kind_problem(kind, filled) == ""
        assert kind_problem(kind, filled | {"unheard_of": 1}) == f"{kind} has 'unheard_of'"
    assert "not known" in kind_problem("Lambda", {})


def test_tensors_stand_for_arguments_by_name_or_in_order():
    refs = tuple(ValueRef(number) for number in range(3))
    assert call_arguments("LSTM", Call("l", refs)) == {"sequences": refs[:1], "initial_state": refs[1:]}
    assert call_arguments("Add", Call("a", refs)) == {"inputs": refs}
    named = Call("m", refs, argument_names=("query", "value", "attention_mask"))
    assert call_arguments("MultiHeadAttention", named)["attention_mask"] == refs[2:]
