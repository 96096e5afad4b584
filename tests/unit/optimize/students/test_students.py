"""Small students: they keep the teacher's interface, learn what it knows, and refuse teachers that cannot have one, by name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

sys.path.append(str(Path(__file__).parents[1] / "trees"))
from tree_models import Example, accuracy, answers, boosted, job, surface

from fairlead.core.dataset import Dataset
from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec
from fairlead.core.tree_ensemble import Split
from fairlead.errors import SpecError, UnsupportedError
from fairlead.optimize.catalog import PASSES
from fairlead.optimize.passes.distill_linear import distill_linear
from fairlead.optimize.passes.distill_trees import distill_trees
from fairlead.optimize.students.growing import Growth, grow
from fairlead.optimize.students.linear import fit_linear
from fairlead.optimize.trees.link import Function, Link
from fairlead.optimize.trees.mixing import mixed_rows
from fairlead.optimize.trees.objective import Objective
from fairlead.optimize.trees.walk import reached, sums_from

RANDOM = np.random.default_rng(0)
STUDENTS = ("distill_trees(trees=20,depth=3,mixed=1)", "distill_linear")


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Example]:
    return {
        "two": boosted(tmp_path_factory.mktemp("two"), trees=30, count=400),
        "three": boosted(tmp_path_factory.mktemp("three"), outputs=3, trees=30, count=400),
        "number": boosted(tmp_path_factory.mktemp("number"), is_classifier=False, trees=30, count=400),
    }


@pytest.mark.parametrize("name", ["two", "three", "number"])
@pytest.mark.parametrize("use", STUDENTS)
def test_a_student_is_small_has_the_teachers_interface_and_is_the_same_every_time(
    use: str, name: str, teachers: dict[str, Example], tmp_path: Path
) -> None:
    from dataclasses import replace

    example = teachers[name]
    task = job(example.path, use, example.interface, example.rows)
    PASSES.load(use.partition("(")[0])(task)
    assert surface(task.destination) == surface(example.path)
    assert task.destination.stat().st_size < example.path.stat().st_size
    again = replace(task, destination=tmp_path / "again.onnx")
    PASSES.load(use.partition("(")[0])(again)
    assert again.destination.read_bytes() == task.destination.read_bytes()


@pytest.mark.parametrize("name", ["two", "three"])
def test_trees_learn_what_the_teacher_knows(name: str, teachers: dict[str, Example]) -> None:
    example = teachers[name]
    task = job(example.path, "distill_trees(trees=12)", example.interface, example.rows)
    result = distill_trees(task)
    assert accuracy(task.destination, example.others) > accuracy(example.path, example.others) - 0.12
    assert "leaves" in result.notes[0]


def test_trees_learn_numbers(teachers: dict[str, Example]) -> None:
    example = teachers["number"]
    task = job(example.path, "distill_trees(trees=12)", example.interface, example.rows)
    distill_trees(task)
    wanted, given = (answers(path, example.others.inputs["x"])["prediction"][:, 0] for path in (example.path, task.destination))
    assert np.corrcoef(wanted, given)[0, 1] > 0.8


def network(folder: Path, *, kind: int = TensorProto.FLOAT, ending: str = "Softmax", shape: tuple[Any, ...] = ("batch", 2, 3)) -> Path:
    """A linear network over a small image: a linear student can be as good as its teacher."""
    weights = np.random.default_rng(5).normal(size=(6, 3)).astype(np.float32)
    nodes = [helper.make_node("Flatten", ["image"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["scores"])]
    nodes.append(helper.make_node(ending, ["scores"], ["y"]))
    if kind != TensorProto.FLOAT:
        nodes[0].input[0] = "real"
        nodes.insert(0, helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", kind, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(weights, "w")],
    )
    path = folder / "network.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


IMAGE = Interface(
    (TensorSpec("image", DType.FP32, (None, 2, 3)),),
    (TensorSpec("y", DType.FP32, (None, 3)),),
    Task.CLASSIFICATION,
    Decision(DecisionKind.ARGMAX, "y", scores="y"),
)


@pytest.mark.parametrize("ending", ["Softmax", "Identity"])
def test_a_linear_network_over_images_has_a_linear_student_that_decides_alike(ending: str, tmp_path: Path) -> None:
    path = network(tmp_path, ending=ending)
    rows = RANDOM.normal(size=(600, 2, 3)).astype(np.float32)
    task = job(path, "distill_linear(ridge=0.0001)", IMAGE, Dataset({"image": rows[:400]}))
    distill_linear(task)
    wanted, given = (answers(file, rows[400:])["y"] for file in (path, task.destination))
    assert (wanted.argmax(axis=1) == given.argmax(axis=1)).mean() > 0.97
    assert surface(path) == surface(task.destination)


def test_whole_numbers_as_inputs_are_learned_from(tmp_path: Path) -> None:
    path = network(tmp_path, kind=TensorProto.INT64)
    rows = RANDOM.integers(0, 9, size=(300, 2, 3))
    task = job(path, "distill_linear", IMAGE, Dataset({"image": rows}))
    distill_linear(task)
    wanted, given = (answers(file, rows)["y"].argmax(axis=1) for file in (path, task.destination))
    assert (wanted == given).mean() > 0.75


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"kind": TensorProto.STRING}, "'image' holds no numbers"), ({"shape": ("batch", "wide", 3)}, "'image' has rows of no fixed size")],
)
def test_inputs_that_no_student_can_take_are_refused_by_name(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    from fairlead.optimize.students.surface import read_surface

    model = onnx.load(network(tmp_path, **changes))
    with pytest.raises(UnsupportedError, match=words):
        read_surface(model, {"y": np.full((20, 3), 1 / 3)}, None)


def test_a_second_answer_is_refused_by_name(tmp_path: Path) -> None:
    from fairlead.optimize.students.surface import read_surface

    model = onnx.load(network(tmp_path))
    model.graph.output.append(helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["batch", 4]))
    with pytest.raises(UnsupportedError, match="'boxes'"):
        read_surface(model, {"y": np.full((20, 3), 1 / 3), "boxes": np.zeros((20, 4))}, None)


def test_a_label_that_does_not_follow_from_the_scores_is_refused(teachers: dict[str, Example]) -> None:
    from fairlead.optimize.students.surface import read_surface

    example = teachers["three"]
    found = answers(example.path, example.rows.inputs["x"])
    found["label"] = 2 - found["label"]
    with pytest.raises(UnsupportedError, match="does not follow"):
        read_surface(onnx.load(example.path), found, example.interface)


def test_a_student_that_is_larger_than_its_teacher_is_refused(teachers: dict[str, Example]) -> None:
    example = teachers["two"]
    with pytest.raises(UnsupportedError, match="its teacher"):
        distill_trees(job(example.path, "distill_trees(trees=60,depth=6,mixed=0)", example.interface, example.rows))


def test_missing_values_are_refused_by_the_linear_student_and_taken_by_trees(teachers: dict[str, Example]) -> None:
    example = teachers["two"]
    table = example.rows.inputs["x"].copy()
    table[::7, 1] = np.nan
    gaps = Dataset({"x": table}, example.rows.target)
    with pytest.raises(UnsupportedError, match="missing"):
        distill_linear(job(example.path, "distill_linear", example.interface, gaps))
    task = job(example.path, "distill_trees(trees=10)", example.interface, gaps)
    distill_trees(task)
    assert np.isfinite(answers(task.destination, table)["probabilities"]).all()


@pytest.mark.parametrize(
    "use", ["distill_trees(trees=0)", "distill_trees(depth=40)", "distill_linear(ridge=-1.0)", "distill_trees(mixed=-1)"]
)
def test_settings_that_make_no_sense_are_refused(use: str, teachers: dict[str, Example]) -> None:
    example = teachers["two"]
    with pytest.raises(SpecError):
        PASSES.load(use.partition("(")[0])(job(example.path, use, example.interface, example.rows))


def test_a_grown_tree_answers_as_its_walk_does_and_keeps_the_law() -> None:
    table = RANDOM.normal(size=(300, 3)).astype(np.float32)
    table[::9, 0] = np.nan
    wanted = np.eye(3)[np.digitize(table[:, 1], [-0.3, 0.4])]
    objective = Objective(Link(Function.SOFTMAX, 1.0, ""), wanted)
    trees = grow(table, objective, np.arange(300) % 5 == 0, Growth(15, 3))
    trees.check()
    assert trees.tree_count <= 15
    assert (trees.splits == Split.LEAF).sum() <= 15 * 8
    answer = objective.link.answer(sums_from(trees, reached(trees, table)))
    assert (answer.argmax(axis=1) == wanted.argmax(axis=1)).mean() > 0.95


def test_least_squares_finds_the_line_that_made_the_numbers() -> None:
    table = RANDOM.normal(3.0, 5.0, size=(200, 4)).astype(np.float32)
    weights, bias = np.array([[1.0], [-2.0], [0.5], [0.0]]), 7.0
    wanted = table.astype(np.float64) @ weights + bias
    found, own = fit_linear(table, Objective(Link(Function.NUMBER, 1.0, ""), wanted), 0.0)
    np.testing.assert_allclose(found, weights, atol=1e-8)
    np.testing.assert_allclose(own, [bias], atol=1e-6)


@pytest.mark.parametrize("outputs", [1, 3])
def test_the_likeliest_weights_are_found(outputs: int) -> None:
    table = RANDOM.normal(size=(500, 4)).astype(np.float32)
    true = RANDOM.normal(size=(4, outputs))
    link = Link(Function.SIGMOID if outputs == 1 else Function.SOFTMAX, 1.0, "")
    objective = Objective(link, link.answer(table @ true))
    weights, bias = fit_linear(table, objective, 1e-9)
    assert objective.loss(table @ weights + bias) < objective.loss(table @ true) + 1e-4


def test_mixed_rows_hold_values_of_their_own_column_and_missing_ones_too() -> None:
    table = RANDOM.normal(size=(60, 3)).astype(np.float32)
    table[::5, 2] = np.nan
    mixed = mixed_rows(table, 4, seed=1)
    assert mixed.shape == (240, 3)
    for column in range(3):
        known = mixed[~np.isnan(mixed[:, column]), column]
        assert np.isin(known, table[:, column]).all()
    assert np.isnan(mixed[:, 2]).any()
    assert not np.array_equal(mixed[:60], table)
    assert mixed_rows(table, 4, seed=1).tobytes() == mixed.tobytes()
    assert mixed_rows(table[:1], 2, seed=1).shape == (2, 3)
