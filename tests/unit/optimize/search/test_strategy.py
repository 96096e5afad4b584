"""What is tried next: on made-up models whose answers are known."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from fairlead.core.pass_use import PassUse, parse_passes
from fairlead.core.search import Objective
from fairlead.optimize.search.front import Finding, ranked
from fairlead.optimize.search.space import Recipe, Space, Supply, make_space
from fairlead.optimize.search.strategy import Strategy

VALUES = {
    "clean_graph": {},
    "prune_structured": {"ratio": (0.5, 0.25, 0.75)},
    "prune_magnitude": {"sparsity": (0.8, 0.9)},
    "quantize_static_int8": {"method": ("minmax", "entropy")},
    "store_fp16": {},
    "store_int8": {},
}
SPACE = Space(VALUES, trains=frozenset({"prune_structured", "prune_magnitude"}))


def world(edge: float = 0.84, *, int8_time: float = 1.3) -> Callable[[Recipe], Finding]:
    """A network that bears pruning up to `edge`; 8-bit products take `int8_time`."""

    def show(recipe: Recipe) -> Finding:
        time, size, loss = 1.0, 1_400_000.0, 0.0
        for use in recipe:
            if use.name == "prune_structured":
                ratio = float(use.settings.get("ratio", 0.5))
                time, size = time * (1.05 - ratio), size * (1 - ratio) ** 2
                loss += 0.01 if ratio > edge else 0.0
            elif use.name == "quantize_static_int8":
                time, size = time * int8_time, size / 4
            elif use.name == "store_fp16":
                size /= 2
            elif use.name == "store_int8":
                size /= 4
        return Finding(recipe, loss <= 0.005, int(size), time, is_slower=time > 1.02, loss=loss)

    return show


def run(space: Space, show: Callable[[Recipe], Finding], *, objective: Objective = Objective.LATENCY, limit: int = 200) -> Strategy:
    strategy = Strategy(space, objective)
    for _ in range(limit):
        recipe = strategy.ask()
        if recipe is None:
            return strategy
        strategy = strategy.tell(show(recipe))
    raise AssertionError("it never ends")


def test_the_best_combination_is_found_in_a_few_dozen_trials() -> None:
    strategy = run(SPACE, world())

    best = ranked(strategy.findings, Objective.LATENCY)[0]
    assert [use.name for use in best.recipe] == ["prune_structured", "store_int8"]
    assert 0.79 <= best.recipe[0].settings["ratio"] <= 0.84
    assert len(strategy.findings) < 45


def test_cheap_passes_are_tried_before_those_that_train() -> None:
    order = [one.recipe for one in run(SPACE, world()).findings]

    first_training = next(place for place, recipe in enumerate(order) if any(use.name in SPACE.trains for use in recipe))
    assert order[0] == ()
    assert {recipe[0].name for recipe in order[1:first_training]} == set(VALUES) - SPACE.trains


def test_a_pass_that_makes_the_model_slower_is_not_combined() -> None:
    strategy = run(SPACE, world(int8_time=1.3))
    faster = run(SPACE, world(int8_time=0.6))

    assert not [one for one in strategy.findings if len(one.recipe) > 1 and "quantize_static_int8" in {use.name for use in one.recipe}]
    best = ranked(faster.findings, Objective.LATENCY)[0]
    assert {use.name for use in best.recipe} == {"prune_structured", "quantize_static_int8"}


def test_a_pass_that_refuses_the_model_is_tried_once() -> None:
    show = world()

    def refuse(recipe: Recipe) -> Finding:
        is_refused = any(use.name == "prune_structured" for use in recipe)
        return Finding(recipe, holds_floor=False, is_failed=True) if is_refused else show(recipe)

    findings = run(SPACE, refuse).findings

    assert len([one for one in findings if one.is_failed]) == 1


def test_nothing_is_tried_twice_and_all_is_the_same_again() -> None:
    first, second = run(SPACE, world()), run(SPACE, world())

    assert [one.recipe for one in first.findings] == [one.recipe for one in second.findings]
    texts = [tuple(map(str, one.recipe)) for one in first.findings]
    assert len(set(texts)) == len(texts)


def test_what_is_pending_is_not_asked_again() -> None:
    strategy = Strategy(SPACE).tell(Finding((), holds_floor=True, size_bytes=10, time_ratio=1.0))

    first = strategy.ask()
    second = strategy.ask([first])

    assert first is not None
    assert second is not None
    assert first != second


@pytest.mark.parametrize("objective", [Objective.LATENCY, Objective.SIZE])
def test_a_small_space_is_searched_whole(objective: Objective) -> None:
    space = Space({"clean_graph": {}, "quantize_static_int8": {"method": ("minmax", "entropy")}, "store_fp16": {}})

    findings = run(space, world(), objective=objective).findings

    assert {tuple(map(str, one.recipe)) for one in findings} == {tuple(map(str, recipe)) for recipe in space.recipes()}


def test_bounds_are_reached_by_combinations_where_no_pass_alone_keeps_them() -> None:
    show = world()

    def short(recipe: Recipe) -> Finding:
        found = show(recipe)
        return Finding(
            recipe, found.holds_floor, found.size_bytes, found.time_ratio, shortfall=max(math.log(found.size_bytes / 20_000), 0.0)
        )

    best = ranked(run(SPACE, short).findings, Objective.SIZE)[0]

    assert best.shortfall == 0
    assert PassUse("store_int8") in best.recipe


def test_a_strength_short_of_the_strongest_that_held_is_tried_too() -> None:
    """On other rows the strongest may not hold."""
    ratios = (0.5, 0.25, 0.75, 0.9)
    space = Space({**VALUES, "prune_structured": {"ratio": ratios}}, trains=SPACE.trains)
    found = run(space, world(edge=0.91))
    tried = {
        use.settings.get("ratio", 0.5)
        for one in found.findings
        if len(one.recipe) == 1
        for use in one.recipe
        if use.name == "prune_structured"
    }
    assert {0.5, 0.9, 0.75} <= tried


def test_students_of_another_kind_wait_until_the_usual_passes_were_tried() -> None:
    space = make_space(
        ["Conv", "Gemm"], Supply(True, True, True), only=parse_passes("distill_trees,distill_linear,store_int8,prune_structured")
    )
    strategy = Strategy(space)
    asked = []
    while (recipe := strategy.ask()) is not None and len(asked) < 12:
        asked.append([use.name for use in recipe])
        strategy = strategy.tell(Finding(recipe, holds_floor=not recipe, size_bytes=100, time_ratio=1.0))
    first = asked.index(["distill_trees"])
    assert asked.index(["store_int8"]) < asked.index(["prune_structured"]) < first
    assert ["distill_linear"] in asked
