"""The strategy: every value has a reason, the stricter protection stays, the user has the last word, and nonsense is refused."""

from __future__ import annotations

import functools
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.app.presets import preset_of
from fairlead.core.capacity import CapacityPlan, Demand, Operation, ServerShape
from fairlead.core.requirement import parse_requirements
from fairlead.core.strategy import (
    KEYS,
    ExplanationPolicy,
    Need,
    NetworkPolicy,
    Preset,
    RolloutKind,
    Scenario,
    Strategy,
    StrategyRule,
    Value,
)
from fairlead.errors import SpecError
from fairlead.plan.strategy import StrategyJob, decide_strategy, shown

PROMISES = st.lists(st.sampled_from(["accuracy>=0.9", "p99_ms<=5", "size_mb<=1", "decision_flips<=2"]), unique=True)
read_preset = functools.cache(preset_of)
FLAGS = [key for key, value in KEYS.items() if isinstance(value, bool) and key.startswith("security.")]


def decide(
    *, scenario: Scenario | None = None, needs: tuple[Need, ...] = (), promise: tuple[str, ...] = (), rate: float = 0.0, **more: Value
) -> Strategy:
    overrides = {key.replace("__", "."): value for key, value in more.items()}
    preset = read_preset(scenario) if scenario else None
    return decide_strategy(StrategyJob(preset, needs, parse_requirements(promise), None, rate, overrides))


@given(
    st.sampled_from([None, *Scenario]), st.lists(st.sampled_from(list(Need)), unique=True), PROMISES, st.sampled_from([0.0, 0.001, 1, 200])
)
def test_every_value_has_a_reason_and_equal_arguments_give_equal_strategies(
    scenario: Scenario | None, needs: list[Need], promise: list[str], rate: float
) -> None:
    first = decide(scenario=scenario, needs=tuple(needs), promise=tuple(promise), rate=rate)
    assert set(first.reasons) == set(KEYS)
    assert all(reason.text and reason.origin for reason in first.reasons.values())
    assert first == decide(scenario=scenario, needs=tuple(reversed(needs)), promise=tuple(promise), rate=rate)
    shares = first.rollout.steps
    assert list(shares) == sorted(set(shares))
    assert bool(shares) == (first.rollout.kind is not RolloutKind.BLUE_GREEN)


@given(st.lists(st.sampled_from(list(Need)), unique=True), st.sampled_from(list(Need)), st.sampled_from([None, *Scenario]))
def test_a_further_need_never_takes_protection_away(needs: list[Need], further: Need, scenario: Scenario | None) -> None:
    before, after = decide(scenario=scenario, needs=tuple(needs)), decide(scenario=scenario, needs=(*needs, further))
    for key in FLAGS:
        assert after.value(key) or not before.value(key)
    assert before.security.network is not NetworkPolicy.ISOLATED or after.security.network is NetworkPolicy.ISOLATED
    policies = list(ExplanationPolicy)
    assert policies.index(after.explanations.policy) >= policies.index(before.explanations.policy)


def test_without_scenario_and_needs_everything_is_a_default() -> None:
    strategy = decide()
    assert {reason.origin for reason in strategy.reasons.values()} == {"default"}
    assert all(strategy.value(key) == value for key, value in KEYS.items())


def test_finance_compares_unseen_first_and_needs_an_approver() -> None:
    strategy = decide(scenario=Scenario.FINANCE)
    assert strategy.needs == (Need.USER_FACING, Need.REGULATED)
    assert (strategy.rollout.kind, strategy.rollout.shadow_ratio) == (RolloutKind.SHADOW, 0.2)
    assert strategy.security.is_approver_required
    assert strategy.reasons["security.is_approver_required"].origin == "need regulated"
    assert strategy.reasons["rollout.kind"].origin == "scenario finance"


def test_the_edge_has_the_last_word_over_a_scenario_and_says_what_it_replaced() -> None:
    strategy = decide(scenario=Scenario.FINANCE, needs=(Need.EDGE,))
    assert (strategy.rollout.kind, strategy.rollout.steps, strategy.serving.replica_floor) == (RolloutKind.BLUE_GREEN, (), 1)
    assert "instead of shadow: scenario finance" in strategy.reasons["rollout.kind"].text
    assert strategy.reasons["rollout.kind"].origin == "need edge"


def test_what_the_user_says_is_taken_and_a_weaker_protection_is_said() -> None:
    strategy = decide(
        scenario=Scenario.MEDICINE, security__network=NetworkPolicy.PRIVATE, security__is_audited=True, retention__audit_days=30
    )
    assert strategy.security.network is NetworkPolicy.PRIVATE
    assert strategy.reasons["security.network"].origin == "fairlead.yaml"
    assert len(strategy.notes) == 2
    assert "asks for isolated" in strategy.notes[0]
    assert "asks for 3653" in strategy.notes[1]


