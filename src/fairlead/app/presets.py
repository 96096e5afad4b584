"""The presets of scenarios: the YAML files beside the plan's rules, as core values.

Gives a Preset by its Scenario; raises SpecError for a file that does not hold what a preset holds (a defect of Fairlead's own: a test reads
each of them).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any, get_type_hints

import msgspec

from fairlead.app.spec import parse_as
from fairlead.core.strategy import KEYS, SECTIONS, Need, Preset, Scenario, StrategyRule, Value
from fairlead.errors import SpecError


class RuleSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A value and why."""

    value: bool | int | float | str | list[str | float]
    because: str


class PresetSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A preset's file. `set` is by key ("rollout.kind")."""

    scenario: Scenario
    sentence: str
    needs: list[Need] = []
    set: dict[str, RuleSpec] = {}


def preset_of(scenario: Scenario) -> Preset:
    """Return the preset of a scenario."""
    text = resources.files("fairlead.plan").joinpath(f"presets/{scenario.value}.yaml").read_bytes()
    return parse_preset(text, name=f"{scenario.value}.yaml")


def parse_preset(text: bytes | str, *, name: str) -> Preset:
    """Parse a preset's text; raises SpecError."""
    spec = parse_as(PresetSpec, text, name=name, start="scenario: finance", hint=_hint)
    rules = tuple(StrategyRule(key, _typed(key, rule.value, name), rule.because) for key, rule in spec.set.items())
    return Preset(spec.scenario, spec.sentence, tuple(spec.needs), rules)


def _typed(key: str, value: Any, name: str) -> Value:
    """Return `value` as the type that the key has."""
    section, _, item = key.partition(".")
    if key not in KEYS:
        raise SpecError(f"{name}: there is no strategy key '{key[:64]}'.", hint=f"Known: {', '.join(KEYS)}.")
    try:
        found: Value = msgspec.convert(value, get_type_hints(SECTIONS[section])[item])
    except msgspec.ValidationError as error:
        raise SpecError(f"{name}, {key}: {error}.", hint="docs/reference/planning.md says what each key takes.") from error
    return found


def _hint(plain: Mapping[str, Any]) -> str:
    del plain
    return "docs/reference/planning.md says what each key takes."
