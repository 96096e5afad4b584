"""LightGBM's and CatBoost's files become trees with the right names, labels and facts, and the libraries answer as those trees do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairlead.core.artifact import ArtifactForm
from fairlead.core.dtype import DType
from fairlead.core.interface import Task
from fairlead.engines import catboost_engine, lightgbm_engine
from fairlead.engines.tree_ensemble_engine import open_reference as open_own
from fairlead.errors import UnsupportedError
from fairlead.ingest.answers import parse_answer
from fairlead.ingest.catboost_reader import read_in_sandbox as read_catboost
from fairlead.ingest.lightgbm_reader import read_in_sandbox as read_lightgbm
from fairlead.ingest.stage import ingest
from fairlead.security.sandbox import OneShotSandbox

DATA = Path(__file__).parents[2] / "data" / "trees"


def answer(read: Any, path: Path, tmp_path: Path) -> Any:
    return parse_answer(read({"path": str(path), "scratch": str(tmp_path)}))


def test_a_binary_model_of_lightgbm_gives_labels_and_probabilities(tmp_path: Path):
    found = answer(read_lightgbm, DATA / "binary.txt", tmp_path)
    assert found.form is ArtifactForm.TREE_ENSEMBLE
    assert found.interface.labels == (0, 1)
    assert [spec.name for spec in found.interface.outputs] == ["label", "probabilities"]
    assert found.interface.inputs[0].dtype is DType.FP64
    assert found.interface.inputs[0].columns == ()  # Column_0, ... are made up
    assert (found.facts["tree_count"], found.facts["accepts_missing"]) == (3, 1)


def test_a_model_of_catboost_keeps_its_text_labels(tmp_path: Path):
    found = answer(read_catboost, DATA / "symmetric.cbm", tmp_path)
    assert found.interface.labels == ("hïgh", "low", "mid")
    assert found.interface.output("label").dtype is DType.BYTES
    assert found.interface.inputs[0].dtype is DType.FP32


def test_a_regression_of_catboost_gives_a_value(tmp_path: Path):
    assert answer(read_catboost, DATA / "lossguide.cbm", tmp_path).interface.task is Task.REGRESSION


def test_a_model_with_categories_keeps_its_file_and_takes_a_column_each(tmp_path: Path):
    found = answer(read_catboost, DATA / "categories.cbm", tmp_path)
    assert (found.form, found.file, found.interface.labels) == (ArtifactForm.BOOSTER_FILE, "", ("maybe", "no", "yes"))
    assert [(spec.name, spec.dtype, spec.is_category) for spec in found.interface.inputs] == [
        ("city", DType.BYTES, True),
        ("age", DType.FP32, False),
        ("kind", DType.BYTES, True),
        ("zip", DType.BYTES, True),
    ]
    assert (found.facts["category_column_count"], found.facts["tree_count"], found.facts["accepts_missing"]) == (3, 4, 1)
    assert any("3 is '3'" in note and "city, kind, zip" in note for note in found.notes)


def test_a_model_with_linear_leaves_keeps_its_file(tmp_path: Path):
    found = answer(read_lightgbm, DATA / "linear.txt", tmp_path)
    assert (found.form, found.interface.labels, found.facts["leaf_count"]) == (ArtifactForm.BOOSTER_FILE, (0, 1), 12)
    assert any("linear_tree" in note for note in found.notes)


def with_categories(tmp_path: Path, categories: str) -> Path:
    text = (DATA / "binary.txt").read_text(encoding="utf-8").replace("pandas_categorical:null", f"pandas_categorical:{categories}")
    path = tmp_path / "model.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_text_categories_of_a_data_frame_are_said_with_their_numbers(tmp_path: Path):
    found = answer(read_lightgbm, with_categories(tmp_path, '[["Rom", "Oslo"]]'), tmp_path)
    assert any("Column_3" in note and "0 = Rom, 1 = Oslo" in note for note in found.notes)


@pytest.mark.parametrize("categories", ["[[10, 20]]", '[["a"], ["b"]]', "[[true, false]]"])
def test_categories_that_could_be_taken_for_their_numbers_are_refused(tmp_path: Path, categories: str):
    with pytest.raises(UnsupportedError, match="data frame"):
        answer(read_lightgbm, with_categories(tmp_path, categories), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "file", "engine"),
    [
        ("lightgbm", "binary.txt", lightgbm_engine),
        ("catboost", "symmetric.cbm", catboost_engine),
        ("catboost", "lossguide.cbm", catboost_engine),
    ],
)
def test_the_library_itself_answers_as_the_trees_do(library: str, file: str, engine: Any, tmp_path: Path):
    pytest.importorskip(library, reason=f"the extra '{library}' is not installed")
    sandbox = OneShotSandbox()
    artifact = ingest(DATA / file, tmp_path / "work", sandbox=sandbox)
    spec = artifact.interface.inputs[0]
    rows = np.random.default_rng(0).normal(size=(60, spec.shape[1])).astype(spec.dtype.numpy)
    rows[::7, 0] = np.nan
    theirs = engine.open_reference(artifact, tmp_path / "ref", sandbox).run({spec.name: rows})
    ours = open_own(artifact, tmp_path, sandbox).run({spec.name: rows})
    for name, answer_of_library in theirs.items():
        if answer_of_library.dtype.kind == "f":
            np.testing.assert_allclose(ours[name], answer_of_library, rtol=1e-14, atol=1e-14)
        else:
            assert (ours[name] == answer_of_library).all()
