"""A version's own plan says how it is released: options with reasons, and what a release cannot do of it is said."""

import dataclasses
import shlex

import pytest
import registered

from fairlead.app.planned_release import planned_release
from fairlead.app.release_begin import begin
from fairlead.app.strategy_wish import StrategyWish
from fairlead.cli.release_commands import promote
from fairlead.cli.release_options import typed_request
from fairlead.core.release import ReleaseKind, ReleaseStatus
from fairlead.core.requirement import parse_requirements
from fairlead.core.strategy import Scenario, Strategy
from fairlead.errors import NotFoundError, SpecError
from fairlead.register.approval import protect
from memory_records import MemoryRecords


@pytest.fixture
def house(tmp_path):
    house = dataclasses.replace(registered.new_house(tmp_path / "home"), records=MemoryRecords())
    registered.add_version(house, "pets", registered.classifier(tmp_path / "first.onnx"))
    return house


def strategy(scenario: Scenario | None = None, promise: tuple[str, ...] = (), **overrides) -> Strategy:
    made = StrategyWish(scenario, overrides={key.replace("__", "."): value for key, value in overrides.items()} or {})
    return made.decide(parse_requirements(promise))


def second(house, tmp_path, planned: Strategy | None, *, has_twin: bool = True) -> None:
    model = registered.classifier(tmp_path / "second.onnx", seed=1)
    registered.add_version(house, "pets", model, alias="", strategy=planned, has_twin=has_twin)


def test_a_plan_becomes_the_options_that_one_would_type_each_with_its_reason(house, tmp_path):
    second(house, tmp_path, strategy(Scenario.FINANCE, ("p99_ms<=5", "accuracy_drop<=0.005")))
    planned = planned_release("pets:2", house)
    assert planned.options == ('--shadow 20% --canary "1%,10%,50%" --gate "error_rate, disagreement, p99_ms, accuracy" --twin 5%')
    assert [value.origin for value in planned.values][:2] == ["scenario finance", "scenario finance"]
    assert "one request in a hundred" in planned.values[1].because
    assert [step.text for step in planned.request.steps] == ["shadow 20%", "1%", "10%", "50%"]
    assert (planned.request.kind, planned.request.twin_share, planned.is_at_once) == (ReleaseKind.CANARY, 0.05, False)
    assert planned.notes == ("the plan asks that somebody else approves of a version: fairlead protect pets",)


def test_the_options_mean_to_promote_what_the_plan_means(house, tmp_path):
    second(house, tmp_path, strategy(Scenario.MEDICINE, ("accuracy_drop<=0.005",)))
    planned = planned_release("pets:2", house)
    context = promote.make_context("promote", ["pets:2", *shlex.split(planned.options)])
    options = {name: value for name, value in context.params.items() if name not in ("version", "alias")}
    assert typed_request("pets:2", "production", options) == planned.request


def test_it_can_be_begun_and_waits_for_a_person_where_the_plan_says_so(house, tmp_path):
    second(house, tmp_path, strategy(Scenario.MEDICINE, ("accuracy_drop<=0.005",)))
    release = begin(planned_release("pets:2", house).request, house).release
    assert release.status is ReleaseStatus.HELD
    assert release.gate.alpha == 0.005
    assert release.twin_share == 1.0


def test_what_no_gate_can_measure_is_left_out_and_said(house, tmp_path):
    second(house, tmp_path, strategy(Scenario.LOGISTICS, ("rmse<=3", "p95_ms<=5")), has_twin=False)
    planned = planned_release("pets:2", house)
    assert str(planned.request.gate) == "error_rate, p95_ms, disagreement"
    assert any("'rmse'" in note for note in planned.notes)


def test_a_gate_of_which_nothing_can_be_measured_is_the_usual_one(house, tmp_path):
    second(house, tmp_path, strategy(Scenario.LOGISTICS, rollout__gates=("profit",)))
    assert str(planned_release("pets:2", house).request.gate) == "error_rate, client_error_rate, p99_ms"


def test_without_an_original_beside_it_nothing_is_compared_with_one(house, tmp_path):
    second(house, tmp_path, strategy(Scenario.FINANCE, ("accuracy_drop<=0.005",)), has_twin=False)
    planned = planned_release("pets:2", house)
    assert planned.request.twin_share == 0
    assert any("no original" in note for note in planned.notes)


def test_a_plan_to_go_at_once_says_what_it_cannot_do(house, tmp_path):
    second(house, tmp_path, strategy(Scenario.MANUFACTURING, ("p99_ms<=5",), watch__twin_ratio=0.5))
    planned = planned_release("pets:2", house)
    assert planned.is_at_once
    assert planned.options == ""
    said = "; ".join(planned.notes)
    assert "no gate tests error_rate, p99_ms" in said
    assert "FAIRLEAD_TWIN_SHARE=0.5" in said
    assert "FAIRLEAD_KEEP_WARM_S=28800" in said


def test_the_first_version_has_nothing_to_be_compared_with(house, tmp_path):
    second(house, tmp_path, strategy(Scenario.FINANCE))
    planned = planned_release("pets:2", house, alias="staging")
    assert planned.is_at_once
    assert "live at @staging is none yet" in planned.notes[0]


def test_an_approver_that_is_there_is_not_asked_for(house, tmp_path):
    second(house, tmp_path, strategy(Scenario.FINANCE), has_twin=False)
    protect("pets", records=house.records, clock=house.clock, author="ann")
    assert not any("approves" in note for note in planned_release("pets:2", house).notes)


def test_a_version_without_a_plan_has_none_and_one_that_is_not_there_is_said(house, tmp_path):
    second(house, tmp_path, None)
    assert planned_release("pets:2", house) is None
    with pytest.raises(NotFoundError):
        planned_release("pets:9", house)
    with pytest.raises(SpecError, match="which version"):
        planned_release("pets", house)
