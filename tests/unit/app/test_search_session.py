"""Settings of a session are kept where pairs show that they pay, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fairlead.app.search_finish import Contender
from fairlead.app.search_session import tune
from fairlead.core.paired import Comparison, Outcome
from fairlead.core.plan import Candidate
from fairlead.core.search import Objective, PointStatus, SearchPoint
from fairlead.errors import UnavailableError
from fairlead.optimize.search.front import Finding


class Engine:
    def run(self, inputs: Any, outputs: Any = ()) -> dict[str, np.ndarray]:
        return {"y": inputs["x"]}

    def close(self) -> None: ...


@dataclass
class Meter:
    """`ratios` are times against the same model without the last setting."""

    ratios: dict[str, float]
    memory: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def compare(self, candidate: Candidate, path: Path, other: Candidate, other_path: Path) -> Comparison:
        assert path == other_path
        assert candidate.session[:-1] == other.session
        self.asked.append(candidate.session[-1])
        ratio = self.ratios.get(candidate.session[-1], 1.0)
        if ratio == 0:
            raise UnavailableError("The runtime failed.")
        outcome = Outcome.FASTER if ratio < 0.98 else Outcome.SLOWER if ratio > 1.02 else Outcome.EQUAL
        return Comparison(ratio, ratio, ratio, outcome, 11)

    def opener(self, candidate: Candidate, path: Path) -> Any:
        return Engine

    def memory_bytes(self, candidate: Candidate, path: Path) -> int:
        return self.memory.get(candidate.session[-1] if candidate.session else "", 1000)


class Trials:
    def __init__(self, meter: Meter, objective: Objective = Objective.LATENCY, *, holds: bool = True, time: int = 100) -> None:
        rows = SimpleNamespace(selection=SimpleNamespace(inputs={"x": np.zeros((3, 1), np.float32)}))
        self.setup = SimpleNamespace(objective=objective, rows=rows)
        self.meter, self.holds, self.time = meter, holds, time
        self.points: list[SearchPoint] = []

    @property
    def may_compare(self) -> bool:
        self.time -= 1
        return self.time >= 0

    def judged(self, candidate: Candidate, recipe: Any, model: Any, outputs: Any, *, digest: str) -> tuple[SearchPoint, Finding]:
        point = SearchPoint(candidate, digest, PointStatus.KEPT if self.holds else PointStatus.REJECTED)
        return point, Finding(recipe, self.holds, 10, 0.5)


def best(threads: int = 1, engine: str = "onnxruntime") -> Contender:
    candidate = Candidate("store_int8", ("store_int8",), engine, threads, "")
    return Contender(
        candidate,
        Finding((), holds_floor=True, size_bytes=10, time_ratio=0.6),
        SearchPoint(candidate, "d", PointStatus.KEPT),
        Path("m.onnx"),
    )


def test_a_setting_that_is_faster_is_kept_and_the_next_is_tried_with_it() -> None:
    meter = Meter({"graph=extended": 0.8, "pattern=off": 0.9})
    trials = Trials(meter)
    found = tune(best(), trials)  # type: ignore[arg-type]
    assert found.candidate.session == ("graph=extended", "pattern=off")
    assert found.candidate.name == "store_int8, graph=extended, pattern=off"
    assert meter.asked == ["graph=extended", "arena=off", "pattern=off"]
    assert [point.status for point in trials.points] == [PointStatus.KEPT, PointStatus.UNDONE, PointStatus.KEPT]


def test_what_is_not_shown_to_be_faster_is_undone_and_says_why() -> None:
    trials = Trials(Meter({"graph=basic": 1.5, "arena=off": 1.01}))
    before = best()
    assert tune(before, trials) is before  # type: ignore[arg-type]
    assert {point.status for point in trials.points} == {PointStatus.UNDONE}
    assert any("does not pay: 1.5x slower" in point.reason for point in trials.points)
    assert all(point.latency_ms is None for point in trials.points)


def test_operators_run_beside_each_other_only_where_a_call_has_threads() -> None:
    assert "execution=parallel" not in {point.candidate.session[-1] for point in _points(threads=1)}
    assert "execution=parallel" in {point.candidate.session[-1] for point in _points(threads=2)}


def _points(threads: int) -> list[SearchPoint]:
    trials = Trials(Meter({}))
    tune(best(threads), trials)  # type: ignore[arg-type]
    return trials.points


def test_a_setting_that_breaks_the_floor_or_the_runtime_is_not_kept() -> None:
    broken = Trials(Meter({"graph=extended": 0.5}), holds=False)
    assert tune(best(), broken).candidate.session == ()  # type: ignore[arg-type]
    failing = Trials(Meter({"graph=extended": 0.0}))
    assert tune(best(), failing).candidate.session == ()  # type: ignore[arg-type]
    assert failing.points[0].status is PointStatus.FAILED


def test_where_memory_counts_less_of_it_pays_unless_it_is_slower() -> None:
    meter = Meter({"pattern=off": 1.4}, {"arena=off": 600, "pattern=off": 100})
    found = tune(best(), Trials(meter, Objective.MEMORY))  # type: ignore[arg-type]
    assert found.candidate.session == ("arena=off",)


@pytest.mark.parametrize(
    ("engine", "objective", "time"),
    [("trees", Objective.LATENCY, 9), ("onnxruntime", Objective.SIZE, 9), ("onnxruntime", Objective.LATENCY, 0)],
)
def test_nothing_is_tried_without_settings_a_use_for_them_or_time(engine: str, objective: Objective, time: int) -> None:
    trials = Trials(Meter({"graph=extended": 0.1}), objective, time=time)
    before = best(engine=engine)
    assert tune(before, trials) is before  # type: ignore[arg-type]
    assert trials.points == []


def test_a_model_that_loses_too_much_is_not_tuned() -> None:
    trials = Trials(Meter({"graph=extended": 0.1}))
    before = replace(best(), finding=Finding((), holds_floor=False))
    assert tune(before, trials) is before  # type: ignore[arg-type]
    assert trials.points == []