def test_a_promise_is_gated_and_watched() -> None:
    strategy = decide(promise=("accuracy>=0.95", "p99_ms<=5"))
    assert strategy.rollout.gates == ("error_rate", "p99_ms", "accuracy")
    assert "quality" in strategy.watch.metrics
    assert strategy.batching.delay_ms == 0.5
    assert strategy.reasons["batching.delay_ms"].origin == "requirement p99_ms<=5"


def test_a_compressed_model_is_compared_with_its_original() -> None:
    strategy = decide_strategy(StrategyJob(is_lossy_allowed=True))
    assert strategy.watch.twin_ratio == 0.01
    assert "disagreement" in strategy.rollout.gates
    edge = decide_strategy(StrategyJob(needs=(Need.EDGE,), is_lossy_allowed=True))
    assert edge.watch.twin_ratio == 0.0


def test_batching_follows_the_capacity_unless_a_need_says_otherwise() -> None:
    operation = Operation(200, 1, 2, 1, 0.3, 1.5, 0)
    capacity = CapacityPlan(Demand(200, 5), 1, ServerShape(batch_rows_limit=16, batch_delay_ms=0.4), operation, operation, "one replica")
    sized = decide_strategy(StrategyJob(capacity=capacity, rate_rps=200))
    assert (sized.batching.rows_limit, sized.batching.delay_ms) == (16, 0.4)
    assert sized.reasons["batching.rows_limit"].origin == "capacity"
    edge = decide_strategy(StrategyJob(needs=(Need.EDGE,), capacity=capacity, rate_rps=200))
    assert edge.batching.rows_limit == 1


@pytest.mark.parametrize(("rate", "steps"), [(200, (0.05, 0.25, 0.5)), (0.1, (0.25, 0.5)), (0.025, (0.5,)), (0.001, (0.5,))])
def test_the_steps_of_a_canary_are_large_enough_for_the_traffic(rate: float, steps: tuple[float, ...]) -> None:
    strategy = decide(scenario=Scenario.LOGISTICS, rate=rate)
    assert strategy.rollout.steps == steps
    assert any("no share of them" in note for note in strategy.notes) == (rate * 86_400 * 0.5 < 1000)


def test_a_canary_of_the_users_own_gets_usual_steps_and_keeps_those_that_are_given() -> None:
    assert decide(rollout__kind=RolloutKind.CANARY).rollout.steps == (0.01, 0.1, 0.5)
    assert decide(rollout__kind=RolloutKind.CANARY, rollout__steps=(0.2,), rate=0.001).rollout.steps == (0.2,)
    assert decide(rollout__kind=RolloutKind.SHADOW).rollout.shadow_ratio == 0.2
    assert decide(scenario=Scenario.LOGISTICS, rollout__kind=RolloutKind.BLUE_GREEN).rollout.steps == ()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"rollout.kind": RolloutKind.CANARY, "rollout.steps": (0.5, 0.1)}, "growing shares"),
        ({"rollout.kind": RolloutKind.CANARY, "rollout.steps": (0.5, 1.5)}, "between 0 and 1"),
        ({"rollout.kind": RolloutKind.CANARY, "rollout.steps": ()}, "needs steps"),
        ({"rollout.steps": (0.1,)}, "has no steps"),
        ({"rollout.kind": RolloutKind.SHADOW, "rollout.shadow_ratio": 0.0}, "share of the traffic"),
        ({"watch.fast_window_s": 3600.0}, "not below"),
        ({"rollout.kindd": "x"}, "no strategy key 'rollout.kindd'"),
    ],
)
def test_what_makes_no_sense_is_refused(overrides: dict[str, Value], said: str) -> None:
    with pytest.raises(SpecError, match=said) as caught:
        decide_strategy(StrategyJob(overrides=overrides))
    assert caught.value.hint


def test_a_preset_with_a_key_that_is_none_is_refused() -> None:
    preset = Preset(Scenario.FINANCE, "", (), (StrategyRule("rollout.speed", 1, "why not"),))
    with pytest.raises(SpecError, match=r"rollout\.speed"):
        decide_strategy(StrategyJob(preset))


@pytest.mark.parametrize("scenario", list(Scenario))
def test_every_preset_says_why_for_everything_it_sets(scenario: Scenario) -> None:
    preset = preset_of(scenario)
    assert preset.scenario is scenario
    assert preset.sentence
    assert all(rule.because and rule.key in KEYS for rule in preset.rules)
    assert all(type(rule.value) is type(KEYS[rule.key]) for rule in preset.rules)


def test_every_value_can_be_read() -> None:
    for scenario, need in itertools.product(Scenario, Need):
        strategy = decide(scenario=scenario, needs=(need,))
        assert all(shown(strategy.value(key)) for key in KEYS)
    with pytest.raises(KeyError):
        strategy.value("rollout.speed")
