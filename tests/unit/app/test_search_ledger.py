"""What would have to give is what a model shows on all rows, and not on the half that it was lucky on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fairlead.app.search_ledger import ledger_of
from fairlead.core.dataset import Dataset
from fairlead.core.plan import Candidate
from fairlead.core.requirement import parse_requirements
from fairlead.core.search import PointStatus, SearchPoint
from fairlead.core.verdict import Check
from fairlead.errors import UnavailableError

Shown = tuple[dict[str, float], dict[str, float]]  # on the rows that chose, and on those of the verdict


@dataclass(frozen=True)
class Judge:
    """An engine's answers are its candidate's name: what that shows on the rows of the verdict is known."""

    shown: Mapping[str, Shown]
    rows: Any = None
    original: Any = None

    def values(self, outputs: Mapping[str, Any]) -> Mapping[str, float]:
        return self.shown[str(outputs["name"])][1]


@dataclass
class Engine:
    name: str
    closed: list[str] = field(default_factory=list)

    def run(self, inputs: Any, outputs: Any = ()) -> dict[str, Any]:
        if self.name == "crashing":
            raise UnavailableError("The runtime is gone.")
        return {"name": self.name}

    def close(self) -> None:
        self.closed.append(self.name)


class Search:
    def __init__(self, promise: Sequence[str], shown: Mapping[str, Shown]) -> None:
        self.requirements = parse_requirements(list(promise))
        self.shown, self.asked = shown, []
        self.points = [point(name, values) for name, (values, _) in shown.items()]

    def ledger(self, proven: str, *, is_over: bool = False, is_green: bool = False) -> Any:
        rows = SimpleNamespace(verdict=Dataset({"x": np.zeros((3, 1), np.float32)}))
        reference = SimpleNamespace(run=lambda inputs, outputs=(): {"name": "the original"})
        plan = SimpleNamespace(requirements=self.requirements)
        setup = SimpleNamespace(rows=rows, judge=Judge(self.shown), reference=reference, trial=SimpleNamespace(plan=plan))
        trials: Any = SimpleNamespace(setup=setup, made={}, meter=SimpleNamespace(opener=self.opener))
        checks = [
            Check(item.name, item.is_met(value := self.shown[proven][1][item.name]), value, "", "", item) for item in self.requirements
        ]
        failures = [check for check in checks if not check.is_met]
        verdict = SimpleNamespace(candidate=proven, checks=checks, failures=failures, is_green=is_green)
        contenders: Any = [SimpleNamespace(candidate=one.candidate, path=Path("m.onnx")) for one in self.points]
        proof: Any = SimpleNamespace(before=(), verdict=verdict)
        return ledger_of(self.points, proof, trials, contenders, is_over=lambda: is_over)

    def opener(self, candidate: Candidate, path: Path) -> Any:
        self.asked.append(candidate.name)
        return lambda: Engine(candidate.name)


def point(name: str, values: Mapping[str, float]) -> SearchPoint:
    return SearchPoint(Candidate(name, (name,), "onnxruntime", 1, ""), "d", PointStatus.REJECTED, values=values)


def accuracy(chose: float, verdict: float) -> Shown:
    return {"accuracy": chose}, {"accuracy": verdict}


def test_a_bound_that_one_half_of_the_rows_kept_by_luck_is_not_named() -> None:
    search = Search(["accuracy>=0.999"], {"plain": accuracy(0.97, 0.96), "lucky": accuracy(0.99, 0.95), "good": accuracy(0.98, 0.975)})
    relaxation = search.ledger("plain").relaxation
    assert (relaxation.candidate, relaxation.text) == ("good", "accuracy>=0.975")
    assert search.asked == ["lucky", "good"]  # what was proven is known already


def test_who_was_proven_counts_by_its_worse_half_too() -> None:
    search = Search(["accuracy>=0.999"], {"plain": accuracy(0.94, 0.96), "other": accuracy(0.95, 0.95)})
    assert search.ledger("plain").relaxation.text == "accuracy>=0.95"
    search = Search(["accuracy_drop<=0"], {"plain": ({"accuracy_drop": 0.02}, {"accuracy_drop": 0.01})})
    assert search.ledger("plain").relaxation.text == "accuracy_drop<=0.02"


def test_sizes_and_times_are_as_they_were_proven() -> None:
    shown = {"plain": ({"p50_ms": 9.0}, {"p50_ms": 5.0}), "other": ({"p50_ms": 7.0}, {})}
    assert Search(["p50_ms<=1"], shown).ledger("plain").relaxation.text == "p50_ms<=5"


def test_an_answer_that_is_no_number_is_the_worst_of_all() -> None:
    search = Search(["accuracy>=0.999"], {"plain": accuracy(0.9, 0.9), "broken": accuracy(0.99, float("nan"))})
    assert search.ledger("plain").relaxation.candidate == "plain"


@pytest.mark.parametrize("is_over", [True, False])
def test_what_cannot_be_asked_stays_as_it_was_known(is_over: bool) -> None:
    search = Search(["accuracy>=0.999"], {"plain": accuracy(0.9, 0.9), "crashing": accuracy(0.95, 0.0)})
    assert search.ledger("plain", is_over=is_over).relaxation.candidate == "crashing"
    assert search.asked == ([] if is_over else ["crashing"])


def test_where_the_verdict_is_green_nobody_is_asked() -> None:
    search = Search(["accuracy>=0.9"], {"plain": accuracy(0.95, 0.95), "other": accuracy(0.8, 0.95)})
    assert search.ledger("plain", is_green=True).feasible == ("plain",)
    assert search.asked == []
