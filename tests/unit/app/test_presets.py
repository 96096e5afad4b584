"""Presets: the files that come along are read, and one that is wrong says where."""

from __future__ import annotations

import pytest

from fairlead.app.presets import parse_preset, preset_of
from fairlead.core.strategy import Need, RolloutKind, Scenario
from fairlead.errors import SpecError

HEAD = "scenario: finance\nsentence: money\n"


@pytest.mark.parametrize("scenario", list(Scenario))
def test_every_scenario_has_a_preset_with_rules_of_its_own(scenario: Scenario) -> None:
    assert preset_of(scenario).scenario is scenario
    assert len(preset_of(scenario).rules) >= 4


def test_values_become_what_their_keys_are() -> None:
    preset = parse_preset(
        HEAD + "needs: [edge]\nset:\n  rollout.kind: {value: canary, because: a}\n  rollout.steps: {value: [0.1], because: b}\n", name="p"
    )
    assert preset.needs == (Need.EDGE,)
    assert [rule.value for rule in preset.rules] == [RolloutKind.CANARY, (0.1,)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD + "set: {rollout.speed: {value: 1, because: a}}", "no strategy key 'rollout.speed'"),
        (HEAD + "set: {rollout.kind: {value: green, because: a}}", "rollout.kind"),
        (HEAD + "set: {rollout.alpha: {value: often, because: a}}", "rollout.alpha"),
        (HEAD + "set: {rollout.alpha: {value: 0.1}}", "because"),
        ("scenario: farming\nsentence: x", "Known: finance"),
    ],
)
def test_a_wrong_preset_is_refused_with_the_place(text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_preset(text, name="p.yaml")
    assert said in str(caught.value)
