"""Convolutions that take the steps of poolings: shapes that stay, what is left alone, and students that learn with shifted rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

pytest.importorskip("torch", reason="the extra 'torch' is not installed")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.core.dataset import Dataset
from fairlead.core.interface import Interface
from fairlead.core.pass_use import PassUse
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.errors import SpecError, UnsupportedError
from fairlead.optimize.catalog import complete_settings
from fairlead.optimize.job import PassJob
from fairlead.optimize.passes.distill_strided import distill_strided
from fairlead.optimize.training.course import begin
from fairlead.optimize.training.joining import joined
from fairlead.optimize.training.proof import reference_answers
from fairlead.optimize.training.shifting import with_shifts
from fairlead.optimize.training.striding import strided

PICTURES = np.random.default_rng(5).normal(size=(3, 1, 13, 13)).astype(np.float32)


def _pooled(networks: Any, pool: str, window: dict[str, Any], convolution: dict[str, Any], between: tuple[str, ...] = ()) -> Any:
    nodes, name = [("Conv", ["x", "k", "b"], ["c"], convolution)], "c"
    for operator in between:
        nodes.append((operator, [name], [name + "r"], {}))
        name += "r"
    nodes.append((pool, [name], ["y"], window))
    model = networks.build(nodes, {"k": (4, 1, 3, 3), "b": (4,)}, [None, 1, None, None], 4)
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    for name in ("batch", "channels", "height", "width"):
        model.graph.output[0].type.tensor_type.shape.dim.add().dim_param = name
    return model


@settings(max_examples=25, deadline=None)
@given(size=st.integers(1, 3), step=st.integers(1, 3), own_step=st.integers(1, 2), own_pad=st.integers(0, 2))
def test_a_mean_of_a_convolution_is_a_convolution_with_steps(networks: Any, size: int, step: int, own_step: int, own_pad: int) -> None:
    window = {"kernel_shape": [size, size], "strides": [step, step]}
    model = _pooled(networks, "AveragePool", window, {"pads": [own_pad] * 4, "strides": [own_step] * 2})
    changed, count = strided(model)
    assert count == 1
    assert [node.op_type for node in changed.graph.node] == ["Conv"]
    before, after = (reference_answers(one, {"x": PICTURES})["y"] for one in (model, changed))
    assert before.shape == after.shape
    assert np.allclose(before, after, atol=1e-5)


@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]])
def test_a_largest_value_keeps_its_shape(networks: Any, pads: list[int]) -> None:
    window = {"kernel_shape": [3, 2], "strides": [2, 2], "pads": pads}
    model = _pooled(networks, "MaxPool", window, {"pads": [1, 1, 1, 1]}, ("Relu",))
    changed, count = strided(model)
    assert count == 1
    before, after = (reference_answers(one, {"x": PICTURES})["y"] for one in (model, changed))
    assert before.shape == after.shape


@pytest.mark.parametrize(
    ("window", "convolution", "between"),
    [
        ({"ceil_mode": 1}, {}, ()),
        ({"dilations": [2, 2]}, {}, ()),
        ({"auto_pad": "SAME_UPPER"}, {}, ()),
        ({}, {"dilations": [2, 2]}, ()),
        ({}, {"auto_pad": "SAME_LOWER"}, ()),
        ({}, {}, ("Softmax",)),
    ],
)
def test_what_a_step_cannot_say_is_left_alone(networks: Any, window: Any, convolution: Any, between: tuple[str, ...]) -> None:
    model = _pooled(networks, "MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2], **window}, convolution, between)
    changed, count = strided(model)
    assert count == 0
    assert changed.graph.node == model.graph.node


def _rows(networks: Any, first: dict[str, Any], second: dict[str, Any], between: tuple[str, ...] = ()) -> Any:
    nodes, name = [("Conv", ["x", "k", "b"], ["c"], first)], "c"
    for operator in between:
        extra = ["g", "s", "m", "v"] if operator == "BatchNormalization" else []
        nodes.append((operator, [name, *extra], [name + "r"], {}))
        name += "r"
    nodes.append(("Conv", [name, "l"], ["y"], second))
    sizes = {"k": (4, 1, 3, 3), "b": (4,), "l": (2, 4, 2, 3), "g": (4,), "s": (4,), "m": (4,), "v": (4,)}
    model = networks.build(nodes, sizes, [None, 1, None, None], 2)
    model.graph.output[0].ClearField("type")
    model.graph.output[0].type.tensor_type.elem_type = 1
    for size in ("batch", "channels", "height", "width"):
        model.graph.output[0].type.tensor_type.shape.dim.add().dim_param = size
    return model


@settings(max_examples=25, deadline=None)
@given(steps=st.tuples(st.integers(1, 3), st.integers(1, 2)), pads=st.tuples(st.integers(0, 2), st.integers(0, 2)))
def test_two_convolutions_in_a_row_are_one(networks: Any, steps: tuple[int, int], pads: tuple[int, int]) -> None:
    first, second = ({"strides": [step] * 2, "pads": [pad] * 4} for step, pad in zip(steps, pads, strict=True))
    model = _rows(networks, first, second, ("BatchNormalization",))
    changed, count = joined(model, 1)
    assert count == 1
    assert [node.op_type for node in changed.graph.node] == ["Conv"]
    before, after = (reference_answers(one, {"x": PICTURES})["y"] for one in (model, changed))
    assert before.shape == after.shape
    edge = 0 if pads[1] == 0 else 2  # where the second pads, the first has no bias there
    inner = (..., slice(edge, before.shape[2] - edge), slice(edge, before.shape[3] - edge))
    assert np.allclose(before[inner], after[inner], atol=1e-4)


def test_no_more_convolutions_are_joined_than_asked_for(networks: Any) -> None:
    model = _rows(networks, {}, {}, ("Relu",))
    assert joined(model, 2)[1] == 0
    assert joined(model, 1)[1] == 1


def test_convolutions_that_would_need_many_more_weights_are_not_joined(networks: Any) -> None:
    nodes = [("Conv", ["x", "k"], ["c"], {"strides": [4, 4]}), ("Conv", ["c", "l"], ["y"], {})]
    model = networks.build(nodes, {"k": (2, 8, 2, 2), "l": (8, 2, 3, 3)}, [None, 8, 13, 13])
    assert joined(model, 1)[1] == 0


@pytest.mark.parametrize("special", [{"group": 2}, {"dilations": [2, 2]}, {"auto_pad": "SAME_UPPER"}])
def test_special_convolutions_are_not_joined(networks: Any, special: dict[str, Any]) -> None:
    model = _rows(networks, {}, {})
    second = model.graph.node[1]
    for name, value in special.items():
        second.attribute.append(onnx.helper.make_attribute(name, value))
    changed, count = joined(model, 1)
    assert count == 0
    assert changed.graph.node == model.graph.node


def test_a_value_that_something_else_reads_keeps_its_pooling(networks: Any) -> None:
    nodes = [
        ("Conv", ["x", "k"], ["c"], {}),
        ("MaxPool", ["c"], ["p"], {"kernel_shape": [2, 2], "strides": [1, 1], "pads": [0, 0, 1, 1]}),
        ("Add", ["p", "c"], ["y"], {}),
    ]
    assert strided(networks.build(nodes, {"k": (4, 1, 3, 3)}, [None, 1, 13, 13]))[1] == 0


Digits = tuple[Dataset, Dataset]


@pytest.fixture
def job(trained: Callable[[str], Path], digits: Digits, interface: Interface, tmp_path: Path) -> Callable[..., PassJob]:
    def make(model: str = "convolutional", **given: Any) -> PassJob:
        complete = complete_settings(PassUse("distill_strided", {"epochs": 6, **given}))
        return PassJob(trained(model), tmp_path / "student.onnx", complete, training=digits[0], interface=interface)

    return make


def test_shifted_rows_are_answered_by_the_original_and_judge_nothing(job: Callable[..., PassJob]) -> None:
    course = begin(replace(job(), settings={"teacher": 0.5}))
    lessons = with_shifts(course.lessons, course.objective, course.model, course.network, 2, 0)
    count, more = len(course.lessons.inputs["x"]), 2 * len(course.lessons.learned)
    assert len(lessons.inputs["x"]) == count + more == len(lessons.teacher["y"])
    assert torch.equal(lessons.held_out, course.lessons.held_out)
    assert len(lessons.learned) == 3 * len(course.lessons.learned)
    answers = reference_answers(course.model, {"x": lessons.inputs["x"][count:].numpy()})["y"]
    assert np.allclose(lessons.teacher["y"][count:].numpy(), answers, atol=1e-5)
    assert lessons.target is not None
    assert course.lessons.target is not None
    assert torch.equal(lessons.target[:count].argmax(-1), course.lessons.target)
    assert np.allclose(lessons.target[count:].numpy(), answers, atol=1e-5)


def test_rows_are_shifted_along_the_sides_of_the_picture_only(job: Callable[..., PassJob]) -> None:
    course = begin(replace(job(), settings={"teacher": 0.5}))
    lessons = with_shifts(course.lessons, course.objective, course.model, course.network, 1, 0)
    before = course.lessons.inputs["x"][course.lessons.learned].reshape(-1, 8, 8)
    after = lessons.inputs["x"][len(course.lessons.inputs["x"]) :].reshape(-1, 8, 8)
    for row, shifted in zip(before[:50], after[:50], strict=True):
        options = [
            row[torch.arange(8).add(down).clamp(0, 7)][:, torch.arange(8).add(right).clamp(0, 7)]
            for down in (-1, 0, 1)
            for right in (-1, 0, 1)
        ]
        assert any(torch.equal(option, shifted) for option in options)


def test_a_table_has_no_sides_to_shift_along(job: Callable[..., PassJob]) -> None:
    course = begin(replace(job("dense"), settings={"teacher": 0.5}))
    assert with_shifts(course.lessons, course.objective, course.model, course.network, 4, 0) is course.lessons


@pytest.mark.slow
def test_the_student_has_fewer_operators_and_answers_like_its_teacher(
    job: Callable[..., PassJob], digits: Digits, interface: Interface
) -> None:
    asked = job(epochs=10)
    result = distill_strided(asked)
    operators = [node.op_type for node in onnx.load(asked.destination).graph.node]
    assert "MaxPool" not in operators
    assert any("1 poolings became" in note for note in result.notes)
    assert asked.destination.stat().st_size < asked.source.stat().st_size

    def accuracy(path: Path) -> float:
        answers = OnnxRuntimeEngine(path, interface).run(digits[1].inputs)["y"]
        return float((answers.argmax(-1) == digits[1].target).mean())

    assert accuracy(asked.destination) >= accuracy(asked.source) - 0.04


def test_the_same_job_gives_the_same_student_and_another_seed_another(job: Callable[..., PassJob]) -> None:
    written = []
    for seed in (0, 0, 1):
        asked = replace(job(epochs=1, shifts=1), seed=seed)
        distill_strided(asked)
        written.append(asked.destination.read_bytes())
    assert written[0] == written[1] != written[2]


def test_a_model_without_poolings_and_settings_without_a_meaning_are_refused(job: Callable[..., PassJob]) -> None:
    with pytest.raises(UnsupportedError, match="no pooling"):
        distill_strided(job("dense"))
    for given_ in ({"width": 1.5}, {"depth": 0}, {"shifts": -1}, {"epochs": 0}):
        with pytest.raises(SpecError):
            distill_strided(job(**given_))
