"""What a user can write for planning stands in the reference: keys of a strategy, of a catalogue, needs and scenarios."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fairlead.app.hardware_file import CatalogueSpec, OfferSpec, parse_catalogue
from fairlead.app.presets import preset_of
from fairlead.app.spec import parse_spec
from fairlead.core.strategy import KEYS, Need, Scenario

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"
PLANNING = (REFERENCE / "planning.md").read_text()
CATALOGUE = (REFERENCE / "hardware-catalogue.md").read_text()


def blocks(text: str) -> list[str]:
    return [part.partition("```")[0] for part in text.split("```yaml\n")[1:]]


@pytest.mark.parametrize("key", KEYS)
def test_every_key_of_a_strategy_is_explained_with_its_default(key: str) -> None:
    assert f"`{key}`" in PLANNING


@pytest.mark.parametrize("key", [*OfferSpec.__struct_fields__, *CatalogueSpec.__struct_fields__])
def test_every_key_of_a_catalogue_is_explained(key: str) -> None:
    assert f"`{key}`" in CATALOGUE or f"{key}:" in CATALOGUE


def test_every_need_and_scenario_is_named_with_what_it_brings() -> None:
    assert all(f"`{need}`" in PLANNING for need in Need)
    for scenario in Scenario:
        needs = ", ".join(preset_of(scenario).needs) or "none"
        assert f"`{scenario}` ({needs})" in " ".join(PLANNING.split())


def test_the_examples_can_be_read() -> None:
    for block in blocks(PLANNING):
        parse_spec(block)
    for block in blocks(CATALOGUE):
        assert parse_catalogue(block, name="example").offers
    how_to = (REFERENCE.parent / "how-to" / "plan.md").read_text()
    (example,) = [part.partition("```")[0] for part in how_to.split("```yaml\n")[1:]]
    lines = example.splitlines()
    assert parse_spec("\n".join(line.removeprefix("   ") for line in lines)).load is not None
    assert yaml.safe_load("\n".join(line.removeprefix("   ") for line in lines))
