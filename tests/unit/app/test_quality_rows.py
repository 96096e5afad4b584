"""Rows of a log as quality needs them: what decides has to be there, scores beside labels need not."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead.app.quality_rows import read_rows
from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, TensorSpec
from fairlead.core.observation_log import LogWindow
from fairlead.errors import DataError

INTERFACE = Interface(
    (TensorSpec("x", DType.FP32, (None, 2)),),
    (TensorSpec("label", DType.INT64, (None,)), TensorSpec("scores", DType.FP32, (None, 2))),
    decision=Decision(DecisionKind.LABEL, "label", "scores"),
    labels=(0, 1),
)


class Log:
    """A log that holds these columns of three rows."""

    def __init__(self, **columns: list) -> None:
        facts = {"at": [1.0, 2.0, 3.0], "row": [0, 0, 0], "version": [1, 1, 1], "label": ["1", "0", None]}
        self.columns_held = {name: np.array(values) for name, values in facts.items()} | {
            f"output:{name}": np.array(values) for name, values in columns.items()
        }

    def columns(self, window):
        return dict.fromkeys(self.columns_held, "number")

    def scan(self, window, columns=()):
        yield {name: self.columns_held[name] for name in columns if name in self.columns_held}


def test_labels_without_scores_are_enough_to_be_right_and_say_nothing_of_confidence() -> None:
    rows = read_rows(Log(label=[1, 1, 0]), LogWindow("m"), INTERFACE).rows
    assert rows.said.tolist() == [1.0, 1.0, 0.0]
    assert rows.is_labelled.tolist() == [True, True, False]
    assert np.isnan(rows.confidence).all()
    whole = {"label": [1, 1, 0], "scores[0]": [0.1, 0.2, 0.9], "scores[1]": [0.9, 0.8, 0.1]}
    assert not np.isnan(read_rows(Log(**whole), LogWindow("m"), INTERFACE).rows.confidence).any()


def test_scores_without_labels_are_not_taken_for_them() -> None:
    with pytest.raises(DataError, match="output:label"):
        read_rows(Log(**{"scores[0]": [1, 1, 0], "scores[1]": [0, 0, 1]}), LogWindow("m"), INTERFACE)
