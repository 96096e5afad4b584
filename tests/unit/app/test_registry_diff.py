from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import registered

from fairlead.app.registry_diff import diff
from fairlead.app.registry_tags import stage, tag
from fairlead.app.wiring import House
from fairlead.core.golden import Golden
from fairlead.errors import DataError, NotFoundError


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("diff")
    house = registered.new_house(folder / "home")
    for seed in (1, 2, 1):
        registered.add_version(house, "digits", registered.classifier(folder / f"{seed}.onnx", seed=seed), alias="")
    registered.add_version(house, "digits", registered.classifier(folder / "l.onnx", labels=("cat", "owl")), alias="")
    registered.add_version(house, "digits", registered.classifier(folder / "w.onnx", 5, columns=("a", "b", "c", "d", "e")), alias="")
    registered.add_version(house, "prices", registered.scaler(folder / "a.onnx", factor=0.5), alias="")
    registered.add_version(house, "prices", registered.scaler(folder / "b.onnx", factor=0.75), alias="")
    return folder / "home"


@pytest.fixture
def house(versions: Path, tmp_path: Path) -> House:
    shutil.copytree(versions, tmp_path / "home")
    return registered.new_house(tmp_path / "home")


def weights(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(4, 3)).astype(np.float32)


def rows(tmp_path: Path, count: int = 200, **more: np.ndarray) -> tuple[Path, np.ndarray]:
    values = np.random.default_rng(5).normal(size=(count, 4)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", x=values, **more)
    return tmp_path / "rows.npz", values


def test_two_versions_are_asked_the_users_rows_and_flips_are_counted_with_an_interval(house, tmp_path):
    path, values = rows(tmp_path)
    ones, others = ((values @ weights(seed)).argmax(axis=1) for seed in (1, 2))
    answers = diff("digits:1", "digits:2", house, data=path).answers
    assert (answers.row_count, answers.flip_count) == (200, int((ones != others).sum()))
    low, high = answers.interval
    assert 0 < low < answers.flip_count / 200 < high < 1
    first = int(np.flatnonzero(ones != others)[0])
    names = ("cat", "dog", "owl")
    assert (answers.flips[0].row, answers.flips[0].left, answers.flips[0].right) == (first, names[ones[first]], names[others[first]])


def test_right_answers_in_the_rows_say_which_is_right_more_often(house, tmp_path):
    values = np.random.default_rng(5).normal(size=(200, 4)).astype(np.float32)
    ones, others = ((values @ weights(seed)).argmax(axis=1) for seed in (1, 2))
    truth = np.where(np.arange(200) % 4 == 0, others, ones)
    path, _ = rows(tmp_path, y=truth)
    answers = diff("digits:1", "digits:2", house, data=path).answers
    left, right = ones == truth, others == truth
    assert (answers.left_right, answers.right_right) == (left.sum(), right.sum())
    assert (answers.only_left, answers.only_right) == ((left & ~right).sum(), (right & ~left).sum())


def test_a_row_without_a_decision_is_not_right_in_either(house, tmp_path):
    values = np.full((4, 4), np.nan, dtype=np.float32)
    np.savez(tmp_path / "rows.npz", x=values, y=np.zeros(4, dtype=np.int64))  # the first class is what NaN would seem to say
    answers = diff("digits:1", "digits:2", house, data=tmp_path / "rows.npz").answers
    assert (answers.left_right, answers.right_right) == (0, 0)


def test_a_table_of_rows_is_read_by_its_columns(house, tmp_path):
    table = tmp_path / "rows.csv"
    table.write_text("other,c3,c2,c1,c0,truth\n" + "\n".join(f"z,{n},{n - 1},{-n},1,cat" for n in range(10)))
    assert diff("digits:1", "digits:3", house, data=table).answers.row_count == 10
    table.write_text("c3,c2,c1,c0,truth\n" + "\n".join(f"{n},{n - 1},{-n},1,cat" for n in range(10)))
    answers = diff("digits:1", "digits:3", house, data=table, target="truth").answers
    assert answers.left_right == answers.right_right


def test_without_rows_the_golden_ones_of_both_are_asked(house, tmp_path):
    found = diff("digits:1", "digits:2", house).answers
    assert (found.row_count, found.source) == (3, "the golden rows")  # both keep the same
    kept = {"x": np.ones((2, 4), np.float32)}
    model = registered.classifier(tmp_path / "k.onnx", seed=1)
    scores = np.exp(kept["x"] @ weights(1))
    golden = Golden(kept, {"scores": (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)})
    version = registered.add_version(house, "digits", model, alias="", golden=golden)
    both = diff("digits:1", version.label, house)
    assert (both.answers.row_count, both.answers.source, both.answers.flip_count) == (5, "the golden rows of both", 0)


def test_a_version_differs_from_itself_in_nothing(house):
    found = diff("digits:1", "digits:1", house)
    assert found.is_same_content
    assert (found.interface, found.made, found.answers.flip_count) == ((), {}, 0)
    assert all(left == right for left, right in found.costs.values())


def test_numbers_are_compared_as_numbers(house):
    answers = diff("prices:1", "prices:2", house).answers
    assert answers.flip_count is None
    assert 0 < answers.mean <= answers.largest


def test_another_interface_is_said_and_rows_that_do_not_fit_are_not_guessed(house, tmp_path):
    labels = diff("digits:1", "digits:4", house)
    assert any("labels were cat, dog, owl" in line for line in labels.interface)
    wider = diff("digits:1", "digits:5", house)
    assert wider.interface
    assert wider.answers is None
    assert "shape" in wider.unasked
    with pytest.raises(DataError):
        diff("digits:1", "digits:5", house, data=rows(tmp_path)[0])


def test_tags_stages_and_what_was_made_otherwise_are_shown(house):
    tag("digits:2", ["team=vision"], house)
    stage("digits:2", "staging", house)
    found = diff("digits:1", "digits:2", house)
    assert (dict(found.left_tags), dict(found.right_tags)) == ({}, {"team": "vision", "stage": "staging"})
    assert dict(found.made) == {"source": ("1.onnx", "2.onnx")}
    assert not found.same_rows  # nobody knows on which rows these were proven


def test_an_engine_that_is_not_here_leaves_the_rest_to_be_compared(house, monkeypatch):
    from fairlead.errors import MissingExtraError

    def absent(*_: object, **__: object) -> object:
        raise MissingExtraError("openvino", needed_for="This version")

    monkeypatch.setattr("fairlead.app.registry_diff.open_model", absent)
    found = diff("digits:1", "digits:2", house)
    assert found.answers is None
    assert "openvino" in found.unasked


def test_what_does_not_exist_cannot_be_compared(house):
    with pytest.raises(NotFoundError):
        diff("digits:1", "digits:99", house)
