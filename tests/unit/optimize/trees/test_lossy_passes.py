"""Passes that make trees answer otherwise: smaller by what they say, little worse on a model that knows something, refused where idle."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))
from tree_models import Example, accuracy, answers, boosted, drawn, job, surface

from fairlead.core.dataset import Dataset
from fairlead.errors import SpecError, UnsupportedError
from fairlead.optimize.catalog import PASSES
from fairlead.optimize.passes.prune_trees import prune_trees
from fairlead.optimize.passes.refit_leaves import refit_leaves
from fairlead.optimize.passes.round_leaves import round_leaves
from fairlead.optimize.passes.share_thresholds import share_thresholds
from fairlead.optimize.passes.shorten_ensemble import shorten_ensemble
from fairlead.optimize.trees.model import open_model
from fairlead.optimize.trees.observed import observe
from fairlead.optimize.trees.shape import leaf_count
from fairlead.optimize.trees.thresholds import distinct_count
from fairlead.optimize.trees.walk import reached

ALL = (
    "prune_trees(keep=0.5)",
    "prune_trees(keep=0.5,aim=speed)",
    "shorten_ensemble(keep=0.5)",
    "refit_leaves",
    "round_leaves",
    "share_thresholds(levels=8)",
)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Example:
    return boosted(tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Example:
    return boosted(tmp_path_factory.mktemp("three"), outputs=3)


@pytest.fixture(scope="module")
def number(tmp_path_factory: pytest.TempPathFactory) -> Example:
    return boosted(tmp_path_factory.mktemp("number"), is_classifier=False)


def leaves(path: Path) -> int:
    return sum(map(leaf_count, open_model(path).trees))


@pytest.mark.parametrize("keep", [0.5, 0.1])
@pytest.mark.parametrize("name", ["two", "three"])
def test_pruning_keeps_the_share_of_leaves_that_is_asked_for(name: str, keep: float, request: pytest.FixtureRequest) -> None:
    example = request.getfixturevalue(name)
    task = job(example.path, f"prune_trees(keep={keep})", example.interface, example.rows)
    prune_trees(task)
    assert leaves(task.destination) <= keep * leaves(example.path) * 1.02
    assert accuracy(task.destination, example.others) > accuracy(example.path, example.others) - (0.03 if keep == 0.5 else 0.2)
    assert task.destination.stat().st_size < example.path.stat().st_size * (keep + 0.15)


def test_pruning_for_speed_shortens_the_paths(two: Example) -> None:
    task = job(two.path, "prune_trees(keep=0.5,aim=speed)", two.interface, two.rows)
    prune_trees(task)

    def steps(path: Path) -> float:
        model = open_model(path)
        trees = model.trees[0]
        found = reached(trees, observe(model.graph_model, model.sites[0], two.rows.inputs).table)
        depth = np.zeros(trees.node_count)
        for node in range(trees.node_count):
            if trees.splits[node]:
                depth[[trees.left[node], trees.right[node]]] = depth[node] + 1
        return float(depth[found].sum(axis=1).mean())

    assert steps(task.destination) < 0.55 * steps(two.path)
    assert accuracy(task.destination, two.others) > accuracy(two.path, two.others) - 0.05


@pytest.mark.parametrize("name", ["two", "three"])
def test_shortening_keeps_the_share_of_trees_that_is_asked_for(name: str, request: pytest.FixtureRequest) -> None:
    example = request.getfixturevalue(name)
    task = job(example.path, "shorten_ensemble(keep=0.25)", example.interface, example.rows)
    result = shorten_ensemble(task)
    before, after = (open_model(path).trees[0].tree_count for path in (example.path, task.destination))
    assert after <= before * 0.25 + 2
    assert accuracy(task.destination, example.others) > accuracy(example.path, example.others) - 0.06
    assert result.parameters["loss_after"] >= 0


def test_the_chosen_trees_come_nearer_to_the_numbers_of_all_than_the_first_ones(number: Example) -> None:
    task = job(number.path, "shorten_ensemble(keep=0.2)", number.interface, number.rows)
    shorten_ensemble(task)
    rows = number.others.inputs["x"]
    wanted, given = (answers(path, rows)["prediction"][:, 0] for path in (number.path, task.destination))
    assert np.corrcoef(wanted, given)[0, 1] > 0.9


def test_refitting_lowers_the_loss_of_pruned_trees_on_fresh_rows(number: Example) -> None:
    cut = job(number.path, "prune_trees(keep=0.2,refit=false)", number.interface, number.rows)
    prune_trees(cut)
    task = job(cut.destination, "refit_leaves", number.interface, number.rows)
    result = refit_leaves(task)
    assert float(result.parameters["loss_after"]) < float(result.parameters["loss_before"])

    def error(path: Path) -> float:
        return float(((answers(path, number.others.inputs["x"])["prediction"][:, 0] - number.others.target) ** 2).mean())

    assert error(task.destination) < error(cut.destination)
    assert leaves(task.destination) == leaves(cut.destination)


def test_shared_thresholds_change_the_way_of_no_row_that_was_given(two: Example) -> None:
    task = job(two.path, "share_thresholds", two.interface, Dataset({"x": two.rows.inputs["x"][:100]}))
    share_thresholds(task)
    before, after = open_model(two.path), open_model(task.destination)
    assert distinct_count(after.trees[0]) < distinct_count(before.trees[0])
    rows = {"x": two.rows.inputs["x"][:100]}
    found = [observe(model.graph_model, model.sites[0], rows) for model in (before, after)]
    np.testing.assert_allclose(found[0].sums, found[1].sums, rtol=0, atol=1e-12)


def test_levels_bound_the_thresholds_of_a_feature(two: Example) -> None:
    task = job(two.path, "share_thresholds(levels=8)", two.interface, two.rows)
    share_thresholds(task)
    trees = open_model(task.destination).trees[0]
    inner = trees.splits != 0
    assert max(len(np.unique(trees.thresholds[inner & (trees.features == feature)])) for feature in range(4)) <= 8


def test_leaves_are_whole_multiples_of_one_step(two: Example) -> None:
    task = job(two.path, "round_leaves(bits=6)", two.interface)
    round_leaves(task)
    values = open_model(task.destination).trees[0].leaf_values
    step = 2.0 ** (np.floor(np.log2(np.abs(open_model(two.path).trees[0].leaf_values).max())) + 1 - 6)
    assert np.array_equal(values, np.round(values / step) * step)
    assert abs(accuracy(task.destination, two.others) - accuracy(two.path, two.others)) < 0.02
    with pytest.raises(UnsupportedError, match="as few"):
        round_leaves(job(task.destination, "round_leaves(bits=6)", two.interface))


@pytest.mark.parametrize("use", ALL)
def test_the_same_job_gives_the_same_file_and_the_same_surface(use: str, three: Example, tmp_path: Path) -> None:
    from dataclasses import replace

    task = job(three.path, use, three.interface, three.rows, seed=3)
    function = PASSES.load(use.partition("(")[0])
    function(task)
    function(replace(task, destination=tmp_path / "again.onnx"))
    assert task.destination.read_bytes() == (tmp_path / "again.onnx").read_bytes()
    assert surface(task.destination) == surface(three.path)


@pytest.mark.parametrize("use", ["prune_trees", "shorten_ensemble"])
def test_without_right_answers_the_model_itself_is_what_is_kept_to(use: str, two: Example) -> None:
    task = job(two.path, use, two.interface, Dataset(two.rows.inputs))
    result = PASSES.load(use)(task)
    assert "the model's own answers" in result.notes[0]
    rows = two.others.inputs["x"]
    assert (answers(two.path, rows)["label"] == answers(task.destination, rows)["label"]).mean() > 0.93


@pytest.mark.parametrize(
    ("use", "words"),
    [
        ("prune_trees(keep=1.5)", "between 0 and 1"),
        ("prune_trees(keep=0)", "between 0 and 1"),
        ("prune_trees(aim=beauty)", "none of"),
        ("shorten_ensemble(keep=-1)", "between 0 and 1"),
        ("refit_leaves(ridge=-1)", "negative"),
        ("round_leaves(bits=40)", "between 2 and 24"),
        ("share_thresholds(levels=-1)", "negative"),
    ],
)
def test_settings_that_make_no_sense_are_refused(use: str, words: str, two: Example) -> None:
    with pytest.raises(SpecError, match=words):
        PASSES.load(use.partition("(")[0])(job(two.path, use, two.interface, two.rows))


def test_an_answer_that_is_no_class_of_the_model_is_refused_by_its_name(two: Example) -> None:
    wrong = Dataset(two.rows.inputs, np.full(two.rows.rows, 7))
    with pytest.raises(SpecError, match="'7'"):
        prune_trees(job(two.path, "prune_trees", two.interface, wrong))


def test_too_few_rows_are_refused(two: Example) -> None:
    with pytest.raises(UnsupportedError, match="too few"):
        prune_trees(job(two.path, "prune_trees", two.interface, two.rows.take(0, 4)))


def test_sums_that_answer_in_an_unknown_way_are_refused(tmp_path: Path) -> None:
    import onnx

    path, trees, interface = drawn(tmp_path, 2, splits=(2,), missing=(0,))
    model = onnx.load(path)
    next(node for node in model.graph.node if node.op_type == "Exp").op_type = "Abs"
    changed = tmp_path / "odd.onnx"
    onnx.save(model, changed)
    rows = np.random.default_rng(0).normal(size=(50, trees.feature_count)).astype(np.float32)
    with pytest.raises(UnsupportedError, match="known"):
        prune_trees(job(changed, "prune_trees", interface, Dataset({"x": rows})))
