"""What is said of the best of many models is about as good as what happens."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from fairlead.app.search_luck import Choice, chance_of_best, excess, prior_for
from fairlead.app.trial_quality import Judge
from fairlead.core.dataset import Dataset
from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec
from fairlead.core.pass_use import parse_passes
from fairlead.core.plan import Candidate
from fairlead.core.requirement import parse_requirements
from fairlead.core.search import Objective, PointStatus, SearchPoint
from fairlead.optimize.search.front import Finding, ranked
from fairlead.verify.keeping import JEFFREYS, Shown, chance_of_loss, priors_of

ROWS, ALLOWED = 500, 2
CLASSES = Interface(
    (TensorSpec("x", DType.FP32, (None, 1)),),
    (TensorSpec("y", DType.FP32, (None, 2)),),
    Task.CLASSIFICATION,
    Decision(DecisionKind.ARGMAX, "y", scores="y"),
)


@functools.cache
def chance(lost: int, won: int, prior: tuple[float, float]) -> float:
    return chance_of_loss(lost, won, ROWS, allowed=ALLOWED / ROWS, unseen=ROWS, prior=prior)


def choice(generator: np.random.Generator, count: int) -> tuple[Choice, np.ndarray]:
    """Models whose true losses lie about the bound, as one search saw them, and what each would show on other rows."""
    strength = np.sort(generator.uniform(0, 1, count))
    drop = 0.012 * strength**2 + 0.003 * generator.normal(size=count)
    moved = 0.01 + 0.03 * strength + np.abs(drop)
    shares = np.stack([(moved + drop) / 2, (moved - drop) / 2, 1 - moved], axis=1)
    seen, new = generator.multinomial(ROWS, shares), generator.multinomial(ROWS, shares)
    models = [Shown(str(place), 1 - 0.8 * strength[place], *map(int, counts[:2])) for place, counts in enumerate(seen)]
    findings = []
    for place, (one, prior) in enumerate(zip(models, priors_of(models), strict=True)):
        holds = one.lost - one.won <= ALLOWED
        found = chance(int(one.lost), int(one.won), prior) if holds else 0.0
        findings.append(Finding((), holds, 1000 + place, one.strength, chance=found))
    kept = new[:, 0] - new[:, 1] <= ALLOWED
    return Choice(models, findings, chance, lambda lost, won: lost - won <= ALLOWED, ROWS, Objective.LATENCY), kept


def test_what_is_said_of_the_best_of_many_is_what_happens() -> None:
    generator = np.random.default_rng(4)
    said, corrected, kept = [], [], []
    for seed in range(16):
        one, truth = choice(generator, 20)
        best = ranked(one.findings, one.objective)[0]
        said.append(best.chance)
        corrected.append(best.chance - excess(one, seed))
        kept.append(truth[best.size_bytes - 1000])
    assert np.mean(corrected) < np.mean(said)
    assert np.mean(corrected) == pytest.approx(np.mean(kept), abs=0.2)


def test_where_there_is_no_choice_nothing_is_too_good() -> None:
    one, _ = choice(np.random.default_rng(1), 8)
    alone = Choice(one.models[:1], one.findings[:1], one.chance, one.holds, ROWS, Objective.LATENCY)
    assert excess(alone, 0) == pytest.approx(0.0, abs=0.25)
    assert excess(one, 3) == excess(one, 3)


def judge(*requirements: str) -> Judge:
    rows = Dataset({"x": np.zeros((ROWS, 1), np.float32)}, np.zeros(ROWS, np.int64))
    return Judge(CLASSES, rows, {"y": np.zeros((ROWS, 2), np.float32)}, parse_requirements(requirements), {}, 0)


def point(passes: str, lost: int, won: int, **more) -> SearchPoint:
    values = {"accuracy_drop": (lost - won) / ROWS, "decision_flips": float(lost + won)}
    made = Candidate(passes, tuple(map(str, parse_passes(passes))), "onnxruntime", 1, "")
    return SearchPoint(made, passes, more.pop("status", PointStatus.KEPT), 100, values=values, moved=(lost, won), **more)


def searched() -> list[SearchPoint]:
    """Eight networks, the fast ones of which lose; those that broke the floor were looked at quickly only."""
    found = []
    for number in range(8):
        lost, won = 4 + 3 * number, 4
        name, time = f"prune_structured(ratio={0.1 + number / 10:g})", 1.0 - number / 10
        found.append(point(name, lost, won, **({"latency_ms": time} if lost - won <= 2 else {"about_ms": time})))
    return found


def test_the_like_of_a_model_are_those_about_as_fast_also_where_they_broke_the_floor() -> None:
    asked = judge("accuracy_drop<=0.005")
    slow, fast = (point("distill_network", 6, 6, latency_ms=time) for time in (1.05, 0.25))
    (item,) = asked.requirements
    among_slow, among_fast = (prior_for(one, searched(), asked, Objective.LATENCY)(item) for one in (slow, fast))
    assert among_slow[0] / sum(among_slow) < among_fast[0] / sum(among_fast)
    assert prior_for(point("distill_network", 6, 6), searched(), asked, Objective.LATENCY)(item) == JEFFREYS  # no time is known


def test_another_form_of_a_model_and_its_double_say_nothing_more() -> None:
    asked = judge("accuracy_drop<=0.005")
    one, (item,) = point("distill_network", 6, 6, latency_ms=0.5), asked.requirements
    before = prior_for(one, searched(), asked, Objective.LATENCY)(item)
    doubles = [point(searched()[0].candidate.name, 0, 40, latency_ms=0.5, status=PointStatus.DUPLICATE), searched()[3], searched()[3]]
    assert prior_for(one, [*searched(), *doubles], asked, Objective.LATENCY)(item) == before


def test_the_chance_of_the_best_is_no_more_than_its_own_and_none_where_nothing_is_known() -> None:
    asked = judge("accuracy_drop<=0.005", "decision_flips<=20", "max_abs_diff<=1")
    points = [*searched(), point("distill_network", 5, 5, latency_ms=0.5, chance=0.8)]
    findings = [
        Finding(one.candidate.uses, one.latency_ms is not None, 100, one.latency_ms or one.about_ms or 1.0, chance=one.chance or 1.0)
        for one in points
    ]
    found = chance_of_best(points[-1], points, findings, asked, Objective.LATENCY)
    assert found is not None
    assert 0.0 <= found <= 0.8
    assert chance_of_best(points[0], points, findings, asked, Objective.LATENCY) is None
    few = chance_of_best(points[-1], points[-1:], findings, asked, Objective.LATENCY)
    assert few == 0.8
