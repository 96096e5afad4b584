"""What an XGBoost file takes and gives, and what its user has to know."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "security"))
from xgboost_files import FOLDER, answers, document, encoded

from fairlead.core.interface import DecisionKind, Task
from fairlead.engines.tree_ensemble_engine import TreeEnsembleEngine
from fairlead.engines.tree_ensemble_file import read_tree_ensemble
from fairlead.ingest.xgboost_reader import describe, notes_of, read_in_sandbox
from fairlead.security.xgboost_model import parse_xgboost
from fairlead.security.xgboost_trees import OBJECTIVES

MODEL = parse_xgboost((FOLDER / "xgboost.json").read_bytes())


@pytest.mark.parametrize("kind", ["json", "ubj"])
def test_a_file_becomes_trees_that_answer_as_xgboost_did(kind: str, tmp_path: Path) -> None:
    answer = read_in_sandbox({"path": str(FOLDER / f"xgboost.{kind}"), "scratch": str(tmp_path)})
    assert (answer["form"], answer["framework"]) == ("tree-ensemble", "XGBoost 3.2.0")
    assert (answer["facts"]["tree_count"], answer["facts"]["class_count"], answer["facts"]["accepts_missing"]) == (6, 2, 1)
    assert answer["notes"] == ["takes a category's number in: kind"]
    got = TreeEnsembleEngine(read_tree_ensemble(tmp_path / answer["file"]), describe(MODEL)).run({"x": answers()["x"]})
    np.testing.assert_allclose(got["probabilities"][:, 1], answers()["probability"], rtol=0, atol=2e-7)


def test_early_stopping_cuts_the_trees_and_says_so(tmp_path: Path) -> None:
    model = document()
    model["learner"]["attributes"]["best_iteration"] = "2"
    (tmp_path / "model.json").write_bytes(encoded(model))
    answer = read_in_sandbox({"path": str(tmp_path / "model.json"), "scratch": str(tmp_path)})
    assert answer["facts"]["tree_count"] == 3
    assert "the first 3 of 6 rounds" in answer["notes"][0]


def test_a_classifier_gives_labels_and_probabilities() -> None:
    found = describe(replace(MODEL, objective="multi:softprob", output_count=4))
    assert [spec.describe() for spec in (*found.inputs, *found.outputs)] == [
        "x FP32 [batch, 3]", "label INT64 [batch]", "probabilities FP32 [batch, 4]"
    ]  # fmt: skip
    assert found.inputs[0].columns == ("width", "größe", "kind")
    assert found.labels == (0, 1, 2, 3)


@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
def test_every_objective_has_a_task_and_a_decision(objective: str) -> None:
    found = describe(replace(MODEL, objective=objective))
    assert found.decision is not None
    is_class = objective.startswith(("binary:", "multi:"))
    assert found.task is (Task.CLASSIFICATION if is_class else Task.REGRESSION)
    assert (found.decision.kind is DecisionKind.VALUE) == (not is_class)
    assert ("ranks rows" in " ".join(notes_of(replace(MODEL, objective=objective)))) == objective.startswith("rank:")
