"""Names that clients know are kept where a framework only counted on, and never guessed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, TensorSpec
from fairlead.errors import SpecError
from fairlead.register.compatibility import tensor_changes
from fairlead.register.names import kept_names, parse_renames, proposal, renamed


def tensors(*names: str, width: int = 4) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, DType.FP32, (None, width)) for name in names)


def interface(inputs: str, outputs: str, *, width: int = 4) -> Interface:
    first = outputs.split(maxsplit=1)[0]
    rule = Decision(DecisionKind.ARGMAX, first, scores=first)
    return Interface(tensors(*inputs.split()), tensors(*outputs.split(), width=width), decision=rule)


@pytest.mark.parametrize(
    ("live", "own", "names"),
    [
        (("input_layer", "dense_1"), ("input_layer_1", "dense_3"), {"input_layer_1": "input_layer", "dense_3": "dense_1"}),
        (("dense_2_input", "dense_3"), ("dense_input", "dense_1"), {"dense_input": "dense_2_input", "dense_1": "dense_3"}),
        (("keras_tensor_7", "softmax"), ("keras_tensor", "softmax_12"), {"keras_tensor": "keras_tensor_7", "softmax_12": "softmax"}),
        (
            ("input", "global_average_pooling2d_1"),
            ("input", "global_average_pooling2d"),
            {"global_average_pooling2d": "global_average_pooling2d_1"},
        ),
        (("input", "dense_1"), ("input", "dense_1"), {}),
        # A number may mean something, and a kind of layer does.
        (("input", "horizon_7"), ("input", "horizon_14"), {}),
        (("input", "dense_1"), ("input", "softmax_1"), {}),
        (("input", "dense_1"), ("input", "probabilities"), {}),
        # Which is which of two cannot be told, not even where one name is in both.
        (("input", "dense dense_1"), ("input", "dense_1 dense_2"), {}),
        (("input_1 input_2", "dense"), ("input_3 input_4", "dense"), {}),
        (("input", "dense_1"), ("input", "dense_1 dense_2"), {}),
        # All or nothing.
        (("input_1", "scores"), ("input_2", "probabilities"), {}),
    ],
)
def test_a_name_is_kept_where_only_a_counter_differs_and_it_is_the_only_one_of_its_kind(live, own, names):
    assert kept_names(interface(*live), interface(*own)) == names


def test_no_name_is_kept_where_more_than_names_differs():
    assert kept_names(interface("input", "dense_1"), interface("input", "dense_3", width=5)) == {}


KINDS = st.sampled_from(["dense", "softmax", "input", "scores", "activation", "dense_input"])
TENSORS = st.lists(st.builds("{}_{}".format, KINDS, st.integers(0, 3)), min_size=1, max_size=3, unique=True)


@given(TENSORS, TENSORS, TENSORS, TENSORS)
def test_what_is_kept_makes_the_two_fit_and_gives_every_tensor_a_name_of_its_own(live_in, live_out, own_in, own_out):
    live, own = Interface(tensors(*live_in), tensors(*live_out)), Interface(tensors(*own_in), tensors(*own_out))
    names = kept_names(live, own)
    if names:
        now = renamed(own, names)
        assert tensor_changes(live, now) == ()
        for specs in (now.inputs, now.outputs):
            assert len({spec.name for spec in specs}) == len(specs)
    assert kept_names(own, own) == {}


def test_the_decision_follows_its_output():
    rule = renamed(interface("x", "dense_3"), {"dense_3": "scores"}).decision
    assert (rule.output, rule.scores) == ("scores", "scores")


def test_names_are_swapped_where_that_is_said():
    assert [spec.name for spec in renamed(interface("x", "a b"), {"a": "b", "b": "a"}).outputs] == ["b", "a"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"dense": "scores"}, "no tensor 'dense' to rename. It has: x, dense_3"),
        ({"dense_3": "x"}, "Two tensors would be called 'x'"),
        ({"dense_3": ""}, "cannot name a tensor"),
        ({"dense_3": "../a"}, "cannot name a tensor"),
        ({"dense_3": "a b"}, "cannot name a tensor"),
        ({"dense_3": "a" * 129}, "cannot name a tensor"),
    ],
)
def test_names_that_make_no_sense_are_refused(names, said):
    with pytest.raises(SpecError, match=said):
        renamed(interface("x", "dense_3"), names)


def test_what_a_person_types_is_read():
    assert parse_renames(["dense_3=scores", "x=y=z"]) == {"dense_3": "scores", "x": "y=z"}
    for text in ("dense_3", "=scores", ""):
        with pytest.raises(SpecError, match="--rename dense_3=scores"):
            parse_renames([text])
    with pytest.raises(SpecError):
        parse_renames(["a=b", "a=c"])


@pytest.mark.parametrize(
    ("live", "own", "options"),
    [
        (("x", "scores"), ("x", "probabilities"), "--rename probabilities=scores"),
        (("x", "dense dense_1"), ("x", "dense_1 dense_2"), "--rename dense_1=dense --rename dense_2=dense_1"),
        (("x", "scores"), ("x", "scores"), ""),
        (("x", "scores"), ("x y", "scores"), ""),
    ],
)
def test_the_options_that_would_help_are_named(live, own, options):
    assert proposal(interface(*live), interface(*own)) == options
    if options:
        names = parse_renames(options.replace("--rename ", "").split())
        assert tensor_changes(interface(*live), renamed(interface(*own), names)) == ()


def test_no_option_is_named_where_more_than_names_differs():
    assert proposal(interface("x", "scores"), interface("x", "probabilities", width=5)) == ""
