"""fairlead.yaml: what it says, and how it says no."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.app.plan_spec import BudgetSpec, LoadSpec, StrategySpec
from fairlead.app.spec import Spec, json_schema, parse_spec, read_spec
from fairlead.core.requirement import parse_requirements
from fairlead.core.strategy import KEYS, Need, RolloutKind, Scenario
from fairlead.errors import RequirementError, SpecError

WHOLE = """
model: model.h5
name: digits
data: {path: rows.csv, target: label}
require: [accuracy>=0.95, "p99_ms@32 <= 40"]
task: classification
target: {cores: 2}
serve: {port: 9000, default: digits}
train: train.npz
scenario: finance
needs: [edge]
load: {rate_rps: 200, rows_per_request: 2, p99_ms: 20}
budget: {per_month: 300, currency: EUR}
strategy: {rollout: {kind: canary, steps: [1%, 0.5]}, watch: {twin_ratio: 5%}, security: {is_audited: false}}
catalogue: machines.yaml
"""


def test_a_whole_file_is_read() -> None:
    spec = parse_spec(WHOLE)
    assert (spec.model, spec.name, spec.data_path(), spec.data_target()) == ("model.h5", "digits", "rows.csv", "label")
    assert (spec.target.cores, spec.serve.port, spec.serve.default) == (2, 9000, "digits")
    assert (spec.train, spec.scenario, spec.needs, spec.catalogue) == ("train.npz", Scenario.FINANCE, [Need.EDGE], "machines.yaml")
    assert spec.load == LoadSpec(rate_rps=200, rows_per_request=2, p99_ms=20)
    assert spec.budget == BudgetSpec(300, "EUR")
    assert spec.strategy.overrides() == {
        "rollout.kind": RolloutKind.CANARY,
        "rollout.steps": (0.01, 0.5),
        "watch.twin_ratio": 0.05,
        "security.is_audited": False,
    }


def test_the_file_knows_every_key_of_a_strategy_and_no_other() -> None:
    sections = get_type_hints(StrategySpec)
    known = {f"{section}.{name}" for section in StrategySpec.__struct_fields__ for name in sections[section].__struct_fields__}
    assert known == set(KEYS)


def test_a_share_above_everything_is_refused() -> None:
    with pytest.raises(SpecError, match="150% is more than everything"):
        parse_spec("strategy: {rollout: {steps: [150%]}}").strategy.overrides()


def test_a_list_a_mapping_and_flags_give_the_same_requirements() -> None:
    listed = parse_spec("require: [accuracy>=0.95, p99_ms<=10]").requirements()
    mapped = parse_spec("require: {accuracy: '>=0.95', p99_ms: <=10}").requirements()
    assert listed == mapped == parse_requirements(["accuracy>=0.95", "p99_ms<=10"])


def test_an_empty_file_is_an_empty_spec() -> None:
    assert parse_spec("") == Spec()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("modle: a", "Did you mean 'model'?"),
        ("serve: {prot: 1}", "Did you mean 'port'?"),
        ("data: {path: a, targt: b}", "Did you mean 'target'?"),
        ("wxyz: red", "Known keys: model"),
        ("model: a\nmodel: b", "line 2, column 1: the key 'model' is given twice"),
        ("model: [", "line 1"),
        ("- a", "holds a list"),
        ("just words", "holds a str"),
        ("serve: {port: 70000}", "serve.port"),
        ("target: {cores: 0}", "target.cores"),
        ("target: {hardware: abacus}", "target.hardware"),
        ("target: label", "data: {path: rows.csv, target: label}"),
        ("scenario: fiance", "Known: finance, medicine, logistics, manufacturing."),
        ("needs: [edgy]", "Known: user-facing, regulated, offline, edge."),
        ("strategy: {rollout: {kind: green}}", "Known: blue-green, canary, shadow."),
        ("strategy: {rolout: {kind: canary}}", "Did you mean 'rollout'?"),
        ("strategy: {rollout: {knd: canary}}", "Did you mean 'kind'?"),
        ("strategy: {watch: {twin_ratio: 2}}", "strategy.watch.twin_ratio"),
        ("load: {rate: 3}", "Did you mean 'rate_rps'?"),
        ("load: {rate_rps: 0}", "load.rate_rps"),
        ("budget: {per_month: -1}", "budget.per_month"),
        ("budget: {per_month: 9, currency: euro}", "budget.currency"),
        ("task: dancing", "task"),
        ("model: 2001-99-99", "month must be in 1..12"),
        ("a: &x 1\nmodel: *x", "aliases (*name) are not allowed"),
        ("model: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place_and_the_cure(text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(text)
    assert said in str(caught.value)


def test_a_wrong_requirement_in_the_file_is_refused_as_the_flag_would_be() -> None:
    with pytest.raises(RequirementError, match="Did you mean 'accuracy'"):
        parse_spec("require: [acuracy>=0.9]").requirements()


@given(st.text())
def test_any_text_is_a_spec_or_a_spec_error(text: str) -> None:
    with contextlib.suppress(SpecError):
        parse_spec(text)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(SpecError, match="is not YAML"):
        parse_spec(b"model: \xff\xfe")


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(SpecError):
        parse_spec("[" * 100_000)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="No such file"):
        read_spec(tmp_path / "fairlead.yaml")


def test_a_file_of_megabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fairlead.yaml"
    path.write_text("#" * (2**20 + 1))
    with pytest.raises(SpecError, match="larger than 1 MiB"):
        read_spec(path)


def test_the_schema_knows_every_key_and_is_json() -> None:
    schema = json.loads(json.dumps(json_schema()))
    properties = schema["$defs"]["Spec"]["properties"]
    assert set(properties) == {
        *("model", "name", "data", "require", "task", "source", "engine", "target", "serve"),
        *("train", "scenario", "needs", "load", "budget", "strategy", "catalogue"),
    }
    assert all("description" in value for value in properties.values())
    assert schema["$defs"]["Spec"]["additionalProperties"] is False
