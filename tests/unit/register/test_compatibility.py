from __future__ import annotations

import re
from dataclasses import replace

import pytest

from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec
from fairlead.register.compatibility import incompatibilities

X = TensorSpec("x", DType.FP32, (None, 4), ("a", "b", "c", "d"))
Y = TensorSpec("scores", DType.FP32, (None, 3))
LIVE = Interface((X,), (Y,), Task.CLASSIFICATION, Decision(DecisionKind.ARGMAX, "scores"), ("cat", "dog", "owl"))


def test_an_interface_is_compatible_with_itself():
    assert incompatibilities(LIVE, LIVE) == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inputs": (replace(X, name="z"),)}, "input 'x' is gone"),
        ({"inputs": (X, replace(X, name="z"))}, "input 'z' is new"),
        ({"inputs": (replace(X, dtype=DType.FP64),)}, "input 'x' was FP32, is FP64"),
        ({"inputs": (replace(X, shape=(None, 5), columns=()),)}, r"was x FP32 \[batch, 4\], is x FP32 \[batch, 5\]"),
        ({"inputs": (replace(X, shape=(1, 4)),)}, r"is x FP32 \[1, 4\]"),
        ({"inputs": (replace(X, shape=(None, 4, 1)),)}, r"\[batch, 4, 1\]"),
        ({"inputs": (replace(X, columns=("b", "a", "c", "d")),)}, "the columns of input 'x' were a, b, c, d, are b, a, c, d"),
        ({"inputs": (replace(X, is_category=True),)}, "is a category now"),
        ({"outputs": (replace(Y, name="z"),)}, "output 'scores' is gone"),
        ({"outputs": (replace(Y, shape=(None, None)),)}, "output 'scores' was"),
        ({"labels": ("cat", "owl", "dog")}, "labels were cat, dog, owl, are cat, owl, dog"),
        ({"task": Task.REGRESSION}, "the task was classification, is regression"),
        ({"decision": None}, "a decision was the argmax of 'scores', is none"),
    ],
)
def test_what_a_client_would_notice_is_said(change, said):
    noticed = incompatibilities(LIVE, replace(LIVE, **change))
    assert re.search(said, "; ".join(noticed))


@pytest.mark.parametrize(
    "change",
    [
        {"outputs": (Y, replace(Y, name="more"))},
        {"inputs": (replace(X, shape=(None, None)),)},
        {"decision": Decision(DecisionKind.ARGMAX, "scores", threshold=0.7)},
    ],
)
def test_what_a_client_does_not_notice_is_no_obstacle(change):
    assert incompatibilities(LIVE, replace(LIVE, **change)) == ()


def test_columns_that_are_named_for_the_first_time_are_no_obstacle():
    assert incompatibilities(replace(LIVE, inputs=(replace(X, columns=()),)), LIVE) == ()
