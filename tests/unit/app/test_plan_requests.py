"""Flags and fairlead.yaml together make a plan's request: flags win, paths in the file are relative to the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.app.plan_model import Load
from fairlead.app.plan_requests import PlanFlags, build_plan_request
from fairlead.app.requests import Flags
from fairlead.core.hardware import Budget
from fairlead.core.strategy import Need, RolloutKind, Scenario
from fairlead.errors import SpecError

WHOLE = """
model: net.h5
data: rows.npz
train: train.npz
scenario: finance
needs: [offline]
load: {rate_rps: 200, rows_per_request: 4, p99_ms: 20, burst_ratio: 3}
budget: {per_month: 300, currency: EUR}
strategy: {rollout: {kind: canary}}
catalogue: machines.yaml
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "inner" / "fairlead.yaml"
    path.parent.mkdir()
    path.write_text(WHOLE)
    return path


def test_a_file_alone_says_everything(spec: Path) -> None:
    request = build_plan_request(Flags(spec=spec), PlanFlags())
    assert (request.intake.model, request.intake.data) == (spec.parent / "net.h5", spec.parent / "rows.npz")
    assert (request.training, request.catalogue) == (spec.parent / "train.npz", spec.parent / "machines.yaml")
    assert (request.scenario, request.needs) == (Scenario.FINANCE, (Need.OFFLINE,))
    assert (request.load, request.budget) == (Load(200, 4, 20, 3), Budget(300, "EUR"))
    assert request.overrides == {"rollout.kind": RolloutKind.CANARY}
    assert request.is_measured


def test_flags_win_over_the_file_one_by_one(spec: Path) -> None:
    more = PlanFlags(Path("t.npz"), "medicine", ("edge",), rate=9.0, per_month=50.0, catalogue=Path("c.yaml"), is_measured=False)
    request = build_plan_request(Flags(spec=spec), more)
    assert (request.training, request.catalogue) == (Path("t.npz"), Path("c.yaml"))
    assert (request.scenario, request.needs, request.is_measured) == (Scenario.MEDICINE, (Need.EDGE,), False)
    assert (request.load, request.budget) == (Load(9.0, 4, 20, 3), Budget(50.0, "EUR"))


def test_without_a_file_there_is_no_load_no_budget_and_no_scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    request = build_plan_request(Flags(model=Path("net.h5")), PlanFlags())
    assert (request.load, request.budget, request.scenario, request.needs) == (Load(), None, None, ())
    assert build_plan_request(Flags(model=Path("数字.h5")), PlanFlags()).intake.model == Path(
        "数字.h5"
    )  # nothing is named: no name is needed


def test_no_model_anywhere_is_an_error_that_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match=r"fairlead plan model\.h5"):
        build_plan_request(Flags(), PlanFlags())
