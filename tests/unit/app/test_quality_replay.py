"""Rows that were recorded, asked again of a compressed version and of its original."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fairlead.app import quality_replay
from fairlead.app.quality_replay import replay
from fairlead.core.conversion import TWIN_FILE
from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, TensorSpec
from fairlead.core.observation_log import LogWindow

INTERFACE = Interface(
    (TensorSpec("x", DType.FP32, (None, 1)),),
    (TensorSpec("label", DType.INT64, (None,)), TensorSpec("scores", DType.FP32, (None, 2))),
    decision=Decision(DecisionKind.LABEL, "label", "scores"),
    labels=(0, 1),
)
X = np.array([-2.0, -0.2, 0.2, 2.0], np.float32)


class Above:
    """Answers 1 above a bound, and scores that sum to 1."""

    def __init__(self, bound: float) -> None:
        self.bound, self.is_closed = bound, False

    def run(self, inputs: Any) -> dict[str, Any]:
        label = (inputs["x"][:, 0] > self.bound).astype(np.int64)
        return {"label": label, "scores": np.eye(2, dtype=np.float32)[label]}

    def close(self) -> None:
        self.is_closed = True


class Log:
    """These columns; what is not recorded is NaN."""

    def __init__(self, **recorded: Any) -> None:
        self.recorded = recorded

    def columns(self, window: LogWindow) -> dict[str, str]:
        return {name: "number" for name in self.recorded if ":" in name}

    def scan(self, window: LogWindow, columns: tuple[str, ...]) -> Any:
        yield {name: self.recorded.get(name, np.full(len(X), np.nan)) for name in columns}


@pytest.mark.parametrize("has_scores", [True, False])
def test_a_label_is_enough_to_tell_the_loss_where_its_scores_were_not_recorded(monkeypatch: pytest.MonkeyPatch, has_scores: bool) -> None:
    model, twin = Above(0.0), Above(0.5)
    said = model.run({"x": X[:, None]})
    log = Log(
        **{"input:x": X, "output:label": said["label"], "status": np.full(len(X), "ok"), "label": np.array(["0", "0", "0", "1"], object)},
        **({f"output:scores[{place}]": said["scores"][:, place] for place in range(2)} if has_scores else {}),
    )
    monkeypatch.setattr(quality_replay, "open_version", lambda *_: SimpleNamespace(engine=model, open_twin=lambda: twin, release=None))
    version: Any = SimpleNamespace(manifest=SimpleNamespace(files=[SimpleNamespace(name=TWIN_FILE)]))
    rows: Any = SimpleNamespace(count=len(X), is_labelled=np.ones(len(X), bool))

    found = replay(version, INTERFACE, log, LogWindow("m"), rows, SimpleNamespace())  # type: ignore[arg-type]

    assert found.problem == ""
    assert found.loss is not None
    assert (found.loss.pairs, found.loss.flips, found.loss.lost, found.loss.won) == (4, 1, 1, 0)
    assert model.is_closed
    assert twin.is_closed
